"""What the header of a sound file says about itself, where FFmpeg takes it at its word.

The sizes in a WAV file are 32 bits long and wrap above 4 GiB; recorders that crash leave old ones.
The length in an MP3 file is a note that an editor may have left behind. Only first bytes are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_UNKNOWN = (0, 0xFFFF_FFFF)  # recorders that write on the fly
_STRAY = 1024  # so many bytes at the end are no sound worth a word
_MP3_HEAD = 16_384
_MP3_RATES_HZ = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class WavData:
    """The sound in a WAV file.

    Attributes:
        said: Bytes of sound by the header.
        there: Bytes that are there.
    """

    said: int
    there: int

    @property
    def goes_on(self) -> bool:
        """Whether there is more sound than the header says."""
        return self.there > self.said + _STRAY


def wav_data(path: Path) -> WavData | None:
    """How much sound a WAV file holds; None where it is none, or leaves its length open."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None
        at = 12
        while True:
            stream.seek(at)
            chunk = stream.read(8)
            said = int.from_bytes(chunk[4:8], "little")
            if len(chunk) < 8:
                return None
            at += 8
            if chunk[:4] == b"data":
                break
            at += said + said % 2
        if said in _UNKNOWN:
            return None
        end = at + said
        if end >= size or _are_chunks(stream, end + said % 2, size):
            return WavData(said, min(said, size - at))
    return WavData(said, size - at)


def _are_chunks(stream: BinaryIO, at: int, size: int) -> bool:
    """Whether what follows the sound are chunks again (names, marks) up to the end of the file."""
    while size - at >= 8:
        stream.seek(at)
        chunk = stream.read(8)
        if not all(32 <= byte < 127 for byte in chunk[:4]):
            return False
        said = int.from_bytes(chunk[4:8], "little")
        at += 8 + said + said % 2
    return at <= size + 1


def mp3_length_s(path: Path) -> float | None:
    """Length that the note of the encoder in an MP3 file (Xing, Info, VBRI) gives, or None."""
    with path.open("rb") as stream:
        head = stream.read(10)
        start = 0
        if head[:3] == b"ID3":
            a, b, c, d = head[6:10]
            start = 10 + (a << 21 | b << 14 | c << 7 | d)
        stream.seek(start)
        data = stream.read(_MP3_HEAD)
    for mark in (b"Xing", b"Info", b"VBRI"):
        at = data.find(mark)
        frame = data.rfind(b"\xff", 0, max(at, 0))
        if at < 0 or frame < 0 or at - frame > 40 or data[frame + 1] & 0xE0 != 0xE0:
            continue
        version, index = data[frame + 1] >> 3 & 3, data[frame + 2] >> 2 & 3
        if index == 3 or version == 1:
            continue
        rate_hz = _MP3_RATES_HZ[index] // {3: 1, 2: 2, 0: 4}[version]
        if mark == b"VBRI":
            frames = int.from_bytes(data[at + 14 : at + 18], "big")
        elif data[at + 7] & 1:
            frames = int.from_bytes(data[at + 8 : at + 12], "big")
        else:
            continue
        return frames * (1152 if version == 3 else 576) / rate_hz
    return None
