"""``RUN/report.html`` of an alignment: verdict, steps, identity probe, data kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Lang, Text, text_of
from nunbit.report import shapes
from nunbit.report.figures import BLUE, GREY, ORANGE, figure_beside
from nunbit.report.page import REPORT, page
from nunbit.report.shapes import Document, Parts, Texts
from nunbit.runtime.files import read_json, write_text

FORMAT = "nunbit-alignment-2"
EARLIER = "nunbit-alignment-1"
TEXTS_FILE = "alignment_texts.toml"
NUISANCE = "nuisance"


class AlignmentView:
    """A result and its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: Document, lang: Lang) -> None:
        self.d, self.lang, self.t = document, lang, Texts(lang, TEXTS_FILE)

    def facts(self) -> list[tuple[str, str]]:
        """Facts under the heading."""
        judged, t = self.d["assessment"], self.t
        counts = {key: judged[key] for key in ("people", "recordings", "windows")}
        counts["independent"] = self.d["independent_windows"]
        facts = [(t(f"facts.{key}"), shapes.whole(n)) for key, n in counts.items()]
        return [*facts, (t("facts.method"), t.get(f"method.{self.d['method']}"))]

    @property
    def found(self) -> bool:
        """Whether a shared state was found for any pair."""
        return bool(self.d["verdict"]["code"] == "found")

    def sentences(self) -> list[str]:
        """The verdict, one sentence a pair."""
        verdicts = [pair["verdict"] for pair in self.d["assessment"]["pairs"].values()]
        return [Text(v["text"], v["text_ko"]).pick(self.lang) for v in verdicts]

    def steps(self) -> list[tuple[str, str, Document, bool]]:
        """Pair, step as people read it, its figures, and whether it is the headline."""
        judged = self.d["assessment"]
        return [
            (self.t.get(f"pair.{name}"), self.t.get(f"step.{key}"), step,
             key == judged["headline"])
            for name, pair in judged["pairs"].items()
            for key, step in pair["steps"].items()
        ]  # fmt: skip

    def plot(self) -> shapes.Plot:
        """Plot of R@1 of every step, with the chance level of the headline."""
        rows, before = [], ""
        nuisance = self.t(f"step.{NUISANCE}")
        for pair, step, figures, headline in self.steps():
            kind = "other" if step == nuisance else shapes.strong(headline)
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
        return [
            [
                f"{pair}: {step}" if len(self.d["assessment"]["pairs"]) > 1 else step,
                shapes.whole(figures["n_people"]),
                _with(shapes.percent(figures["r1"]), figures["ci95"]),
                _with(shapes.percent(figures["null"]), figures["null_ci95"]),
                _above(figures["above_null"], figures["above_null_ci95"]),
            ]
            for pair, step, figures, _ in self.steps()
        ]

    def table(self) -> list[list[str]]:
        """The headline, a line a direction."""
        lines = []
        for name, pair in self.d["assessment"]["pairs"].items():
            for key, ends in {
                "forward": name.split("-"),
                "backward": name.split("-")[::-1],
            }.items():
                within, null, across = (pair[key][k] or {} for k in ("within", "null", "across"))
                ci = within.get("ci95") or {}
                lines.append(
                    [
                        " → ".join(self.t.get(f"modality.{end}") for end in ends),
                        shapes.whole(within.get("n")),
                        *(_with(shapes.percent(within.get(r)), ci.get(r)) for r in ("r1", "r5")),
                        shapes.decimal(within.get("median_rank"), 1),
                        shapes.percent(null.get("r1")),
                        shapes.percent(across.get("r1")),
                    ]
                )
        return lines

    def probes(self) -> list[Parts]:
        """The identity probe of every modality."""
        return [
            {
                "name": self.t.get(f"modality.{modality}"),
                "state": self.t.get(f"identity.{probe['state']}"),
                "lines": [self._probe_line(probe, reader) for reader in ("centroid", "logistic")],
            }
            for modality, probe in self.d["assessment"]["identity"].items()
        ]

    def _probe_line(self, probe: Document, reader: str) -> list[str]:
        above, stages = probe["above_chance"][reader], ("raw", "mean_removed", "embeddings")
        return [
            self.t(f"identity.{reader}"),
            *(shapes.percent(probe["accuracy"][stage][reader]) for stage in stages),
            shapes.percent(probe["chance"]),
            _above(above["value"], above["ci95"]),
            shapes.points(above["upper"]),
        ]

    def identity_text(self) -> str:
        """Explanation of the probe."""
        probes = self.d["assessment"]["identity"].values()
        margin = next((probe["margin"] for probe in probes), 0.05)
        return self.t("identity.text", margin=f"{100 * margin:g}")

    def kept(self) -> str:
        """Sentence about the window vectors: kept, or deleted."""
        kept = self.d["readings"]
        if kept["files"]:
            return self.t("kept.there", n=kept["files"], mb=f"{kept['bytes'] / 1e6:.1f}")
        return self.t("kept.deleted")

    def limits(self) -> list[str]:
        """Limits of the numbers."""
        n = self.d["candidates"]
        return [self.t(f"limit.{limit}", n=n) for limit in self.d["assessment"]["limits"]]

    def cautions(self) -> list[str]:
        """Limits of the numbers, then notices about the recordings."""
        return self.limits() + [text_of(pair).pick(self.lang) for pair in self.d["notices"]]

    def coverage(self) -> str:
        """Share of windows with each modality."""
        return self.t("people.coverage", list=self._shares(self.d["coverage"], "modality.{}"))

    def nuisance_coverage(self) -> str:
        """Share of windows in which talking and the mouth could be measured."""
        given = self.d["assessment"]["nuisance_coverage"]
        return self.t("people.nuisance", list=self._shares(given, "nuisance.{}"))

    def _shares(self, shares: Mapping[str, float], text: str) -> str:
        return ", ".join(
            f"{self.t.get(text.format(key))} {shapes.percent(share)}"
            for key, share in shares.items()
        )

    def method(self) -> str:
        """Explanation of the method."""
        return self.t("method.text", window_s=self.d["window_s"],
                      folds=self.d["assessment"]["folds"])  # fmt: skip


