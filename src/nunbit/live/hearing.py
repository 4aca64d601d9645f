"""The voice as it is heard: level, speech and pitch of the last seconds, the state of the sound.

Provisional by nature: where somebody speaks is settled with eight seconds on both sides, the level
about the recording's offset and the pitch within the person's range, when the session ends. The
same detector, levels and pitch candidates are used here, on what is known so far.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import flags_of, runs
from nunbit.core.streams import (
    AUDIO_RATE_HZ,
    VOICE_HOP_S,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    Singles,
)
from nunbit.core.timebase import PAUSE_S
from nunbit.live.events import PauseEvent, VoiceEvent, VoiceState
from nunbit.live.recorder import HeardPart
from nunbit.recording.media.container import load_av
from nunbit.recording.voice.functionals import FRAME, N_MELS, SILENT_MEL, log_mel
from nunbit.recording.voice.level import (
    FLOOR_DBFS,
    Block,
    Cells,
    Framer,
    Splicer,
    level_of,
    measure_cells,
    swift_level_of,
)
from nunbit.recording.voice.pitch import (
    WIDE_RANGE_HZ,
    Candidates,
    cut_frames,
    find_candidates,
    find_path,
    half_window,
)
from nunbit.recording.voice.voice_reader import SpeechFrames, speech_runs

STEP_S = 0.05
"""Of the events."""

HELD_S = 20.0
"""Sound that is looked back on: noise and loudness are judged by eight seconds on both sides."""

Samples = NDArray[np.int16]

_JITTER_S = 0.025  # the reader of files takes 20 ms for jitter of times rounded to milliseconds
_STEP = round(STEP_S / VOICE_HOP_S)  # frames
_HELD = round(HELD_S / VOICE_HOP_S)
_PATH = 40  # frames that the pitch path looks back
_RUNS_EVERY = 25  # frames between two searches for stretches of speech: 5 ms of work
_SILENT_DBFS = -70.0  # as files are judged: below the noise of any microphone that is open
_SILENT_S, _STATE_S = 2.0, 1.0
_FULL_SCALE, _CLIPPED_FRAMES = 1.0 - 1.5 / 32768, 3  # one alone may be a knock
_SETTLED_S = 0.5  # an edge of speech moves no more once so much follows it
_LONGEST_PAUSE_S = 10.0  # longer ones are no pauses, and what came before them is forgotten
_SURE = 0.5  # probability from which pitch is looked for
_CELLS = ("energy", "mean", "count", "high", "low")


class SoundLine:
    """Makes 16 kHz samples at whole positions of what comes, whatever its rate.

    Gaps of up to 25 ms are jitter of the times and are filled with silence; longer ones stay gaps.
    What comes twice is left out. A stretch begins at a whole millisecond, as its file has it.
    """

    def __init__(self) -> None:
        self._next: int | None = None  # position of the next sample that goes on
        self._rate_hz = AUDIO_RATE_HZ
        self._in, self._start_s = 0, 0.0  # samples taken and start of the stretch, at another rate
        self._resampler: Any = None

    def add(self, start_s: float, samples: Samples, rate_hz: int) -> list[tuple[int, Samples]]:
        """Take a piece; returns position and samples of what is ready.

        Args:
            start_s: On the session's clock.
            samples: (n,).
            rate_hz: Of these.
        """
        if rate_hz == AUDIO_RATE_HZ and self._resampler is None:
            return self._placed(round(start_s * AUDIO_RATE_HZ), samples)
        found = []
        expected_s = self._start_s + self._in / self._rate_hz
        if (
            self._resampler is None
            or rate_hz != self._rate_hz
            or (abs(start_s - expected_s) > _JITTER_S)
        ):
            found += self.finish()
            self._rate_hz, self._in, self._start_s = rate_hz, 0, start_s
            if rate_hz == AUDIO_RATE_HZ:
                return [*found, *self._placed(round(start_s * AUDIO_RATE_HZ), samples)]
            self._resampler = load_av().AudioResampler("s16", "mono", AUDIO_RATE_HZ)
            self._out = round(start_s * 1000) * (AUDIO_RATE_HZ // 1000)
        frame = load_av().AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate_hz, self._in
        frame.time_base = Fraction(1, rate_hz)
        self._in += len(samples)
        return [*found, *self._resampled(frame)]

    def finish(self) -> list[tuple[int, Samples]]:
        """What the resampler still holds."""
        found = [] if self._resampler is None else self._resampled(None)
        self._resampler = None
        return found

    def _resampled(self, frame: Any) -> list[tuple[int, Samples]]:
        found = []
        for each in self._resampler.resample(frame):
            samples = each.to_ndarray().reshape(-1).astype(np.int16)
            found += self._placed(self._out, samples)
            self._out += len(samples)
        return found

    def _placed(self, position: int, samples: Samples) -> list[tuple[int, Samples]]:
        if self._next is not None:
            ahead = position - self._next
            if 0 < ahead <= _JITTER_S * AUDIO_RATE_HZ:
                samples = np.concatenate([np.zeros(ahead, np.int16), samples])
                position = self._next
            elif ahead < 0:
                samples, position = samples[-ahead:], self._next
        if self._next is None or position != self._next:
            step = AUDIO_RATE_HZ // 1000
            position = -(-position // step) * step
        if not len(samples):
            return []
        self._next = position + len(samples)
        return [(position, samples)]


@dataclass(frozen=True, eq=False, slots=True)
class HeardSeconds:
    """The last seconds on the 10 ms grid.

    Attributes:
        first: Number of the first frame.
        level_dbfs, probability, f0_hz: (n,) NaN where there is no sound, or no pitch.
        present: (n,).
        speech: (n,) as far as known.
        mel: (n, 40) log power in bands.
        clipped: (n,) whether the sound reaches full scale.
    """

    first: int
    level_dbfs: Singles
    probability: Singles
    f0_hz: Singles
    present: Flags
    speech: Flags
    mel: Singles
    clipped: Flags

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return (self.first + len(self.present)) * VOICE_HOP_S

    def part(self, span: Interval) -> slice:
        """The frames whose centre lies in a stretch."""
        a, b = (round(t / VOICE_HOP_S) - self.first for t in (span.start_s, span.end_s))
        return slice(max(0, a), max(0, b))


class LiveVoice:
    """Takes the sound of a session piece by piece.

    Raises:
        MissingExtra: The speech detector is not installed.
    """

    def __init__(self) -> None:
        self._splicer, self._frames = Splicer(), SpeechFrames(Framer(size=_STEP))
        self._first = 0  # number of the first held frame
        self._cells, self._present = Cells.absent(0), np.zeros(0, bool)
        self._probability, self._f0 = np.zeros(0, np.float32), np.zeros(0, np.float32)
        self._mel = np.zeros((0, N_MELS), np.float32)
        self._speech = np.zeros(0, bool)
        self._path: list[tuple[Candidates, Floats]] = []
        self._since_runs = self._taken = 0
        self._pause_end_s = -math.inf

    @property
    def end_s(self) -> float:
        """Up to where sound was heard."""
        return (self._first + len(self._present)) * VOICE_HOP_S

    def add(self, chunk: AudioChunk) -> list[VoiceEvent | PauseEvent]:
        """Take the next sound; returns what it shows."""
        before = self._first + len(self._present)
        for piece in self._splicer.place(chunk):
            if piece.starts:
                for block, probability in self._frames.flush():
                    self._look(block, probability)
            for block, probability in self._frames.push(piece):
                self._look(block, probability)
        found: list[VoiceEvent | PauseEvent] = []
        if len(self._present) and self._first + len(self._present) > before:
            found += self._event(max(before, self._first))
            self._since_runs += self._first + len(self._present) - before
            if self._since_runs >= _RUNS_EVERY:
                self._since_runs = 0
                self._find_speech()
                found += self._pauses()
        return found

    def heard(self) -> HeardSeconds:
        """What is known of the last seconds."""
        self._find_speech()
        return HeardSeconds(
            self._first, level_of(self._cells, self._present), self._probability, self._f0,
            self._present, self._speech, self._mel, self._clipped(),
        )  # fmt: skip

    @property
    def n_fresh(self) -> int:
        """Frames that were not taken yet."""
        return min(self._first + len(self._present) - self._taken, len(self._present))

    def take(self) -> HeardPart:
        """The frames since the call before."""
        since = max(0, self._taken - self._first)
        cells = Cells(*(getattr(self._cells, k)[since:] for k in _CELLS))
        level = level_of(cells, self._present[since:])
        first, self._taken = self._first + since, self._first + len(self._present)
        return HeardPart(
            first, level, self._probability[since:], self._f0[since:], self._present[since:],
            self._clipped()[since:],
        )  # fmt: skip

    def segments(self) -> tuple[Interval, ...]:
        """Stretches of speech in the last seconds; the last may go on."""
        start_s = self._first * VOICE_HOP_S
        return tuple(
            Interval(round(a * VOICE_HOP_S + start_s, 2), round(b * VOICE_HOP_S + start_s, 2))
            for a, b in runs(self._speech).tolist()
        )

    def _look(self, block: Block, probability: Singles) -> None:
        """Append a block, with silence where sound is missing before it."""
        if not len(self._present):
            self._first = block.first
        self._append(max(0, block.first - self._first - len(self._present)))
        cells = measure_cells(block)
        self._append(
            block.n, cells, probability, self._pitch(block, cells, probability),
            log_mel(cut_frames(block, FRAME // 2)),
        )  # fmt: skip

    def _append(
        self,
        n: int,
        cells: Cells | None = None,
        probability: Singles | None = None,
        f0: Singles | None = None,
        mel: Singles | None = None,
    ) -> None:
        if n <= 0:
            return
        there = cells is not None
        drop = max(0, len(self._present) + n - _HELD)
        drop, more = min(drop, len(self._present)), min(n, _HELD)
        self._first += drop + (n - more)
        new = cells or Cells.absent(more)
        self._cells = Cells(
            *(np.concatenate([getattr(self._cells, k)[drop:], getattr(new, k)]) for k in _CELLS)
        )
        nothing = np.zeros(more, np.float32)
        columns = {
            "_present": np.full(more, there),
            "_probability": nothing if probability is None else probability,
            "_f0": nothing + np.nan if f0 is None else f0,
            "_mel": np.full((more, N_MELS), SILENT_MEL, np.float32) if mel is None else mel,
            "_speech": np.zeros(more, bool),
        }
        for name, rows in columns.items():
            setattr(self, name, np.concatenate([getattr(self, name)[drop:], rows]))

    def _pitch(self, block: Block, cells: Cells, probability: Singles) -> Singles:
        """(n,) the end of the best path through the last frames."""
        voiced = probability >= _SURE
        if not voiced.any():
            self._path.clear()
            return np.full(block.n, np.nan, np.float32)
        found = find_candidates(cut_frames(block, half_window(WIDE_RANGE_HZ)), WIDE_RANGE_HZ)
        peak = np.maximum(cells.high, -cells.low).astype(np.float64)
        self._path = [*self._path[-(_PATH // _STEP) :], (found, peak)]
        held = Candidates.joined(c for c, _ in self._path)
        peaks = np.concatenate([p for _, p in self._path])
        path = find_path(held, peaks / max(float(peaks.max()), 1e-9), WIDE_RANGE_HZ)
        f0 = path[-block.n :].astype(np.float32)
        f0[~voiced] = np.nan
        return f0

    def _find_speech(self) -> None:
        """Stretches of speech on all that is held."""
        swift = swift_level_of(self._cells, self._present)
        found = speech_runs(self._probability, swift, self._present)
        self._speech = flags_of(found, len(self._present))

    def _pauses(self) -> Iterator[PauseEvent]:
        """Pauses that have ended; an edge is settled once half a second follows it."""
        segments = self.segments()
        for before, after in itertools.pairwise(segments):
            silence_s = after.start_s - before.end_s
            settled = self.end_s - after.start_s >= _SETTLED_S
            is_new = after.start_s > self._pause_end_s + _SETTLED_S
            if settled and is_new and PAUSE_S <= silence_s <= _LONGEST_PAUSE_S:
                self._pause_end_s = after.start_s
                yield PauseEvent(before.end_s, after.start_s)

    def _event(self, first: int) -> Iterator[VoiceEvent]:
        """The steps from a frame on."""
        since = slice(first - self._first, None)
        n = len(self._present[since]) // _STEP
        if not n:
            return
        around = slice(max(0, first - self._first - 1), None)
        cells = Cells(*(getattr(self._cells, k)[around] for k in _CELLS))
        level = level_of(cells, self._present[around])[-len(self._present[since]) :]
        power = 10 ** (np.nan_to_num(level, nan=FLOOR_DBFS) / 10)
        steps = power[: n * _STEP].reshape(n, _STEP).mean(axis=1)
        f0 = self._f0[since][: n * _STEP].reshape(n, _STEP)
        probability = self._probability[since][: n * _STEP].reshape(n, _STEP)
        yield VoiceEvent(
            t=round(first * VOICE_HOP_S, 2),
            level_dbfs=tuple(np.round(10 * np.log10(steps), 1).tolist()),
            speech=tuple(np.round(probability.max(axis=1).astype(float), 3).tolist()),
            f0_hz=tuple(_median(row) for row in f0),
            state=self._state(),
        )

    def _clipped(self) -> Flags:
        return (self._cells.high >= _FULL_SCALE) | (self._cells.low <= -_FULL_SCALE)

    def _state(self) -> VoiceState:
        last = slice(-round(_STATE_S / VOICE_HOP_S), None)
        if np.count_nonzero(self._clipped()[last]) >= _CLIPPED_FRAMES:
            return "clipped"
        last = slice(-round(_SILENT_S / VOICE_HOP_S), None)
        cells = Cells(*(getattr(self._cells, k)[last] for k in _CELLS))
        level = level_of(cells, self._present[last])
        there = level[np.isfinite(level)]
        return "silence" if not len(there) or float(there.max()) < _SILENT_DBFS else "ok"


def _median(row: Singles) -> float | None:
    known = row[np.isfinite(row)]
    return round(float(np.median(known)), 1) if len(known) else None
