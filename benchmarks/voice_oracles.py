"""Pitch, level, pauses and voice quality against Praat, openSMILE and signals of known truth.

python benchmarks/voice_oracles.py [--files 30] [--all]

Needs the development extra (parselmouth, opensmile, soundfile) and, for real speech, NUNBIT_DATA.
Settings were chosen on every other speaker (the first, third, … in the order of their names); the
figures are from the others, unless --all is given. Prints tables and writes nothing; the exit code
is 1 when something with a target misses it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import parselmouth
import soundfile
from parselmouth.praat import call

from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Interval, Singles, VoiceStream
from nunbit.recording.voice.quality import read_quality, voice_quality
from nunbit.recording.voice.voice_reader import VoiceReader

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from development.voice_tracks import f0_track, level_track, speech_probability
from make_voice import noise, pulses, talk
from pitch_peers import (
    GROSS_ST,
    NAMES,
    RAW,
    SMOOTHED,
    Bias,
    Comparison,
    OpenSmile,
    Tracks,
    bias_of,
    gross_more,
    gross_share,
    lead_and_bias,
    median_apart,
    praat_f0,
    semitones,
    tracks_of,
)

CORPORA = {
    "ravdess": ("labels.csv", "speaker"),
    "emodb": ("labels.csv", "speaker"),
    "korean_emotional": ("labels.csv", "speaker"),
    "pansori_tedxkr": ("transcripts.csv", "talk"),
}
PRAAT_REFERENCE_DB = 20 * math.log10(1 / 2e-5)  # full scale in Praat's decibels
PITCH_PERCENT, PITCH_ST, GROSS, LEVEL_DB, PAUSE_S = 1.0, 0.1, 0.02, 0.05, 0.03
KNOWN_HZ = (60.0, 80.0, 100.0, 120.0, 150.0, 180.0, 210.0, 250.0, 300.0, 350.0, 400.0, 480.0)
SHARE_IN_TIME = 0.95  # of the inserted pauses within PAUSE_S

failures: list[str] = []


def verdict(name: str, good: bool) -> str:
    """Word for the table; a miss is remembered."""
    if not good:
        failures.append(name)
    return "ok" if good else "MISS"


def chunks_of(x: Singles) -> list[AudioChunk]:
    """As a decoder gives them."""
    return [AudioChunk(i / RATE, x[i : i + 4096]) for i in range(0, len(x), 4096)]


def read(x: Singles) -> VoiceStream:
    """The whole reader."""
    chunks, reader = chunks_of(x), VoiceReader()
    for chunk in chunks:
        reader.add(chunk)
    return reader.finish(lambda: chunks, len(x) / RATE)


def praat_range(x: Singles) -> tuple[float, float] | None:
    """The two-pass range from Praat's own first pass."""
    f0 = parselmouth.Sound(x.astype(np.float64), RATE).to_pitch_ac(0.01, 60.0, pitch_ceiling=500.0)
    voiced = f0.selected_array["frequency"]
    voiced = voiced[voiced > 0]
    if len(voiced) < 20:
        return None
    q1, q3 = np.percentile(voiced, (25, 75))
    return 0.75 * q1, 1.5 * q3


def praat_quality(x: Singles, f0_range: tuple[float, float]) -> tuple[float, float, float]:
    """Jitter (local), shimmer (local, dB), harmonicity (ac)."""
    sound = parselmouth.Sound(x.astype(np.float64), RATE)
    pitch = sound.to_pitch_ac(0.01, f0_range[0], pitch_ceiling=f0_range[1])
    points = call([sound, pitch], "To PointProcess (cc)")
    jitter = call(points, "Get jitter (local)", 0, 0, 0.0001, 0.02, 1.3)
    shimmer = call([sound, points], "Get shimmer (local_dB)", 0, 0, 0.0001, 0.02, 1.3, 1.6)
    hnr = call(sound.to_harmonicity_ac(0.01, min(75.0, f0_range[0]), 0.1, 4.5), "Get mean", 0, 0)
    return jitter, shimmer, hnr


