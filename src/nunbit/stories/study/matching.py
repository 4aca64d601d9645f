"""Which timeline a row of labels belongs to, and whether two rows contradict one another."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

from nunbit.core.messages import InputError, Text
from nunbit.stories.study.stretch_windows import LabelledSession
from nunbit.stories.study.study_labels import Columns, LabelRow, contradiction
from nunbit.stories.study.study_sample import INTERVIEWER, StudySession, Timelines


class Matching:
    """Which session each row of labels belongs to.

    Raises:
        InputError: Two rows contradict one another about a session, however they name it.
    """

    def __init__(self, found: Timelines, rows: Sequence[LabelRow], columns: Columns) -> None:
        self._found = found
        asked = {_plain(r.interviewer) for r in rows if r.interviewer}
        self._open = {n: s for n, s in found.participants.items() if n not in asked}
        self.without_timeline: list[str] = []
        matched: dict[tuple[str, tuple[float, float] | None], LabelledSession] = {}
        labelled: list[tuple[str, LabelRow]] = []
        for row in rows:
            sessions = self._sessions(row)
            if not sessions:
                self.without_timeline.append(row.session or row.person or "")
            for session in sessions:
                labelled.append((session.name, row))
                known = matched.get((session.name, row.span))
                if known is not None and _says_something(known.row):
                    continue  # the same label twice
                who = row.person or session.subject or session.name
                matched[session.name, row.span] = LabelledSession(
                    row, session, who, self._interviewer(row, session)
                )
        if said := contradiction(labelled, columns) or _two_persons(labelled):
            raise InputError(said)
        self.pairs = list(matched.values())
        names = {name for name, _ in matched}
        self.without_label = [n for n in self._open if n not in names]

    def _sessions(self, row: LabelRow) -> list[StudySession]:
        if row.session is not None:
            names = (_plain(row.session), _plain(PurePath(row.session).stem))
            return [self._open[name] for name in names if name in self._open][:1]
        person = _plain(row.person)
        own = [s for s in self._open.values() if _plain(s.subject) == person]
        if own:
            return own
        return [
            s for n, s in self._open.items() if n == person or n.startswith(f"{person}_")
        ]  # fmt: skip

    def _interviewer(self, row: LabelRow, session: StudySession) -> StudySession | None:
        if row.interviewer is not None:
            name = _plain(row.interviewer)
            for key in (name, _plain(PurePath(row.interviewer).stem)):
                if key in self._found.sessions:
                    return self._found.sessions[key]
            raise InputError(
                Text(
                    f"row {row.line} of the labels names '{row.interviewer}' as the interviewer's "
                    "timeline, which is not there",
                    f"레이블 {row.line}행이 면담자 타임라인으로 적은 '{row.interviewer}'이(가) "
                    "없습니다",
                )
            )
        return self._found.sessions.get(f"{session.name}{INTERVIEWER}")


def _says_something(row: LabelRow) -> bool:
    return bool(row.label) or math.isfinite(row.outcome)


def _two_persons(labelled: Sequence[tuple[str, LabelRow]]) -> Text | None:
    """Two rows that give one session to two persons."""
    known: dict[str, LabelRow] = {}
    for name, row in labelled:
        other = known.setdefault(name, row) if row.person else row
        if other.person != row.person:
            return Text(
                f"rows {other.line} and {row.line} of the labels give the timeline '{name}' to two "
                f"persons ('{other.person}', '{row.person}'); correct one",
                f"레이블 {other.line}행과 {row.line}행이 타임라인 '{name}'의 사람을 서로 다르게"
                f"('{other.person}', '{row.person}') 적었습니다. 하나를 고치십시오",
            )
    return None


def _plain(name: str | None) -> str:
    return unicodedata.normalize("NFC", name or "")
