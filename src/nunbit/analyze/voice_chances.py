"""Class probabilities of each window by how it is spoken, from a bundle with a voice tower.

The sound passes once; the bands of one window are in memory at a time, the functionals of all. What
the tower reads is the distance from the person's own mean over the recording, so a recording with
little speech gets no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from nunbit.encoders import Bundle, VoiceSection
from nunbit.prompts import load_template_set
from nunbit.streams import AudioChunk, Flags, Interval, Singles, VoiceStream
from nunbit.timebase import rows_of
from nunbit.voice.framing import Block, iter_blocks
from nunbit.voice.pitch import cut_frames
from nunbit.voice_features import (
    FEATURE_FORMAT,
    FRAME,
    N_MELS,
    SILENT_MEL,
    Speech,
    describe,
    functional_names,
    log_mel,
    standardise,
)
from nunbit.zeroshot import ensemble_cosines, probabilities

Replay = Callable[[], Iterable[AudioChunk]]

MIN_PERSON_S = 10.0
"""Less speech in the whole recording says nothing of how the person usually sounds."""


def voice_chances(
    bundle: Bundle,
    replay: Replay,
    windows: Sequence[Interval],
    voice: VoiceStream,
    own: Sequence[Interval] | None = None,
) -> Singles | None:
    """Compare how each window is spoken with the bundle's prompts.

    Args:
        bundle: With or without a voice tower.
        replay: Gives the sound that ``voice`` was read from.
        windows: W windows by start.
        voice: Speech, pitch and level.
        own: Stretches of the person analysed; None takes all speech as theirs.

    Returns:
        (W, K) rows sum to one, NaN with less than a second of the person's speech or where the
        voice is clipped, everywhere with less than 10 s in the recording; None without a voice
        tower for these functionals.
    """
    section = voice_section(bundle)
    if section is None:
        return None
    rows, vectors = embed_windows(bundle, replay, windows, voice, own)
    chances = np.full((len(windows), len(bundle.label_set.labels)), np.nan, np.float32)
    if len(rows):
        templates = load_template_set(bundle.default_template_set)
        prompts = bundle.prompt_embeddings(templates, bundle.label_set)
        cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
        chances[rows] = probabilities(cosines, section.logit_scale, section.temperature)
        edges = np.array([(each.start_s, each.end_s) for each in windows], np.float64)
        chances[voice.are_clipped(edges[:, 0], edges[:, 1])] = np.nan
    return chances


def voice_section(bundle: Bundle) -> VoiceSection | None:
    """How the bundle's voice tower is used; None if it has none for the functionals made here."""
    section = bundle.voice
    if section is None or section.format != FEATURE_FORMAT:
        return None
    return section if len(section.spread) == len(functional_names()) else None


def embed_windows(
    bundle: Bundle,
    replay: Replay,
    windows: Sequence[Interval],
    voice: VoiceStream,
    own: Sequence[Interval] | None = None,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Singles]:
    """Embeddings of the windows that have enough speech.

    Returns:
        (V,) positions of these windows and (V, D) unit rows.
    """
    section = bundle.voice
    speech = own_speech(voice, own)
    nothing = np.zeros(0, np.int64), np.zeros((0, bundle.embedding_size), np.float32)
    if section is None or np.count_nonzero(speech) * 0.01 < MIN_PERSON_S:
        return nothing
    raw = describe_windows(replay, windows, voice, speech)
    known = np.flatnonzero(np.isfinite(raw).any(axis=1))
    if not len(known):
        return nothing
    person = np.zeros(len(known), np.int64)
    rows = standardise(raw[known], person, section.spread)
    return known, bundle.embed_voice(rows)


def own_speech(voice: VoiceStream, own: Sequence[Interval] | None) -> Flags:
    """(M,) where the person analysed speaks."""
    speech: Flags = voice.speech & voice.present
    if own is None:
        return speech
    theirs = np.zeros(len(speech), bool)
    for start, stop in rows_of(voice.times_s, own).tolist():
        theirs[start:stop] = True
    return speech & theirs


def describe_windows(
    replay: Replay, windows: Sequence[Interval], voice: VoiceStream, speech: Flags
) -> Singles:
    """(W, F) functionals of each window, NaN rows without enough speech; windows by start."""
    spans = rows_of(voice.times_s, windows)
    rows = np.full((len(windows), len(functional_names())), np.nan, np.float32)
    done = 0
    held, held_from = np.zeros((0, N_MELS), np.float32), 0

    def finish(reached: int) -> None:
        nonlocal done
        while done < len(spans) and spans[done, 1] <= reached:
            start, stop = spans[done].tolist()
            part = slice(start - held_from, stop - held_from)
            rows[done] = describe(
                Speech(
                    held[part],
                    voice.f0_hz[start:stop],
                    voice.level_dbfs[start:stop],
                    speech[start:stop],
                )
            )
            done += 1

    for frames, mel in _bands(replay()):
        first = max(frames.start, held_from)
        gap = first - held_from - len(held)  # frames without sound before this block
        silence = np.full((max(0, gap), N_MELS), SILENT_MEL, np.float32)
        held = np.concatenate([held, silence, mel[first - frames.start :]])
        finish(min(held_from + len(held), len(voice.times_s)))
        needed = int(spans[done:, 0].min()) if done < len(spans) else held_from + len(held)
        drop = min(max(0, needed - held_from), len(held))
        held, held_from = held[drop:], held_from + drop
    missing = len(voice.times_s) - held_from - len(held)
    held = np.concatenate([held, np.full((max(0, missing), N_MELS), SILENT_MEL, np.float32)])
    finish(len(voice.times_s))
    return rows


def _bands(chunks: Iterable[AudioChunk]) -> Iterator[tuple[slice, Singles]]:
    """Frames of the grid and their (n, 40) log-mel bands."""

    def bands(block: Block) -> Singles:
        return log_mel(cut_frames(block, FRAME // 2))

    return ((block.frames, bands(block)) for block in iter_blocks(chunks))
