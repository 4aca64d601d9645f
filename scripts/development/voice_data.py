"""Acted speech for training the voice tower, kept as functionals.

A speaker's files are put one after another, with silence between them, and read like a recording of
``nunbit analyze``: so speech, pitch range and functionals are computed in the same way in training
and in use. No sound is kept. N files, F functionals.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Floats, Interval, Singles
from nunbit.language.labels import LabelSet, label_set_from_dict
from nunbit.measures.class_probabilities import describe_windows, own_speech
from nunbit.recording.media import iter_audio
from nunbit.recording.voice.functionals import FEATURE_FORMAT
from nunbit.recording.voice.voice_reader import VoiceReader
from nunbit.runtime.files import atomic_path
from nunbit.runtime.progress import say

_MAPPING = Path(__file__).parent / "data" / "mappings" / "voice.toml"

CORPORA = ("ravdess", "emodb", "korean_emotional")
_GAP_S = 1.0  # longer than any window of speech detection or pitch

Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Recordings:
    """N files of acted speech.

    Attributes:
        rows: (N, F) functionals of each file, NaN rows with less than a second of speech.
        file: (N,) as the corpus names it.
        corpus: (N,) one of ``CORPORA``.
        emotion: (N,) as the corpus names it.
        speaker: (N,) ``corpus/speaker``.
        sentence: (N,) what is said.
        part: (N,) ``script_set`` of the Korean corpus, '' elsewhere.
        seconds: (N,) lengths.
    """

    rows: Singles
    file: Strings
    corpus: Strings
    emotion: Strings
    speaker: Strings
    sentence: Strings
    part: Strings
    seconds: NDArray[np.float64]

    def take(self, keep: NDArray[Any]) -> Recordings:
        """Some of the files."""
        return Recordings(*(getattr(self, f.name)[keep] for f in fields(self)))

    @property
    def person(self) -> NDArray[np.int64]:
        """(N,) codes of the speakers."""
        return np.unique(self.speaker, return_inverse=True)[1].astype(np.int64)

    @property
    def spread(self) -> NDArray[np.float64]:
        """(F,) within a speaker, the corpora counted alike."""
        parts = [self.take(self.corpus == c) for c in np.unique(self.corpus)]
        squares = [np.square(usual_spread(p.rows, p.person)) for p in parts]
        spread: NDArray[np.float64] = np.sqrt(np.mean(squares, axis=0))
        return spread


def label_set_with_own(label_set: LabelSet) -> tuple[LabelSet, dict[str, str]]:
    """A label set with the corpora's further emotions, and which label each emotion is.

    Returns:
        The labels, then those with a prompt of their own; emotion -> id.

    Raises:
        InputError: There is no mapping to this label set.
    """
    table = tomllib.loads(_MAPPING.read_text(encoding="utf-8"))
    if label_set.name not in table:
        raise InputError(
            Text(
                f"no mapping of acted emotions to label set {label_set.name}",
                f"연기 음성의 감정을 레이블 집합 {label_set.name}에 대응시킨 표가 없습니다",
            )
        )
    ids = {e: label for label, members in table[label_set.name].items() for e in members}
    spoken = {e for corpus in table["corpora"].values() for e in corpus["emotions"]}
    own = sorted(spoken - set(ids))
    rows = [{"id": emotion} | table["own_prompt"][emotion] for emotion in own]
    labels = (
        label_set_from_dict({"name": "own", "labels": rows, "groups": {}}, "voice.toml").labels
        if rows
        else ()
    )
    more = replace(label_set, labels=(*label_set.labels, *labels))
    return more, ids | {e: e for e in own}


def load_recordings(root: Path, cache: Path, corpora: Sequence[str] = CORPORA) -> Recordings:
    """The corpora, from the cache where it fits this version of the functionals.

    Args:
        root: Folder with ``speech/ravdess`` and so on.
        cache: An ``.npz`` that is written where it is missing or old; one a choice of corpora.
        corpora: Which; all three by default.

    Raises:
        InputError: A corpus or file is missing.
    """
    names = [f.name for f in fields(Recordings)]
    if cache.is_file():
        with np.load(cache, allow_pickle=False) as kept:
            if str(kept["format"]) == FEATURE_FORMAT:
                return Recordings(*(kept[f"column_{name}"] for name in names))
    tables = [_read_speaker(root, c, s, r) for c in corpora for s, r in _speakers(root, c)]
    columns = {n: np.concatenate([getattr(t, n) for t in tables]) for n in names}
    with atomic_path(cache) as partial, partial.open("wb") as file:
        named: dict[str, Any] = {f"column_{name}": values for name, values in columns.items()}
        np.savez(file, format=np.array(FEATURE_FORMAT), **named)
    return Recordings(**columns)


def _speakers(root: Path, corpus: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    path = root / "speech" / corpus / "labels.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except FileNotFoundError as exc:
        raise InputError(
            Text(
                f"{path}: no such file; give the folder that holds speech/{corpus}",
                f"{path}: 파일이 없습니다. speech/{corpus}가 들어 있는 폴더를 주십시오",
            )
        ) from exc
    for speaker in sorted({line["speaker"] for line in lines}):
        yield speaker, [line for line in lines if line["speaker"] == speaker]


def _read_speaker(root: Path, corpus: str, speaker: str, lines: list[dict[str, str]]) -> Recordings:
    say(f"{corpus} {speaker}: {len(lines)}")
    sounds = [_sound(root / line["file"]) for line in lines]
    starts, at = [], 0.0
    for sound in sounds:
        starts.append(at)
        at += float(np.ceil(len(sound) / AUDIO_RATE_HZ + _GAP_S))
    chunks = [AudioChunk(s, x) for s, x in zip(starts, sounds, strict=True)]
    reader = VoiceReader()
    for chunk in chunks:
        reader.add(chunk)
    voice = reader.finish(lambda: chunks, at)
    windows = [Interval(s, s + len(x) / AUDIO_RATE_HZ) for s, x in zip(starts, sounds, strict=True)]

    def column(*names: str) -> Strings:
        return np.array([next((line[n] for n in names if n in line), "") for line in lines])

    return Recordings(
        rows=describe_windows(lambda: chunks, windows, voice, own_speech(voice, None)),
        file=column("file"),
        corpus=np.full(len(lines), corpus),
        emotion=column("emotion"),
        speaker=np.full(len(lines), f"{corpus}/{speaker}"),
        sentence=column("script", "text", "sentence"),
        part=column("script_set"),
        seconds=np.array([w.duration_s for w in windows]),
    )


def _sound(path: Path) -> Singles:
    parts = [chunk.samples for chunk in iter_audio(path)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def usual_spread(rows: ArrayLike, persons: NDArray[np.int64]) -> Floats:
    """(F,) root mean square distance of rows from their person's mean; unknowns do not count."""
    values = np.asarray(rows, np.float64)
    squares, count = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for person in np.unique(persons):
        own = values[persons == person]
        known = np.isfinite(own)
        n = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, own, 0.0).sum(axis=0) / n
        squares += np.square(np.where(known, own - mean, 0.0)).sum(axis=0)
        count += known.sum(axis=0)
    spread: Floats = np.sqrt(squares / np.maximum(count, 1))
    return spread
