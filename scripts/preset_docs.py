"""Write the table of the preset ``--paper`` into docs/reproduce.md and docs/reproduce.ko.md."""

from __future__ import annotations

from pathlib import Path

from nunbit.core.messages import Lang
from nunbit.runtime.config import COMMANDS, Marked, paper_preset

DOCS = Path(__file__).parent.parent / "docs"
PAGES: dict[Lang, str] = {"en": "reproduce.md", "ko": "reproduce.ko.md"}


def preset_table(lang: Lang) -> str:
    """The whole preset as a Markdown table, for the documents."""
    head = {
        "en": "| command | setting | value | mark | why |",
        "ko": "| 명령 | 설정 | 값 | 표시 | 까닭 |",
    }[lang]
    rows = (
        f"| `{command}` | `{name}` | `{entry.value}` | {_mark(entry)} | {entry.text.pick(lang)} |"
        for command in COMMANDS
        for name, entry in paper_preset()[command].items()
    )
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def with_table(page: str, lang: Lang) -> str:
    """A document with the table between its two markers written anew.

    Raises:
        ValueError: The markers are missing.
    """
    before, opening, rest = page.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not opening or not closing:
        raise ValueError(f"expected {OPENING} and {CLOSING} in the page")
    return f"{before}{opening}\n{preset_table(lang)}\n{closing}{after}"


OPENING = "<!-- preset: python scripts/preset_docs.py -->"
CLOSING = "<!-- /preset -->"


def _mark(entry: Marked) -> str:
    return "**paper**" if entry.mark == "paper" else entry.mark


if __name__ == "__main__":
    for lang, name in PAGES.items():
        page = DOCS / name
        page.write_text(with_table(page.read_text(encoding="utf-8"), lang), encoding="utf-8")
