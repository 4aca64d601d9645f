"""A Korean interview without any transcript, and with a plain text: both through the command line.

Two talkers of `$NUNBIT_DATA/speech/pansori_tedxkr` take turns (fragments of two talks, joined with
gaps), once for each pair of talks asked for. The recording goes to `nunbit analyze` twice: with
`--asr auto` alone, and with a text that has names and no times. Printed beside each other, for a
reader: what was said, what the timeline has in its place; then the character error rate, words
within their own turn, words with the right name, and what the notices say. The joined sound stays
in a temporary folder.

Needs `nunbit models get whisper-base`.

    NUNBIT_DATA=... python benchmarks/interview_words.py [--pairs 1] [--seed 0]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile

from korean_asr import characters, edit_distance
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from placed_talks import BESIDE_S, Joined, joined

NAMES = ("상담자", "내담자")


@dataclass(frozen=True)
class Turn:
    """Who says what, and when."""

    name: str
    text: str
    start_s: float
    end_s: float


def interviews(data: Path, pairs: int, seed: int) -> list[tuple[Joined, list[str]]]:
    """Joined turns of two talks, and who speaks in each."""
    with (data / "speech/pansori_tedxkr/transcripts.csv").open(encoding="utf-8") as stream:
        by_talk = defaultdict(list)
        for row in csv.DictReader(stream):
            by_talk[row["talk"]].append(row)
    order = np.random.default_rng(seed).permutation(sorted(by_talk))
    made = []
    for k in range(pairs):
        both = [by_talk[talk] for talk in order[2 * k : 2 * k + 2]]
        turns = [
            (row, name) for rows in zip(*both, strict=False)
            for row, name in zip(rows, NAMES, strict=True)
        ]  # fmt: skip
        pieces = [
            (soundfile.read(data / row["file"], dtype="float32")[0], row["text"])
            for row, _ in turns
        ]
        made.append((joined(pieces, k), [name for _, name in turns]))
    return made


def run(folder: Path, *options: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Words of the timeline and what was told."""
    out = folder / f"out{len(list(folder.iterdir()))}"
    command = [sys.executable, "-m", "nunbit", "analyze", str(folder / "interview.wav")]
    done = subprocess.run(
        [*command, "--out", str(out), "--json", *options], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    words = pq.read_table(out / "interview" / "words.parquet").to_pylist()
    summary = json.loads((out / "interview" / "summary.json").read_text("utf-8"))
    return words, [str(note) for note in summary.get("notices", ())]


def told(turns: list[Turn], words: list[dict[str, Any]], *, show: bool) -> str:
    """Print turn by turn, and one line of figures."""
    errors = length = 0
    placed: dict[int, list[str]] = defaultdict(list)
    middles = [(w["t_start"] + w["t_end"]) / 2 for w in words]
    for middle, word in zip(middles, words, strict=True):
        beside = [max(t.start_s - middle, middle - t.end_s, 0.0) for t in turns]
        placed[int(np.argmin(beside))].append(word["text"])
    inside = sum(
        any(t.start_s - BESIDE_S <= m <= t.end_s + BESIDE_S for t in turns) for m in middles
    )
    named = [
        any(t.name == w["speaker"] and t.start_s - BESIDE_S <= m <= t.end_s + BESIDE_S
            for t in turns)
        for m, w in zip(middles, words, strict=True) if w["speaker"]
    ]  # fmt: skip
    for k, turn in enumerate(turns):
        heard = " ".join(placed[k])
        wrong = edit_distance(characters(turn.text), characters(heard))
        errors, length = errors + wrong, length + len(characters(turn.text))
        if show:
            print(f"{turn.start_s:6.1f} {turn.name} said  {turn.text}\n              reads {heard}")
    estimated = sum(bool(w["estimated"]) for w in words)
    return (
        f"{len(words)} words, CER by turn {errors / length:.3f}, "
        f"in a turn {inside / len(words):.3f}, "
        f"right name {sum(named)} of {len(named)}, estimated {estimated}"
    )


def main() -> int:
    """Join, analyse, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = Path(os.environ.get("NUNBIT_DATA", ""))
    if not os.environ.get("NUNBIT_DATA") or not (data / "speech").is_dir():
        print("skipped: NUNBIT_DATA does not name the folder of real data")
        return 0
    for made, names in interviews(data, given.pairs, given.seed):
        turns = [
            Turn(name, text, *span)
            for name, text, span in zip(names, made.texts, made.spans, strict=True)
        ]
        with tempfile.TemporaryDirectory() as kept:
            folder = Path(kept)
            with wave.open(str(folder / "interview.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                sound = np.clip(made.samples, -1.0, 1.0) * 32767.0
                file.writeframes(sound.astype("<i2").tobytes())
            text = folder / "interview.txt"
            text.write_text("".join(f"{t.name}: {t.text}\n" for t in turns), encoding="utf-8")
            for title, options in (
                ("no transcript", ("--asr", "auto")),
                ("a text without times", ("--transcript", str(text))),
            ):
                print(f"\n== {title}")
                words, notices = run(folder, *options)
                print(told(turns, words, show=True))
                print(*(f"  told: {note}" for note in notices), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
