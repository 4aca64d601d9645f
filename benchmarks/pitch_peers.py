"""F0 of Praat and openSMILE on nunbit's own frames, and how far apart three trackers are.

Like is compared with like, by the peers' own definitions and not by what agrees best:

- Time. openSMILE's framer (``frameCenterSpecial = left``) dates a frame by its start; its window
  is 60 ms with a symmetric Gaussian, so frame k describes 10 k + 30 ms. nunbit's frame k is centred
  on 10 k + 5 ms. openSMILE is therefore given the sound with 25 ms of silence before it: its frame
  k is then centred on nunbit's, and nothing is interpolated. Praat is asked at the same times.
- Smoothing. ``F0semitoneFrom27.5Hz_sma3nz`` is the mean, in semitones, of the voiced ones among
  three neighbouring frames. Against it, the others are smoothed in the same way; against
  openSMILE's raw F0 nothing is.
- Frames. The three are compared where all three find a voice.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensmile
import parselmouth

from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import Floats, Singles

CENTRE_S = 0.005  # of nunbit's first frame
LEAD_S = 0.030 - CENTRE_S  # openSMILE's centre after its frame's start, less nunbit's
GROSS_ST = 12 * math.log2(1.2)
RESAMPLES = 1000
SMOOTHED, RAW = "F0semitoneFrom27.5Hz_sma3nz", "F0finalLog"
_CONFIG = """[componentInstances:cComponentManager]
instance[dataMemory].type=cDataMemory
printLevelStats=0
\\{{\\cm[source{{?}}:include external source]}}
\\{{{core}}}
\\{{\\cm[sink{{?}}:include external sink]}}
"""
NAMES = ("nunbit", "Praat", "openSMILE")
Bias = Callable[[Floats], Floats]
"""From semitones that a tracker reads to how much too high that is."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """One file: F0 in semitones from 27.5 Hz on nunbit's frames, NaN where unvoiced.

    Attributes:
        speaker: Whose voice it is.
        raw: (3, M) of NAMES, as it comes.
        smoothed: (3, M) the mean of the voiced ones among three frames.
    """

    speaker: str
    raw: Floats
    smoothed: Floats


class OpenSmile:
    """eGeMAPS' F0 with its own smoothing and without; to be used in a ``with``."""

    def __init__(self) -> None:
        self._smoothed = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        # The installed configuration is named, not copied: its licence is not ours.
        core = "core/config/gemaps/v01b/GeMAPSv01b_core.lld.conf.inc"
        self._folder = tempfile.TemporaryDirectory()  # read at every call
        config = Path(self._folder.name) / "pitch.conf"
        config.write_text(_CONFIG.format(core=Path(opensmile.__file__).parent / core))
        self._raw = opensmile.Smile(str(config), feature_level="gemapsv01b_logPitch")

    def __enter__(self) -> OpenSmile:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def f0_st(self, x: Singles, n: int, column: str, lead_s: float = LEAD_S) -> Floats:
        """(n,) semitones from 27.5 Hz, NaN where unvoiced.

        Args:
            x: Mono at 16 kHz.
            n: Frames wanted.
            column: SMOOTHED or RAW.
            lead_s: Silence put before the sound.
        """
        smile = self._smoothed if column == SMOOTHED else self._raw
        padded = np.concatenate([np.zeros(round(lead_s * RATE), np.float32), x])
        found = smile.process_signal(padded, RATE)[column].to_numpy()[:n]
        out = np.full(n, np.nan)
        out[: len(found)] = np.where(found > 0, found, np.nan)
        return out


def praat_f0(x: Singles, f0_range: tuple[float, float], n: int) -> Floats:
    """Praat's autocorrelation pitch at nunbit's frame centres, Hz, NaN where unvoiced."""
    pitch = parselmouth.Sound(x.astype(np.float64), RATE).to_pitch_ac(
        time_step=0.01, pitch_floor=f0_range[0], pitch_ceiling=f0_range[1]
    )
    return np.array([pitch.get_value_at_time(CENTRE_S + 0.01 * k) for k in range(n)])


def glide(falling: bool = False) -> tuple[Singles, Floats]:
    """A tone of many harmonics between 120 and 320 Hz, and its F0 at nunbit's frame centres."""
    low_hz, high_hz, seconds = 120.0, 320.0, 2.0
    start, rise = (high_hz, low_hz - high_hz) if falling else (low_hz, high_hz - low_hz)
    rise /= seconds
    t = np.arange(round(seconds * RATE)) / RATE
    cycles = start * t + rise / 2 * t**2
    tone = np.zeros(len(t))
    for harmonic in range(1, int(7600 / high_hz) + 1):
        tone += np.cos(2 * math.pi * harmonic * cycles) / harmonic
    at = CENTRE_S + 0.01 * np.arange(int(100 * seconds))
    return (0.3 * tone / np.abs(tone).max()).astype(np.float32), start + rise * at


