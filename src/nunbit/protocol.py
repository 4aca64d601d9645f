"""The reading protocol of one recording: its media, transcript and diarisation in one list.

``check`` and ``analyze`` show the same list: what was read, what was repaired, what was left out.
The notes about oddities come from the readers; this module adds what was read and
puts all in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nunbit.errors import Lang
from nunbit.reading import PLAIN_CODES, TREATMENTS, ReadingNote
from nunbit.streams import AudioInfo, MediaInfo, Transcript, VideoInfo
from nunbit.timebase import clock, frame_rate
from nunbit.transcript import Diarisation

_CHANNELS = {1: ("mono", "모노"), 2: ("stereo", "스테레오")}
_FORMATS = {
    "srt": "SRT", "vtt": "WebVTT", "textgrid": "TextGrid", "eaf": "ELAN", "csv": "CSV",
    "whisper": "Whisper", "vosk": "Vosk", "faster-whisper": "faster-whisper",
}  # fmt: skip
_MOST_NAMES = 5
TREATMENT_NAMES: dict[str, tuple[str, str]] = {
    "read": ("read", "읽음"),
    "repaired": ("repaired", "고쳐 읽음"),
    "left_out": ("left out", "제외"),
}


def protocol(
    media: MediaInfo | None,
    transcript: Transcript | None,
    speakers: Diarisation,
    noticed: Iterable[ReadingNote] = (),
) -> tuple[ReadingNote, ...]:
    """All notes of a recording: what was read first, then what was repaired, then what left out.

    Args:
        media: As probed, with its notes; None for a transcript alone.
        transcript: With its notes, or None.
        speakers: Of the diarisation file, with its notes; empty without one.
        noticed: Notes of whoever decoded or compared, in any order; the same note is kept once.
    """
    notes = [] if media is None else [*_media_notes(media), *media.reading]
    if transcript is not None:
        notes += [transcript_note(transcript), *transcript.reading]
    notes += speakers_notes(speakers)
    notes += noticed
    order = {treatment: place for place, treatment in enumerate(TREATMENTS)}
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: order[note.treatment]))


def transcript_note(transcript: Transcript) -> ReadingNote:
    """What was read of a transcript, as a note."""
    cues = len(transcript.utterances)
    words = sum(len(u.words) for u in transcript.utterances)
    names = list(dict.fromkeys(u.speaker for u in transcript.utterances if u.speaker))
    kind = _FORMATS.get(transcript.source, transcript.source)
    who, who_ko = "", ""
    if names:
        who = f", speakers {_listed(names)}"
        who_ko = f", 화자 {_listed(names)}"
    return ReadingNote(
        treatment="read",
        code="transcript",
        count=max(cues, 1),
        first=clock(transcript.utterances[0].interval.start_s, tenths=True) if cues else "–",
        en=f"transcript: {kind}, {cues:,} utterances, {words:,} words{who}",
        ko=f"전사: {kind}, 발화 {cues:,}개, 단어 {words:,}개{who_ko}",
    )


def speakers_notes(diarisation: Diarisation) -> tuple[ReadingNote, ...]:
    """What was read of a diarisation file, with its own notes; empty without one."""
    spoken = diarisation.stretches
    if not spoken:
        return diarisation.reading
    names = list(dict.fromkeys(name for _, name in spoken))
    read = ReadingNote(
        treatment="read",
        code="speakers",
        count=len(spoken),
        first=clock(spoken[0][0].start_s, tenths=True),
        en=f"who speaks when: {len(names)} speakers ({_listed(names)}), {len(spoken):,} stretches",
        ko=f"화자 구간: {len(names)}명({_listed(names)}), {len(spoken):,}구간",
    )
    return (read, *diarisation.reading)


def problems(notes: Iterable[ReadingNote]) -> tuple[ReadingNote, ...]:
    """Notes about something that is not as it should be: all but what was simply read.

    A note of treatment ``read`` with another code than those made here is one of them: the file
    was read as it is, and the reader should know something about it.
    """
    return tuple(n for n in notes if not (n.treatment == "read" and n.code in PLAIN_CODES))


def note_lines(notes: Iterable[ReadingNote], lang: Lang) -> list[str]:
    """The protocol for a terminal: treatment and sentence, a line each."""
    column = 1 if lang == "ko" else 0
    return [f"{TREATMENT_NAMES[n.treatment][column]}: {_sentence(n, lang)}" for n in notes]


def unsaid(
    notices: Iterable[tuple[str, str]], notes: Iterable[ReadingNote]
) -> tuple[tuple[str, str], ...]:
    """Notices that no note of the protocol says word for word, each once."""
    said = {note.en for note in notes}
    return tuple(pair for pair in dict.fromkeys(notices) if pair[0] not in said)


def notes_of_document(document: Mapping[str, Any] | None) -> tuple[ReadingNote, ...]:
    """The notes in ``reading`` of a stored document; what does not fit is passed over."""
    found = []
    for treatment in TREATMENTS:
        for row in (document or {}).get(treatment) or ():
            texts = [str(row.get(key, "")) for key in ("code", "first", "en", "ko")]
            code, first, en, ko = texts
            found.append(ReadingNote(treatment, code, int(row.get("count", 1)), first, en, ko))
    return tuple(found)


def _sentence(note: ReadingNote, lang: Lang) -> str:
    text = note.text(lang)
    if note.count > 1 and note.treatment != "read" and str(note.count) not in text:
        times = f"{note.count:,}곳" if lang == "ko" else f"{note.count:,} places"
        text = f"{text} ({times})"
    return text


def _media_notes(media: MediaInfo) -> list[ReadingNote]:
    notes = []
    if media.video is not None:
        notes.append(_video_note(media.video))
    if media.audio is not None:
        notes.append(_sound_note(media.audio))
    return notes


def _video_note(video: VideoInfo) -> ReadingNote:
    size, length = f"{video.width}×{video.height}", clock(video.end_s - video.start_s)
    rate = f"{frame_rate(video.fps)} fps" if video.fps else ""
    turned = video.rotation_deg
    en = ["video", size, rate, length, f"turned by {turned}°" if turned else ""]
    ko = ["영상", size, rate, length, f"{turned}° 돌려 읽음" if turned else ""]
    return ReadingNote(
        "read", "video", 1, clock(video.start_s, tenths=True), _joined(en), _joined(ko)
    )


def _sound_note(audio: AudioInfo) -> ReadingNote:
    channels = _CHANNELS.get(
        audio.channels, (f"{audio.channels} channels", f"{audio.channels}채널")
    )
    rate, length = f"{audio.rate_hz / 1000:g} kHz", clock(audio.end_s - audio.start_s)
    several = audio.n_streams > 1
    en = ["sound", f"{rate} {channels[0]}", length]
    ko = ["소리", f"{rate} {channels[1]}", length]
    en += [f"stream {audio.stream} of {audio.n_streams}, from 0"] if several else []
    ko += [f"스트림 {audio.n_streams}개 중 {audio.stream}번(0부터)"] if several else []
    return ReadingNote(
        "read", "sound", 1, clock(audio.start_s, tenths=True), _joined(en), _joined(ko)
    )


def _joined(parts: Sequence[str]) -> str:
    return f"{parts[0]}: {', '.join(part for part in parts[1:] if part)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
