"""Which timeline a row of labels belongs to, whose it is, and whether two rows contradict.

Two recordings of one person that count as two persons are trained and tested on at once, and the
person is taken for the effect. So recordings whose names begin alike count as one person: too few
persons cost power, too many cost the truth. What was done is told, without a name.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from nunbit.core.messages import InputError, Text
from nunbit.core.spans import lists_by_key
from nunbit.stories.study.stretch_windows import LabelledSession
from nunbit.stories.study.study_labels import Columns, LabelRow, contradiction
from nunbit.stories.study.study_sample import INTERVIEWER, StudySession, Timelines


class Matching:
    """Which session each row of labels belongs to, and whose it is.

    Attributes:
        pairs: A row and its timelines each.
        about_persons: What a reader must know about who was taken for one person.
        without_timeline: Rows of labels without any.
        without_label: Timelines without any.

    Raises:
        InputError: Two rows contradict one another about a session, however they name it.
    """

    def __init__(self, found: Timelines, rows: Sequence[LabelRow], columns: Columns) -> None:
        self._found = found
        asked = {_plain(r.interviewer) for r in rows if r.interviewer}
        self._open = {n: s for n, s in found.participants.items() if n not in asked}
        self.without_timeline: list[str] = []
        matched: dict[tuple[str, tuple[float, float] | None], tuple[LabelRow, StudySession]] = {}
        labelled: list[tuple[str, LabelRow]] = []
        for row in rows:
            sessions = self._sessions(row)
            if not sessions:
                self.without_timeline.append(row.session or row.person or "")
            for session in sessions:
                labelled.append((session.name, row))
                known = matched.get((session.name, row.span))
                if known is None or not _says_something(known[0]):  # else the same label twice
                    matched[session.name, row.span] = row, session
        if said := contradiction(labelled, columns) or _two_persons(labelled):
            raise InputError(said)
        person, self.about_persons = whose_sessions(_keys(labelled, found))
        self.pairs = [
            LabelledSession(row, session, person[session.name], self._interviewer(row, session))
            for row, session in matched.values()
        ]
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


def _keys(labelled: Sequence[tuple[str, LabelRow]], found: Timelines) -> dict[str, str]:
    """Session -> its person by any of its rows, else by its timeline, '' for none."""
    keys = {name: _plain(found.sessions[name].subject) for name, _ in labelled}
    return keys | {name: _plain(row.person) for name, row in labelled if row.person}


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


# -- whose a recording is --------------------------------------------------------------------------


def whose_sessions(keys: Mapping[str, str]) -> tuple[dict[str, str], list[Text]]:
    """The person of every session, and what a reader must know about it.

    A session without a key is its beginning's up to the first ``_`` that tells sessions apart. It
    is the person of another session that begins alike; of several persons' sessions that begin
    alike the beginning says nothing.

    Args:
        keys: Name of the session -> its person as labels or timeline give it, '' for none.
    """
    depth = _telling(tuple(keys))
    begins = {name: "_".join(name.split("_")[:depth]) for name in keys}
    alike = lists_by_key((begin, name) for name, begin in begins.items())
    known = {key for key in keys.values() if key}
    person, grouped, alone = dict(keys), [], []
    for name in (n for n, key in keys.items() if not key):
        begin = begins[name]
        given = {keys[other] for other in alike[begin]} - {""}
        if len(given) == 1:
            person[name] = next(iter(given))
        elif not given and (len(alike[begin]) > 1 or begin in known):
            person[name] = begin
        else:
            person[name] = name
            alone.append(name)
            continue
        grouped.append(name)
    return person, _told(person, grouped, alone)


def _telling(names: tuple[str, ...]) -> int:
    """How many parts between ``_`` a beginning needs, so that not all sessions begin alike."""
    parts = [name.split("_") for name in names]
    longest = max(map(len, parts), default=1)
    return next(
        (n for n in range(1, longest + 1) if len({tuple(p[:n]) for p in parts}) > 1), longest
    )


def _told(person: Mapping[str, str], grouped: list[str], alone: list[str]) -> list[Text]:
    said = []
    if grouped:
        n, persons = len(grouped), len({person[name] for name in grouped})
        said.append(
            Text(
                f"{n} recordings have no person: those whose names begin alike up to '_' count as "
                f"one ({persons} persons); a column person says who is who",
                f"사람을 알 수 없는 녹화가 {n}개입니다. 이름의 '_' 앞부분이 같은 녹화를 한 "
                f"사람으로 보았습니다({persons}명). person 열로 누구인지 구별하십시오",
            )
        )
    if alone and len(alone) == len(person):
        said.append(
            Text(
                "persons unknown: each recording counts as a person; if several are of one person, "
                "that person is trained and tested on at once and the result is too good (a column "
                "person says who is who)",
                "사람을 알 수 없어 녹화마다 다른 사람으로 보았습니다. 한 사람의 녹화가 여럿이면 "
                "같은 사람으로 학습하고 평가하게 되어 결과가 실제보다 좋아집니다(person 열로 "
                "누구인지 구별합니다)",
            )
        )
    elif alone:
        n = len(alone)
        said.append(
            Text(
                f"{n} recordings have no person: each counts as a person of its own (a column "
                "person says who is who)",
                f"사람을 알 수 없는 녹화 {n}개는 저마다 다른 사람으로 보았습니다(person 열로 "
                "누구인지 구별합니다)",
            )
        )
    return said
