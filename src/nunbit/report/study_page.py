"""``STUDY/report.html``: question, sample, plan, results beside controls, what cannot be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Lang, Text, text_of
from nunbit.report import shapes
from nunbit.report.figures import BLUE, GREY, ORANGE, figure_beside
from nunbit.report.page import REPORT, page
from nunbit.report.shapes import Document, Texts
from nunbit.runtime.files import read_json, write_text

FORMAT = "nunbit-study-1"
TEXTS_FILE = "study_texts.toml"

_PALE = ("leave_site_out", "permutations")


class StudyView:
    """A result and its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: Document, lang: Lang) -> None:
        self.d, self.lang, self.t = document, lang, Texts(lang, TEXTS_FILE)
        self.emotion = document["kind"] == "emotion"
        self.key = "uar" if self.emotion else "ccc"

    @property
    def found(self) -> bool:
        """Whether the verdict is more than the controls."""
        return bool(self.d["verdict"]["code"] == "more_than_controls")

    def heading(self) -> str:
        """The question."""
        return self.t(f"document.heading_{self.d['kind']}", outcome=self.d["outcome"])

    def verdict(self) -> str:
        """The verdict as a sentence."""
        said = self.d["verdict"]
        return Text(said["text"], said["text_ko"]).pick(self.lang)

    def facts(self) -> list[tuple[str, str]]:
        """Facts under the heading."""
        d, t = self.d, self.t
        facts = [(t("facts.persons"), shapes.whole(d["n_persons"])),
                 (t(f"facts.rows_{d['kind']}"), shapes.whole(d["n_rows"]))]  # fmt: skip
        if d["n_sites"]:
            facts.append((t("facts.sites"), shapes.whole(d["n_sites"])))
        n = sum(d["sample"]["measures"].values())
        return [*facts, (t("facts.measures"), shapes.whole(n)),
                (t("facts.headline"), t.get(f"model.{d['headline']}"))]  # fmt: skip

    def sample(self) -> list[str]:
        """Sentences about the sample."""
        facts, t = self.d["sample"], self.t
        left = facts["left_out"]
        shares = ", ".join(
            f"{self._modality(m)} {shapes.percent(share, 0)} ({facts['measures'][m]})"
            for m, share in facts["modalities"].items()
        )
        return [
            t("sample.text", persons=self.d["n_persons"], rows=self.d["n_rows"],
              a=left["labels_without_timeline"], b=left["timelines_without_label"],
              c=left["rows_without_label_or_windows"]),
            t("sample.modalities", list=shares),
        ]  # fmt: skip

    def notices(self) -> list[str]:
        """What a reader must know about the sample."""
        return [text_of(pair).pick(self.lang) for pair in self.d["notices"]]

    def plan(self) -> str:
        """Where the plan is, and its hash."""
        return self.t("plan.text", **self.d["plan"])

    def caption(self) -> str:
        """Explanation of the picture."""
        if not self.d["models"]:
            return self.t("results.few", n=self.d["limits"]["fewest_persons"])
        if self.emotion:
            chance = self.d["controls"]["prior"]["uar"]
            return self.t("results.text_emotion", chance=shapes.percent(chance))
        return self.t("results.text_outcome")

    def lines(self) -> list[tuple[str, float, shapes.Interval, str]]:
        """Of the picture: name, value, interval, kind; models first, then controls."""
        found = []
        for name, model in self.d["models"].items():
            kind = shapes.strong(model["headline"])
            found.append((self.t.get(f"model.{name}"), model[self.key], model["ci95"], kind))
        for name, control in self.d["controls"].items():
            if name == "permutations" and self.d["permutations"]:
                null = self.d["permutations"]
                quantiles = null["quantiles"]
                interval = [quantiles["0.025"], quantiles["0.975"]]
                found.append((self.t(f"control.{name}"), null["mean"], interval, "pale"))
            elif control["state"] == "run":
                kind = "pale" if name in _PALE else "other"
                found.append((self.t(f"control.{name}"), control[self.key], control["ci95"], kind))
        return found

    def plot(self) -> shapes.Plot:
        """Results and controls in one picture."""
        if self.emotion:
            rows = [shapes.share_row(n, v, ci, kind=kind) for n, v, ci, kind in self.lines()]
            return shapes.share_plot(rows, reference=self.d["controls"]["prior"]["uar"])
        rows = [
            shapes.Row(n, v, ci, _signed(v), _interval(ci), kind=kind)
            for n, v, ci, kind in self.lines()
        ]
        ends = [e for r in rows for e in (r.value, *(r.interval or ())) if e is not None]
        low = math.floor(10 * min([*ends, 0.0])) / 10
        high = max(math.ceil(10 * max([*ends, 0.1])) / 10, low + 0.2)
        step = 0.1 if high - low <= 0.8 else 0.2
        ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
        return shapes.Plot(tuple(rows), low, high, tuple((x, _signed(x, 1)) for x in ticks), 0.0)

    def control_table(self) -> list[list[str]]:
        """A line a control: its score, the headline's difference, beaten or not."""
        return [
            [self.t(f"control.{name}"), *self._control(name, control)]
            for name, control in self.d["controls"].items()
        ]

    def _control(self, name: str, control: Mapping[str, Any]) -> list[str]:
        t = self.t
        if control["state"] != "run":
            reason = t.get(f"absent.{control.get('reason', 'too_few')}")
            return [t("results.not_run", reason=reason), shapes.MISSING, shapes.MISSING]
        beaten = t("results.yes" if control["beaten"] else "results.no")
        if name == "permutations":
            said = t("results.permutation_row", p=shapes.p_value(control["p"]), n=control["n"])
            return [said, shapes.MISSING, beaten]
        return [self._with(control[self.key], control["ci95"]),
                self._with(control["difference"], control["difference_ci95"]), beaten]  # fmt: skip

    def model_header(self) -> list[str]:
        """Columns of the table of models."""
        t = self.t
        if self.emotion:
            best = t.get(f"model.{self.d['fusion']['best_single']}")
            return ["UAR", t("results.against", name=best), t("results.nll"), t("results.ece")]
        keys = ("mae", "mae_gain", "spearman", "auroc", "p", "p_of_best")
        return ["CCC", *(t(f"results.{key}") for key in keys)]

    def model_table(self) -> list[list[str]]:
        """A line a model."""
        cells = self._emotion_cells if self.emotion else self._outcome_cells
        return [
            [self.t.get(f"model.{name}"), *cells(model)] for name, model in self.d["models"].items()
        ]

    def _emotion_cells(self, model: Document) -> list[str]:
        against = model["against_best_single"]
        return [
            self._with(model["uar"], model["ci95"]),
            self._with(against["value"], against["ci95"]),
            f"{model['nll']:.3f} [{shapes.decimal_interval(model['nll_ci95'], 2)}]",
            f"{model['ece']:.3f} ({model['ece_by_chance']:.3f})",
        ]

    def _outcome_cells(self, model: Document) -> list[str]:
        gain, rho, auroc = model["mae_gain"], model["spearman"], model["auroc"]
        area = self._with(auroc["value"], auroc["ci95"])
        if auroc["value"] is None:
            area = self.t.get(f"absent.{auroc['reason']}")
        return [
            self._with(model["ccc"], model["ci95"]), f"{model['mae']:.2f}",
            self._with(gain["value"], gain["ci95"]), self._with(rho["value"], rho["ci95"]), area,
            shapes.p_value(model["p"]), shapes.p_value(model["p_of_best"]),
        ]  # fmt: skip

    def fusion(self) -> str:
        """Whether joining modalities helps."""
        found = self.d["fusion"]
        return self.t(f"fusion.{found['code']}", best=self.t.get(f"model.{found['best_single']}"))

    def pattern_header(self) -> list[str]:
        """Models of the table of missing modalities."""
        return [self.t.get(f"model.{n}") for n in self.d["patterns"][0]["models"]]

    def pattern_table(self) -> list[list[str]]:
        """A line a set of modalities."""
        return [
            [" + ".join(map(self._modality, row["modalities"])),
             *(self._with(m["uar"], m["ci95"]) for m in row["models"].values())]
            for row in self.d["patterns"]
        ]  # fmt: skip

    def _modality(self, name: str) -> str:
        """Name of a modality without the 'alone' of its model."""
        return self.t.get(f"model.{name}").removesuffix(self.t("terminal.alone"))

    def measure_table(self) -> list[list[str]]:
        """Every correlation, the smallest p first."""
        rows = [
            (row, self.t(f"measures.{group}"))
            for group, table in self.d["measures"].items()
            for row in table
        ]
        rows.sort(key=lambda each: 2.0 if each[0]["p"] is None else each[0]["p"])
        return [
            [row["measure"], group, shapes.whole(row["n"]), self._with(row["rho"], row["ci95"]),
             shapes.decimal(row["q"])]
            for row, group in rows
        ]  # fmt: skip

    def limits(self) -> list[str]:
        """What cannot be said."""
        t, n = self.t, self.d["n_persons"]
        said = [t("limit.nobody"), t("limit.cause"), t("limit.others"), t("limit.replica")]
        if self.emotion:
            said.append(t("limit.paired"))
        else:
            # Fisher's z with 80% power and a two-sided 5%: (1.96 + 0.84) / sqrt(n - 3).
            r = math.tanh(2.8 / math.sqrt(max(n - 3, 1)))
            said.insert(1, t("limit.questionnaire"))
            said.append(t("limit.absence", persons=n, r=f"{r:.2f}"))
        reasons = {c.get("reason") for c in self.d["controls"].values()}
        said += [t(f"limit.{key}") for key in ("no_interviewer", "no_site") if key in reasons]
        return said

    def method(self) -> str:
        """Explanation of the method."""
        s = self.d["provenance"]["settings"]
        return self.t(f"method.{self.d['kind']}", folds=s["folds"], repeats=s["repeats"],
                      inner=s["inner_folds"], permutations=s["permutations"])  # fmt: skip

    def _with(self, value: float | None, interval: Sequence[float] | None) -> str:
        if value is None:
            return shapes.MISSING
        return f"{_signed(value)} {_interval(interval)}".strip()


