"""From the sound of a script to the samples of a file: offset, start, silences, holes, truth.

Knows nothing of pictures or encoders.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from nunbit.streams import VOICE_HOP_S, Floats, Interval
from nunbit.synth.mux import Audio
from nunbit.synth.script import VideoScript
from nunbit.synth.speech import SpeechTrack, level_dbfs, room_noise
from nunbit.synth.truth import UtteranceTruth, VoiceTruth, WordTruth


def heard(script: VideoScript, speech: SpeechTrack, block: int) -> Audio:
    """The samples of the file, on the script's clock.

    Args:
        script: Says the offset and what is missing.
        speech: The sound before that.
        block: Samples that the codec encodes together; holes are widened to whole blocks.
    """
    rate, n = speech.rate_hz, len(speech.samples)
    late = round(script.audio_offset_s * rate)
    samples = room_noise(n, rate, script.noise_dbfs, script.seed)
    if late >= 0:
        samples[late:] = speech.samples[: n - late]
    else:
        samples[: n + late] = speech.samples[-late:]
    first = round(script.audio_start_s * rate)
    holes = []
    for stretch in script.dropouts:
        a, b = round(stretch.start_s * rate), round(stretch.end_s * rate)
        if stretch.kind == "silence":
            samples[max(a, 0) : b] = 0.0
        elif stretch.kind == "sound":
            low = max(0, math.floor((a - first) / block))
            high = math.ceil((min(b, n) - first) / block)
            if low < high:
                holes.append((first + low * block, first + high * block))
    return Audio(np.clip(samples[first:], -1.0, 1.0), rate, first, block, tuple(holes))


def holes_of(audio: Audio, origin_s: float) -> tuple[Interval, ...]:
    """Stretches without samples, on the file's clock."""
    rate = audio.rate_hz
    return tuple(Interval(a / rate - origin_s, b / rate - origin_s) for a, b in audio.holes)


def voice_truth(
    script: VideoScript, speech: SpeechTrack, audio: Audio, origin_s: float
) -> VoiceTruth:
    """What is heard every 10 ms, on the file's clock.

    Args:
        script: The script.
        speech: Its sound before offset and holes.
        audio: The sound of the file.
        origin_s: Script time of the file's time 0.
    """
    rate, end = audio.rate_hz, audio.first + len(audio.samples)
    count = math.ceil((end / rate - origin_s) / VOICE_HOP_S - 1e-9)
    times = (np.arange(count, dtype=np.float64) + 0.5) * VOICE_HOP_S
    index = (times + origin_s) * rate
    present = (index >= audio.first) & (index < end)
    for a, b in audio.holes:
        present &= (index < a) | (index >= b)
    level = level_dbfs(audio.samples, rate, times + origin_s - audio.first / rate)
    segments = _moved([s for u in speech.spoken for s in u.segments], script, origin_s)
    talking = np.zeros(count, dtype=np.bool_)
    for segment in segments:
        talking |= (times >= segment.start_s) & (times < segment.end_s)
    pauses = [Interval(a.end_s, b.start_s) for a, b in itertools.pairwise(segments)
              if a.end_s < b.start_s]  # fmt: skip
    f0 = None
    if speech.f0_hz is not None:
        source = times + origin_s - script.audio_offset_s
        f0 = _nearest(speech.f0_hz, source)
        f0[~present] = math.nan
    return VoiceTruth(
        times, present, talking & present, f0, np.where(present, level, math.nan),
        tuple(segments), tuple(pauses),
    )  # fmt: skip


def utterances_of(
    script: VideoScript, speech: SpeechTrack, origin_s: float
) -> tuple[UtteranceTruth, ...]:
    """What is said, on the file's clock; what the offset moves out of the file is left out."""
    found = []
    for spoken in speech.spoken:
        intervals = _moved([spoken.interval], script, origin_s)
        words = []
        for word in spoken.words:
            where = _moved([Interval(word.start_s, word.end_s)], script, origin_s)
            words += [WordTruth(w, word.text, word.syllables) for w in where]
        found += [UtteranceTruth(w, spoken.text, tuple(words)) for w in intervals]
    return tuple(found)


def _moved(intervals: list[Interval], script: VideoScript, origin_s: float) -> list[Interval]:
    """From the script's clock to the file's, cut at its ends."""
    shift = script.audio_offset_s - origin_s
    low, high = script.audio_start_s - origin_s, script.duration_s - origin_s
    moved = [(max(i.start_s + shift, low), min(i.end_s + shift, high)) for i in intervals]
    return [Interval(a, b) for a, b in moved if a < b]


def _nearest(track: Floats, times_s: Floats) -> Floats:
    """Values of a 10 ms track at other times, NaN beyond its ends."""
    index = np.floor(times_s / VOICE_HOP_S + 1e-6).astype(np.int64)
    inside = (index >= 0) & (index < len(track))
    values: Floats = np.where(inside, track[np.clip(index, 0, len(track) - 1)], math.nan)
    return values
