"""Write the table of the preset ``--paper`` into docs/reproduce.md and docs/reproduce.ko.md."""

from __future__ import annotations

from pathlib import Path

from nunbit.preset import with_table

DOCS = Path(__file__).parent.parent / "docs"

for lang, name in (("en", "reproduce.md"), ("ko", "reproduce.ko.md")):
    page = DOCS / name
    page.write_text(with_table(page.read_text(encoding="utf-8"), lang), encoding="utf-8")
