"""What ``nunbit analyze`` prints: a table of the session measures, and where the rest is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nunbit.analyze.story import Outcome
from nunbit.columns import pad, width
from nunbit.errors import Lang
from nunbit.labels import label_set_from_dict
from nunbit.measures import definitions
from nunbit.report import shapes
from nunbit.report.texts import Texts
from nunbit.report.timeline_view import TEXTS_FILE, is_share

_SHOWN = (
    *("face_coverage", "expressivity", "joy_time", "negative_share", "depgroup_share"),
    *("head_speed", "speech_share", "pause_ratio", "pause_mean", "speech_rate"),
    *("f0_median", "f0_sd_st", "level_sd", "incongruence", "coupling"),
)

NOT_A_DIAGNOSIS = {
    "en": "A summary of nonverbal signals, not a diagnosis.",
    "ko": "비언어 신호 요약이며 진단이 아닙니다. 의학적 판단에 사용하지 마십시오.",
}


def outcomes_text(outcomes: Sequence[Outcome], out: Path, lang: Lang) -> str:
    """For one recording its measures, for several one line each."""
    done = [o for o in outcomes if o.summary is not None]
    lines: list[str] = []
    if len(outcomes) == 1 and done and done[0].summary is not None:
        lines += _measures(done[0].summary, lang)
        lines.append(str(done[0].folder / "report.html"))
    else:
        for outcome in outcomes:
            state = _STATES[outcome.state][lang]
            detail = outcome.folder / "report.html" if outcome.error is None else ""
            if outcome.error is not None:
                detail = outcome.error[1] if lang == "ko" else outcome.error[0]
            lines.append(
                f"{pad(outcome.session, 28, left=True)} {pad(state, 8, left=True)} {detail}"
            )
        lines.append(str(out / "index.html"))
    return "\n".join([*lines, NOT_A_DIAGNOSIS[lang]])


_STATES = {
    "done": {"en": "done", "ko": "완료"},
    "kept": {"en": "kept", "ko": "유지"},
    "failed": {"en": "failed", "ko": "실패"},
}


def _measures(summary: dict[str, Any], lang: Lang) -> list[str]:
    stored = summary.get("label_set")
    label_set = label_set_from_dict(stored, "summary.json") if stored else None
    names = {d.id: d.name(lang) for d in definitions(label_set)}
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


def _value(row: dict[str, Any], t: Texts) -> tuple[str, str]:
    """A value with its unit and its interval; a dash and the reason where there is none."""
    value, unit, ci = row["value"], row["unit"], row["ci"]
    if value is None:
        return "–", t.get(f"reason.{row['mask_reason']}")
    if is_share(unit):
        return shapes.percent(value), "" if ci is None else f"[{shapes.percent_interval(ci)}]"
    interval = "" if ci is None else f"[{ci[0]:.3g}, {ci[1]:.3g}]"
    return f"{value:.3g} {t.get(f'unit.{unit}')}".strip(), interval
