"""Who spoke when, from a diarisation file (RTTM)."""

from __future__ import annotations

from pathlib import Path

from nunbit.errors import InputError
from nunbit.streams import Interval
from nunbit.transcript.cues import bad_file
from nunbit.transcript.decoding import read_text

_FIELDS = 8  # SPEAKER file channel start duration <NA> <NA> name


def read_rttm(path: Path, *, duration_s: float | None = None) -> tuple[tuple[Interval, str], ...]:
    """Read the SPEAKER lines of an RTTM file.

    Args:
        path: The file; it must be about one recording.
        duration_s: Length of the medium; lines are clipped to it.

    Returns:
        Stretches with their speaker, by start; they may overlap.

    Raises:
        InputError: Not RTTM, several recordings, or most lines lie beyond the medium's end.
    """
    text, _ = read_text(path)
    found: list[tuple[Interval, str]] = []
    recordings = set()
    beyond = 0
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        interval = _interval(path, number, fields)
        recordings.add(fields[1])
        if duration_s is not None and interval.start_s >= duration_s:
            beyond += 1
            continue
        if duration_s is not None and interval.end_s > duration_s:
            interval = Interval(interval.start_s, duration_s)
        found.append((interval, fields[7]))
    if not found and not beyond:
        raise bad_file(
            path,
            "no SPEAKER line: this is not an RTTM file",
            "SPEAKER 행이 없습니다. RTTM 파일이 아닙니다",
        )
    if len(recordings) > 1:
        raise bad_file(
            path,
            f"lines of {len(recordings)} recordings; keep the lines of one",
            f"녹화 {len(recordings)}개의 행이 섞여 있습니다. 하나의 행만 남기십시오",
        )
    if beyond > len(found):
        raise bad_file(
            path,
            f"{beyond} of {beyond + len(found)} lines start after the medium's end "
            f"({duration_s:.1f} s): it belongs to another recording",
            f"{beyond + len(found)}행 중 {beyond}행이 매체의 끝({duration_s:.1f}초) 뒤에 "
            "시작합니다. 다른 녹화의 파일입니다",
        )
    return tuple(sorted(found, key=lambda entry: entry[0]))


def _interval(path: Path, number: int, fields: list[str]) -> Interval:
    try:
        if len(fields) < _FIELDS:
            raise ValueError(f"{len(fields)} fields")
        start, duration = float(fields[3]), float(fields[4])
        return Interval(max(0.0, start), start + duration)
    except ValueError as exc:
        raise _bad_line(path, number, exc) from exc


def _bad_line(path: Path, number: int, exc: ValueError) -> InputError:
    return bad_file(
        path,
        f"line {number}: expected SPEAKER file channel start duration <NA> <NA> name ({exc})",
        f"{number}행: SPEAKER 파일 채널 시작 길이 <NA> <NA> 이름 형식이 아닙니다 ({exc})",
    )
