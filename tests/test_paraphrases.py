"""The frozen paraphrases: complete, distinct, unlike the templates, and unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from development.paraphrases import load_paraphrases, paraphrase_set_names
from nunbit.core.messages import InputError
from nunbit.language.labels import label_set_names, load_label_set
from nunbit.language.prompts import (
    load_descriptions,
    load_template_set,
    prompts_for,
    template_set_names,
)

# Figures on paraphrases compare only while these stand: a change here voids docs/results.md.
FROZEN = {
    "aihub7": "5e0816fd68710b4c100d8e642313f76bf9a3c6a16cc590b44364523b84cf84e7",
    "fer7": "9087c5bb05a6ca7a1cb98b02afd5081f6234ee43e41a3fe02c5656c581280f39",
}


@pytest.mark.parametrize("name", ["aihub7", "fer7"])
def test_every_class_has_at_least_ten_in_each_language(name: str) -> None:
    found = load_paraphrases(name)
    for by_label in (found.ko, found.en):
        assert tuple(by_label) == load_label_set(name).ids
        assert all(len(set(texts)) >= 10 for texts in by_label.values())
    assert all(any("가" <= c <= "힣" for c in text) for _, text in found.texts("ko"))
    assert all(text.isascii() for _, text in found.texts("en"))


@pytest.mark.parametrize("name", ["aihub7", "fer7"])
@pytest.mark.parametrize("lang", ["ko", "en"])
def test_no_text_serves_two_classes_or_repeats_a_template(name: str, lang: str) -> None:
    texts = [text for _, text in load_paraphrases(name).texts(lang)]  # type: ignore[arg-type]
    assert len(set(texts)) == len(texts)
    prompts = {
        prompt
        for templates in template_set_names()
        for labels in label_set_names()
        for row in prompts_for(load_template_set(templates), load_label_set(labels))
        for prompt in row
    }
    assert not prompts & set(texts)


@pytest.mark.parametrize("name", ["aihub7", "fer7"])
@pytest.mark.parametrize("lang", ["ko", "en"])
def test_few_texts_name_their_label(name: str, lang: str) -> None:
    found = load_paraphrases(name)
    named = total = 0
    for label in found.label_set.labels:
        words = (
            (label.name.ko, label.adjective.ko)
            if lang == "ko"
            else (label.name.en, label.adjective.en)
        )
        for text in (found.ko if lang == "ko" else found.en)[label.id]:
            named += any(word is not None and word in text for word in words)
            total += 1
    assert named <= 0.05 * total


def test_frozen() -> None:
    assert {name: load_paraphrases(name).sha256 for name in paraphrase_set_names()} == FROZEN


def test_classes_that_both_sets_have_share_their_texts() -> None:
    fer7, aihub7 = load_paraphrases("fer7"), load_paraphrases("aihub7")
    for label in set(fer7.label_set.ids) & set(aihub7.label_set.ids):
        assert fer7.ko[label] == aihub7.ko[label]
        assert fer7.en[label] == aihub7.en[label]


def pieces(text: str) -> set[str]:
    """Pairs of neighbouring characters, without spaces and case."""
    plain = "".join(c for c in text.lower() if c.isalnum())
    return {plain[i : i + 2] for i in range(len(plain) - 1)} or {plain}


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_no_training_description_is_close_to_a_paraphrase(lang: str) -> None:
    described = {
        text
        for row in load_descriptions("fer7", load_label_set("fer7"))
        for text in row
        if text.isascii() == (lang == "en")
    }
    assert len(described) == 7 * 12
    close = {
        (a, b)
        for a in described
        for name in ("fer7", "aihub7")
        for _, b in load_paraphrases(name).texts(lang)  # type: ignore[arg-type]
        if len(pieces(a) & pieces(b)) > 0.5 * len(pieces(a) | pieces(b))
    }
    assert not close


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'x'\nlabels = []", "no descriptions of joy, surprise"),
        ("labels = 3", "not a set of descriptions"),
        (
            "name = 'x'\n"
            + "".join(
                f"[[labels]]\nid = '{label}'\nko = {['a'] * (1 + n // 6)}\n"
                for n, label in enumerate(load_label_set("fer7").ids)
            ),
            "as many descriptions as the others: joy 1",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        load_descriptions(str(path), load_label_set("fer7"))


def test_a_label_set_without_paraphrases_is_refused() -> None:
    with pytest.raises(InputError, match=r"no paraphrases for label set 'mine'.*aihub7, fer7"):
        load_paraphrases("mine")
