"""Finished sessions in a data folder of the app, and labelled pictures of drawn faces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import av
import numpy as np

from nunbit.app.sessions import Sessions
from nunbit.app.store import Consent, Scope, Store
from nunbit.synth.script import EmotionKey, VideoScript
from nunbit.synth.video import render_video


@dataclass(frozen=True)
class Finished:
    """A session that is to be there: ``folder`` is what ``analyze`` wrote for a recording."""

    code: str
    folder: Path
    media: Path | None = None
    days_ago: int = 0
    notes: tuple[tuple[float, str, str], ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows and whom."""

    path: Path
    label: str
    person: str


def fill(data: Path, given: Sequence[Finished]) -> list[dict[str, str]]:
    """Put finished sessions into a data folder; returns their ids and keys, in the same order."""
    data.mkdir(parents=True, exist_ok=True)
    store = Store(data / "nunbit.sqlite")
    sessions = Sessions(store, data / "sessions")
    sessions.folder.mkdir(exist_ok=True)
    made, consents = [], {}
    for each in given:
        person = sessions.add_participant(each.code)["id"]
        if person not in consents:
            consents[person] = sessions.add_consent(
                Consent(person, True, "research_interview", "표정의 연구", date.today(), 90,
                        Scope(words=True, media=True))
            )  # fmt: skip
        row, key = sessions.create(person, consents[person], each.media is not None, 90)
        place = sessions.place(row)
        for path in each.folder.iterdir():
            if path.is_file() and path.name != "consent.json":
                shutil.copyfile(path, place / path.name)
        summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
        if each.media is not None:
            shutil.copyfile(each.media, place / f"{row['id']}{each.media.suffix}")
        began = (datetime.now(UTC) - timedelta(days=each.days_ago)).isoformat(timespec="seconds")
        store.set("sessions", row["id"], state="done", started=began, ended=began,
                  duration_s=summary["media"]["duration_s"])  # fmt: skip
        for t, kind, text in each.notes:
            sessions.add_note(row["id"], t, kind, text)
        sessions.write_notes(row)
        made.append({"id": str(row["id"]), "key": key})
    store.close()
    return made


FEELINGS = ("neutral", "joy", "sadness", "anger")


def drawn_pictures(folder: Path, persons: Sequence[int], each: int = 2) -> list[Picture]:
    """JPEGs of drawn faces: ``each`` of every expression and person, called by both."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for person in persons:
        step = 1.0
        keys = [
            EmotionKey(n * step, **({} if name == "neutral" else {name: 1.0}))
            for n, name in enumerate(np.repeat(FEELINGS, each))
        ]
        script = VideoScript(
            duration_s=len(keys) * step, width=320, height=240, fps=2, seed=person, person=person,
            scene="room", face_scale=0.3, sway_deg=2.0, hold_s=step / 2, blinks_per_min=0,
            emotions=tuple(keys), crf=18,
        )  # fmt: skip
        film = folder / f"p{person}.mp4"
        render_video(film, script)
        with av.open(str(film)) as source:
            frames = [frame.to_image() for frame in source.decode(video=0)]
        for n, name in enumerate(np.repeat(FEELINGS, each)):
            path = folder / f"p{person}-{name}-{n}.jpg"
            frames[min(2 * n, len(frames) - 1)].save(path, quality=90)
            made.append(Picture(path, str(name), f"p{person}"))
    return made
