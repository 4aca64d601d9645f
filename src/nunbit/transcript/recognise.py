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
from nunbit.transcript.cues import Cues, Notice, bad_file
from nunbit.transcript.decoding import read_text
from nunbit.transcript.elan import read_eaf
from nunbit.transcript.recogniser_json import read_json_transcript
from nunbit.transcript.subtitles import read_srt, read_vtt
from nunbit.transcript.table import looks_like_table, read_table
from nunbit.transcript.textgrid import read_textgrid

Reader = Callable[[Path, str], Cues]

_READERS: dict[str, Reader] = {
    "WebVTT": read_vtt,
    "SRT": read_srt,
    "TextGrid": read_textgrid,
    "ELAN": read_eaf,
    "JSON": read_json_transcript,
    "CSV": read_table,
}
_SUFFIXES = {
    ".vtt": "WebVTT", ".srt": "SRT", ".textgrid": "TextGrid", ".eaf": "ELAN", ".json": "JSON",
    ".jsonl": "JSON", ".csv": "CSV", ".tsv": "CSV",
}  # fmt: skip
_TIMING = re.compile(r"^\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->", re.MULTILINE)
_RTTM = re.compile(r"^SPEAKER\s+\S+\s+\d", re.MULTILINE)


def read_transcript(path: Path, *, duration_s: float | None = None) -> Transcript:
    """Read a transcript in any of the known formats.

    SRT, WebVTT, Praat TextGrid, ELAN, JSON of Whisper, WhisperX and Vosk, and tables with start,
    end and text. UTF-8, UTF-16 and CP949 are told apart.

    Args:
        path: The file.
        duration_s: Length of the medium, to notice the transcript of another recording.

    Returns:
        The transcript with notices about everything odd; no utterances where the file is well
        formed but nobody speaks.

    Raises:
        InputError: The file is missing, empty, cut off, of an unknown format, in an unknown
            encoding, or belongs to another recording.
    """
    text, notices = read_text(path)
    text = unicodedata.normalize("NFC", text)  # names and headers are compared below
    kind = _kind(path, text)
    expected = _SUFFIXES.get(path.suffix.lower())
    if expected not in (None, kind):
        notices = (*notices, _other_suffix(path, kind))
    raw = _READERS[kind](path, text)
    merged = replace(raw, notices=(*notices, *raw.notices))
    return assemble(path, merged, duration_s)


def _kind(path: Path, text: str) -> str:
    head = text.lstrip()[:2000]
    if head.startswith("WEBVTT"):
        return "WebVTT"
    if re.match(r'File type\s*=\s*"ooTextFile|"?ooTextFile', head):
        return "TextGrid"
    if head.startswith(("<?xml", "<ANNOTATION_DOCUMENT")):
        return "ELAN"
    if head[:1] in "{[" and _SUFFIXES.get(path.suffix.lower()) != "SRT":
        return "JSON"
    if _TIMING.search(text):
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
    raise _unknown(path, by_suffix)


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
        "no known transcript format; give SRT, WebVTT, TextGrid, ELAN (.eaf), Whisper or Vosk "
        "JSON, or CSV with start, end, text",
        "알 수 없는 전사 형식입니다. SRT, WebVTT, TextGrid, ELAN(.eaf), Whisper 또는 Vosk JSON, "
        "start, end, text 열이 있는 CSV를 주십시오",
    )


def _other_suffix(path: Path, kind: str) -> Notice:
    return (
        f"{path.name} is named {path.suffix} but holds {kind}; it was read as {kind}",
        f"{path.name}의 확장자는 {path.suffix}이지만 내용은 {kind}이어서 {kind}로 읽었습니다",
    )
