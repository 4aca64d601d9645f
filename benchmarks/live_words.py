"""Words of a live session: how well they are heard in a hurry, and how late they are shown.

**heard**: the talks of `$NUNBIT_DATA/speech/pansori_tedxkr`, each as one utterance, by Whisper base
as files are read (the baseline: five guesses at once, word times, 30 s for the encoder) and as live
utterances are, with the silence behind the sound that nunbit takes and with others. Character error
rate, resampled by talk; seconds of work for an utterance on one thread.

**late**: talks joined with a second between them, pushed into a session in real time beside drawn
frames. How long after it was said a moment of speech is first covered by words on the page, and how
long after its end an utterance is there as a whole.

    NUNBIT_DATA=... python benchmarks/live_words.py [--limit 40] [--minutes 2] [--only heard|late]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from korean_asr import Item, characters, edit_distance, items_of
from live_engine import drawn, repeated, send
from make_sender import Clip
from nunbit.live import LiveSession, LiveSettings
from nunbit.live.inbox import memory_mb
from nunbit.recording.transcript import load_recogniser, whisper
from nunbit.recording.transcript.whisper import Run

SILENCES_S = (1.0, 4.0, 8.0, 16.0)
RESAMPLES = 2000


def heard(items: Sequence[Item], run: Run) -> tuple[np.ndarray, np.ndarray, float]:
    """Errors and lengths of each, and median seconds of work."""
    errors, lengths, work = [], [], []
    for item in items:
        samples, _ = soundfile.read(item.path, dtype="float32")
        began = time.process_time()
        cues, _ = run((0.0, samples), "ko")
        work.append(time.process_time() - began)
        text = " ".join(cue.text for cue in cues if not cue.doubt)
        reference = characters(item.text)
        errors.append(edit_distance(reference, characters(text)))
        lengths.append(len(reference))
    return np.array(errors), np.array(lengths), float(np.median(work))


def interval(units: Sequence[str], value: Any) -> str:
    """95% by resampling talks."""
    names = np.array(units)
    talks = [np.flatnonzero(names == n) for n in sorted(set(units))]
    rng = np.random.default_rng(0)
    drawn_ = []
    for _ in range(RESAMPLES):
        picked = np.concatenate([talks[k] for k in rng.integers(0, len(talks), len(talks))])
        drawn_.append(value(picked))
    low, high = np.quantile(drawn_, [0.025, 0.975])
    return f"[{low:.3f}, {high:.3f}]"


def heard_table(items: Sequence[Item]) -> None:
    """Print the part `heard`."""
    recogniser = load_recogniser("faster-whisper")
    assert recogniser.swift is not None
    runs: list[tuple[str, Run, float | None]] = [("as files are read", recogniser.run, None)]
    runs += [(f"live, {s:g} s of silence", recogniser.swift, s) for s in SILENCES_S]
    units = [item.unit for item in items]
    kept = whisper._SILENCE_S
    base = None
    print("| | CER [95%, talks] | against files | seconds of work an utterance |")
    print("|---|---|---|---|")
    for name, run, silence_s in runs:
        whisper._SILENCE_S = kept if silence_s is None else silence_s
        errors, lengths, work = heard(items, run)
        base = errors if base is None else base
        rate = interval(units, lambda k, e=errors, n=lengths: e[k].sum() / n[k].sum())
        gap = interval(units, lambda k, e=errors - base, n=lengths: e[k].sum() / n[k].sum())
        mark = " (taken)" if silence_s == kept else ""
        print(
            f"| {name}{mark} | {errors.sum() / lengths.sum():.3f} {rate} "
            f"| {(errors - base).sum() / lengths.sum():+.3f} {gap} | {work:.2f} |",
            flush=True,
        )
    whisper._SILENCE_S = kept


def late_table(items: Sequence[Item], minutes: float) -> None:
    """Print the part `late`."""
    sound: list[np.ndarray] = []
    for item in items:
        samples, _ = soundfile.read(item.path, dtype="float32")
        sound += [samples, np.zeros(16_000, np.float32)]
        if sum(map(len, sound)) > 60 * minutes * 16_000:
            break
    pcm = np.round(np.clip(np.concatenate(sound), -1, 1) * 32767).astype("<i2")
    with tempfile.TemporaryDirectory() as folder:
        _, clip = drawn(Path(folder))
    clip = Clip(repeated(clip, len(pcm) / 16_000).frames, pcm)
    events: list[tuple[float, Any]] = []
    session = LiveSession(
        settings=LiveSettings(asr="faster-whisper", language="ko"),
        emit=lambda event: events.append((time.monotonic(), event)),
    )
    began, cpu = time.monotonic(), time.process_time()
    send(session, clip, live=True)
    used = time.process_time() - cpu
    memory = memory_mb()
    session.stop()
    said = [(at - began, e) for at, e in events if e.type == "words" and e.text]
    whole = [at - e.t_end for at, e in said if not e.open]
    first: list[float] = []  # of every tenth of a second of what was said
    for _, utterance in said:
        if utterance.open:
            continue
        for moment in np.arange(utterance.t_start, utterance.t_end, 0.1):
            covers = [at for at, e in said if e.t_start - 0.5 <= moment <= e.t_end]
            first.append(min(covers) - moment)
    faces = sum(1 for _, e in events if e.type == "face")
    late = [e for _, e in events if e.type == "problem" and e.code == "words_late"]
    print("\n| late, seconds | median | 95% | worst |\n|---|---|---|---|")
    for name, values in (
        ("a moment of speech to its words", first),
        ("an utterance, whole", whole),
    ):
        p50, p95 = np.quantile(values, [0.5, 0.95])
        print(f"| {name} | {p50:.2f} | {p95:.2f} | {max(values):.2f} |")
    print(
        f"\n{clip.duration_s:.0f} s, {len(whole)} utterances, {len(late)} left out; "
        f"{faces / clip.duration_s:.1f} frames a second, {used / clip.duration_s:.2f} cores, "
        f"{memory:.0f} MB"
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=0, help="talk fragments; 0 = all")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--only", choices=("heard", "late"))
    asked = parser.parse_args()
    items = items_of(Path(os.environ["NUNBIT_DATA"]), "pansori_tedxkr")
    some = items[:: max(1, len(items) // asked.limit)] if asked.limit else items
    if asked.only != "late":
        heard_table(some)
    if asked.only != "heard":
        late_table(items, asked.minutes)


if __name__ == "__main__":
    main()