def praat_pauses(x: Singles) -> list[tuple[str, float, float]]:
    """Silent and sounding stretches: -25 dB, at least 0.1 s."""
    intensity = parselmouth.Sound(x.astype(np.float64), RATE).to_intensity(100.0)
    grid = call(intensity, "To TextGrid (silences)", -25.0, 0.1, 0.05, "silent", "sounding")
    count = call(grid, "Get number of intervals", 1)
    ask = ("Get label of interval", "Get start time of interval", "Get end time of interval")
    return [tuple(call(grid, what, 1, i) for what in ask) for i in range(1, count + 1)]


def compare_f0(ours: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences in semitones where both are voiced; agreement on voicing, per frame."""
    both = np.isfinite(ours) & np.isfinite(other)
    return (ours - other)[both], np.isfinite(ours) == np.isfinite(other)


def corpus_files(root: Path, corpus: str, limit: int, everything: bool) -> Iterator[Path]:
    """Files of the speakers that settings were not chosen on, spread over them."""
    table, key = CORPORA[corpus]
    with (root / "speech" / corpus / table).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    speakers = sorted({row[key] for row in rows})
    chosen = set(speakers if everything else speakers[1::2])
    rows = [row for row in rows if row[key] in chosen]
    # Evenly: the tables are sorted by speaker.
    for place in np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int):
        yield root / rows[place]["file"]


def load(path: Path) -> Singles:
    """Samples of a 16 kHz file."""
    x, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return x


def synthetic() -> None:
    """Pulse trains, gain, perturbation, noise."""
    print("synthetic signals (ours, Praat)")
    for f0_hz in (120.0, 210.0):
        x = pulses(f0_hz)
        f0, _ = f0_track(x)
        off = 100 * (np.nanmedian(f0) / f0_hz - 1)
        word = verdict(f"pulses {f0_hz}", abs(off) <= 0.5)
        print(f"  {f0_hz:5.0f} Hz  median F0 {np.nanmedian(f0):8.3f} ({off:+.3f} %)  {word}")
        change = np.median(level_track(2 * x)[5:-5] - level_track(x)[5:-5])
        word = verdict("gain", abs(change - 6.0206) <= LEVEL_DB)
        print(f"           gain x 2 {change:+.4f} dB  {word}")
    smile_on_known_pitch()
    print("           signal            jitter           shimmer dB        HNR dB")
    for f0_hz in (120.0, 210.0):
        for sigma, amplitude, snr in (
            (0, 0, None), (0.01, 0, None), (0.02, 0, None), (0, 0.05, None), (0, 0, 20), (0, 0, 10)
        ):  # fmt: skip
            x = pulses(f0_hz, jitter=sigma, shimmer=amplitude)
            if snr is not None:
                x = x + noise(5.0, float(np.std(x)) * 10 ** (-snr / 20))
            f0, f0_range = f0_track(x)
            if f0_range is None:
                continue
            got = voice_quality(x, f0, f0_range)
            jitter, shimmer, hnr = praat_quality(x, f0_range)
            name = f"{f0_hz:.0f} Hz, {sigma:.0%}, {amplitude:.0%}, {snr or '-'} dB"
            good = abs(got.jitter_local / jitter - 1) <= 0.1 or got.jitter_local < 0.002
            good &= abs(got.shimmer_local_db - shimmer) <= (LEVEL_DB if snr is None else 0.5)
            print(
                f"  {name:26} {got.jitter_local:.4f} {jitter:.4f}   {got.shimmer_local_db:.3f}"
                f" {shimmer:.3f}   {got.hnr_db:5.1f} {hnr:5.1f}  {verdict(name, good)}"
            )


def smile_bias(smile: OpenSmile, column: str) -> Bias:
    """OpenSMILE's error on pulse trains."""
    tones = {f0_hz: pulses(f0_hz) for f0_hz in KNOWN_HZ}
    return bias_of(lambda x, n: smile.f0_st(x, n, column), tones)


def smile_on_known_pitch() -> None:
    """What openSMILE itself is off by, so that differences from it can be judged."""
    with OpenSmile() as smile:
        bias = smile_bias(smile, SMOOTHED)
        listed = [f"{hz:.0f} Hz {bias(semitones(np.array(hz))):+.3f}" for hz in KNOWN_HZ]
        print("           openSMILE's own error, semitones: " + ", ".join(listed))
        trackers = {
            "nunbit": lambda x, n: semitones(f0_track(x)[0][:n]),
            f"openSMILE {RAW}": lambda x, n: smile.f0_st(x, n, RAW),
            f"openSMILE {SMOOTHED}": lambda x, n: smile.f0_st(x, n, SMOOTHED),
        }
        for name, track in trackers.items():
            lead, bias = lead_and_bias(track)
            print(
                f"           on glides {name}, taken at its window's centre: {1e3 * lead:+.2f} ms"
                f" early, {bias:+.4f} semitones high"
            )


def praat_voiced(x: Singles, f0_range: tuple[float, float]) -> np.ndarray:
    """All voiced values of Praat at its own frames."""
    pitch = parselmouth.Sound(x.astype(np.float64), RATE).to_pitch_ac(
        0.01, f0_range[0], pitch_ceiling=f0_range[1]
    )
    values = pitch.selected_array["frequency"]
    return values[values > 0]


def pitch_on_speech(
    root: Path, limit: int, everything: bool, smile: OpenSmile
) -> dict[str, list[Tracks]]:
    """Medians of F0 against Praat, per corpus; returns the tracks for the tables of frames."""
    print("\nreal speech: median F0 against Praat, two passes each, Praat with its own first pass")
    print("  corpus            files  corpus off %   files within 1 %  (Praat against itself 3.3 ms"
          " later)   speakers within 1 %")  # fmt: skip
    tracks: dict[str, list[Tracks]] = {}
    for corpus in CORPORA:
        speakers: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        files, itself = [], []
        tracks[corpus] = []
        for path in corpus_files(root, corpus, limit, everything):
            x = load(path)
            x = x - np.float32(x.mean(dtype=np.float64))
            wide = praat_range(x)
            ours, mine = f0_track(x)
            if wide is None or mine is None:
                continue
            name = path.name[:2] if corpus == "emodb" else path.parent.name
            tracks[corpus].append(tracks_of(name, x, ours, praat_f0(x, wide, len(ours)), smile))
            theirs, voiced = praat_voiced(x, wide), ours[np.isfinite(ours)]
            files.append(off_percent(voiced, theirs))
            itself.append(off_percent(praat_voiced(x[53:], wide), theirs))
            speakers.setdefault(name, []).append((voiced, theirs))
        pooled = [pool(found) for found in speakers.values()]
        whole = pool([pair for found in speakers.values() for pair in found])
        good = abs(whole) <= PITCH_PERCENT and np.median(np.abs(pooled)) <= PITCH_PERCENT
        print(
            f"  {corpus:17} {len(files):5} {whole:+13.2f} {within(files):18.0%}"
            f" {within(itself):26.0%} {int(within(pooled) * len(pooled) + 0.5):19} of"
            f" {len(pooled)}   {verdict('median ' + corpus, bool(good))}"
        )
    return tracks


def print_pairs(tracks: dict[str, list[Tracks]]) -> None:
    """Every pair on the frames that both call voiced, nothing smoothed."""
    print("\nreal speech, nothing smoothed, frames that both of a pair call voiced: median |dF0| in"
          " semitones, share of gross differences (> 20 %), agreement on voicing")  # fmt: skip
    print("  corpus              nunbit and Praat          nunbit and openSMILE       Praat and"
          " openSMILE")  # fmt: skip
    for corpus, files in tracks.items():
        line, good = f"  {corpus:17}", True
        for a, b in ((0, 1), (0, 2), (1, 2)):
            found = [compare_f0(file.raw[a], file.raw[b]) for file in files]
            d = np.abs(np.concatenate([x for x, _ in found]))
            gross = float(np.mean(d > GROSS_ST))
            agree = float(np.mean(np.concatenate([v for _, v in found])))
            line += f"  {np.median(d):8.4f} {gross:7.2%} {agree:6.1%}"
            good &= b != 1 or (gross <= GROSS and np.median(d) <= PITCH_ST)
        print(f"{line}   {verdict('pitch against Praat ' + corpus, bool(good))}")


def print_three(tracks: dict[str, list[Tracks]], smoothed: bool, bias: Bias) -> None:
    """All three on the frames that all three call voiced, with intervals by speaker."""
    how = (
        f"openSMILE's {SMOOTHED}, the others smoothed like it: target"
        if smoothed
        else f"openSMILE's {RAW}, nothing smoothed: no target"
    )
    print(f"\nreal speech, the same frames (voiced in all three), at the same times; {how}")
    print("  median |dF0| in semitones and gross share, each with the 95 % interval by speaker")
    for corpus, files in tracks.items():
        same = Comparison.of(files, smoothed)
        print(f"  {corpus}: {same.frames.shape[1]} frames of {len(same.speakers)} speakers")
        for a, b in ((0, 1), (0, 2), (1, 2)):
            apart, gross = (
                same.with_interval(figure(a, b)) for figure in (median_apart, gross_share)
            )
            word = ""
            if smoothed and (a, b) == (0, 2):
                near = verdict(f"|dF0| against openSMILE {corpus}", apart[0] <= PITCH_ST)
                rare = verdict(f"gross against openSMILE {corpus}", gross[0] <= GROSS)
                word = f"  {near}, {rare}"
            pair = f"{NAMES[a]} and {NAMES[b]}"
            print(
                f"    {pair:21} {apart[0]:.4f} [{apart[1]:.4f}, {apart[2]:.4f}]"
                f"  {gross[0]:6.2%} [{gross[1]:.2%}, {gross[2]:.2%}]{word}"
            )
        apart = same.without_bias(bias).with_interval(median_apart(0, 2))
        print(
            f"    of nunbit and openSMILE, openSMILE's own error on pulse trains taken out:"
            f" {apart[0]:.4f} [{apart[1]:.4f}, {apart[2]:.4f}]"
        )
        more = [f"{100 * value:+.2f}" for value in same.with_interval(gross_more)]
        n, ours, theirs = same.sides()
        print(
            f"    gross from openSMILE, nunbit's less Praat's: {more[0]} [{more[1]}, {more[2]}]"
            f" points; of nunbit's {n} Praat is with nunbit in {ours:.0%}, with openSMILE in"
            f" {theirs:.0%}"
        )


def off_percent(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How far apart the medians are."""
    return float(100 * (np.median(ours) / np.median(theirs) - 1))


def pool(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """How far apart the medians of several files together are, percent."""
    return off_percent(*(np.concatenate(side) for side in zip(*pairs, strict=True)))


def within(percent: list[float]) -> float:
    """Share within the target."""
    return float(np.mean(np.abs(percent) <= PITCH_PERCENT))


def level_on_speech(root: Path, limit: int, everything: bool) -> None:
    """Levels of whole files: their differences must be Praat's."""
    print("\nreal speech: level of files, ours less Praat's (Get intensity)")
    for corpus in CORPORA:
        apart = []
        for path in corpus_files(root, corpus, limit, everything):
            x = load(path)
            # Ours is about the recording's constant offset, Praat's is not.
            x = x - np.float32(np.median(x[: len(x) // 80 * 80].reshape(-1, 80).mean(axis=1)))
            level = level_track(x)[1:-1:2]  # windows of 20 ms side by side
            energy = 10 * math.log10(np.mean(10 ** (level / 10)))
            same = x[80 : 80 + 320 * len(level)].astype(np.float64)
            praat = parselmouth.Sound(same, RATE).get_intensity()
            apart.append(energy + PRAAT_REFERENCE_DB - praat)
        spread = max(apart) - min(apart)
        word = verdict(f"level {corpus}", spread <= LEVEL_DB)
        print(f"  {corpus:17} {min(apart):+.4f} to {max(apart):+.4f} dB  {word}")


def insert_pauses(
    x: Singles, rng: np.random.Generator, running: bool
) -> tuple[Singles, list[tuple[float, float]]]:
    """Silence put into speech at loud places.

    Args:
        x: Speech.
        rng: Of places and lengths, 0.2 to 2 s.
        running: Only inside running speech: 80 ms of sound and 0.35 s of what Praat calls
            sounding on both sides. Else anywhere loud, also in the middle of a last syllable.
    """
    level = level_track(x)
    top = np.nanpercentile(level, 95)
    fit = level > top - 12
    if running:
        sounding = np.zeros(len(level), bool)
        for label, start, end in praat_pauses(x):
            if label == "sounding":
                sounding[math.ceil(100 * start) + 35 : max(0, int(100 * end) - 35)] = True
        steady = np.convolve(level > top - 20, np.ones(17), "same") > 16.5
        fit &= sounding & steady
    places: list[int] = []
    fit[:50] = fit[-50:] = False
    for k in rng.permutation(np.flatnonzero(fit)):
        if all(abs(k - other) > 70 for other in places) and len(places) < 4:
            places.append(int(k))
    parts, pauses, last, at = [], [], 0, 0
    for k in sorted(places):
        cut = k * 160 + 80
        n = round(rng.uniform(0.2, 2.0 if rng.random() < 0.5 else 0.6) * RATE)
        parts += [x[last:cut], np.zeros(n, np.float32)]
        at += cut - last
        pauses.append((at / RATE, (at + n) / RATE))
        at, last = at + n, cut
    return np.concatenate([*parts, x[last:]]), pauses


def pauses_on_speech(root: Path, limit: int, everything: bool) -> None:
    """Inserted pauses with and without noise."""
    print("\ninserted pauses of 0.2 to 2 s, target: within 30 ms")
    print("  A cut inside a syllable may leave a rest that is not called speech: then the pause is"
          " too long,\n  or missed where that was all of the speech on one side.")  # fmt: skip
    print("  place            corpus             noise     n  missed  too long  too short"
          "  error ms: median  p5  p95   within 30 ms")  # fmt: skip
    for running in (True, False):
        for corpus in CORPORA:
            for snr in (None, 30, 20):
                rng = np.random.default_rng(11)
                errors, missed, n = [], 0, 0
                for path in corpus_files(root, corpus, limit, everything):
                    clean = load(path)
                    x, pauses = insert_pauses(clean, rng, running)
                    if snr is not None:
                        level = level_track(clean)
                        loud = level[level > np.nanpercentile(level, 95) - 25]
                        rms = math.sqrt(np.mean(10 ** (loud / 10)))
                        x = x + noise(len(x) / RATE, rms * 10 ** (-snr / 20), int(n))
                    ends = read(x).segments
                    found = [(a.end_s, b.start_s) for a, b in itertools.pairwise(ends)]
                    for start, end in pauses:
                        n += 1
                        hits = [(min(end, b) - max(start, a), b - a) for a, b in found]
                        hits = [hit for hit in hits if hit[0] > 0]
                        if hits:
                            errors.append(max(hits)[1] - (end - start))
                        else:
                            missed += 1
                if not errors:  # too short for running speech on both sides
                    print(f"  {'-':16} {corpus:18} {n} pauses found room")
                    continue
                ms = 1e3 * np.array(errors)
                most = 1e3 * PAUSE_S + 0.1
                share = float(np.sum(np.abs(ms) <= most)) / max(n, 1)
                long, short = int((ms > most).sum()), int((ms < -most).sum())
                name = "running speech" if running else "anywhere loud"
                word = verdict(f"pauses {corpus} {snr}", share >= SHARE_IN_TIME) if running else ""
                p5, p95 = np.percentile(ms, (5, 95))
                print(
                    f"  {name:16} {corpus:18} {f'{snr} dB' if snr else 'none':5} {n:5} {missed:7}"
                    f" {long:9} {short:10} {np.median(ms):17.0f} {p5:4.0f} {p95:4.0f}"
                    f" {share:14.1%}  {word}"
                )


def pauses_of_sentences() -> None:
    """Pauses between made sentences, the whole reader."""
    print("\npauses between made speech (tests/make_voice.py)")
    for snr in (None, 30, 20):
        parts, truth, at = [], [], 0.0
        for k, pause in enumerate((0.25, 0.3, 0.5, 0.8, 1.2, 2.0)):
            said = talk(1.5, 110 + 25 * k, seed=k)
            parts += [said, np.zeros(round(pause * RATE), np.float32)]
            at += len(said) / RATE
            truth.append(pause)
            at += pause
        x = np.concatenate([*parts, talk(1.5, seed=40)])
        if snr:
            x = x + noise(len(x) / RATE, 0.1 * 10 ** (-snr / 20))
        ends = read(x).segments
        found = [b.start_s - a.end_s for a, b in itertools.pairwise(ends)]
        errors = [1e3 * (b - a) for a, b in zip(truth, found, strict=False)]
        good = len(found) == len(truth) and max(map(abs, errors)) <= 30.1
        listed = " ".join(f"{e:+.0f}" for e in errors)
        print(f"  {f'{snr} dB' if snr else 'clean':6} {listed} ms  {verdict(f'made {snr}', good)}")


def natural_pauses(root: Path, limit: int, everything: bool) -> None:
    """Where Praat's silences and ours differ on untouched speech; no target."""
    print("\nnatural pauses of at least 0.25 s between speech, against Praat's silences (-25 dB)")
    for corpus in CORPORA:
        both, only_ours, only_praat, differences = 0, 0, 0, []
        for path in corpus_files(root, corpus, limit, everything):
            x = load(path)
            ends = read(x).segments
            ours = [(a.end_s, b.start_s) for a, b in itertools.pairwise(ends)]
            ours = [(a, b) for a, b in ours if b - a >= 0.25]
            praat = [(a, b) for kind, a, b in praat_pauses(x)[1:-1] if kind == "silent"]
            praat = [(a, b) for a, b in praat if b - a >= 0.25]
            for a, b in ours:
                same = [(c, d) for c, d in praat if min(b, d) - max(a, c) > 0]
                if same:
                    both += 1
                    differences.append(1e3 * ((b - a) - sum(d - c for c, d in same)))
                else:
                    only_ours += 1
            only_praat += sum(not any(min(b, d) > max(a, c) for a, b in ours) for c, d in praat)
        quarters = np.percentile(differences, (25, 50, 75)) if differences else [math.nan] * 3
        print(
            f"  {corpus:17} both {both:4}  only here {only_ours:4}  only Praat {only_praat:4}"
            f"  length here less Praat's {quarters[1]:+.0f} ms ({quarters[0]:+.0f} to"
            f" {quarters[2]:+.0f})"
        )


def hand_labels(root: Path, everything: bool) -> None:
    """Speech and pauses against EmoDB's hand-labelled syllables; no target."""
    starts: dict[str, list[float]] = {}
    with (root / "speech/emodb/syllables.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["syllable"] != ".":
                starts.setdefault(row["file"], []).append(float(row["start_s"]))
    with (root / "speech/emodb/labels.csv").open(encoding="utf-8") as file:
        ends = {row["file"]: float(row["original_end_s"] or 9) for row in csv.DictReader(file)}
    on, off, speaking, silent, pauses, longest = [], [], [], [], 0, []
    for path in corpus_files(root, "emodb", 200, everything):
        name = path.relative_to(root).as_posix()
        x = load(path)
        segments = read(x).segments
        if name not in starts or not segments:
            continue
        on.append(1e3 * (segments[0].start_s - starts[name][0]))
        if ends[name] < 1.95:
            off.append(1e3 * (segments[-1].end_s - ends[name]))
        # The files are cut at two seconds; syllables after that are not in the sound.
        heard = np.array([t for t in starts[name] if t < len(x) / RATE])
        speaking += [any(s.start_s - 0.03 <= t < s.end_s for s in segments) for t in heard]
        breaks = [(a.end_s, b.start_s) for a, b in itertools.pairwise(segments)]
        silent += [any(a + 0.03 < t < b - 0.03 for a, b in breaks) for t in heard]
        for a, b in breaks:
            # Hand labels have no pauses: a syllable lasts to the next. A pause makes one long.
            around = np.diff(heard)[(heard[:-1] < b) & (heard[1:] > a)]
            if b - a >= 0.25 and len(around):
                pauses += 1
                longest.append(float(around.max() / np.median(np.diff(heard))))
    print("\nEmoDB, hand labels: ours less theirs, ms (median, 10th to 90th percentile)")
    for name, values in (("onset", on), ("end", off)):
        low, mid, high = np.percentile(values, (10, 50, 90))
        print(f"  {name:6} {mid:+.0f} ({low:+.0f} to {high:+.0f}), {len(values)} files")
    print(
        f"  of {len(speaking)} syllables {np.mean(speaking):.1%} begin in what is called speech,"
        f" {np.mean(silent):.1%} more than 30 ms inside a pause"
    )
    if longest:
        low, mid, high = np.percentile(longest, (10, 50, 90))
        print(
            f"  {pauses} pauses of 0.25 s and more: the syllable that holds one lasts {mid:.1f}"
            f" times the file's median ({low:.1f} to {high:.1f})"
        )


def quality_on_speech(root: Path, limit: int, everything: bool) -> None:
    """Jitter, shimmer and harmonicity of real speech; experimental, no target."""
    print("\nreal speech: voice quality against Praat (correlation over files; ours / Praat)")
    rows = []
    for corpus in CORPORA:
        for path in corpus_files(root, corpus, limit, everything):
            x = load(path)
            f0, f0_range = f0_track(x)
            if f0_range is not None:
                got = voice_quality(x, f0, f0_range)
                rows.append((got.jitter_local, got.shimmer_local_db, got.hnr_db,
                             *praat_quality(x, f0_range)))  # fmt: skip
    table = np.array(rows)
    table = table[np.isfinite(table).all(axis=1)]
    for k, name in enumerate(("jitter", "shimmer", "HNR")):
        ours, theirs = table[:, k], table[:, k + 3]
        r = np.corrcoef(ours, theirs)[0, 1]
        gap = f"difference {np.median(ours - theirs):+.2f} dB" if k == 2 else (
            f"ratio {np.median(ours / theirs):.3f}"
        )  # fmt: skip
        print(f"  {name:8} r {r:.3f}  median {gap}  ({len(table)} files)")


def speed(root: Path | None) -> None:
    """Milliseconds of one thread per second of sound."""
    if root:
        files = list(corpus_files(root, "korean_emotional", 12, True))
        x = np.concatenate([load(path) for path in files])[: 60 * RATE]
    else:
        x = talk(60.0)
    seconds = len(x) / RATE

    def took(action: object) -> float:
        started = time.process_time()
        action()  # type: ignore[operator]
        return 1e3 * (time.process_time() - started) / seconds

    voice = read(x)
    whole = [Interval(0.0, seconds)]
    parts = {
        "speech detection": took(lambda: speech_probability(x)),
        "pitch, both passes, every frame": took(lambda: f0_track(x)),
        "level": took(lambda: level_track(x)),
        "voice quality (on request)": took(
            lambda: read_quality(lambda: chunks_of(x), voice, whole)
        ),
        "the whole reader": took(lambda: read(x)),
    }
    print(f"\nspeed, one thread, ms of processor time per second of sound ({seconds:.0f} s)")
    for name, ms in parts.items():
        print(f"  {name:32} {ms:7.2f}")


def main() -> int:
    """Everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=30, help="per corpus")
    parser.add_argument("--skip-pauses", action="store_true", help="the slowest part")
    parser.add_argument("--all", action="store_true", help="also speakers of the tuning half")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    synthetic()
    pauses_of_sentences()
    folder = os.environ.get("NUNBIT_DATA", "")
    root = Path(folder) if folder and Path(folder).is_dir() else None
    if root is None:
        print("\nNUNBIT_DATA does not name the folder of real data: real speech left out")
    else:
        with OpenSmile() as smile:
            tracks = pitch_on_speech(root, options.files, options.all, smile)
            print_pairs(tracks)
            for smoothed in (True, False):
                print_three(tracks, smoothed, smile_bias(smile, SMOOTHED if smoothed else RAW))
        level_on_speech(root, options.files, options.all)
        if not options.skip_pauses:
            pauses_on_speech(root, options.files, options.all)
        natural_pauses(root, options.files, options.all)
        hand_labels(root, options.all)
        quality_on_speech(root, options.files, options.all)
    speed(root)
    print(f"\n{len(failures)} missed" + (": " + ", ".join(failures) if failures else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
