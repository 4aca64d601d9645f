"""Write a planted world of ``nunbit study`` with the writer that ``analyze`` uses.

``OUT/timelines/`` has a folder a session, ``OUT/labels.csv`` the labels, ``OUT/world.json`` what
was planted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import Floats, Interval, MeasureBlock, MediaInfo, Modality, Timeline
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.measures import session_rows
from nunbit.measures.definitions import definition_of
from nunbit.report.exports import write_timeline
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.files import write_json, write_text, writing
from nunbit.runtime.progress import Progress
from nunbit.runtime.resources import Provenance, provenance
from nunbit.synth.study_worlds import ASKED, WorldSettings, draw_outcomes, draw_stretches

_WINDOW_S, _HOP_S = 4.0, 1.0
_OUTCOME_S = 60.0
_STRETCH_S, _EVERY_S = 4.0, 6.0
_LABEL_SET = "fer7"


def write_study_world(out: Path, settings: WorldSettings) -> dict[str, Any]:
    """Write ``OUT/timelines/``, ``OUT/labels.csv`` and ``OUT/world.json``.

    Raises:
        InputError: ``out`` holds another world, or cannot be written.
    """
    mark = out / "world.json"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            Text(
                f"{out}: exists and is not an empty folder; choose another `out`",
                f"{out}: 이미 있고 빈 폴더가 아닙니다. 다른 `out`을 고르십시오",
            )
        )
    with writing(out):
        (out / "timelines").mkdir(parents=True)
    rows = (_write_stretches if settings.of_emotion else _write_outcomes)(out, settings)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    write_text(out / "labels.csv", stream.getvalue())
    document = {"kind": "study-world", "world": settings.world, "persons": settings.persons,
                "labels": "emotion" if settings.of_emotion else "outcome",
                "synthetic": True, "settings": settings_to_dict(settings)}  # fmt: skip
    write_json(mark, document)
    return {**document, "timelines": str(out / "timelines"), "labels_file": str(out / "labels.csv")}


def _code(number: int) -> str:
    return f"P{number + 1:04d}"


def _write_outcomes(out: Path, settings: WorldSettings) -> list[list[Any]]:
    world = draw_outcomes(settings)
    rng = np.random.default_rng([settings.seed, 7])
    several = len(np.unique(world.site)) > 1
    head = ["person", "session", "phq9", "age", "sex", *(["site"] if several else [])]
    rows: list[list[Any]] = [head]
    with Progress(Text("writing timelines", "타임라인 쓰기"), settings.persons, "persons") as bar:
        for person in range(settings.persons):
            name = _code(person)
            own = {m: {k: float(v[person]) for k, v in t.items()}
                   for m, t in world.measures.items()}  # fmt: skip
            duration = _OUTCOME_S + float(rng.integers(0, 20))
            _write_session(out, name, name, _plain_blocks(own, duration, rng), duration, settings)
            asked = {m: {k: float(v[person]) for k, v in t.items()} for m, t in world.asked.items()}
            if asked:
                _write_session(out, f"{name}_interviewer", "interviewer",
                               _plain_blocks(asked, duration, rng), duration, settings)  # fmt: skip
            row = [name, name, int(world.outcome[person]), int(world.age[person]),
                   "fm"[world.sex[person]]]  # fmt: skip
            rows.append([*row, f"site{world.site[person] + 1}"] if several else row)
            bar.advance()
    return rows


def _write_stretches(out: Path, settings: WorldSettings) -> list[list[Any]]:
    world = draw_stretches(settings)
    rng = np.random.default_rng([settings.seed, 7])
    rows: list[list[Any]] = [["person", "session", "t_start", "t_end", "label"]]
    duration = _EVERY_S * settings.stretches
    starts = np.asarray(np.arange(settings.stretches) * _EVERY_S, np.float64)
    with Progress(Text("writing timelines", "타임라인 쓰기"), settings.persons, "persons") as bar:
        for person in range(settings.persons):
            name = _code(person)
            series = {m: {k: v[person] for k, v in t.items()} for m, t in world.measures.items()}
            for m, chances in world.chances.items():
                series.setdefault(m, {}).update(
                    {f"p_{c}": chances[person, :, i] for i, c in enumerate(world.classes)}
                )
            _write_session(out, name, name, _stretch_blocks(series, starts, duration, rng),
                           duration, settings)  # fmt: skip
            if settings.interviewer:
                asked = {m: {k: u + s * float(rng.normal()) for k, (u, s, _) in t.items()}
                         for m, t in ASKED.items()}  # fmt: skip
                _write_session(out, f"{name}_interviewer", "interviewer",
                               _plain_blocks(asked, duration, rng), duration, settings)  # fmt: skip
            rows += [
                [name, name, f"{a:g}", f"{a + _STRETCH_S:g}", world.classes[world.truth[person, i]]]
                for i, a in enumerate(starts)
            ]
            bar.advance()
    return rows


Blocks = list[MeasureBlock]


def _plain_blocks(
    values: Mapping[str, Mapping[str, float]], duration: float, rng: np.random.Generator
) -> Blocks:
    """Windows that waver around a person's value, and the session as their mean: that value."""
    starts = np.arange(0.0, duration - _WINDOW_S + 1e-9, _HOP_S)
    blocks: Blocks = []
    for modality, table in values.items():
        for name, value in table.items():
            noise = rng.normal(0.0, 0.15 * abs(value) + 1e-3, len(starts))
            series = value + noise - noise.mean()
            blocks += _blocks(modality, name, starts, series, value, duration)
    return blocks


