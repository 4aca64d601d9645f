"""The trap of aligning face and voice, on vectors: identity, shared state, or both.

python benchmarks/planted_vectors.py [--figures docs/figures]

40 people x 60 windows; a person's part is three times as strong as the state. Without taking the
recording's mean out, retrieval among other people looks excellent with nothing shared but who it
is. Prints the table of ``docs/alignment.md`` and draws its first figure in both languages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from nunbit.report.figures import figure_style, save_figure
from nunbit.space.cca import Heads, fit_cca
from nunbit.space.controls import identity_probe
from nunbit.space.retrieval import RetrievalSettings, ranks_of, recall_summary, time_shift_null
from nunbit.space.vectors import WindowTable, centred

PEOPLE, WINDOWS = 40, 60
SIZES = {"face": 24, "voice": 12}
N_STATE, N_WHO = 4, 8
CASES = (
    ("identity", "none"),
    ("identity", "recording"),
    ("state", "recording"),
    ("both", "none"),
    ("both", "recording"),
)
TEXTS = {
    "en": {
        "identity": "identity only", "state": "shared state only", "both": "both",
        "none": "raw", "recording": "mean removed",
        "within": "the same person's moments", "across": "other people",
        "axis": "R@1 among 20",
    },
    "ko": {
        "identity": "신원만", "state": "공유된 상태만", "both": "둘 다",
        "none": "그대로", "recording": "평균을 뺌",
        "within": "같은 사람의 순간들", "across": "다른 사람들",
        "axis": "20개 중 1위 비율 R@1",
    },
}  # fmt: skip


def planted(case: str) -> WindowTable:
    """Vectors made of who, how, and noise."""
    rng = np.random.default_rng(0)
    n = PEOPLE * WINDOWS
    person = np.repeat(np.arange(PEOPLE), WINDOWS)
    who = rng.standard_normal((PEOPLE, N_WHO))[person]
    state = rng.standard_normal((n, N_STATE))
    vectors = {}
    for name, width in SIZES.items():
        own = rng.standard_normal((n, N_STATE)) if case == "identity" else state
        rows = own @ rng.standard_normal((N_STATE, width)) / np.sqrt(N_STATE)
        if case != "state":
            rows += 3.0 * who @ rng.standard_normal((N_WHO, width)) / np.sqrt(N_WHO)
        vectors[name] = (rows + 0.6 * rng.standard_normal((n, width))).astype(np.float32)
    return WindowTable(vectors, person, person, np.tile(np.arange(WINDOWS) * 4.0, PEOPLE))


def fit(table: WindowTable) -> Heads:
    """Ridge CCA."""
    return fit_cca(
        table, centres={m: np.zeros(v.shape[1], np.float32) for m, v in table.vectors.items()}
    )


def left_out(table: WindowTable) -> dict[str, Any]:
    """Face to voice by heads that never saw the person, without any of the later controls."""
    fold, _ = table.folds(5, max(2, len(np.unique(table.person)) // 2))
    placed: dict[str, NDArray[np.float32]] = {}
    for each in np.unique(fold):
        out = fold == each
        for name, rows in fit(table.rows(~out)).project(table.rows(out)).items():
            placed.setdefault(name, np.full((len(table), rows.shape[1]), np.nan, np.float32))
            placed[name][out] = rows
    given = (table, placed["face"], placed["voice"], RetrievalSettings())
    null = time_shift_null(*given)
    probe = identity_probe(table, {"embeddings": placed["face"]}, pool=fold)
    assert null is not None
    assert probe is not None
    return {
        "within": recall_summary(ranks_of(*given, pool=fold)),
        "null": recall_summary(null),
        "across": recall_summary(ranks_of(*given, pool=fold, against="others")),
        "identity": max(probe["accuracy"]["embeddings"].values()),
    }


def draw(figure: Any, given: tuple[list[dict[str, Any]], str]) -> None:
    """Within the person against among other people, a line a case."""
    results, lang = given
    axes, words = figure.subplots(), TEXTS[lang]
    for line, result in enumerate(results):
        for key, shade, offset in (("within", "#1f5f9e", -0.15), ("across", "#b55a00", 0.15)):
            found = result[key]
            axes.plot(found["ci95"]["r1"], [line + offset] * 2, color=shade, alpha=0.45, lw=3)
            axes.plot([found["r1"]], [line + offset], "o", color=shade, ms=5,
                      label=words[key] if line == 0 else None)  # fmt: skip
    axes.axvline(0.05, color="#5a6775", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 1), ylim=(len(results) - 0.5, -0.5))
    axes.set_yticks(range(len(results)), [f"{words[r['case']]}, {words[r['centre']]}"
                                          for r in results])  # fmt: skip
    axes.set_xlabel(words["axis"])
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2)


def main() -> int:
    """Fit, judge, print, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--figures", type=Path)
    given = parser.parse_args()
    results = []
    print("| planted | vectors | within-person R@1 | time shifted | other people R@1 | identity |")
    print("|---|---|---|---|---|---|")
    for case, centre in CASES:
        raw = planted(case)
        table = centred(raw, centre)  # type: ignore[arg-type]
        result = left_out(table)
        results.append({"case": case, "centre": centre} | result)
        words = TEXTS["en"]
        print(f"| {words[case]} | {words[centre]} | {result['within']['r1']:.3f} | "
              f"{result['null']['r1']:.3f} | {result['across']['r1']:.3f} | "
              f"{result['identity']:.3f} |")  # fmt: skip
    if given.figures:
        with mpl.rc_context(figure_style()):
            for lang in TEXTS:
                stem = given.figures / f"alignment-trap-{lang}"
                save_figure(stem, (results, lang), draw, (6.4, 3.2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
