"""The shipped model's card and sentences: they say what the bundle is, and what nobody measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import nunbit
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set, prompts_for, template_set_names
from nunbit.model.encoders import load_bundle

BUNDLE = Path(nunbit.__file__).parent / "bundles" / "fer7-lite"
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    return found


def test_the_card_says_what_the_bundle_says(document: dict[str, Any]) -> None:
    card = (BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| final |" not in card  # a folder's name on somebody's disk
    assert f"| temperature of this bundle | {document['temperature']:.6g} |" in card
    chosen = document["training_data"]["choosing_images"]
    assert f"| images | {chosen} |" in card
    assert "2,659 images" in card  # the selection figure beside 85.6%: other images
    for sentence in (
        "Intended users",
        "bias by them is unmeasured",
        "the people shown were not asked",
        "faces of their own culture",
        "natural-0.1",
    ):
        assert sentence in card.replace("\n", " ").replace("  ", " "), sentence
    assert "MODEL_CARD.md" not in document["checksums"]


def test_a_card_is_written_from_the_bundle_alone(document: dict[str, Any]) -> None:
    from nunbit.training.onnx import model_card

    shipped = (BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert shipped.startswith(model_card(document))
    other = document | {
        "starting_point": document["starting_point"] | {"name": "clip", "weights": "openai"},
        "training_data": {"statement": "faces"},
    }
    card = model_card(other)
    assert "| started from | clip |" in card
    assert "| images |" not in card


def test_the_shipped_model_is_read_with_the_sentences_it_was_trained_with() -> None:
    bundle = load_bundle(BUNDLE, threads=1)
    name = bundle.default_template_set
    assert name == "natural-0.1"
    texts = {t for row in prompts_for(load_template_set(name), bundle.label_set) for t in row}
    assert texts == set(bundle.document.trained_prompts)
    # Superseded sets are read where they are named, and offered nowhere.
    assert name not in template_set_names()


@pytest.mark.parametrize("label_set", ["aihub7", "fer7", "dep2"])
def test_the_natural_sentences_are_natural(label_set: str) -> None:
    labels = load_label_set(label_set)
    texts = {t for row in prompts_for(load_template_set("natural"), labels) for t in row}
    assert not [t for t in texts if "과 가깝다" in t or "와 가깝다" in t]
    assert f"이 얼굴은 {labels.labels[0].name.ko}에 가깝다." in texts
    for wrong in ("그 밖의 것 같다", "나머지이다", "나머지에"):
        assert not [t for t in texts if wrong in t], wrong


def test_the_two_class_sentences_fit_every_english_template() -> None:
    labels = load_label_set("dep2")
    texts = {t for row in prompts_for(load_template_set("english"), labels) for t in row}
    for wrong in ("otherwise moved", " a a", " a e", " a i", " a o"):
        assert not [t for t in texts if wrong in t], wrong


@pytest.mark.parametrize("label_set", ["aihub7", "fer7", "dep2"])
def test_every_sentence_fits_clip_even_byte_by_byte(label_set: str) -> None:
    """CLIP reads 77 tokens with its two ends; where it knows no pieces, a byte is a token."""
    for name in template_set_names():
        for row in prompts_for(load_template_set(name), load_label_set(label_set)):
            for text in row:
                assert len(text.replace(" ", "").encode()) + 2 <= 77, text


@pytest.mark.parametrize("name", ["limits.md", "limits.ko.md"])
def test_limits_say_what_is_missing(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for figure in ("62.9%", "54%", "12.5%", "AI Hub", "FER2013", "Elfenbein", "109", "align"):
        assert figure in text
    for line in text.split("\n"):
        assert len(line) < 600


# How weights ship


def test_shipping_the_same_weights_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ship_bundle

    line = ["ship_bundle.py", str(BUNDLE), str(tmp_path / "fer7-lite"), "--like", str(BUNDLE)]
    monkeypatch.setattr("sys.argv", line)
    assert ship_bundle.main() == 0
    new, old = load_bundle(tmp_path / "fer7-lite", threads=1), load_bundle(BUNDLE, threads=1)
    assert new.preprocessing == old.preprocessing  # the blur filter and the mirror images
    assert new.document.checksums == old.document.checksums
    cards = [(path / "MODEL_CARD.md").read_text(encoding="utf-8") for path in (BUNDLE, new.path)]
    for heading in ("Limits", "What people say", "Voice tower (experimental)"):
        own, other = (
            card.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] for card in cards
        )
        assert own.strip() == other.strip()
        assert own
    assert (new.path / "LICENSE").read_bytes() == (BUNDLE / "LICENSE").read_bytes()


def test_the_card_takes_the_table_of_other_people_and_not_that_of_the_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ship_bundle

    printed = tmp_path / "beyond.txt"
    printed.write_text("| set | model |\n|---|---|\n| ck48 | a |\n\n| set | persons labelled |\n")
    line = ["ship_bundle.py", str(BUNDLE), str(tmp_path / "fer7-lite"), "--like", str(BUNDLE)]
    monkeypatch.setattr("sys.argv", [*line, "--beyond", str(printed)])
    assert ship_bundle.main() == 0
    card = (tmp_path / "fer7-lite" / "MODEL_CARD.md").read_text(encoding="utf-8")
    section = card.partition("\n## On other people's faces\n")[2].partition("\n## ")[0]
    assert "| ck48 | a |" in section
    assert "labelled" not in section


def test_a_bundle_with_other_words_does_not_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ship_bundle

    other = tmp_path / "other"
    shutil.copytree(BUNDLE, other)
    (other / "words.npz").write_bytes(b"other words")
    changed = json.loads((other / "bundle.json").read_text(encoding="utf-8"))
    changed["checksums"]["words.npz"] = "0" * 64
    (other / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
    line = ["ship_bundle.py", str(other), str(tmp_path / "fer7-lite"), "--like", str(BUNDLE)]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit, match=r"words\.npz: not those of"):
        ship_bundle.main()
    assert not (tmp_path / "fer7-lite").exists()
