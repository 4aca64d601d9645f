"""The text of a transcript file, with what was odd about its characters."""

from __future__ import annotations

from pathlib import Path

from nunbit.textfile import read_decoded
from nunbit.transcript.cues import bad_file
from nunbit.transcript.notes import Notes

_MOST_BYTES = 256 << 20  # a transcript of a day is below 10 MB; this is a recording by mistake


def read_text(path: Path, notes: Notes) -> str:
    """Read a text file in UTF-8, UTF-16 or CP949.

    Args:
        path: The file.
        notes: Takes what was odd: the encoding had to be guessed, the file is cut off.

    Returns:
        The text with ``\\n`` line ends, never blank.

    Raises:
        InputError: The file is missing, empty, not an ordinary file, not text, or in another
            encoding.
    """
    found = read_decoded(path, most_bytes=_MOST_BYTES)
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    # A mark of byte order inside (files joined one behind the other) is no character of the text.
    text = text.replace("\ufeff", "")
    if not text.strip():
        raise bad_file(path, "the file is empty", "파일이 비어 있습니다")
    if found.cut_off:
        notes.add("cut_off", f"line {text.count(chr(10)) + 1}")
    if found.odd_at is not None:
        before = found.text[: found.odd_at].replace("\r\n", "\n").replace("\r", "\n")
        notes.add("odd_bytes", f"line {before.count(chr(10)) + 1}", found.odd)
    if found.encoding == "cp949":
        notes.add("read_as_cp949", path.name)
    return text
