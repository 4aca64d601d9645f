"""Do nunbit's numbers carry what they say? One table of bars, simulated unless a row says real.

``python benchmarks/honesty.py [--quick] [--only PART]`` runs every part and prints its rows with
the bar each must reach. A part is a module ``honesty_<part>.py`` beside this one with
``rows(quick: bool) -> list[Row]``; ``quick`` asks for fewer draws, for a look while working.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PARTS = ("words", "series", "alignment", "fusion", "evaluation")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured, and on what.
        before: The same on version 0.1 (commit eb7f1f9), measured or as the review gives it.
        value: What this version gives.
        bar: What was asked.
        reached: Whether the value reaches the bar; None where the row only informs.
    """

    what: str
    before: str
    value: str
    bar: str
    reached: bool | None


def print_rows(rows: Sequence[Row]) -> None:
    """Write the rows as a Markdown table to standard output."""
    print("| what | before | now | bar | reached |")
    print("|---|---|---|---|---|")
    for row in rows:
        mark = "–" if row.reached is None else "yes" if row.reached else "**no**"
        print(f"| {row.what} | {row.before} | {row.value} | {row.bar} | {mark} |", flush=True)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    rows: list[Row] = []
    for part in options.only or PARTS:
        started = time.perf_counter()
        rows += importlib.import_module(f"honesty_{part}").rows(options.quick)
        print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print_rows(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
