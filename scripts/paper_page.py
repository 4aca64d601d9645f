"""``docs/paper.md``: the paper's numbers, recomputed, as a page with figures.

Every number on the page is computed here from ``stories/evaluate/data/paper_table2.toml`` or read
from a file of measured figures; the templates hold words only. Write the pages again with
``python scripts/paper_page.py docs``.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from development.paper_figures import binary_figure, loss_figure, truth_figure
from nunbit import statistics
from nunbit.core.messages import InputError, Lang, Text
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.report import shapes
from nunbit.runtime.files import write_text
from nunbit.stories.evaluate.board import number
from nunbit.stories.evaluate.compare import PaperTable, paper_findings, paper_scores, paper_table

BATCHES = (32, 64, 128, 256, 512, 1024)
_TEMPLATES = Path(__file__).parent / "development" / "templates"
MEASURED = Path("measured") / "fer2013_loss.toml"

_PAGES: dict[Lang, str] = {"en": "paper.md", "ko": "paper.ko.md"}


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One training run of the ablation.

    Attributes:
        loss: ``paper`` or ``infonce``.
        batch_size: Images a step.
        seed: Of the run.
        top1: Accuracy on the evaluated split.
        macro_f1: Mean F1.
        uar: Mean recall.
        train_loss: Mean loss of the last epoch, nats; None where not kept.
    """

    loss: Literal["paper", "infonce"]
    batch_size: int
    seed: int
    top1: float
    macro_f1: float
    uar: float
    train_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """``docs/measured/fer2013_loss.toml``: the loss of the paper against plain InfoNCE.

    Attributes:
        data_en: What was measured on: data set, split, images, policy.
        data_ko: The same in Korean.
        command: The training command, with ``LOSS``, ``BATCH`` and ``SEED`` for what varies.
        class_shares: K shares of the training images, for the floor; empty means balanced.
        runs: All runs.
    """

    data_en: str
    data_ko: str
    command: str
    runs: tuple[MeasuredRun, ...]
    class_shares: tuple[float, ...] = ()


def read_measured(path: Path) -> Measured | None:
    """The measured ablation; None where it has not been measured.

    Raises:
        InputError: The file is there but cannot be read or does not fit.
    """
    if not path.is_file():
        return None
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Measured)
    except (OSError, ValueError) as exc:  # TOML and msgspec errors are ValueErrors
        raise InputError(
            Text(
                f"{path}: not a file of measured figures: {exc}",
                f"{path}: 측정값 파일이 아닙니다: {exc}",
            )
        ) from exc


def paper_pages(measured: Measured | None) -> dict[str, str]:
    """Every file of the page: relative path -> text.

    Args:
        measured: The ablation, or None: the page then says that it has not been measured.
    """
    files: dict[str, str] = {}
    for lang, name in _PAGES.items():
        values = _values(lang, measured)
        template = _environment().get_template(f"paper.{lang}.md.jinja")
        files[name] = template.render(**values)
        names, findings = values["names"], values["f"]
        files[f"figures/paper-truth.{lang}.svg"] = truth_figure(names, findings, lang)
        files[f"figures/paper-binary.{lang}.svg"] = binary_figure(findings, lang)
        files[f"figures/paper-infonce.{lang}.svg"] = loss_figure(values["infonce"], lang)
    return files


def write_paper_pages(docs: Path) -> list[Path]:
    """Write the pages and figures below ``docs``; the measured figures are read from there.

    Raises:
        InputError: The measured figures do not fit, or a file cannot be written.
    """
    files = paper_pages(read_measured(docs / MEASURED))
    for name, text in files.items():
        write_text(docs / name, text)
    return [docs / name for name in files]


def false_negatives(
    batch_size: int, class_shares: Sequence[float], n_templates: int
) -> dict[str, Any]:
    """How often InfoNCE treats a correct text as a negative, and the lower bound of its loss.

    Each image of a batch has one caption: its class in a template drawn at random. A model that
    knows the class of every image, and no more, gives all captions of that class the same logit,
    so its loss is E[ln(1 + S)], where S, the other images of the class in the batch, is binomial.
    If it could also know which template was drawn, only word-for-word equal captions would tie.

    Args:
        batch_size: Images, B.
        class_shares: K shares of the classes; they sum to one.
        n_templates: Templates.

    Returns:
        ``batch_size``; ``same_class`` and ``same_text``, expected negatives of an image that fit
        it; ``share`` of its B - 1 negatives; ``floor`` and ``floor_if_template_known``, nats;
        ``uniform``, the loss of a guess, ln B.
    """
    others = batch_size - 1
    share = sum(p * p for p in class_shares)
    floors = [
        sum(p * _mean_log_ties(others, p / texts) for p in class_shares)
        for texts in (1, n_templates)
    ]
    return {
        "batch_size": batch_size,
        "same_class": number(others * share),
        "same_text": number(others * share / n_templates),
        "share": number(share),
        "floor": number(floors[0]),
        "floor_if_template_known": number(floors[1]),
        "uniform": number(math.log(batch_size)),
    }


