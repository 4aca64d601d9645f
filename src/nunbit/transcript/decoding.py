"""Bytes of a text file to text, whichever of the usual Korean encodings it has."""

from __future__ import annotations

import codecs
from pathlib import Path

from nunbit.errors import InputError
from nunbit.transcript.cues import Notice, bad_file

_MOST_BYTES = 256 << 20  # a transcript of a day is below 10 MB; this is a recording by mistake
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip


def read_text(path: Path) -> tuple[str, tuple[Notice, ...]]:
    """Read a text file in UTF-8, UTF-16 or CP949.

    Args:
        path: The file.

    Returns:
        The text with ``\\n`` line ends, and a notice where the encoding had to be guessed or the
        file is cut off.

    Raises:
        InputError: The file is missing, empty, not text, or in another encoding.
    """
    data = _read_bytes(path)
    if not data.strip():
        raise bad_file(path, "the file is empty", "파일이 비어 있습니다")
    text, notices = _decode(path, data)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise bad_file(path, "the file is empty", "파일이 비어 있습니다")
    return text, notices


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise bad_file(
                path,
                "too large for a transcript; is it the recording?",
                "전사 파일로는 너무 큽니다. 녹화 파일이 아닌지 확인하십시오",
            )
        return path.read_bytes()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise bad_file(
            path, f"cannot read this file: {reason}", f"파일을 읽을 수 없습니다: {reason}"
        ) from exc


def _decode(path: Path, data: bytes) -> tuple[str, tuple[Notice, ...]]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decoded(path, data[len(bom) :], encoding)
    if b"\0" in data[:4096]:
        guessed = _utf16_by_zeros(data[:4096])
        if guessed is None:
            raise _not_text(path)
        return _decoded(path, data, guessed)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as exc:
        # A file cut off inside its last character is UTF-8 all the same; CP949 would garble it.
        if exc.start >= len(data) - 3 and exc.reason == "unexpected end of data":
            return data[: exc.start].decode("utf-8"), (_CUT_OFF,)
    try:
        return data.decode("cp949"), (_IS_CP949,)
    except UnicodeDecodeError as exc:
        raise bad_file(
            path,
            "neither UTF-8, UTF-16 nor CP949 text; save it as UTF-8",
            "UTF-8, UTF-16, CP949 중 어느 것도 아닙니다. UTF-8로 저장하십시오",
        ) from exc


def _decoded(path: Path, data: bytes, encoding: str) -> tuple[str, tuple[Notice, ...]]:
    cut_off = len(data) % 2 == 1 and encoding.startswith("utf-16")
    try:
        return data[: len(data) - cut_off].decode(encoding), (_CUT_OFF,) if cut_off else ()
    except UnicodeDecodeError as exc:
        raise _not_text(path) from exc


def _utf16_by_zeros(data: bytes) -> str | None:
    """UTF-16 without a mark has zeros in nearly every second byte of its ASCII parts."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if odd > 4 * even and odd * 10 > len(data):
        return "utf-16-le"
    if even > 4 * odd and even * 10 > len(data):
        return "utf-16-be"
    return None


def _not_text(path: Path) -> InputError:
    return bad_file(
        path,
        "this is not a text file; give a transcript (SRT, WebVTT, TextGrid, ELAN, JSON, CSV)",
        "텍스트 파일이 아닙니다. 전사 파일(SRT, WebVTT, TextGrid, ELAN, JSON, CSV)을 주십시오",
    )


_CUT_OFF = (
    "the transcript ends in the middle of a character: the file is cut off",
    "전사 파일이 글자 중간에서 끝납니다. 파일이 잘렸습니다",
)
_IS_CP949 = (
    "the transcript is not UTF-8; it was read as CP949",
    "전사 파일이 UTF-8이 아니어서 CP949로 읽었습니다",
)
