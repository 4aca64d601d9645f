"""What ``nunbit check`` prints: the whole protocol of one file, or a line for each of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nunbit.check.result import Checked
from nunbit.columns import pad, width
from nunbit.errors import Lang
from nunbit.protocol import note_lines, problems
from nunbit.reading import ReadingNote
from nunbit.timebase import clock, frame_rate

_NAME_COLUMNS = 30
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
_SHORT = {
    "speaker_names_with_spaces": ("names with spaces", "빈칸 있는 이름"),
    "time_not_a_number": ("times that are no numbers", "숫자가 아닌 시각"),
    "no_times": ("entries without times", "시각 없는 항목"),
    "not_a_timing_line": ("unreadable timing lines", "읽을 수 없는 시각 줄"),
    "no_duration": ("no duration", "길이 없음"),
    "speakers_inferred": ("speakers inferred", "화자 추정"),
    "words_outside_speech": ("words outside speech", "말소리 밖 단어"),
    "channels_cancel": ("channels cancel", "채널 상쇄"),
    "channel_empty": ("empty channel", "빈 채널"),
    "channels_differ": ("channels differ", "채널 크기 차이"),
    "silent": ("silent", "소리 없음"),
    "clipped": ("clipped", "소리 잘림"),
    "header_shorter_than_data": ("longer than its header", "헤더보다 김"),
    "cut_off": ("cut off", "끝이 잘림"),
    "interlaced": ("interlaced", "비월 주사"),
    "hdr": ("HDR", "HDR"),
    "people_changed_at_cut": ("people change at a cut", "장면에서 사람 바뀜"),
    "no_matching_transcript": ("no transcript of this name", "같은 이름 전사 없음"),
    "no_matching_speakers": ("no RTTM of this name", "같은 이름 RTTM 없음"),
    "no_frame": ("no frame read", "영상 읽지 못함"),
    "no_face_seen": ("no face", "얼굴 없음"),
    "few_faces_seen": ("few faces", "얼굴 적음"),
    "several_faces": ("several faces", "여러 얼굴"),
    "small_faces": ("small faces", "작은 얼굴"),
    "no_speech": ("no speech", "말소리 없음"),
    "over_full_scale": ("over full scale", "최대 진폭 초과"),
    "first_frame": ("first picture of several", "여러 장 중 첫 장"),
    "reduced": ("decoded smaller", "줄여서 읽음"),
}


def check_text(results: Sequence[Checked], unread: Sequence[tuple[str, str]], lang: Lang) -> str:
    """The protocol of one file, or a table of many with a sentence for each kind of note."""
    korean = lang == "ko"
    lines = _one(results[0], lang) if len(results) == 1 else _many(results, lang)
    lines += [pair[korean] for pair in unread]
    if any(result.kind == "recording" and result.error is None for result in results):
        lines += ["", _sampled(lang)]
    return "\n".join(lines)


def short_note(code: str, lang: Lang) -> str:
    """A code in a few words; codes that nobody named here stay readable."""
    known = _SHORT.get(code)
    return code.replace("_", " ") if known is None else known[lang == "ko"]


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


def _many(results: Sequence[Checked], lang: Lang) -> list[str]:
    rows = [_HEAD[lang], *(_cells(result, lang) for result in results)]
    sizes = [max(width(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            pad(cell, size, left=not right)
            for cell, size, right in zip(row, sizes, _RIGHT, strict=False)
        ]
        lines.append(_GAP.join([*cells, row[-1]]).rstrip())
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
        lines.append(f"! {short_note(code, lang)} ({count}: {named}): {own[0][1].text(lang)}")
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
        _fitted(Path(result.file).name),
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


def _fitted(name: str) -> str:
    """A name cut in its middle, where the difference between names seldom is."""
    if width(name) <= _NAME_COLUMNS:
        return name
    head, tail = "", ""
    for before, after in zip(name, reversed(name), strict=True):
        if width(head + tail) + width(before) + 1 > _NAME_COLUMNS:
            break
        head += before
        if width(head + tail) + width(after) + 1 > _NAME_COLUMNS:
            break
        tail = after + tail
    return f"{head}…{tail}"
