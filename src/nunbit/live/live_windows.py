"""Windows of a running session: the face as it is final, voice and words as known so far.

Words come late, so a window is given again when they do; its face never changes. Agreement of two
modalities is text-anchored: the class probabilities of each give a place among the embeddings of
the prompts, and agreement is the cosine of two places.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import union_s
from nunbit.core.streams import AUDIO_RATE_HZ, VOICE_HOP_S, Interval, Singles, Transcript
from nunbit.core.timebase import MIN_SPEECH_S, merge_intervals
from nunbit.language.prompts import load_template_set
from nunbit.live.events import (
    Chances,
    FaceWindow,
    PairAgreement,
    Value,
    VoiceWindow,
    WindowEvent,
    WordsEvent,
    WordsWindow,
)
from nunbit.live.hearing import HeardSeconds, LiveVoice, Samples
from nunbit.live.shared_agreement import SharedAgreement
from nunbit.measures.class_probabilities import (
    MIN_PERSON_S,
    chances_of,
    text_chances,
    voice_section,
)
from nunbit.measures.fusion import MIN_TEXT_S
from nunbit.measures.modality_pairs import MIN_USUAL_S
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import place_cosine, place_of
from nunbit.recording.transcript import Recogniser
from nunbit.recording.transcript.assemble import assemble
from nunbit.recording.transcript.cues import Cues
from nunbit.recording.voice.functionals import Speech, describe, standardise_persons

_KEPT = 600  # windows: ten minutes, from which what is usual is told
_AGAIN = 30  # windows that late words may still change
_SILENT = 1e-12  # energy of -120 dBFS, below which there is no sound
_SETTLED_S = 0.15  # hearing has passed a window's end by so much

# An utterance ends with half a second of silence, or goes to the recogniser after eight seconds.
_CLOSING_S, _LONGEST_S = 0.5, 8.0
_LAG_S = 0.1  # of the speech detector
_BEFORE_S, _AFTER_S = 0.2, 0.3  # sound around it, which recognisers need
_LEAST_S = 0.25
_HELD_S = 20.0
# An utterance that goes on is shown once so much of it is there, and again once so much is new.
_SHOWN_S, _FRESH_S = 0.8, 1.0


@dataclass(frozen=True, eq=False, slots=True)
class SaidStretch:
    """Sound that goes to the recogniser.

    Attributes:
        span: Of the utterance, as far as it was heard.
        start_s: Of the sound.
        samples: 16 kHz, -1 to 1.
        open: The utterance goes on.
    """

    span: Interval
    start_s: float
    samples: Singles
    open: bool = False


class LiveWords:
    """Cuts the speech of a session into utterances and recognises them.

    Args:
        recogniser: Loaded.
        bundle: Gives sentences their class probabilities.
        language: BCP 47; empty where the recogniser finds out.
    """

    def __init__(self, recogniser: Recogniser, bundle: Bundle, language: str) -> None:
        recogniser.check_language(language or None)
        self._recogniser, self._bundle = recogniser, bundle
        self._language = language or recogniser.language
        self._sound: deque[tuple[int, Samples]] = deque()
        self._taken_s = self._shown_s = 0.0
        self._shows = False  # words of an utterance that goes on

    def add(self, position: int, samples: Samples) -> None:
        """Hold the sound of the last seconds."""
        self._sound.append((position, samples))
        while self._sound[0][0] < position - _HELD_S * AUDIO_RATE_HZ:
            self._sound.popleft()

    def closed(self, voice: LiveVoice, *, ended: bool = False) -> SaidStretch | None:
        """The next utterance that has ended, None where none has."""
        fresh = self._fresh(voice)
        if not fresh:
            return None
        first = merge_intervals(fresh, _CLOSING_S)[0]
        if first.duration_s >= _LONGEST_S:
            # At the last short pause, where there is one in the second half.
            ends = [s.end_s for s in fresh if s.end_s < first.start_s + _LONGEST_S]
            late = [e for e in ends if e > first.start_s + _LONGEST_S / 2]
            first = Interval(first.start_s, max(late, default=first.start_s + _LONGEST_S))
        elif not ended and voice.end_s - first.end_s < _CLOSING_S + _LAG_S:
            return None
        before_s = max(first.start_s - _BEFORE_S, self._taken_s)
        self._taken_s = first.end_s
        samples, start_s = self._cut(before_s, first.end_s + _AFTER_S)
        return SaidStretch(first, start_s, samples) if len(samples) else None

    def going_on(self, voice: LiveVoice) -> SaidStretch | None:
        """The utterance that goes on, if enough of it is new. Asked when the recogniser is idle.

        After :meth:`closed` gave None.
        """
        if voice.end_s < self._shown_s + _FRESH_S:
            return None
        fresh = self._fresh(voice)
        if not fresh or fresh[-1].end_s - fresh[0].start_s < _SHOWN_S:
            return None
        if fresh[-1].end_s < self._shown_s:
            return None  # silence since: it closes soon
        self._shown_s = voice.end_s
        before_s = max(fresh[0].start_s - _BEFORE_S, self._taken_s)
        samples, start_s = self._cut(before_s, voice.end_s)
        span = Interval(fresh[0].start_s, fresh[-1].end_s)
        return SaidStretch(span, start_s, samples, open=True) if len(samples) else None

    def _fresh(self, voice: LiveVoice) -> list[Interval]:
        """Speech that no closed utterance has."""
        return [
            Interval(max(s.start_s, self._taken_s), s.end_s)
            for s in voice.segments()
            if s.end_s > self._taken_s + _LEAST_S
        ]

    def _cut(self, start_s: float, end_s: float) -> tuple[Singles, float]:
        """The sound between two times, silence where it is missing, and where it begins."""
        if not self._sound:
            return np.zeros(0, np.float32), start_s
        last = self._sound[-1]
        a = max(round(start_s * AUDIO_RATE_HZ), self._sound[0][0])
        b = min(round(end_s * AUDIO_RATE_HZ), last[0] + len(last[1]))
        cut = np.zeros(max(0, b - a), np.float32)
        for position, samples in self._sound:
            low, high = max(a, position), min(b, position + len(samples))
            if low < high:
                cut[low - a : high - a] = samples[low - position : high - position]
        return cut / np.float32(32768), a / AUDIO_RATE_HZ

    def recognise(self, said: SaidStretch) -> tuple[WordsEvent, ...]:
        """The words of an utterance; none where nothing was understood and nothing was shown."""
        run = self._recogniser.swift or self._recogniser.run
        cues, language = run((said.start_s, said.samples), self._language)
        self._language = self._language or language
        cues = [cue for cue in cues if not cue.doubt]  # told when the session ends
        engine = self._recogniser.engine
        words = assemble(Path(engine), Cues(tuple(cues), engine, self._language))
        text = " ".join(u.text for u in words.utterances)
        shown, self._shows = self._shows, said.open and bool(text)
        span = said.span
        if said.open or not text:
            nothing = (round(span.start_s, 3), round(span.end_s, 3), text, None, None)
            return (WordsEvent(*nothing, open=True),) if text or shown else ()
        return tuple(self._events(span, text, words))

    def _events(self, span: Interval, text: str, words: Transcript) -> Iterable[WordsEvent]:
        """One event for all: recognisers cut sentences as they like."""
        given = [w.confidence for u in words.utterances for w in u.words]
        given += [u.confidence for u in words.utterances]
        sure = [c for c in given if c is not None]
        one = replace(words, utterances=(replace(words.utterances[0], interval=span, text=text),))
        found = text_chances(self._bundle, one)
        row = None if found.chances is None else found.chances[0]
        p, reason = None, "no_model" if row is None else next(iter(found.reasons), "")
        if row is not None and not reason:
            p = dict(zip(self._bundle.label_set.ids, map(float, row), strict=True))
        yield WordsEvent(
            round(span.start_s, 3), round(span.end_s, 3), text,
            round(float(np.mean(sure)), 3) if sure else None, p, reason,
        )  # fmt: skip


class Windows:
    """Puts windows together as face, voice and words become known.

    Args:
        bundle: Gives the voice its class probabilities and the prompts their places.
        camera, sound, words: What the session has.
        shared: Gives agreement where the bundle is aligned; None takes the prompts' space.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        camera: bool,
        sound: bool,
        words: bool,
        shared: SharedAgreement | None = None,
    ) -> None:
        self._shared = shared
        self._bundle, self._camera, self._sound, self._words = bundle, camera, sound, words
        templates = load_template_set(bundle.default_template_set)
        self._prompts = bundle.prompt_embeddings(templates, bundle.label_set)
        self._labels = bundle.label_set.ids
        self._signs = np.array([label.valence for label in bundle.label_set.labels], np.float64)
        self._tower = voice_section(bundle)
        self._rows: deque[Singles] = deque(maxlen=_KEPT)  # functionals of the voice
        self._spoken_s, self._spoken_to_s = 0.0, 0.0
        self._waiting: deque[tuple[Interval, FaceWindow]] = deque()
        self._given: deque[WindowEvent] = deque(maxlen=_AGAIN)
        self._said: deque[WordsEvent] = deque(maxlen=_KEPT)
        self._differ: dict[float, tuple[float, float]] = {}  # start -> end, half the difference

    def add_faces(self, windows: Iterable[tuple[Interval, FaceWindow]]) -> None:
        """Take windows whose face is final."""
        self._waiting += windows

    @property
    def next_end_s(self) -> float | None:
        """End of the window that is given next, None where none waits."""
        return self._waiting[0][0].end_s if self._waiting else None

    def is_heard(self, end_s: float) -> bool:
        """Whether the sound of the window that is given next was heard by ``end_s``."""
        return bool(self._waiting) and end_s >= self._waiting[0][0].end_s + _SETTLED_S

    def ready(
        self, heard: HeardSeconds | None, sound_end_s: float, *, wait: bool = True
    ) -> list[WindowEvent]:
        """Windows that can be given now.

        Args:
            heard: The last seconds of the voice; None without sound.
            sound_end_s: Sound from before this time will not come any more.
            wait: Whether a window waits until its sound was heard.
        """
        found = []
        while self._waiting:
            span, face = self._waiting[0]
            # Without its sound only where that does not come.
            if heard is not None and wait and not self.is_heard(max(heard.end_s, sound_end_s)):
                break
            self._waiting.popleft()
            if self._shared is not None:
                self._shared.add_window(span, heard)
            found.append(self._event(span, face, self._voice(span, heard)))
            self._given.append(found[-1])
        return found

    def add_words(self, event: WordsEvent) -> list[WindowEvent]:
        """Take words; returns the windows given before that they change."""
        if event.open:
            return []
        self._said.append(event)
        if self._shared is not None:
            self._shared.add_words(Interval(event.t_start, event.t_end), event.text)
        changed = []
        for k, old in enumerate(self._given):
            if old.t_start < event.t_end and event.t_start < old.t_end:
                new = self._event(Interval(old.t_start, old.t_end), old.face, old.voice)
                self._given[k] = new
                changed.append(new)
        return changed

    def _event(self, span: Interval, face: FaceWindow, voice: VoiceWindow) -> WindowEvent:
        words = self._text(span)
        return WindowEvent(
            span.start_s, span.end_s, face, voice, words,
            self._disagreement(span, face, words), self._agreement(span, face, voice, words),
        )  # fmt: skip

    def _agreement(
        self, span: Interval, face: FaceWindow, voice: VoiceWindow, words: WordsWindow
    ) -> PairAgreement:
        if self._shared is not None:
            reasons = {"face": face.reason, "voice": voice.reason, "text": words.reason}
            return self._shared.agreement(span, reasons)
        return PairAgreement(
            face_voice=self._agree(face, voice),
            face_words=self._agree(face, words),
            voice_words=self._agree(voice, words),
        )

    def _voice(self, span: Interval, heard: HeardSeconds | None) -> VoiceWindow:
        if heard is None:
            return VoiceWindow(None, None, "no_audio", None, None)
        part = heard.part(span)
        present, speech, level = heard.present[part], heard.speech[part], heard.level_dbfs[part]
        if not present.any():
            return VoiceWindow(None, None, "gap", None, None)
        loud = level[speech & present] if (speech & present).any() else level[present]
        # As the measures of a recording have them: the mean of the energy; of the time with sound.
        level_db = round(10.0 * math.log10(max(float(np.mean(10.0 ** (loud / 10.0))), _SILENT)), 1)
        share = round(float((speech & present).sum() / present.sum()), 3)
        fresh = heard.part(Interval(max(span.start_s, self._spoken_to_s), span.end_s))
        self._spoken_s += float(np.count_nonzero(heard.speech[fresh])) * VOICE_HOP_S
        self._spoken_to_s = span.end_s
        p, reason = self._spoken(heard, part)
        return VoiceWindow(p, self._valence(p), reason, level_db, share)

    def _spoken(self, heard: HeardSeconds, part: slice) -> tuple[Chances | None, str]:
        """Class probabilities of how a window is spoken, against the person's mean so far."""
        if self._tower is None:
            return None, "no_model"
        speech, f0 = heard.speech[part], heard.f0_hz[part]
        if np.count_nonzero(speech) * VOICE_HOP_S < MIN_SPEECH_S:
            return None, "silence"
        voiced = np.isfinite(f0)
        if np.count_nonzero(voiced & heard.clipped[part]) > 0.1 * np.count_nonzero(voiced):
            return None, "clipped"
        row = describe(Speech(heard.mel[part], f0, heard.level_dbfs[part], speech))
        if not np.isfinite(row).any():
            return None, "silence"
        self._rows.append(row)
        if self._spoken_s < MIN_PERSON_S:
            return None, "too_few"
        rows = np.stack(self._rows)
        last = standardise_persons(rows, np.zeros(len(rows), np.int64), self._tower.spread)[-1:]
        vectors = self._bundle.embed_voice(last)
        scale, temperature = self._tower.logit_scale, self._tower.temperature
        return self._chances(chances_of(self._bundle, vectors, scale, temperature)[0]), ""

    def _text(self, span: Interval) -> WordsWindow:
        """Mean over the utterances, weighted by the seconds in the window."""
        if not self._words:
            return WordsWindow(None, None, "no_transcript")
        total, weight, left_out = np.zeros(len(self._labels)), 0.0, list[tuple[float, str]]()
        for said in self._said:
            seconds = min(said.t_end, span.end_s) - max(said.t_start, span.start_s)
            if seconds <= 0:
                continue
            if said.p is None:
                left_out.append((seconds, said.reason))
                continue
            total += seconds * self._row(said.p)
            weight += seconds
        needed = min(MIN_TEXT_S, span.duration_s / 2)
        if weight < needed:
            most = max(left_out, default=(0.0, ""))
            return WordsWindow(None, None, most[1] if most[0] >= needed else "silence")
        p = self._chances(total / weight)
        return WordsWindow(p, self._valence(p), "")

    def _disagreement(self, span: Interval, face: FaceWindow, words: WordsWindow) -> Value:
        """Half the difference of valence less the usual one so far, as the measure has it."""
        reason = face.reason or words.reason
        if reason or face.valence is None or words.valence is None:
            return Value(None, reason or "no_label")
        differ = (face.valence - words.valence) / 2
        self._differ[span.start_s] = (span.end_s, differ)
        while len(self._differ) > _KEPT:
            del self._differ[next(iter(self._differ))]
        starts, rows = zip(*sorted(self._differ.items()), strict=True)  # late words come late
        ends, values = np.array(rows).T
        if union_s(np.array(starts), ends) < MIN_USUAL_S:
            return Value(None, "too_few")
        return Value(round(abs(differ - float(np.median(values))), 4), "")

    def _agree(
        self, first: FaceWindow | VoiceWindow | WordsWindow, second: VoiceWindow | WordsWindow
    ) -> Value:
        if first.p is None or second.p is None:
            return Value(None, first.reason or second.reason or "no_model")
        places = (
            place_of(self._row(p).astype(np.float32), self._prompts) for p in (first.p, second.p)
        )
        cosine = place_cosine(*places)
        return Value(None, "constant") if cosine is None else Value(round(cosine, 4), "")

    def _row(self, p: Chances) -> NDArray[np.float64]:
        return np.array([p.get(label, 0.0) for label in self._labels])

    def _chances(self, row: Sequence[float] | NDArray[np.floating]) -> Chances:
        return {k: round(float(v), 6) for k, v in zip(self._labels, row, strict=True)}

    def _valence(self, p: Chances | None) -> float | None:
        return None if p is None else round(float(self._row(p) @ self._signs), 6)


def no_camera(
    window_s: float, hop_s: float, first: int, end_s: float
) -> list[tuple[Interval, FaceWindow]]:
    """The windows from number ``first`` that end by a time, for a session without a camera."""
    last = math.floor((end_s - window_s) / hop_s + 1e-9)
    face = FaceWindow(None, None, "no_video")
    return [(Interval(k * hop_s, k * hop_s + window_s), face) for k in range(first, last + 1)]