def lead_and_bias(track: Callable[[Singles, int], Floats]) -> tuple[float, float]:
    """How far ahead of its frame times a tracker is, and what it reads too high.

    A rising and a falling glide tell the two apart: being early raises the one and lowers the
    other.

    Args:
        track: From sound and number of frames to semitones from 27.5 Hz.

    Returns:
        Seconds and semitones.
    """
    errors = []
    for falling in (False, True):
        x, truth_hz = glide(falling)
        inner = slice(30, -30)  # the tracker's windows are whole
        errors.append(float(np.nanmean((track(x, len(truth_hz)) - semitones(truth_hz))[inner])))
    slope = float(np.diff(semitones(truth_hz)[inner]).mean()) / 0.01  # of the falling one
    return (errors[0] - errors[1]) / (-2 * slope), (errors[0] + errors[1]) / 2


def bias_of(track: Callable[[Singles, int], Floats], tones: Mapping[float, Singles]) -> Bias:
    """What a tracker reads too high, from sounds of known pitch.

    Args:
        track: From sound and number of frames to semitones from 27.5 Hz.
        tones: Sound by its pitch in Hz, increasing; between them the error is interpolated.
    """
    truth = semitones(np.array(list(tones)))
    read = np.array([np.nanmedian(track(x, len(x) // 160 - 10)) for x in tones.values()])
    return lambda f0: np.interp(f0, read, read - truth)


def semitones(f0_hz: Floats | Singles) -> Floats:
    """From 27.5 Hz; NaN stays NaN."""
    return np.asarray(12 * np.log2(np.asarray(f0_hz, np.float64) / 27.5))


def sma3nz(f0: Floats) -> Floats:
    """Smooth as openSMILE does: the mean of the voiced ones among three frames; NaN stays NaN.

    At both ends the outermost frame counts twice.
    """
    around = np.lib.stride_tricks.sliding_window_view(np.pad(f0, 1, mode="edge"), 3)
    voiced = np.isfinite(around)
    mean = np.where(voiced, around, 0).sum(axis=1) / np.maximum(voiced.sum(axis=1), 1)
    return np.where(np.isfinite(f0), mean, np.nan)


def tracks_of(
    speaker: str, x: Singles, ours_hz: Singles, praat_hz: Floats, smile: OpenSmile
) -> Tracks:
    """The three trackers on one file."""
    n = len(ours_hz)
    both = (semitones(ours_hz), semitones(praat_hz))
    return Tracks(
        speaker,
        np.stack([*both, smile.f0_st(x, n, RAW)]),
        np.stack([*map(sma3nz, both), smile.f0_st(x, n, SMOOTHED)]),
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Frames of several speakers where all three trackers are voiced.

    Attributes:
        speakers: (3, F) semitones by tracker, for every speaker.
    """

    speakers: Mapping[str, Floats]

    @classmethod
    def of(cls, files: Sequence[Tracks], smoothed: bool) -> Comparison:
        """Collect the common frames."""
        found: dict[str, list[Floats]] = {}
        for file in files:
            f0 = file.smoothed if smoothed else file.raw
            found.setdefault(file.speaker, []).append(f0[:, np.isfinite(f0).all(axis=0)])
        return cls({name: np.concatenate(parts, axis=1) for name, parts in found.items()})

    @property
    def frames(self) -> Floats:
        """(3, F) of all speakers."""
        return np.concatenate(list(self.speakers.values()), axis=1)

    def with_interval(self, figure: Callable[[Floats], float]) -> tuple[float, float, float]:
        """A figure of the frames (3, F) and its 95% interval over resampled speakers."""
        each = list(self.speakers.values())
        rng = np.random.default_rng(0)
        draws = rng.integers(0, len(each), (RESAMPLES, len(each)))
        values = [figure(np.concatenate([each[k] for k in draw], axis=1)) for draw in draws]
        low, high = np.percentile(values, (2.5, 97.5))
        return figure(self.frames), float(low), float(high)

    def without_bias(self, bias: Bias) -> Comparison:
        """The same with openSMILE's own error at each pitch taken out."""
        return Comparison(
            {name: np.stack([*f0[:2], f0[2] - bias(f0[2])]) for name, f0 in self.speakers.items()}
        )

    def sides(self) -> tuple[int, float, float]:
        """Frames in which nunbit and openSMILE differ grossly; with whom Praat sides.

        Returns:
            Their number; shares in which Praat is within a semitone of nunbit and of openSMILE.
        """
        ours, praat, smile = self.frames
        gross = np.abs(ours - smile) > GROSS_ST
        if not gross.any():
            return 0, math.nan, math.nan
        with_us = np.abs(praat - ours)[gross] < 1
        with_smile = np.abs(praat - smile)[gross] < 1
        return int(gross.sum()), float(with_us.mean()), float(with_smile.mean())


def median_apart(a: int, b: int) -> Callable[[Floats], float]:
    """Median |difference| of two trackers, semitones."""
    return lambda f0: float(np.median(np.abs(f0[a] - f0[b])))


def gross_share(a: int, b: int) -> Callable[[Floats], float]:
    """Share of frames in which two trackers differ by more than 20%."""
    return lambda f0: float(np.mean(np.abs(f0[a] - f0[b]) > GROSS_ST))


def gross_more(f0: Floats) -> float:
    """Gross differences from openSMILE: nunbit's share less Praat's."""
    return gross_share(0, 2)(f0) - gross_share(1, 2)(f0)
