"""A picture of what an adaptation is worth: two scores, before and after, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Lang, Text
from nunbit.report.figures import BLUE, ORANGE, load_matplotlib, new_figure
from nunbit.runtime.files import atomic_path

SUFFIXES = (".svg", ".png", ".pdf")

_SCORES = (("top1", Text("top-1", "정확도")), ("uar", Text("mean recall", "평균 재현율")))
_WHEN = (("before", Text("before", "전"), ORANGE), ("after", Text("after", "후"), BLUE))
_SIZE = (5.6, 2.2)  # inches
_DPI = 200


def require_figure(path: Path) -> None:
    """Refuse a place that no figure can be written to, before anything is computed.

    Raises:
        InputError: The ending is unknown.
        MissingExtra: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        endings = ", ".join(SUFFIXES)
        raise InputError(
            Text(
                f"{path}: `figure` cannot be '{path.suffix}'; end its name in {endings}",
                f"{path}: `figure`를 '{path.suffix}'(으)로 저장할 수 없습니다. {endings} 중 하나로 "
                "끝내십시오",
            )
        )
    load_matplotlib()


def draw_before_after(
    path: Path,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    captions: Sequence[Text],
    lang: Lang,
) -> None:
    """Write the picture.

    Args:
        path: With one of ``SUFFIXES``.
        before: ``top1``, ``uar`` and ``ci95`` of each.
        after: The same.
        captions: Lines above it: how many faces, what was done.
        lang: Of the words.

    Raises:
        InputError: It cannot be written.
    """
    view = {"before": before, "after": after}

    def draw(figure: Any, view: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        for place, (key, _) in enumerate(_SCORES):
            for offset, (when, name, colour) in zip((0.15, -0.15), _WHEN, strict=True):
                value, y = 100.0 * view[when][key], -place + offset
                pair = view[when]["ci95"][key]
                if pair is not None:
                    low, high = (100.0 * edge for edge in pair)
                    axes.plot([low, high], [y, y], color=colour, linewidth=1.4)
                label = name.pick(lang) if place == 0 else None
                axes.plot([value], [y], "o", color=colour, markersize=6, label=label)
                axes.annotate(
                    f"{value:.1f}", (value, y), (0, 5), textcoords="offset points", ha="center"
                )
        axes.set_yticks([-n for n in range(len(_SCORES))], [t.pick(lang) for _, t in _SCORES])
        axes.set_ylim(-len(_SCORES) + 0.5, 0.6)
        axes.set_xlabel(Text("per cent", "퍼센트").pick(lang))
        axes.set_title("\n".join(line.pick(lang) for line in captions), fontsize=8, loc="left")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    figure = new_figure(view, draw, _SIZE)
    with atomic_path(path) as partial:
        figure.savefig(partial, format=path.suffix.lower()[1:], dpi=_DPI)