def _mean_log_ties(n: int, p: float) -> float:
    """E[ln(1 + S)] for S binomial(n, p)."""
    # Through logarithms: the binomial coefficients themselves overflow.
    log_choose = [
        math.lgamma(n + 1) - math.lgamma(s + 1) - math.lgamma(n - s + 1) for s in range(n + 1)
    ]
    chances = (
        math.exp(c + s * math.log(p) + (n - s) * math.log1p(-p)) for s, c in enumerate(log_choose)
    )
    return sum(chance * math.log1p(s) for s, chance in enumerate(chances))


def _values(lang: Lang, measured: Measured | None) -> dict[str, Any]:
    table = paper_table()
    scores, findings = paper_scores(table), paper_findings(table)
    label_set = load_label_set(table.label_set)
    names = [label.name.pick(lang) for label in label_set.labels]
    group = [label_set.labels[label_set.index(x)].name.pick(lang) for x in table.binary_group]
    sums, columns = findings["truth_counts"], table.matrix.sum(axis=0)
    two = findings["binary"]
    stated, surplus = findings["n_stated"], findings["sum_minus_stated"]
    n_templates = len(load_template_set("paper").templates)
    balanced = [1.0 / len(names)] * len(names)
    return {
        "names": names,
        "group": group,
        "n_templates": n_templates,
        "table": table,
        "scores": scores,
        "f": findings,
        "two": two,
        "sums": sums,
        "columns": [int(c) for c in columns],
        # The group's share if the surplus images are none of its rows', and if all of them are.
        "share_range": sorted((two["n_of_group"] - extra) / stated for extra in (0, surplus)),
        "misprint_effect": _misprint_effect(table),
        "smallest": names[int(np.argmin(sums))],
        "largest": names[int(np.argmax(sums))],
        "infonce": [false_negatives(b, balanced, n_templates) for b in BATCHES],
        "log_classes": math.log(len(names)),
        "measured": measured,
        "ablation": _ablation(measured, n_templates) if measured else [],
        "measured_path": MEASURED.as_posix(),
        "pct": shapes.percent,
        "num": shapes.decimal,
        "whole": shapes.whole,
    }


def _misprint_effect(table: PaperTable) -> float:
    """The most any figure of the first table changes if one cell is printed too high."""
    surplus = int(table.matrix.sum()) - table.n_validation_stated
    members = [table.labels.index(label) for label in table.binary_group]

    def figures(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
        two = statistics.binary_confusion(matrix, members)
        share = matrix[members].sum() / matrix.sum()
        return np.array(
            [statistics.macro_f1(matrix), statistics.uar(matrix), statistics.top1(two), share]
        )

    printed, largest = figures(table.matrix), 0.0
    for i, j in np.argwhere((table.matrix >= surplus) & ~np.eye(len(table.labels), dtype=bool)):
        mended = table.matrix.copy()
        mended[i, j] -= surplus
        largest = max(largest, float(np.abs(figures(mended) - printed).max()))
    return largest


def _ablation(measured: Measured, n_templates: int) -> list[dict[str, Any]]:
    """One line for each loss and batch size: mean, spread over seeds, floor."""
    shares = measured.class_shares or (1.0 / 7,) * 7
    lines = []
    for batch, loss in sorted({(r.batch_size, r.loss) for r in measured.runs}):
        runs = [r for r in measured.runs if (r.batch_size, r.loss) == (batch, loss)]
        losses = [r.train_loss for r in runs if r.train_loss is not None]
        lines.append(
            {
                "loss": loss,
                "batch_size": batch,
                "n": len(runs),
                **{key: _mean_sd([getattr(r, key) for r in runs]) for key in _SCORES},
                "train_loss": float(np.mean(losses)) if losses else None,
                "floor": false_negatives(batch, shares, n_templates)["floor"],
            }
        )
    return lines


_SCORES = ("top1", "macro_f1", "uar")


def _mean_sd(values: list[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}%"
    return mean if len(values) < 2 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


def _environment() -> Environment:
    # Markdown of our own words and numbers, read by no browser as HTML: nothing to escape.
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


if __name__ == "__main__":
    for written in write_paper_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        sys.stdout.write(f"{written}\n")