def _signed(value: float, digits: int = 3) -> str:
    return shapes.signed(f"{value:.{digits}f}")


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{_signed(interval[0])}, {_signed(interval[1])}]"


def render_study(folder: Path, *, lang: Lang) -> Path:
    """Write the report and its figure from ``result.json``.

    Raises:
        InputError: There is no study here, or it cannot be read or written.
    """
    path = folder / "result.json"
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            Text(
                f"{path}: not a result of this nunbit's `study`; run it again",
                f"{path}: 이 nunbit의 `study` 결과가 아닙니다. 다시 실행하십시오",
            )
        )
    view = StudyView(document, lang)
    write_text(folder / REPORT, study_html(view))
    if document["models"]:
        size = (7.2, 1.0 + 0.3 * len(view.lines()))
        figure_beside(folder / "figures" / "results", view, _draw, size)
    return folder / REPORT


def study_html(view: StudyView) -> str:
    """The page as text; it loads nothing from anywhere."""
    last = "fusion" if view.emotion else "measures"
    anchors = ("limit", "sample", "plan", "results", last, "method")
    return page(
        "study.html", view.t, view=view, d=view.d, version=view.d["provenance"]["nunbit"],
        contents=[(anchor, view.t(f"{anchor}.title")) for anchor in anchors],
    )  # fmt: skip


