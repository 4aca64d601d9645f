"""What was recognised of a recording that is not done, block by block, for the run after a crash.

One line of JSON for each block, added when the block is done. A block is known by its samples, so
that nothing is taken for words of another sound; the file, by what else decides the words. Knows no
recogniser.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nunbit.files import writing
from nunbit.streams import Singles
from nunbit.transcript.cues import Cue

FILE = "words.jsonl"


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """One recognised block.

    Attributes:
        start_s: Of its sound.
        sound: Of its samples, see :func:`sound_of`.
        language: That was found in it, or taken for granted.
        cues: What was understood.
    """

    start_s: float
    sound: str
    language: str | None
    cues: tuple[Cue, ...]


class KeptBlocks:
    """The blocks of one recording.

    Args:
        folder: Of the recording's unfinished work; made when the first block is added.
        key: What decides the words besides the sound: engine, model, language. Blocks of another
            key are not used.

    Raises:
        InputError: A line that was cut off by the crash cannot be taken away.
    """

    def __init__(self, folder: Path, key: dict[str, str | None]) -> None:
        self._path, self._key = folder / FILE, key
        self._kept: dict[tuple[float, str], KeptBlock] = {}  # by start and sound
        self._read()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, start_s: float, sound: str) -> KeptBlock | None:
        """The block that begins at this second with this sound, if it was recognised before."""
        return self._kept.get((start_s, sound))

    def add(self, block: KeptBlock) -> None:
        """Write the next block down.

        Raises:
            InputError: The disk is full, or the like.
        """
        with writing(self._path):
            if not self._kept:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_bytes(msgspec.json.encode(self._key) + b"\n")
            with self._path.open("ab") as stream:
                stream.write(msgspec.json.encode(block) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        self._kept[block.start_s, block.sound] = block

    def _read(self) -> None:
        """Take what is whole; a line that was being written at the crash is cut off."""
        try:
            lines = self._path.read_bytes().split(b"\n")
            if msgspec.json.decode(lines[0]) != self._key:
                return
        except (OSError, msgspec.MsgspecError):
            return
        good = len(lines[0]) + 1
        for line in lines[1:-1]:
            try:
                block = msgspec.json.decode(line, type=KeptBlock)
            except msgspec.MsgspecError:
                break
            self._kept[block.start_s, block.sound] = block
            good += len(line) + 1
        with writing(self._path):
            os.truncate(self._path, good)


def sound_of(samples: Singles) -> str:
    """What tells one stretch of sound, (n,) float32 at 16 kHz, from another: its SHA-256."""
    return hashlib.sha256(samples.tobytes()).hexdigest()
