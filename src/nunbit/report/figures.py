"""Figures for a paper: PNG and SVG beside the report, in a font that has Hangul.

All but the confusion matrix are drawn by matplotlib, which the extra ``figures`` installs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from nunbit.errors import MissingExtra
from nunbit.files import atomic_path
from nunbit.fonts import FAMILY, font_path
from nunbit.progress import say
from nunbit.report.confusion_picture import ConfusionTexts, draw_confusion
from nunbit.report.view import View

_BLUE, _ORANGE, _GREY = "#1f5f9e", "#b55a00", "#5a6775"
_DPI = 200


def write_figures(folder: Path, view: View) -> None:
    """Write ``confusion`` and, in ``figures/``, the calibration charts; each as PNG and SVG.

    Without matplotlib only ``confusion`` is written, and one line says so.
    """
    texts = ConfusionTexts(
        counts=view.t("confusion.counts"),
        shares=view.t("confusion.shares"),
        prediction=view.t("confusion.prediction"),
        truth=view.t("confusion.truth"),
        classes=tuple(view.name(label) for label in view.d["labels"]),
    )
    draw_confusion(folder / "confusion", view.d["confusion"], texts)
    try:
        mpl = load_matplotlib()
    except MissingExtra as exc:
        say(exc.ko if view.lang == "ko" else exc.en)
        return
    with mpl.rc_context(figure_style()):
        save_figure(folder / "figures" / "reliability", view, _reliability, (4.2, 3.8))
        save_figure(folder / "figures" / "risk_coverage", view, _risk_coverage, (4.2, 3.8))
        if view.d["subgroups"]:
            rows = sum(len(s["groups"]) + 1 for s in view.d["subgroups"].values())
            save_figure(
                folder / "figures" / "subgroups", view, _subgroups, (5.6, 0.6 + 0.24 * rows)
            )


def load_matplotlib() -> ModuleType:
    """Matplotlib.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import matplotlib
    except ImportError as exc:
        line = "pip install 'nunbit[figures]'"
        raise MissingExtra(
            en=f"charts for papers are not drawn, matplotlib is not installed: {line}",
            ko=f"matplotlib이 없어 논문용 그림을 그리지 않습니다: {line}",
        ) from exc
    return matplotlib


def figure_style() -> Any:
    """Settings of matplotlib with the font that has Hangul."""
    from matplotlib import font_manager

    font_manager.fontManager.addfont(str(font_path()))
    return {
        "font.family": FAMILY,
        "font.size": 9.0,
        "axes.unicode_minus": False,  # the font has no U+2212
        "axes.edgecolor": _GREY,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "path",  # readable without the font
        "svg.hashsalt": "nunbit",
    }


def save_figure(
    stem: Path, view: Any, draw: Callable[[Any, Any], None], size: tuple[float, float]
) -> None:
    """Draw ``view`` on a figure of ``size`` inches and write it as ``stem`` .png and .svg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, view)
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = stem.with_name(f"{stem.name}.{suffix}")
        with atomic_path(path) as partial:
            figure.savefig(partial, format=suffix, dpi=_DPI, metadata=metadata)


def _reliability(figure: Any, view: View) -> None:
    axes, c = figure.subplots(), view.d["calibration"]
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    before, after = c["bins_before"], c["bins"]
    axes.plot(
        [b["confidence"] for b in before],
        [b["accuracy"] for b in before],
        "o",
        markerfacecolor="none",
        color=_ORANGE,
        markersize=4,
        label=f"{view.t('calibration.before')} (ECE {c['ece_before']:.3f})",
    )
    x, y = [b["confidence"] for b in after], [b["accuracy"] for b in after]
    if all(b["ci95"] for b in after):
        low = [max(0.0, b["accuracy"] - b["ci95"][0]) for b in after]
        high = [max(0.0, b["ci95"][1] - b["accuracy"]) for b in after]
        axes.errorbar(x, y, yerr=[low, high], fmt="none", ecolor=_BLUE, elinewidth=0.8, alpha=0.6)
    label = f"{view.t('calibration.after')} (ECE {c['ece_after']:.3f})"
    axes.plot(x, y, "o-", color=_BLUE, markersize=4, linewidth=1.2, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel(view.t("calibration.confidence"))
    axes.set_ylabel(view.t("calibration.accuracy"))
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def _risk_coverage(figure: Any, view: View) -> None:
    axes, curve = figure.subplots(), view.d["calibration"]["risk_coverage"]
    axes.plot(curve["coverage"], curve["accuracy"], color=_BLUE, linewidth=1.4)
    axes.plot([1.0], [view.d["top1"]], "o", color=_BLUE, markersize=4, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel(view.t("calibration.coverage"))
    axes.set_ylabel(view.t("calibration.accuracy"))
    axes.grid(color="#dde3e9", linewidth=0.6)


def _subgroups(figure: Any, view: View) -> None:
    axes = figure.subplots()
    ticks, texts = [], []
    line = 0.0
    for attribute, section in view.d["subgroups"].items():
        axes.text(
            -0.02,
            line,
            view.t.get(f"subgroups.{attribute}"),
            ha="right",
            va="center",
            transform=axes.get_yaxis_transform(),
            color=_BLUE,
            fontsize=8,
        )
        for group in section["groups"]:
            line += 1.0
            ticks.append(line)
            texts.append(f"{group['value']} (n={group['n']:,})")
            if group["top1"] is None:
                continue
            shade = 0.35 if group["small"] else 1.0
            if group["ci95"]["top1"]:
                axes.plot(
                    group["ci95"]["top1"],
                    [line, line],
                    color=_BLUE,
                    alpha=0.5 * shade,
                    linewidth=3,
                    solid_capstyle="round",
                )
            axes.plot([group["top1"]], [line], "o", color=_BLUE, alpha=shade, markersize=4)
        line += 1.4
    axes.axvline(view.d["top1"], color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(ticks, texts, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(view.t("metric.top1"))
    axes.tick_params(axis="y", length=0)
