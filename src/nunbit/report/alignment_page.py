"""``RUN/report.html`` of an alignment: retrieval within the person, its null, identity."""

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

FORMAT = "nunbit-alignment-1"
TEXTS_FILE = "alignment_texts.toml"
_BLUE, _ORANGE, _GREY = "#1f5f9e", "#b55a00", "#5a6775"


class AlignmentView:
    """A result and its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: dict[str, Any], lang: Lang) -> None:
        self.d, self.lang, self.t = document, lang, Texts(lang, TEXTS_FILE)

    @property
    def chance(self) -> float:
        """Of being first."""
        return float(1.0 / self.d["candidates"])

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

    def sides(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Pair, direction as people read it, and the figures of it."""
        found = []
        for name, pair in self.d["assessment"]["pairs"].items():
            a, b = name.split("-")
            for key, (x, y) in {"forward": (a, b), "backward": (b, a)}.items():
                words = f"{self.t.get(f'modality.{x}')} → {self.t.get(f'modality.{y}')}"
                found.append((name, words, pair[key]))
        return found

    def sentences(self) -> list[str]:
        """One sentence a pair; 'found' only where the interval is above chance and the null."""
        said = []
        for name, pair in self.d["assessment"]["pairs"].items():
            side, words = pair["forward"], self.t.get(f"pair.{name}")
            within, null = side["within"], side["shifted_r1"]
            if within is None:
                said.append(self.t("within.none", pair=words))
                continue
            ci = within["ci95"]["r1"]
            values = {
                "pair": words,
                "r1": shapes.percent(within["r1"]),
                "chance": shapes.percent(self.chance, 0),
            }
            if ci is not None and ci[0] > max(self.chance, null or 0.0):
                said.append(
                    self.t("within.found", **values, low=shapes.percent(ci[0]),
                           high=shapes.percent(ci[1]), null=shapes.percent(null))
                )  # fmt: skip
            else:
                said.append(self.t("within.nothing", **values))
        return said

    def plot(self) -> shapes.Plot:
        """R@1 within the person, its null, and among other people."""
        rows = []
        for _, words, side in self.sides():
            within, across = side["within"], side["across"]
            rows.append(
                shapes.share_row(
                    words,
                    None if within is None else within["r1"],
                    None if within is None else within["ci95"]["r1"],
                    detail=self.t("within.r1"),
                    kind="strong",
                )
            )
            rows.append(
                shapes.share_row("", side["shifted_r1"], None, detail=self.t("within.shifted"),
                                 kind="pale")
            )  # fmt: skip
            rows.append(
                shapes.share_row(
                    "",
                    None if across is None else across["r1"],
                    None if across is None else across["ci95"]["r1"],
                    detail=self.t("within.across"),
                    kind="other",
                )
            )
        return shapes.share_plot(rows, reference=self.chance, span=(0.0, 1.0))

    def table(self) -> list[list[str]]:
        """All figures, a line a direction."""
        lines = []
        for _, words, side in self.sides():
            within, across = side["within"] or {}, side["across"] or {}
            ci = within.get("ci95") or {}
            lines.append(
                [
                    words,
                    shapes.whole(within.get("n")),
                    _with(shapes.percent(within.get("r1")), ci.get("r1")),
                    _with(shapes.percent(within.get("r5")), ci.get("r5")),
                    shapes.decimal(within.get("median_rank"), 1),
                    shapes.percent(side["shifted_r1"]),
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
                gap = probe["difference"]["mean_removed"][reader]
                lines.append(
                    [
                        self.t(f"identity.{reader}"),
                        *(shapes.percent(probe["accuracy"][s][reader])
                          for s in ("raw", "mean_removed", "embeddings")),
                        shapes.percent(probe["chance"]),
                        f"{shapes.points(gap['value'])} {shapes.points_interval(gap['ci95'])}",
                    ]
                )  # fmt: skip
            found.append(
                {
                    "name": self.t.get(f"modality.{modality}"),
                    "passes": probe["passes"],
                    "lines": lines,
                }
            )
        return found

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
    anchors = ["within", "identity", "people", "method"]
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
            chance=shapes.percent(view.chance, 0),
        )
    )
    return html


def write_alignment_figure(stem: Path, view: AlignmentView) -> None:
    """R@1 within the person with its null, and among other people, as PNG and SVG.

    Raises:
        MissingExtra: Matplotlib is not installed.
    """
    mpl = load_matplotlib()

    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = max(1, len(view.sides()))
    with mpl.rc_context(figure_style()):
        save_figure(stem, view, _draw, (6.4, 1.1 + 0.55 * rows))


def _draw(figure: Any, view: AlignmentView) -> None:
    axes, t = figure.subplots(), view.t
    sides = view.sides()
    for line, (_, _, side) in enumerate(sides):
        for name, shade, offset, key in (
            ("within", _BLUE, -0.16, "within.r1"),
            ("across", _ORANGE, 0.16, "within.across"),
        ):
            found = side[name]
            if found is None:
                continue
            if found["ci95"]["r1"]:
                axes.plot(found["ci95"]["r1"], [line + offset] * 2, color=shade, alpha=0.45, lw=3)
            axes.plot([found["r1"]], [line + offset], "o", color=shade, ms=5,
                      label=t(key) if line == 0 else None)  # fmt: skip
        if side["shifted_r1"] is not None:
            axes.plot([side["shifted_r1"]], [line - 0.16], "o", mfc="none", color=_GREY, ms=5,
                      label=t("within.shifted") if line == 0 else None)  # fmt: skip
    axes.axvline(view.chance, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 1), ylim=(len(sides) - 0.5, -0.5))
    axes.set_yticks(range(len(sides)), [words.replace("→", "-") for _, words, _ in sides])
    axes.set_xlabel("R@1")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3
        )


def _with(text: str, interval: shapes.Interval) -> str:
    return text if interval is None else f"{text} [{shapes.percent_interval(interval)}]"
