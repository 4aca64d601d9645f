"""The pages speak a clinician's words: their tables of sentences, without a browser."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from nunbit.measures.definitions import definitions
from nunbit.report.timeline_view import said_plainly
from nunbit.runtime.resources import packaged_table
from page_words import ALLOWED, page_texts, plain_sentences, refusals, wrong_words

TABLES = {"pages": page_texts(), "refusals": refusals(), "report": plain_sentences()}


@pytest.mark.parametrize("name", TABLES)
def test_no_ids_no_options_and_no_english_in_korean(name: str) -> None:
    table = TABLES[name]
    assert len(table) > 50
    wrong = {
        f"{key} ({lang}): {text}": found
        for key, pair in table.items()
        for lang, text in zip(("ko", "en"), pair, strict=True)
        if (found := wrong_words(text, lang))
    }
    assert wrong == {}


def test_every_exception_has_its_reason() -> None:
    assert all(reason.strip() for reason in ALLOWED.values())


def test_every_measure_has_a_name_and_a_sentence_in_both_languages() -> None:
    for each in definitions():
        for lang in ("ko", "en"):
            name, meaning = each.name.pick(lang), each.meaning.pick(lang)
            assert name
            assert meaning.rstrip().endswith(("다.", ".")), each.id
            assert not re.search(r"\w_\w|`|--", name + meaning), each.id


def test_plain_sentences_stand_for_sentences_that_are_there() -> None:
    tables = packaged_table("report/timeline_texts.toml")
    for key, pair in tables["plain"].items():
        section, _, name = key.partition(".")
        assert name in tables[section], key
        for lang in ("ko", "en"):
            gaps = set(re.findall(r"\{\w+\}", pair[lang]))
            assert gaps <= set(re.findall(r"\{\w+\}", tables[section][name][lang])), key


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("no face was found; give a place with `neutral`", "no face was found"),
        ("It is not used. `fuse_voice=true` adds it, never to this", "It is not used."),
        ("찾지 못했습니다. `neutral`로 구간을 주십시오", "찾지 못했습니다."),
        ("one; two; three", "one; two; three"),
        ("First. Second.", "First. Second."),
        ("needs `prior`", "needs prior"),
        ("try --full-rate", "try full-rate"),
        ("0-20 s -- too short", "0-20 s -- too short"),
    ],
)
def test_a_notice_loses_the_part_that_names_an_argument(text: str, plain: str) -> None:
    assert said_plainly(text) == plain
