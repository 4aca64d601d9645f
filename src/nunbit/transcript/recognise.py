"""Which format a transcript file has, told by its content; the suffix only breaks ties."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nunbit.errors import InputError
from nunbit.streams import Transcript
from nunbit.transcript.assemble import assemble
from nunbit.transcript.cues import Cues, bad_file
from nunbit.transcript.decoding import read_text
from nunbit.transcript.elan import read_eaf
from nunbit.transcript.notes import Notes
from nunbit.transcript.recogniser_json import read_json_transcript
from nunbit.transcript.subtitles import (
    first_unreadable_time,
    has_timing_line,
    read_srt,
    read_vtt,
)
from nunbit.transcript.table import looks_like_table, read_table
from nunbit.transcript.textgrid import read_textgrid

Reader = Callable[[Path, str, Notes], Cues]
OfMedium = Callable[[Path, str, Notes, str | None], Cues]
"""A reader of a format that may speak of several recordings: it needs the medium's name."""

_READERS: dict[str, Reader] = {
    "WebVTT": read_vtt,
    "SRT": read_srt,
    "TextGrid": read_textgrid,
    "JSON": read_json_transcript,
}
_READERS_OF_MEDIUM: dict[str, OfMedium] = {"ELAN": read_eaf, "CSV": read_table}
_SUFFIXES = {
    ".vtt": "WebVTT", ".srt": "SRT", ".textgrid": "TextGrid", ".eaf": "ELAN", ".json": "JSON",
    ".jsonl": "JSON", ".json3": "JSON", ".csv": "CSV", ".tsv": "CSV", ".sbv": "SRT",
}  # fmt: skip
# What other subtitle programs write: known by their beginning, so that the refusal names them.
_FOREIGN = (
    (re.compile(r"\[Script Info\]", re.IGNORECASE), "ASS/SSA"),
    (re.compile(r"<SAMI[\s>]", re.IGNORECASE), "SAMI (.smi)"),
    (re.compile(r"(?:\[[a-z]{2,8}:[^\]\n]{0,200}\]\s*)*\[\d{1,3}:\d{2}(?:[.:]\d{1,3})?\]"), "LRC"),
    (re.compile(r"\{\d{1,9}\}\{\d{0,9}\}"), "MicroDVD (.sub)"),
    (re.compile(r"(?:<\?xml[^>]{0,200}\?>\s*)?<(?:\w{1,9}:)?tt[\s>]"), "TTML (DFXP)"),
)
_RTTM = re.compile(r"^SPEAKER[ \t]+\S.{0,200}[ \t]\d", re.MULTILINE)


def read_transcript(
    path: Path, *, duration_s: float | None = None, media: str | None = None
) -> Transcript:
    """Read a transcript in any of the known formats.

    SRT, SBV, WebVTT, Praat TextGrid, ELAN, JSON of Whisper, WhisperX, Vosk and of the usual
    services, and tables with start, end and text. UTF-8, UTF-16 and CP949 are told apart.
    ``docs/reading.md`` lists what is read, repaired and left out.

    Args:
        path: The file.
        duration_s: Length of the medium, to notice the transcript of another recording.
        media: File name of the medium, for files that speak of several.

    Returns:
        The transcript with notes and notices about everything odd (every note is a notice, too);
        no utterances where the file is well formed but nobody speaks.

    Raises:
        InputError: The file is missing, empty, cut off, of an unknown format, in an unknown
            encoding, or belongs to another recording.
    """
    notes = Notes()
    text = unicodedata.normalize("NFC", read_text(path, notes))  # names are compared below
    kind = _kind(path, text)
    expected = _SUFFIXES.get(path.suffix.lower())
    if expected not in (None, kind):
        notes.add("other_suffix", path.name, suffix=path.suffix, kind=kind)
    if kind in _READERS:
        raw = _READERS[kind](path, text, notes)
    else:
        raw = _READERS_OF_MEDIUM[kind](path, text, notes, media)
    return assemble(path, replace(raw, reading=notes.listed()), duration_s)


def _kind(path: Path, text: str) -> str:
    head = text.lstrip()[:2000]
    if head.startswith("WEBVTT"):
        return "WebVTT"
    if re.match(r'File type\s*=\s*"ooTextFile|"?ooTextFile', head):
        return "TextGrid"
    foreign = next((name for mark, name in _FOREIGN if mark.match(head)), None)
    if foreign is not None:
        raise _not_read(path, foreign)
    if head.startswith(("<?xml", "<ANNOTATION_DOCUMENT")):
        return "ELAN"
    if head[:1] in "{[" and _SUFFIXES.get(path.suffix.lower()) != "SRT":
        return "JSON"
    if has_timing_line(text):
        return "SRT"
    if _RTTM.search(head):
        raise bad_file(
            path,
            "this says who spoke when (RTTM), not what was said; give it as the diarisation",
            "누가 언제 말했는지를 담은 파일(RTTM)이며 전사가 아닙니다. 화자 구분 파일로 주십시오",
        )
    if looks_like_table(text):
        return "CSV"
    by_suffix = _SUFFIXES.get(path.suffix.lower())
    if by_suffix == "CSV":
        return by_suffix  # its reader says which columns are missing
    meant = first_unreadable_time(text)
    if meant is not None and by_suffix in (None, "SRT", "WebVTT"):
        raise _unreadable_times(path, meant)
    raise _unknown(path, by_suffix)


def _not_read(path: Path, name: str) -> InputError:
    return bad_file(
        path,
        f"{name}, which is not read; save it as SRT in a subtitle editor",
        f"{name} 형식은 읽지 않습니다. 자막 편집기에서 SRT로 저장하십시오",
    )


def _unreadable_times(path: Path, line: str) -> InputError:
    shown = line[:60]
    return bad_file(
        path,
        f"no cue with a readable time (first: '{shown}'); write 00:00:01,000 --> 00:00:02,000, "
        "with thousandths in place of frames",
        f"시간을 읽을 수 있는 자막이 없습니다(처음: '{shown}'). 프레임 번호 대신 1000분의 1초로 "
        "00:00:01,000 --> 00:00:02,000처럼 적으십시오",
    )


def _unknown(path: Path, by_suffix: str | None) -> InputError:
    if by_suffix is not None:
        return bad_file(
            path,
            f"named {path.suffix} but it is not {by_suffix}; the file may be damaged",
            f"확장자는 {path.suffix}이지만 {by_suffix} 형식이 아닙니다. 파일이 손상되었을 수 "
            "있습니다",
        )
    return bad_file(
        path,
        "no known transcript format; give SRT, WebVTT, TextGrid, ELAN (.eaf), a recogniser's "
        "JSON, or CSV with start, end, text",
        "알 수 없는 전사 형식입니다. SRT, WebVTT, TextGrid, ELAN(.eaf), 음성 인식기의 JSON, "
        "start, end, text 열이 있는 CSV를 주십시오",
    )
