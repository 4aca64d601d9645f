"""Every relative link of the documents leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src/nunbit/bundles").glob("*/*.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _anchors(text: str) -> set[str]:
    """Anchors of headings as the usual renderers make them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_relative_links_exist(page: Path) -> None:
    broken = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        there = target.exists()
        if there and anchor and target.suffix == ".md":
            there = anchor in _anchors(target.read_text(encoding="utf-8"))
        if not there:
            broken.append(link)
    assert not broken


def test_pages_were_found_and_a_broken_link_would_be_seen() -> None:
    assert len(PAGES) >= 10
    assert _anchors("## What nunbit stores, `x`") == {"what-nunbit-stores-x"}
    assert _LINK.findall("[a](b.md#c) and ![d](e.png)") == ["b.md#c", "e.png"]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name.endswith(".ko.md")], ids=str)
def test_korean_pages_have_an_english_one(page: Path) -> None:
    assert page.with_name(page.name.replace(".ko.md", ".md")).is_file()
