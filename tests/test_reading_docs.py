"""The page about reading and the readers say the same, line by line."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from nunbit.core.schema import reading_document
from nunbit.recording.transcript.cues import CUES, KINDS, Notes

ROOT = Path(__file__).parents[1]
PAGES = {"en": ROOT / "docs" / "reading.md", "ko": ROOT / "docs" / "reading.ko.md"}
SECTION = {"en": "## Transcripts, speakers and tables", "ko": "## 전사, 화자, 표"}
TREATMENT = {
    "en": {"read": "read", "repaired": "repaired", "left out": "left_out", "refused": ""},
    "ko": {"읽음": "read", "고침": "repaired", "제외": "left_out", "거절": ""},
}


def rows(lang: str) -> list[list[str]]:
    text = PAGES[lang].read_text(encoding="utf-8")
    own = text.split(SECTION[lang], 1)[1].split("\n## ", 1)[0]
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in own.split("\n")
        if line.startswith("| ")
    ]
    return [row for row in cells if row[-2] not in ("code", "코드")]


@cache
def sources() -> dict[str, str]:
    """The source of every test, with what it is parametrised with, by its name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


@pytest.mark.parametrize("lang", PAGES)
@pytest.mark.seconds
def test_every_line_of_the_page_has_its_test_and_code(lang: str) -> None:
    for row in rows(lang):
        assert len(row) == 5, row
        _, treatment, _, code, test = row
        kind = TREATMENT[lang][treatment]
        assert f"test_{test}" in sources(), row
        if code:
            assert KINDS[code].treatment == kind, row
            assert f'"{code}"' in sources()[f"test_{test}"], row


@pytest.mark.parametrize("lang", PAGES)
def test_every_code_stands_on_the_page(lang: str) -> None:
    assert {row[3] for row in rows(lang)} - {""} == set(KINDS)


def test_both_languages_have_the_same_lines() -> None:
    english, korean = rows("en"), rows("ko")
    assert [row[3:] for row in english] == [row[3:] for row in korean]
    for a, b in zip(english, korean, strict=True):
        assert TREATMENT["en"][a[1]] == TREATMENT["ko"][b[1]]


def test_notes_count_and_keep_the_first_place() -> None:
    notes = Notes(CUES)
    notes.add("no_times", "line 3")
    notes.add("no_times", "line 9", 2)
    (note,) = notes.listed()
    assert (note.count, note.first, "no_times" in notes) == (3, "line 3", True)
    assert reading_document([note])["left_out"][0]["code"] == "no_times"


def test_both_texts_of_a_code_have_the_same_gaps() -> None:
    for code, kind in KINDS.items():
        english = set(re.findall(r"\{(\w+)", kind.text.en))
        korean = set(re.findall(r"\{(\w+)", kind.text.ko))
        assert english == korean, code
