"""What ``nunbit check`` prints: the whole protocol of one file, or a line for each of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nunbit.check.result import Checked
from nunbit.check.short import short_note
from nunbit.columns import pad, width, wrapped
from nunbit.errors import Lang
from nunbit.files import whole_text
from nunbit.protocol import note_lines, problems
from nunbit.reading import ReadingNote
from nunbit.timebase import clock, frame_rate

_NAME_COLUMNS = 30
_LEAST_NAME_COLUMNS = 14  # narrower, names of one study look all alike
_NOTE_INDENT = 4
_MOST_SENTENCES = 3  # of a code with several: the first files are named
_GAP = "  "

_HEAD = {
    "en": ("", "name", "length", "picture", "sound", "speech", "faces", "notes"),
    "ko": ("", "이름", "길이", "영상", "소리", "말소리", "얼굴", "알릴 것"),
}
_RIGHT = (False, False, True, False, False, True, True, False)
_MARKS = {"ok": "", "noted": "!", "failed": "x"}
_FAILED = {"en": "cannot be used", "ko": "사용할 수 없음"}
_KINDS = {
    "transcript": ("transcript", "전사"),
    "speakers": ("who speaks when", "화자 구간"),
    "photo": ("photo", "사진"),
}
_CHANNELS = {1: ("mono", "모노"), 2: ("stereo", "스테레오")}


def check_text(
    results: Sequence[Checked],
    unread: Sequence[tuple[str, str]],
    lang: Lang,
    columns: int | None = None,
) -> str:
    """The protocol of one file, or a table of many with a sentence for each kind of note.

    Args:
        results: Of :func:`nunbit.check.check`.
        unread: Likewise.
        lang: Of the text.
        columns: Of the terminal: notes that would not fit beside a row stand below it, and names
            are cut shorter; None for a file, whose lines may be of any length.
    """
    korean = lang == "ko"
    lines = _one(results[0], lang) if len(results) == 1 else _many(results, lang, columns)
    lines += [pair[korean] for pair in unread]
    if any(result.kind == "recording" and result.error is None for result in results):
        lines += ["", _sampled(lang)]
    return "\n".join(lines)


def _one(result: Checked, lang: Lang) -> list[str]:
    name = Path(result.file).name
    if result.error is not None:
        return [f"{name}: {_FAILED[lang]}"]
    lines = [name, *(f"  {line}" for line in note_lines(result.notes, lang))]
    cells = _cells(result, lang)
    columns = _HEAD[lang]
    facts = [f"{columns[k]} {cells[k]}" for k in (4, 5, 6) if cells[k] not in ("", "–")]
    if result.heard is not None or result.seen is not None:
        lines.append("  " + " · ".join(facts))
    if result.fit is not None and result.fit.words:
        fit = result.fit
        lines.append(
            f"  살펴본 단어 {fit.words}개 중 {fit.in_speech}개가 말소리 안에 있습니다"
            if lang == "ko"
            else f"  {fit.in_speech} of {fit.words} words looked at lie in speech"
        )
    if not problems(result.notes):
        lines.append("  고치거나 뺀 것 없음" if lang == "ko" else "  nothing repaired or left out")
    return lines


def _many(results: Sequence[Checked], lang: Lang, columns: int | None) -> list[str]:
    rows = [_HEAD[lang], *(_cells(result, lang) for result in results)]
    used = [k for k in range(len(rows[0]) - 1) if k < 2 or any(row[k] for row in rows[1:])]
    names = [result.file for result in results]
    room, gap = _NAME_COLUMNS, _GAP
    if columns is not None:
        others = sum(max(width(row[k]) for row in rows) for k in used if k != 1)
        if others + _NAME_COLUMNS + len(_GAP) * (len(used) - 1) > columns:
            gap = " "
            left = columns - others - (len(used) - 1)
            room = min(_NAME_COLUMNS, max(_LEAST_NAME_COLUMNS, left))
    shown = [rows[0][1], *(_fitted(Path(name).name, room) for name in names)]
    rows = [(row[0], name, *row[2:]) for row, name in zip(rows, shown, strict=True)]
    sizes = {k: max(width(row[k]) for row in rows) for k in used}
    lines = []
    for place, row in enumerate(rows):
        cells = [pad(row[k], sizes[k], left=not _RIGHT[k]) for k in used]
        line = gap.join([*cells, row[-1]]).rstrip()
        if columns is None or width(line) <= columns:
            lines.append(line)
            continue
        lines.append(gap.join(cells).rstrip())
        if place:  # the heading of the notes is missed by nobody
            lines += wrapped(row[-1], columns, indent=_NOTE_INDENT)
    lines += ["", *_sentences(results, lang), _summary(results, lang)]
    return lines


def _sentences(results: Sequence[Checked], lang: Lang) -> list[str]:
    """One sentence for each code, with the files it holds for; then what cannot be used and why."""
    found: dict[str, list[tuple[str, ReadingNote]]] = {}
    for result in results:
        for note in problems(result.notes):
            found.setdefault(note.code, []).append((Path(result.file).name, note))
    lines = []
    for code, own in found.items():
        files = list(dict.fromkeys(name for name, _ in own))
        named = ", ".join(files[:_MOST_SENTENCES]) + (", …" if len(files) > _MOST_SENTENCES else "")
        count = f"{len(files)}개" if lang == "ko" else f"{len(files)}"
        whose = f"{files[0]}: " if len(files) > 1 else ""  # the sentence is that of the first one
        text = whole_text(own[0][1].text(lang))
        lines.append(f"! {short_note(code, lang)} ({count}: {named}): {whose}{text}")
    errors = [result.error[lang == "ko"] for result in results if result.error is not None]
    return [*lines, *(f"x {' '.join(error.split())}" for error in errors)]


def _summary(results: Sequence[Checked], lang: Lang) -> str:
    states = [result.state for result in results]
    ok, noted, failed = (states.count(state) for state in ("ok", "noted", "failed"))
    if lang == "ko":
        return (
            f"파일 {len(results)}개: 이상 없음 {ok}, 알릴 것 있음 {noted}, 사용할 수 없음 {failed}"
        )
    return f"{len(results)} files: {ok} without a note, {noted} with notes, {failed} cannot be used"


def _sampled(lang: Lang) -> str:
    if lang == "ko":
        return (
            "장면 몇 개와 소리 몇 구간만 살펴보았습니다. 말소리와 얼굴은 어림값이며, 모두 "
            "읽으려면 nunbit analyze를 쓰십시오."
        )
    return (
        "Only some frames and stretches of sound were looked at: speech and faces are estimates; "
        "nunbit analyze reads everything."
    )


def _cells(result: Checked, lang: Lang) -> tuple[str, ...]:
    """Mark, name, length, picture, sound, speech, faces, notes."""
    korean = lang == "ko"
    notes = [short_note(note.code, lang) for note in problems(result.notes)]
    if result.error is not None:
        notes = [_FAILED[lang]]
    media, heard, seen = result.media, result.heard, result.seen
    picture = sound = speech = faces = ""
    if result.kind in _KINDS:
        picture = _KINDS[result.kind][korean]
    if media is not None:
        video, audio = media.video, media.audio
        picture = "–" if video is None else f"{video.width}×{video.height}"
        if video is not None and video.fps:
            picture += f" {frame_rate(video.fps)}"
        sound = "–" if audio is None else _sound(audio.rate_hz, audio.channels, korean=korean)
    if heard is not None:
        sound += f" {heard.level_dbfs:.0f} dB"
        speech = "–" if heard.speech_share is None else f"{100 * heard.speech_share:.0f}%"
    if seen is not None:
        faces = f"{seen.with_face}/{seen.frames}"
    return (
        _MARKS[result.state],
        Path(result.file).name,
        "" if media is None else clock(media.duration_s),
        picture,
        sound,
        speech,
        faces,
        ", ".join(dict.fromkeys(notes)),
    )


def _sound(rate_hz: int, channels: int, *, korean: bool) -> str:
    many = f"{channels}채널" if korean else f"{channels} ch"
    kinds = _CHANNELS.get(channels, (many, many))
    return f"{rate_hz / 1000:g} kHz {kinds[korean]}"


def _fitted(name: str, room: int) -> str:
    """A name cut in its middle, where the difference between names seldom is."""
    name = whole_text("".join(c if c.isprintable() else "\ufffd" for c in name))
    if width(name) <= room:
        return name
    head, tail = "", ""
    for before, after in zip(name, reversed(name), strict=True):
        if width(head + tail) + width(before) + 1 > room:
            break
        head += before
        if width(head + tail) + width(after) + 1 > room:
            break
        tail = after + tail
    return f"{head}…{tail}"
