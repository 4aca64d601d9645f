"""``RUN/report.html`` of an alignment: the verdict, what it rests on, identity, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nunbit.errors import InputError, Lang, MissingExtra
from nunbit.files import read_json, write_text
from nunbit.progress import say
from nunbit.report import shapes
from nunbit.report.figures import figure_style, load_matplotlib, save_figure
from nunbit.report.page import REPORT, asset, environment
from nunbit.report.texts import Texts

FORMAT = "nunbit-alignment-2"
EARLIER = "nunbit-alignment-1"
TEXTS_FILE = "alignment_texts.toml"
NUISANCE = "nuisance"
_BLUE, _ORANGE, _GREY = "#1f5f9e", "#b55a00", "#5a6775"


class AlignmentView:
    """A result and its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: dict[str, Any], lang: Lang) -> None:
        self.d, self.lang, self.t = document, lang, Texts(lang, TEXTS_FILE)

    def facts(self) -> list[tuple[str, str]]:
        """What stands under the heading."""
        judged, t = self.d["assessment"], self.t
        return [
            (t("facts.people"), shapes.whole(judged["people"])),
            (t("facts.recordings"), shapes.whole(judged["recordings"])),
            (t("facts.windows"), shapes.whole(judged["windows"])),
            (t("facts.independent"), shapes.whole(self.d["independent_windows"])),
            (t("facts.method"), t.get(f"method.{self.d['method']}")),
        ]

    @property
    def found(self) -> bool:
        """Whether a shared state was found for any pair."""
        return bool(self.d["verdict"]["code"] == "found")

    def sentences(self) -> list[str]:
        """The verdict, one sentence a pair."""
        key = "text_ko" if self.lang == "ko" else "text"
        return [pair["verdict"][key] for pair in self.d["assessment"]["pairs"].values()]

    def steps(self) -> list[tuple[str, str, dict[str, Any], bool]]:
        """Pair, step as people read it, its figures, and whether it is the headline."""
        judged = self.d["assessment"]
        return [
            (self.t.get(f"pair.{name}"), self.t.get(f"step.{key}"), step,
             key == judged["headline"])
            for name, pair in judged["pairs"].items()
            for key, step in pair["steps"].items()
        ]  # fmt: skip

    def plot(self) -> shapes.Plot:
        """R@1 of every step, and what chance gives in the headline."""
        rows, before = [], ""
        for pair, step, figures, headline in self.steps():
            kind = "strong" if headline else "plain"
            kind = "other" if step == self.t(f"step.{NUISANCE}") else kind
            rows.append(
                shapes.share_row("" if pair == before else pair, figures["r1"], figures["ci95"],
                                 detail=step, kind=kind)
            )  # fmt: skip
            if headline:
                rows.append(
                    shapes.share_row("", figures["null"], figures["null_ci95"],
                                     detail=self.t("within.shifted"), kind="pale")
                )  # fmt: skip
            before = pair
        return shapes.share_plot(rows, reference=None, span=(0.0, 1.0))

    def step_table(self) -> list[list[str]]:
        """Every step with its null and the paired difference."""
        several = len(self.d["assessment"]["pairs"]) > 1
        return [
            [
                f"{pair}: {step}" if several else step,
                shapes.whole(figures["n_people"]),
                _with(shapes.percent(figures["r1"]), figures["ci95"]),
                _with(shapes.percent(figures["null"]), figures["null_ci95"]),
                f"{shapes.points(figures['above_null'])} "
                f"{shapes.points_interval(figures['above_null_ci95'])}"
                if figures["above_null"] is not None
                else shapes.MISSING,
            ]
            for pair, step, figures, _ in self.steps()
        ]

    def table(self) -> list[list[str]]:
        """The headline, a line a direction."""
        lines = []
        for name, pair in self.d["assessment"]["pairs"].items():
            a, b = name.split("-")
            for key, (x, y) in {"forward": (a, b), "backward": (b, a)}.items():
                side = pair[key]
                within, null = side["within"] or {}, side["null"] or {}
                across = side["across"] or {}
                ci = within.get("ci95") or {}
                lines.append(
                    [
                        f"{self.t.get(f'modality.{x}')} → {self.t.get(f'modality.{y}')}",
                        shapes.whole(within.get("n")),
                        _with(shapes.percent(within.get("r1")), ci.get("r1")),
                        _with(shapes.percent(within.get("r5")), ci.get("r5")),
                        shapes.decimal(within.get("median_rank"), 1),
                        shapes.percent(null.get("r1")),
                        shapes.percent(across.get("r1")),
                    ]
                )
        return lines

    def probes(self) -> list[dict[str, Any]]:
        """The identity probe of every modality."""
        found = []
        for modality, probe in self.d["assessment"]["identity"].items():
            lines = []
            for reader in ("centroid", "logistic"):
                above = probe["above_chance"][reader]
                lines.append(
                    [
                        self.t(f"identity.{reader}"),
                        *(shapes.percent(probe["accuracy"][s][reader])
                          for s in ("raw", "mean_removed", "embeddings")),
                        shapes.percent(probe["chance"]),
                        f"{shapes.points(above['value'])} {shapes.points_interval(above['ci95'])}",
                        shapes.points(above["upper"]),
                    ]
                )  # fmt: skip
            found.append(
                {
                    "name": self.t.get(f"modality.{modality}"),
                    "state": self.t.get(f"identity.{probe['state']}"),
                    "lines": lines,
                }
            )
        return found

    def identity_text(self) -> str:
        """How the probe decides."""
        probes = self.d["assessment"]["identity"].values()
        margin = next((probe["margin"] for probe in probes), 0.05)
        return self.t("identity.text", margin=f"{100 * margin:g}")

    def kept(self) -> str:
        """What is kept of the recordings, or that it was deleted."""
        kept = self.d["readings"]
        if kept["files"]:
            return self.t("kept.there", n=kept["files"], mb=f"{kept['bytes'] / 1e6:.1f}")
        return self.t("kept.deleted")

    def limits(self) -> list[str]:
        """What the numbers cannot say, then what was odd about the recordings."""
        n = self.d["candidates"]
        said = [self.t(f"limit.{limit}", n=n) for limit in self.d["assessment"]["limits"]]
        return said + [pair[self.lang == "ko"] for pair in self.d["notices"]]

    def coverage(self) -> str:
        """Share of windows with each modality."""
        parts = [f"{self.t.get(f'modality.{m}')} {shapes.percent(v)}"
                 for m, v in self.d["coverage"].items()]  # fmt: skip
        return self.t("people.coverage", list=", ".join(parts))

    def nuisance_coverage(self) -> str:
        """Share of windows in which talking and the mouth could be measured."""
        given = self.d["assessment"]["nuisance_coverage"]
        parts = [f"{self.t.get(f'nuisance.{m}')} {shapes.percent(v)}" for m, v in given.items()]
        return self.t("people.nuisance", list=", ".join(parts))

    def method(self) -> str:
        """How it was made, in words."""
        return self.t("method.text", window_s=self.d["window_s"],
                      folds=self.d["assessment"]["folds"])  # fmt: skip


