"""Fragments of one talk joined with gaps of known length, through the command line.

The fragments of every Korean TEDx talk in `$NUNBIT_DATA/speech` become one recording with a
transcript, one cue a fragment (no word times, as subtitles are). The gaps, 0.3 to 3 s, hold noise
as loud as the softest twentieth of the talk, or nothing with `--silence`. `nunbit analyze` reads
them all. Printed:

- gaps: how many are found as pauses of the timeline, how many of these hold all that was inserted,
  and how long they are. A fragment may itself begin and end with silence, so the length is compared
  with the gap and the silences around it, as Praat sees them in the fragment alone (-25 dB, 0.1 s);
- pauses inside fragments, where no gap was put: found here, by Praat, by both;
- rates: syllables of the transcript, counted as Hangul letters (talks with digits or Latin letters
  are left out of this), over times from Praat's edges, against the timeline's measures.

Intervals resample talks. Needs parselmouth and soundfile.

    NUNBIT_DATA=... python benchmarks/joined_talks.py [--talks 34] [--silence] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import parselmouth
import pyarrow.parquet as pq
import soundfile
from parselmouth.praat import call

from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import Singles

GAPS_S = (0.3, 0.5, 0.8, 1.5, 3.0)
PAUSE_S = 0.25
CLOSE_S = 0.1
EDGE_S = 0.03
Span = tuple[float, float]


@dataclass(frozen=True)
class Talk:
    """One joined recording and what is known about it; times in seconds.

    Attributes:
        name: Of the talk.
        fragments: Where each lies.
        sounding: Praat's sounding stretches of every fragment, on the recording's clock.
        texts: What is said in each.
    """

    name: str
    fragments: tuple[Span, ...]
    sounding: tuple[tuple[Span, ...], ...]
    texts: tuple[str, ...]

    @property
    def gaps(self) -> list[Span]:
        """From the last sound before to the first sound after every gap."""
        return [(a[-1][1], b[0][0]) for a, b in itertools.pairwise(self.sounding)]

    @property
    def inserted(self) -> list[Span]:
        """Between the fragments, whatever these end with."""
        return [(a[1], b[0]) for a, b in itertools.pairwise(self.fragments)]

    @property
    def inner(self) -> list[Span]:
        """Praat's silences inside fragments that count as pauses."""
        return [pause for spans in self.sounding for pause in pauses_between(spans)]

    @property
    def syllables(self) -> int | None:
        """Hangul letters; None where something else is spoken out."""
        text = " ".join(self.texts)
        return None if re.search(r"[0-9A-Za-z%]", text) else len(re.findall("[가-힣]", text))


@dataclass(frozen=True)
class Found:
    """What the timeline says of a talk: speech, and measures of the session."""

    speech: tuple[Span, ...]
    measures: dict[str, float]


def pauses_between(spans: Sequence[Span]) -> list[Span]:
    """Breaks of at least 0.25 s."""
    return [(a[1], b[0]) for a, b in itertools.pairwise(spans) if b[0] - a[1] >= PAUSE_S]


def sounding_of(x: Singles) -> list[Span]:
    """Praat's sounding stretches; the whole where it hears none."""
    intensity = parselmouth.Sound(x.astype(np.float64), RATE).to_intensity(100.0)
    grid = call(intensity, "To TextGrid (silences)", -25.0, 0.1, 0.05, "silent", "sounding")
    spans = []
    for i in range(1, call(grid, "Get number of intervals", 1) + 1):
        if call(grid, "Get label of interval", 1, i) == "sounding":
            ask = ("Get start time of interval", "Get end time of interval")
            start, end = (float(call(grid, what, 1, i)) for what in ask)
            spans.append((start, end))
    return spans or [(0.0, len(x) / RATE)]