def _draw(figure: Any, view: StudyView) -> None:
    axes, lines = figure.subplots(), view.lines()
    colours = {"strong": BLUE, "plain": BLUE, "other": ORANGE, "pale": GREY}
    for at, (_, value, interval, kind) in enumerate(lines):
        if interval is not None:
            axes.plot(interval, [at] * 2, color=colours[kind], alpha=0.45, lw=3)
        axes.plot([value], [at], "D" if kind == "strong" else "o", color=colours[kind], ms=5)
    axes.axvline(view.d["controls"]["prior"]["uar"] if view.emotion else 0.0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(lines)), [line[0] for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("UAR" if view.emotion else "CCC")


def study_text(document: Document, out: Path, lang: Lang) -> str:
    """The verdict, a line a model and control, notices, and where the rest is."""
    view = StudyView(document, lang)
    t = view.t
    lines = [t("terminal.head", kind=t(f"terminal.{document['kind']}"),
               persons=document["n_persons"], rows=document["n_rows"]), view.verdict()]  # fmt: skip
    lines += [f"  {_signed(value)} {_interval(ci)}  {name}" for name, value, ci, _ in view.lines()]
    lines += [f"! {text}" for text in view.notices()]
    return "\n".join([*lines, f"! {t('document.not_diagnosis')}", str(out / REPORT)])