def render_alignment(run: Path, *, lang: Lang) -> Path:
    """Write the report and its figures from ``result.json``.

    Raises:
        InputError: There is no alignment here, or it cannot be read or written.
    """
    path = run / "result.json"
    document = read_json(path)
    if isinstance(document, dict) and document.get("format") == EARLIER:
        raise InputError(
            en=f"{path}: this alignment was judged by an earlier version, without a verdict "
            "against drift and talking; run nunbit align again (its bundle can still be used)",
            ko=f"{path}: 시간에 따른 변화와 말하는 양을 통제하지 않은 이전 버전의 결과라 판정이 "
            "없습니다. nunbit align을 다시 실행하십시오(번들은 그대로 쓸 수 있습니다)",
        )
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            en=f"{path}: not a result of nunbit align; align again",
            ko=f"{path}: nunbit align의 결과가 아닙니다. 다시 정렬하십시오",
        )
    view = AlignmentView(document, lang)
    write_text(run / REPORT, alignment_html(view))
    try:
        write_alignment_figure(run / "figures" / "retrieval", view)
    except MissingExtra as exc:
        say(exc.ko if view.lang == "ko" else exc.en)
    return run / REPORT


def alignment_html(view: AlignmentView) -> str:
    """The page as text; it loads nothing from anywhere."""
    t = view.t
    anchors = ["within", "identity", "people", "kept", "method"]
    html: str = (
        environment()
        .get_template("alignment.html")
        .render(
            lang=view.lang,
            t=t,
            d=view.d,
            view=view,
            style=asset("style.css"),
            contents=[(a, t(f"{a}.title")) for a in anchors],
            apart=view.d["provenance"]["settings"].get("apart_s", 8.0),
        )
    )
    return html


def write_alignment_figure(stem: Path, view: AlignmentView) -> None:
    """R@1 of every step with its null, as PNG and SVG.

    Raises:
        MissingExtra: Matplotlib is not installed.
    """
    mpl = load_matplotlib()

    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = max(1, len(view.steps()))
    with mpl.rc_context(figure_style()):
        save_figure(stem, view, _draw, (6.8, 1.1 + 0.36 * rows))


def _draw(figure: Any, view: AlignmentView) -> None:
    axes, t = figure.subplots(), view.t
    steps = view.steps()
    for line, (_, step, figures, headline) in enumerate(steps):
        if figures["r1"] is None:
            continue
        shade = _ORANGE if step == t(f"step.{NUISANCE}") else _BLUE
        if figures["ci95"]:
            axes.plot(figures["ci95"], [line] * 2, color=shade, alpha=0.45, lw=3)
        axes.plot([figures["r1"]], [line], "D" if headline else "o", color=shade, ms=5)
        if figures["null"] is not None:
            axes.plot([figures["null"]], [line], "o", mfc="none", color=_GREY, ms=5,
                      label=t("within.shifted") if line == 0 else None)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(len(steps) - 0.5, -0.5))
    axes.set_yticks(range(len(steps)), [f"{pair}: {step}" for pair, step, _, _ in steps])
    axes.set_xlabel("R@1")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _with(text: str, interval: shapes.Interval) -> str:
    return text if interval is None else f"{text} [{shapes.percent_interval(interval)}]"