def soft_level(parts: Sequence[Singles]) -> float:
    """RMS of the softest twentieth of 20 ms windows."""
    x = np.concatenate(parts)
    windows = x[: len(x) // 320 * 320].reshape(-1, 320)
    return float(np.percentile(np.sqrt(np.square(windows).mean(axis=1)), 5))


def join(
    name: str, parts: Sequence[Singles], texts: Sequence[str], silent: bool, seed: int
) -> tuple[Singles, Talk]:
    """Fragments one after another with a gap between each two."""
    rng = np.random.default_rng(seed)
    gaps = rng.permutation(np.resize(GAPS_S, max(len(parts) - 1, 0)))
    rms = 0.0 if silent else soft_level(parts)
    pieces: list[Singles] = []
    fragments, sounding, at = [], [], 0
    for k, part in enumerate(parts):
        begin = at / RATE
        fragments.append((begin, begin + len(part) / RATE))
        sounding.append(tuple((begin + a, begin + b) for a, b in sounding_of(part)))
        pieces.append(part)
        at += len(part)
        if k < len(gaps):
            n = round(gaps[k] * RATE)
            pieces.append((rms * rng.normal(size=n)).astype(np.float32))
            at += n
    return np.concatenate(pieces), Talk(name, tuple(fragments), tuple(sounding), tuple(texts))


def srt_of(talk: Talk) -> str:
    """Cues without word times."""

    def clock(seconds: float) -> str:
        minutes, ms = divmod(round(1000 * seconds), 60_000)
        return f"00:{minutes:02d}:{ms // 1000:02d},{ms % 1000:03d}"

    cues = zip(talk.fragments, talk.texts, strict=True)
    return "\n".join(
        f"{k}\n{clock(a)} --> {clock(b)}\n{text}\n" for k, ((a, b), text) in enumerate(cues, 1)
    )


def read_found(folder: Path) -> Found:
    """Speech of the 10 ms grid and the session's measures."""
    speech = pq.read_table(folder / "voice.parquet", columns=["speech"])["speech"].to_numpy()
    edges = np.flatnonzero(np.diff(speech.astype(int), prepend=0, append=0)).reshape(-1, 2) / 100
    rows = pq.read_table(folder / "timeline.parquet").to_pylist()
    values = {r["measure"]: r["value"] for r in rows if r["scope"] == "session"}
    return Found(tuple((float(a), float(b)) for a, b in edges), values)


def make_talks(data: Path, folder: Path, limit: int, silent: bool) -> list[Talk]:
    """Write the recordings and their subtitles."""
    with (data / "speech/pansori_tedxkr/transcripts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    talks = []
    for seed, name in enumerate(sorted({row["talk"] for row in rows})[:limit]):
        own = [row for row in rows if row["talk"] == name]
        parts = [soundfile.read(data / row["file"], dtype="float32")[0] for row in own]
        sound, talk = join(name, parts, [row["text"] for row in own], silent, seed)
        soundfile.write(folder / f"talk{seed:02d}.wav", sound, RATE, subtype="PCM_16")
        (folder / f"talk{seed:02d}.srt").write_text(srt_of(talk), encoding="utf-8")
        talks.append(talk)
    return talks


def with_interval(talks: int, figure: Callable[[Sequence[int]], float]) -> str:
    """A figure with its 95% interval over resampled talks."""
    draws = np.random.default_rng(0).integers(0, talks, (1000, talks))
    low, high = np.nanpercentile([figure(draw) for draw in draws], (2.5, 97.5))
    return f"{figure(range(talks)):.3f} [{low:.3f}, {high:.3f}]"


def print_gaps(talks: Sequence[Talk], found: Sequence[Found]) -> None:
    """Every gap against the longest pause that touches what was inserted."""
    errors: list[list[float]] = [[] for _ in talks]
    n = whole = 0
    for k, (talk, one) in enumerate(zip(talks, found, strict=True)):
        for (start, end), (first, last) in zip(talk.gaps, talk.inserted, strict=True):
            n += 1
            hits = [p for p in pauses_between(one.speech) if p[0] < last and p[1] > first]
            if hits:
                widest = max(hits, key=lambda p: p[1] - p[0])
                errors[k].append((widest[1] - widest[0]) - (end - start))
                whole += widest[0] <= first + EDGE_S and widest[1] >= last - EDGE_S
    flat = np.concatenate(errors)

    def close(chosen: Sequence[int]) -> float:
        return float(np.mean(np.abs(np.concatenate([errors[k] for k in chosen])) <= CLOSE_S))

    p5, p50, p95 = 1e3 * np.percentile(flat, (5, 50, 95))
    print(
        f"gaps: of {n} inserted {len(flat)} are found, {whole} whole within one pause"
        f" ({1e3 * EDGE_S:.0f} ms); length less Praat's, ms: median {p50:+.0f}, 5% {p5:+.0f}, 95%"
        f" {p95:+.0f}; within {1e3 * CLOSE_S:.0f} ms {with_interval(len(talks), close)}"
    )


def print_inner(talks: Sequence[Talk], found: Sequence[Found]) -> None:
    """Pauses of 0.25 s and more inside fragments, here and by Praat."""
    both = here = praat = 0
    for talk, one in zip(talks, found, strict=True):
        ours = [
            p
            for p in pauses_between(one.speech)
            if any(a < p[0] and p[1] < b for a, b in talk.fragments)
        ]
        for a, b in talk.inner:
            both += any(min(b, p[1]) > max(a, p[0]) for p in ours)
        here += len(ours)
        praat += len(talk.inner)
    print(f"pauses inside fragments: {here} here, {praat} by Praat, {both} of those in both")


def print_rates(talks: Sequence[Talk], found: Sequence[Found]) -> None:
    """The session's rates against syllables over Praat's times."""
    counted = [(t, f) for t, f in zip(talks, found, strict=True) if t.syllables is not None]
    print(f"rates: {len(counted)} talks whose transcript is all Hangul")
    for measure in ("speech_rate", "articulation_rate", "pause_ratio"):
        truth, ours = [], []
        for talk, one in counted:
            whole = talk.sounding[-1][-1][1] - talk.sounding[0][0][0]
            every = [span for spans in talk.sounding for span in spans]
            pauses = sum(b - a for a, b in pauses_between(every))
            per = {"speech_rate": whole, "articulation_rate": whole - pauses}.get(measure)
            truth.append(pauses / whole if per is None else (talk.syllables or 0) / per)
            ours.append(one.measures[measure])
        a, b = np.array(ours), np.array(truth)
        relative = (a - b) if measure == "pause_ratio" else (a / b - 1)
        kept = relative[np.isfinite(relative)]
        r = np.corrcoef(a[np.isfinite(relative)], b[np.isfinite(relative)])[0, 1]
        print(
            f"  {measure:17} here {np.nanmin(a):.2f} to {np.nanmax(a):.2f}, truth {b.min():.2f} to"
            f" {b.max():.2f}; {'difference' if measure == 'pause_ratio' else 'relative error'}"
            f" {with_interval(len(kept), lambda k, v=kept: float(np.median(v[list(k)])))}, largest"
            f" {np.abs(kept).max():.3f}, r {r:.3f}, missing {len(a) - len(kept)}"
        )


def main() -> int:
    """Join, analyse, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--talks", type=int, default=34)
    parser.add_argument("--silence", action="store_true", help="gaps of digital silence")
    parser.add_argument("--out", type=Path, help="keep recordings and timelines here")
    options = parser.parse_args()
    data = Path(os.environ.get("NUNBIT_DATA", ""))
    if not os.environ.get("NUNBIT_DATA") or not (data / "speech").is_dir():
        print("skipped: NUNBIT_DATA does not name the folder of real data")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = options.out or Path(name)
        (folder / "media").mkdir(parents=True, exist_ok=True)
        talks = make_talks(data, folder / "media", options.talks, options.silence)
        line = ["-m", "nunbit", "analyze", str(folder / "media"), "--transcript",
                str(folder / "media"), "--out", str(folder / "out"), "--set",
                "single_speaker=true", "--lang", "en"]  # fmt: skip
        subprocess.run([sys.executable, *line], check=True, stdout=subprocess.DEVNULL)
        found = [read_found(folder / "out" / f"talk{k:02d}") for k in range(len(talks))]
    seconds = sum(talk.fragments[-1][1] for talk in talks)
    kind = "silence" if options.silence else "noise"
    print(f"{len(talks)} talks, {seconds / 60:.1f} min, gaps of {kind}")
    print_gaps(talks, found)
    print_inner(talks, found)
    print_rates(talks, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
