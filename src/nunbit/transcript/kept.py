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
        sound: SHA-256 of its samples.
        language: That was found in it, or taken for granted.
        cues: What was understood.
    """

    start_s: float
    sound: str
    language: str | None
    cues: tuple[Cue, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    key: dict[str, str | None]


class KeptBlocks:
    """The blocks of one recording.

    Args:
        folder: Of the recording's unfinished work; made when the first block is added.
        key: What decides the words besides the sound: engine, model, language.
    """

    def __init__(self, folder: Path, key: dict[str, str | None]) -> None:
        self._path, self._head = folder / FILE, _Head(key)
        self._kept: dict[tuple[float, str], KeptBlock] = {}
        self._read()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, start_s: float, samples: Singles) -> KeptBlock | None:
        """The block with this sound, if an earlier run has recognised it."""
        return self._kept.get((start_s, _digest(samples)))

    def add(
        self, start_s: float, samples: Singles, language: str | None, cues: tuple[Cue, ...]
    ) -> None:
        """Write the next block down.

        Raises:
            InputError: The disk is full, or the like.
        """
        block = KeptBlock(start_s, _digest(samples), language, cues)
        with writing(self._path):
            if not self._kept:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_bytes(msgspec.json.encode(self._head) + b"\n")
            with self._path.open("ab") as stream:
                stream.write(msgspec.json.encode(block) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        self._kept[block.start_s, block.sound] = block

    def _read(self) -> None:
        """Take what is whole; a line that was being written at the crash is cut off."""
        try:
            lines = self._path.read_bytes().split(b"\n")
            if msgspec.json.decode(lines[0], type=_Head) != self._head:
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


def _digest(samples: Singles) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()
