"""What docs/reading says of video, sound and photos: every line has a test, every code a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTION = {"en": ("reading.md", "## Video and sound"), "ko": ("reading.ko.md", "## 영상과 소리")}
TREATMENT = {
    "en": {"read": "read", "repaired": "repaired", "left out": "left_out", "refused": ""},
    "ko": {"읽음": "read", "고침": "repaired", "제외": "left_out", "거절": ""},
}
SOURCES = (
    *(ROOT / "src/nunbit/recording/media").glob("*.py"),
    ROOT / "src/nunbit/recording/face_looks.py",
    ROOT / "src/nunbit/recording/transcript/word_fit.py",
    ROOT / "src/nunbit/pictures/photos.py",
)


def rows(lang: str) -> list[list[str]]:
    name, heading = SECTION[lang]
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    own = text.split(heading, 1)[1].split("\n## ", 1)[0]
    lines = [line for line in own.split("\n") if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[-1] not in ("test", "테스트")]


def codes() -> set[tuple[str, str]]:
    """Treatment and code of every note that these modules make."""
    found = set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'(?:ReadingNote|_note)\(\s*"(\w+)",\s*"(\w+)"', text))
    return found


def test_there_are_notes() -> None:
    assert len(codes()) > 15


@pytest.mark.parametrize("lang", SECTION)
def test_every_line_has_its_test(lang: str) -> None:
    tests = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    for row in rows(lang):
        assert len(row) == 5, row
        assert f"def test_{row[4]}(" in tests, row


@pytest.mark.parametrize("lang", SECTION)
def test_every_code_has_its_line(lang: str) -> None:
    assert {(TREATMENT[lang][row[1]], row[3]) for row in rows(lang) if row[3]} == codes()


def test_both_languages_say_the_same() -> None:
    plain = [[(TREATMENT[lang][row[1]], *row[3:]) for row in rows(lang)] for lang in ("en", "ko")]
    assert plain[0] == plain[1]
