"""The outcome of every recording, and what people are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.core.messages import Lang, Text
from nunbit.language.labels import label_set_from_dict
from nunbit.measures import definitions
from nunbit.report import shapes
from nunbit.report.shapes import Texts
from nunbit.report.timeline_view import TEXTS_FILE, is_share
from nunbit.runtime.progress import pad, width

_SHOWN = (
    *("face_coverage", "expressivity", "joy_time", "negative_share", "depgroup_share"),
    *("head_speed", "speech_share", "pause_ratio", "pause_mean", "speech_rate"),
    *("f0_median", "f0_sd_st", "level_sd", "incongruence", "coupling"),
)

NOT_A_DIAGNOSIS = Text(
    "A summary of nonverbal signals, not a diagnosis.",
    "비언어 신호 요약이며 진단이 아닙니다. 의학적 판단에 사용하지 마십시오.",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one recording.

    Attributes:
        session: Its name.
        folder: Where its files are.
        state: ``done``, ``kept`` (was done before) or ``failed``.
        summary: ``summary.json``, or None where it failed.
        error: Why it failed or None.
    """

    session: str
    folder: Path
    state: str
    summary: Mapping[str, Any] | None
    error: Text | None = None

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "session": self.session,
            "state": self.state,
            "folder": str(self.folder),
            "error": None if self.error is None else self.error.pick(lang),
            "reading": (self.summary or {}).get("reading"),
            "summary": self.summary,
        }


def outcomes_text(outcomes: Sequence[Outcome], out: Path, lang: Lang) -> str:
    """For one recording its measures, for several one line each."""
    summary = outcomes[0].summary if len(outcomes) == 1 else None
    if summary is not None:
        lines = [*_measures(summary, lang), str(outcomes[0].folder / "report.html")]
    else:
        index = out / "index.html"  # none where every recording failed, or only one is there
        lines = [*(_line(outcome, lang) for outcome in outcomes), *[str(index)] * index.is_file()]
    return "\n".join([*lines, NOT_A_DIAGNOSIS.pick(lang)])


def _line(outcome: Outcome, lang: Lang) -> str:
    state, report = STATES[outcome.state].pick(lang), outcome.folder / "report.html"
    detail = report if outcome.error is None else outcome.error.pick(lang)
    return f"{pad(outcome.session, 28, left=True)} {pad(state, 8, left=True)} {detail}"


_ONE_DONE = Text("done ({n}/{all})", "완료({n}/{all})")
STATES = {
    "done": Text("done", "완료"),
    "kept": Text("kept", "유지"),
    "failed": Text("failed", "실패"),
}


def _measures(summary: Mapping[str, Any], lang: Lang) -> list[str]:
    stored = summary.get("label_set")
    label_set = label_set_from_dict(stored, "summary.json") if stored else None
    names = {d.id: d.name.pick(lang) for d in definitions(label_set)}
    t = Texts(lang, TEXTS_FILE)
    rows = [m for m in summary["measures"] if not m.get("track") and m["measure"] in _SHOWN]
    sources = {row["modality"]: t.get(f"modality.{row['modality']}") for row in rows}
    columns = max(map(width, sources.values()), default=0)
    lines = []
    for row in sorted(rows, key=lambda row: _SHOWN.index(row["measure"])):
        source = pad(sources[row["modality"]], columns, left=True)
        name = pad(names.get(row["measure"], row["measure"]), 34, left=True)
        value, interval = _value(row, t)
        lines.append(f"{source} {name} {pad(value, 16)}  {interval}".rstrip())
    return lines


def _value(row: Mapping[str, Any], t: Texts) -> tuple[str, str]:
    """A value with its unit and its interval; a dash and the reason where there is none."""
    value, unit, ci = row["value"], row["unit"], row["ci"]
    if value is None:
        return "–", t.get(f"reason.{row['mask_reason']}")
    if is_share(unit):
        return shapes.percent(value), "" if ci is None else f"[{shapes.percent_interval(ci)}]"
    interval = "" if ci is None else f"[{ci[0]:.3g}, {ci[1]:.3g}]"
    return f"{value:.3g} {t.get(f'unit.{unit}')}".strip(), interval
