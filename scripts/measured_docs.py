"""Render the tables of the docs that are made of measured numbers (docs/measured/*.json).

``python scripts/measured_docs.py`` writes them into docs/results.md (speed, memory, size, fuzzing),
docs/scale.md and docs/scale.ko.md (plan, its check, growth); ``--check`` only says which are stale
and exits with 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Lang = Literal["en", "ko"]
DOCS = Path(__file__).parent.parent / "docs"
BUSY = 1.5
"""Processes a core besides our own from which on a time is marked."""


def _read(name: str) -> dict[str, Any]:
    path = DOCS / "measured" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _table(head: list[str], rows: list[list[str]], right: int = 0) -> str:
    """A Markdown table whose columns from ``right`` on stand to the right (0 = none)."""
    marks = ["--:" if right and k >= right else "---" for k in range(len(head))]
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bench(_: Lang = "en") -> str:
    """Speed, memory and size."""
    rows = []
    for row in _read("bench").get("figures", {}).values():
        base = row["baseline"] + ("" if row["base"] is None else f": {row['base']:g}")
        ratio = f"{row['value'] / row['base']:.2f} ×" if row["base"] else "–"
        state = {True: "reached", False: "**missed**", None: "–"}[row["reached"]]
        bar = f"{row['bar']}: {state}" if row["bar"] else "–"
        busy = f"busy ({row['busy']:g} a core)" if row["busy"] > BUSY else "idle"
        told = f"{row['date']}, {busy}{', quick' if row['quick'] else ''}"
        rows.append(
            [row["what"], f"{row['value']:g} {row['unit']}", base, ratio, bar, told,
             f"`{row['command']}`"]
        )  # fmt: skip
    return _table(["what", "figure", "baseline", "ratio", "bar", "when", "command"], rows)


_HEADS = {
    "plan": {
        "en": ["job", "machines of 16 cores", "hours, median", "hours, worst of 20", "hours, ideal",
               "limited by", "read, GB", "written, GB"],
        "ko": ["작업", "16코어 기계", "시간(중앙값)", "시간(20번 중 최대)", "시간(이상)",
               "제약", "읽기(GB)", "쓰기(GB)"],
    },
    "check": {
        "en": ["run", "nothing killed: observed, s", "simulated", "one of two killed: observed, s",
               "simulated", "until a worker was back, s"],
        "ko": ["실행", "방해 없음: 관측(초)", "모의", "둘 중 하나를 죽임: 관측(초)", "모의",
               "작업자가 돌아올 때까지(초)"],
    },
    "growth": {
        "en": ["what grows", "sizes", "CPU, s", "exponent", "memory more, MB", "exponent"],
        "ko": ["늘어나는 것", "크기", "CPU(초)", "지수", "늘어난 메모리(MB)", "지수"],
    },
}  # fmt: skip
_KO = {
    "prepare, full AI Hub set": "prepare, AI Hub 전체",
    "evaluate fer7-lite, full set": "evaluate fer7-lite, 전체",
    "evaluate, ViT-B/32 int8, full set": "evaluate ViT-B/32 int8, 전체",
    "analyze, 10,000 hours of 720p": "analyze, 720p 1만 시간",
    "cores": "코어",
    "storage": "저장소",
    "images prepared": "준비한 이미지",
    "images scored": "채점한 이미지",
    "persons": "사람",
    "hours of a recording": "녹화 시간",
    "windows aligned": "정렬한 창",
    "recordings in the tables": "표의 녹화",
    "classes x templates": "클래스 × 템플릿",
}


def _in(lang: Lang, text: str) -> str:
    return _KO[text] if lang == "ko" else text.replace(" x ", " × ")


def plan(lang: Lang) -> str:
    """The plan of the simulation."""
    rows = [
        [_in(lang, row["job"]), str(row["machines"]), f"{row['median_h']:.2f}",
         f"{row['worst_h']:.2f}", f"{row['ideal_h']:.2f}", _in(lang, row["limited_by"]),
         f"{row['read_gb']:,.0f}", f"{row['written_gb']:,.1f}"]
        for row in _read("scale").get("plan", [])
    ]  # fmt: skip
    return _table(_HEADS["plan"][lang], rows, 1)


def check(lang: Lang) -> str:
    """The simulation beside what a local Ray took."""
    rows = [
        [str(k + 1), f"{row['quiet_observed_s']:.1f}", f"{row['quiet_simulated_s']:.1f}",
         f"{row['killed_observed_s']:.1f}", f"{row['killed_simulated_s']:.1f}",
         f"{row['back_after_s']:.1f}"]
        for k, row in enumerate(_read("scale").get("check", []))
    ]  # fmt: skip
    return _table(_HEADS["check"][lang], rows, 1)


def growth(lang: Lang) -> str:
    """Exponents."""
    rows = []
    for axis in _read("growth").get("axes", {}).values():
        points = axis["points"]
        slopes = [axis[f"{kind}_exponent"] for kind in ("time", "memory")]
        shown = ["–" if slope is None else f"{slope:.2f}" for slope in slopes]
        rows.append(
            [_in(lang, axis["what"]), " · ".join(f"{p['n']:,g}" for p in points),
             " · ".join(f"{p['cpu_s']:.2f}" for p in points), shown[0],
             " · ".join(f"{p['mb']:.0f}" for p in points), shown[1]]
        )  # fmt: skip
    return _table(_HEADS["growth"][lang], rows)


def fuzz(_: Lang = "en") -> str:
    """How long each parser was fuzzed, and what was found."""
    record = _read("fuzz")
    rows = [
        [target, f"{row['runs']:,}", f"{row['cpu_s']:,.0f}", "; ".join(row["open"]) or "0",
         "; ".join(f"`{place}`" for place in row["mended"]) or "0"]
        for target, row in record.items()
    ]  # fmt: skip
    runs, spent = (sum(row[key] for row in record.values()) for key in ("runs", "cpu_s"))
    rows.append(["all", f"{runs:,}", f"{spent:,.0f}", "", ""])
    return _table(["parser", "inputs", "CPU seconds (of 600)", "open", "found and mended"], rows)


BLOCKS: dict[str, tuple[Callable[[Lang], str], tuple[tuple[str, Lang], ...]]] = {
    "bench": (bench, (("results.md", "en"),)),
    "plan": (plan, (("scale.md", "en"), ("scale.ko.md", "ko"))),
    "check": (check, (("scale.md", "en"), ("scale.ko.md", "ko"))),
    "growth": (growth, (("scale.md", "en"), ("scale.ko.md", "ko"))),
    "fuzz": (fuzz, (("results.md", "en"),)),
}


def render(page: str, name: str, table: str) -> str:
    """A page with the block of this name filled anew.

    Raises:
        ValueError: The page has no such block.
    """
    begin, end = f"<!-- {name}: made by scripts/measured_docs.py -->", f"<!-- {name} ends -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no block {begin}")
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", page)


def pages() -> dict[Path, str]:
    """Every page as it should be."""
    found: dict[Path, str] = {}
    for name, (made, places) in BLOCKS.items():
        for file, lang in places:
            path = DOCS / file
            page = found.get(path) or path.read_text(encoding="utf-8")
            found[path] = render(page, name, made(lang))
    return found


def stale() -> list[str]:
    """Names of the pages whose tables are not those of the numbers."""
    return [p.name for p, text in pages().items() if p.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write, or only check."""
    if "--check" in sys.argv[1:]:
        for name in stale():
            print(f"{name}: stale; run python scripts/measured_docs.py")
        return int(bool(stale()))
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