def render_alignment(run: Path, *, lang: Lang) -> Path:
    """Write the report and its figures from ``result.json``.

    Raises:
        InputError: There is no alignment here, or it cannot be read or written.
    """
    path = run / "result.json"
    document = read_json(path)
    kind = document.get("format") if isinstance(document, dict) else None
    if kind == EARLIER:
        raise InputError(
            Text(
                f"{path}: an earlier version tested this alignment, without a verdict against "
                "drift and talking; run `align` again (its bundle can still be used)",
                f"{path}: 시간에 따른 변화와 말하는 양을 통제하지 않은 이전 버전의 결과라 판정이 "
                "없습니다. `align`을 다시 실행하십시오(번들은 그대로 쓸 수 있습니다)",
            )
        )
    if kind != FORMAT:
        raise InputError(
            Text(
                f"{path}: not a result of `align`; align again",
                f"{path}: `align`의 결과가 아닙니다. 다시 정렬하십시오",
            )
        )
    view = AlignmentView(document, lang)
    write_text(run / REPORT, alignment_html(view))
    size = (6.8, 1.1 + 0.36 * max(1, len(view.steps())))
    figure_beside(run / "figures" / "retrieval", view, _draw, size)
    return run / REPORT


def alignment_html(view: AlignmentView) -> str:
    """The page as text; it loads nothing from anywhere."""
    anchors = ("within", "identity", "people", "kept", "method")
    return page(
        "alignment.html",
        view.t,
        view=view,
        d=view.d,
        version=view.d["provenance"]["nunbit"],
        contents=[(anchor, view.t(f"{anchor}.title")) for anchor in anchors],
        apart=view.d["provenance"]["settings"].get("apart_s", 8.0),
    )


def _draw(figure: Any, view: AlignmentView) -> None:
    """R@1 of every step with its null."""
    axes, t = figure.subplots(), view.t
    steps = view.steps()
    for line, (_, step, figures, headline) in enumerate(steps):
        if figures["r1"] is None:
            continue
        shade = ORANGE if step == t(f"step.{NUISANCE}") else BLUE
        if figures["ci95"]:
            axes.plot(figures["ci95"], [line] * 2, color=shade, alpha=0.45, lw=3)
        axes.plot([figures["r1"]], [line], "D" if headline else "o", color=shade, ms=5)
        if figures["null"] is not None:
            axes.plot([figures["null"]], [line], "o", mfc="none", color=GREY, ms=5,
                      label=t("within.shifted") if line == 0 else None)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(len(steps) - 0.5, -0.5))
    axes.set_yticks(range(len(steps)), [f"{pair}: {step}" for pair, step, _, _ in steps])
    axes.set_xlabel("R@1")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _above(value: float | None, interval: shapes.Interval) -> str:
    """A difference with its interval, in points."""
    text = f"{shapes.points(value)} {shapes.points_interval(interval)}"
    return shapes.MISSING if value is None else text


def _with(text: str, interval: shapes.Interval) -> str:
    return text if interval is None else f"{text} [{shapes.percent_interval(interval)}]"


def result_text(document: Document, out: Path, lang: Lang) -> str:
    """The verdict, a line per pair and step, the probe, the limits, and where the rest is."""
    view = AlignmentView(document, lang)
    t, judged = view.t, document["assessment"]
    lines = [t("terminal.head", method=t.get(f"method.{document['method']}"),
               windows=judged["windows"], people=judged["people"]), *view.sentences()]  # fmt: skip
    for name, pair in judged["pairs"].items():
        lines.append(f"{t.get(f'pair.{name}')}:")
        lines += [f"  {_step(t, key, step)}" for key, step in pair["steps"].items()]
    lines += [f"{t('identity.title')}, {each['name']}: {each['state']}" for each in view.probes()]
    notes = [f"! {text}" for text in (*view.limits(), view.kept())]
    return "\n".join([*lines, *notes, str(out / REPORT)])


def _step(t: Texts, key: str, step: Document) -> str:
    """R@1 of a step and what chance gives, each with its interval over people."""
    if step["r1"] is None:
        return t("terminal.nothing", step=t.get(f"step.{key}"))
    own = _with_interval(step["r1"], step["ci95"])
    if key == "nuisance":
        return t("terminal.nuisance", step=t.get(f"step.{key}"), r1=own)
    null = "–" if step["null"] is None else _with_interval(step["null"], step["null_ci95"])
    return t("terminal.step", step=t.get(f"step.{key}"), r1=own, null=null)


def _with_interval(value: float, ci: list[float] | None) -> str:
    return f"{value:.3f}" if ci is None else f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"