def _stretch_blocks(
    series: Mapping[str, Mapping[str, Floats]],
    starts: Floats,
    duration: float,
    rng: np.random.Generator,
) -> Blocks:
    """Windows on the grid; each takes the values of the stretches it overlaps, by how much."""
    grid = np.arange(0.0, duration - _WINDOW_S + 1e-9, _HOP_S)
    shared = np.minimum(grid[:, None] + _WINDOW_S, starts + _STRETCH_S) - np.maximum(
        grid[:, None], starts
    )
    weight = np.maximum(shared, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    blocks: Blocks = []
    for modality, table in series.items():
        for name, values in table.items():
            whole = weight @ values
            blocks += _blocks(modality, name, grid, whole, float(np.mean(values)), duration)
    return blocks


def _blocks(
    modality: str, name: str, starts: Floats, values: Floats, session: float, duration: float
) -> Blocks:
    known = definition_of(name)
    made = []
    edges = (("window", starts, starts + _WINDOW_S, values),
             ("session", np.zeros(1), np.array([duration]), np.array([session])))  # fmt: skip
    reason = "no_video" if modality == "face" else "no_model"
    for scope, t_start, t_end, shown in edges:
        there = np.isfinite(shown)
        expected = np.full(len(shown), 40, np.int64)
        made.append(
            MeasureBlock(
                scope=_scope(scope),
                modality=_modality(modality),
                measure=name,
                unit=known.unit if known else "0–1",
                grade=known.grade if known else None,
                t_start=t_start,
                t_end=t_end,
                value=shown,
                n_expected=expected,
                n_valid=np.where(there, expected, 0),
                confidence=np.where(there, 0.9, np.nan),
                mask_reason=np.where(there, "", reason).astype(np.str_),
            )
        )
    return made


def _scope(name: str) -> Literal["window", "session"]:
    return "window" if name == "window" else "session"


def _modality(name: str) -> Modality:
    known: dict[str, Modality] = {"face": "face", "voice": "voice", "text": "text"}
    return known.get(name, "fused")


def _write_session(
    out: Path, name: str, subject: str, blocks: Sequence[MeasureBlock], duration: float,
    settings: WorldSettings,
) -> None:  # fmt: skip
    folder = out / "timelines" / name
    media = MediaInfo(f"{name}.mp4", duration, None, None)
    starts = np.arange(0.0, duration - _WINDOW_S + 1e-9, _HOP_S)
    windows = tuple(Interval(float(a), float(a) + _WINDOW_S) for a in starts)
    label_set = load_label_set(_LABEL_SET)
    timeline = Timeline(media, name, subject, label_set.ids, windows, None, None, None, (),
                        tuple(blocks), ())  # fmt: skip
    write_timeline(folder, timeline)
    write_json(folder / "summary.json", {
        "kind": "timeline",
        "media": {"name": media.name, "duration_s": duration, "video": None, "audio": None,
                  "path": media.name},
        "session": name,
        "subject": subject,
        "label_set": label_set_to_dict(label_set),
        "labels": list(label_set.ids),
        "bundle": {"name": "none", "hash": ""},
        "unvalidated": [],
        "windows": {"length_s": _WINDOW_S, "hop_s": _HOP_S, "n": len(windows)},
        "persons": [], "states": [], "episodes": [], "episodes_expected": {},
        "measures": session_rows(tuple(blocks), functionals=True),
        "sync": {}, "speech": {"turns": 0, "target": None, "assumed_single": True},
        "transcript": None, "missing": [], "notices": [], "told": [], "reading": {},
        "synthetic": True,
        "provenance": _origin(settings),
    })  # fmt: skip


@cache
def _origin(settings: WorldSettings) -> Provenance:
    """Provenance, made once: a world has hundreds of sessions."""
    return provenance("synth study", settings_to_dict(settings), seeds={"seed": settings.seed})
