"""Whisper by faster-whisper: words with times, and a guard against text that nobody said.

Whisper invents sentences in noise and can repeat one for minutes. Three things hold it back: it is
given only stretches in which somebody speaks, it judges itself (Radford et al. 2022, "Robust Speech
Recognition via Large-Scale Weak Supervision", section 4.5: no-speech probability, mean log
probability, compression ratio), and what is left of a loop is cut here. Nothing is downloaded
unless the caller allows it.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import AUDIO_RATE_HZ, Singles
from nunbit.recording.transcript.cues import Cue, RawWord, joined_pieces
from nunbit.runtime.optional_weights import find_weights

Block = tuple[float, Singles]
"""Start in seconds and samples without a gap."""
Run = Callable[[Block, str | None], tuple[list[Cue], str | None]]
"""Block and language (None: find out) to cues and language."""

DEFAULT_WHISPER = "small"
HEARS_S = 28.0
"""Whisper hears 30 s at once; longer blocks would be cut anywhere."""

# The thresholds of the paper, which are faster-whisper's, too.
_MOST_COMPRESSED = 2.4  # times that zlib shortens a text; prose reaches 1.5 to 2
_SILENT = 0.6  # probability that nobody speaks
_UNSURE = -1.0  # mean log probability of the text
# A real sentence is said twice, not four times; three words or more, since people say 네 네 네 네.
_ROUNDS, _LONG_LOOP = 4, 3
_LONGEST_LOOP = 20  # words

EARLY_S = 0.04
"""Whisper's boundaries between words lie this much early: median of 25 words of five GRID clips
that were put aside for this (``benchmarks/placed_talks.py``)."""
_ADJOINING_S = 0.02  # one step of its times

# Whisper's encoder always reads 30 s, silence included: a second of work for two words. It reads
# less as well, but was trained on silence behind the words: with little of it it mishears
# (benchmarks/live_words.py: errors in 27% of characters with 1 s, in 16% with 8 s, in 13% as files
# are read).
_SILENCE_S, _FRAMES_A_SECOND, _MOST_FRAMES = 8.0, 100, 3000
_TOKENS_A_SECOND, _FEWEST_TOKENS, _MOST_TOKENS = 30, 24, 224  # the fastest speech needs 20 a second


def load_whisper(
    module: Any, model: str | None, allow_download: bool
) -> tuple[Run, Run, frozenset[str]]:
    """The call for one block, the same in a hurry, and the languages that the model knows.

    Args:
        module: faster-whisper.
        model: A folder or a size; None takes the weights ``whisper-base`` where they were fetched,
            else ``small``.
        allow_download: Let faster-whisper fetch a size from the network.

    Raises:
        InputError: The model is not on this machine or cannot be loaded.
    """
    model = model or whisper_here() or DEFAULT_WHISPER
    folder = Path(model)
    if folder.is_dir() and not (folder / "tokenizer.json").is_file() and not allow_download:
        # faster-whisper would download one, whatever the setting.
        raise InputError(
            Text(
                f"{folder}: the Whisper model folder has no tokenizer.json; copy it from the model "
                "it was converted from",
                f"{folder}: Whisper 모델 폴더에 tokenizer.json이 없습니다. 변환하기 전 모델에서 "
                "복사하십시오",
            )
        )
    try:
        whisper = module.WhisperModel(
            model, compute_type="auto", local_files_only=not allow_download
        )
    except Exception as exc:  # tokenizers raises nothing more precise
        raise _no_model(model, exc) from exc

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        start, samples = block
        try:
            segments, info = whisper.transcribe(
                samples,
                language=None if language is None else primary(language),
                word_timestamps=True,
                vad_filter=False,
                # Or one mistake repeats itself through the block.
                condition_on_previous_text=False,
                compression_ratio_threshold=_MOST_COMPRESSED,
                log_prob_threshold=_UNSURE,
                no_speech_threshold=_SILENT,
            )
            cues = [whisper_cue(segment, start) for segment in segments]
        except RuntimeError as exc:  # such as a model converted without its alignment heads
            raise _no_model(model, exc) from exc
        return [*without_repeats(cues)], info.language  # the first block's language holds for all

    return run, swift_run(module, whisper), frozenset(whisper.supported_languages)


@dataclass(frozen=True, slots=True)
class _Segment:
    """What faster-whisper says of a segment, where it is asked for text alone."""

    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: None = None


def swift_run(module: Any, whisper: Any) -> Run:
    """The call for one utterance whose words are wanted at once.

    The same weights with one guess at a time and no word times, and the encoder reads the utterance
    with eight seconds of silence and not 30 s. Text is doubted as it is in the other.

    Args:
        module: faster-whisper.
        whisper: Its loaded model.
    """

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        start, samples = block
        seconds = len(samples) / AUDIO_RATE_HZ
        # Two frames are one step of the encoder.
        n = min(_MOST_FRAMES, 2 * math.ceil((seconds + _SILENCE_S) * _FRAMES_A_SECOND / 2))
        silence = np.zeros(max(0, n * AUDIO_RATE_HZ // _FRAMES_A_SECOND - len(samples)), np.float32)
        features = whisper.feature_extractor(np.concatenate([samples, silence]))[:, :n]
        encoded = whisper.encode(features)
        if language is None:
            (token, _), *_ = whisper.model.detect_language(encoded)[0]
            language = token.strip("<|>")
        tokenizer = module.tokenizer.Tokenizer(
            whisper.hf_tokenizer, whisper.model.is_multilingual, "transcribe", primary(language)
        )
        prompt = whisper.get_prompt(tokenizer, [], without_timestamps=True)
        most = min(_MOST_TOKENS, _FEWEST_TOKENS + round(_TOKENS_A_SECOND * seconds))
        found = whisper.model.generate(
            encoded, [prompt], beam_size=1, max_length=len(prompt) + most, return_scores=True,
            return_no_speech_prob=True,
        )[0]  # fmt: skip
        tokens = found.sequences_ids[0]
        text = tokenizer.decode(tokens).strip()
        if not text:
            return [], language
        said = text.encode()
        segment = _Segment(
            0.0, seconds, text, found.scores[0] * len(tokens) / (len(tokens) + 1),
            found.no_speech_prob, len(said) / len(zlib.compress(said)),
        )  # fmt: skip
        return [whisper_cue(segment, start)], language

    return run


def later_boundaries(words: Sequence[RawWord]) -> tuple[RawWord, ...]:
    """Words in order, where one begins as the other ends a little later, by half a word at most."""
    moved = list(words)
    for k, (one, after) in enumerate(itertools.pairwise(words)):
        own, first = one.span, moved[k].span
        if own is None or first is None or after.span is None:
            continue
        if after.span[0] - own[1] <= _ADJOINING_S:
            by = min(EARLY_S, (after.span[1] - after.span[0]) / 2)
            moved[k] = replace(one, span=(first[0], own[1] + by))
            moved[k + 1] = replace(after, span=(after.span[0] + by, after.span[1]))
    return tuple(moved)


def whisper_here() -> str | None:
    """Folder of the fetched weights ``whisper-base``, or None."""
    folder = find_weights("whisper-base")
    return None if folder is None else str(folder)


def primary(language: str) -> str:
    """``ko`` of ``ko-KR``, as Whisper calls languages."""
    return language.split("-")[0].lower()


def whisper_cue(segment: Any, offset_s: float) -> Cue:
    """A segment of faster-whisper as a cue, with its own doubt.

    Args:
        segment: With times, text, words, and its three judgements of itself.
        offset_s: Start of its block.
    """
    # faster-whisper gives NumPy's numbers, which do not belong into files.
    words = joined_pieces(
        RawWord(
            word.word,
            (offset_s + float(word.start), offset_s + float(word.end)),
            float(word.probability),
        )
        for word in segment.words or ()
    )
    words = later_boundaries(words)
    # Words carry their own confidence; the mean over tokens is the next best.
    confidence = None if words else min(1.0, math.exp(segment.avg_logprob))
    start, end = offset_s + float(segment.start), offset_s + float(segment.end)
    cue = Cue(start, end, segment.text.strip(), confidence=confidence, words=words)
    # Whisper leaves a segment out only where both speak against it; one is enough to doubt it when
    # a loop shows, too.
    if segment.no_speech_prob > _SILENT and segment.avg_logprob < _UNSURE:
        return replace(cue, doubt="invented_text")
    if segment.compression_ratio > _MOST_COMPRESSED:
        cut = without_loops(words)
        # All that is said again and again, or text that shrinks without being said again.
        return replace(
            cue,
            text=" ".join(word.text for word in cut),
            words=cut,
            doubt="repeated_text" if len(cut) < len(words) else "invented_text",
        )
    return cue


def without_loops(words: Sequence[RawWord]) -> tuple[RawWord, ...]:
    """Words with what is said four times or more in a row kept once.

    Args:
        words: In order. Loops of one to twenty words are found; the shortest that fits counts.
    """
    texts = [word.text.casefold().strip(" .,!?…") for word in words]
    kept: list[RawWord] = []
    position = 0
    while position < len(words):
        length, rounds = _loop_at(texts, position)
        kept += words[position : position + length]
        position += length * rounds
    return tuple(kept)


def _loop_at(texts: Sequence[str], position: int) -> tuple[int, int]:
    """Length of the loop that begins here and its rounds; (1, 1) where none does."""
    for length in range(1, min(_LONGEST_LOOP, (len(texts) - position) // _ROUNDS) + 1):
        unit = texts[position : position + length]
        rounds = 1
        while texts[position + rounds * length : position + (rounds + 1) * length] == unit:
            rounds += 1
        if rounds >= _ROUNDS:
            return length, rounds
    return 1, 1


def without_repeats(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Cues with a sentence that fills four or more in a row kept once, and marked.

    Short answers (fewer than three words) are left: people say them again and again.
    """
    for text, same in itertools.groupby(cues, key=lambda cue: cue.text.casefold()):
        run = list(same)
        if len(run) >= _ROUNDS and len(text.split()) >= _LONG_LOOP:
            run = [replace(run[0], doubt="repeated_text")]
        yield from run


def _no_model(model: str, exc: Exception) -> InputError:
    reason = " ".join(str(exc).split())[:120]
    return InputError(
        Text(
            f"Whisper model '{model}' is not on this machine or cannot be loaded ({reason}); "
            "fetch one with `nunbit models get whisper-base`, give a converted model's folder, "
            "or allow the download (`asr_download=true`)",
            f"Whisper 모델 '{model}'이(가) 이 컴퓨터에 없거나 읽을 수 없습니다 ({reason}). "
            "`nunbit models get whisper-base`로 받거나, 변환된 모델 폴더를 주거나, 내려받기를 "
            "허용하십시오 (`asr_download=true`)",
        )
    )
