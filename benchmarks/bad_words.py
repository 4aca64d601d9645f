"""What `nunbit analyze` and `nunbit.analyze` say of words that cannot be heard, placed or believed.

Made of fragments of Korean talks (`$NUNBIT_DATA/speech/pansori_tedxkr`) and of sounds of
`no_words.py`: no model, another language, silence, music, two people at once, the transcript of
another recording, a Word document with a table, notes in brackets. Each goes through the command
line (a process of its own) and through Python; printed: exit code or kind of error, words kept, and
what was told. Nothing is written beside a temporary folder.

Needs `nunbit models get whisper-base`. About five minutes on one thread.

    NUNBIT_DATA=... python benchmarks/bad_words.py [--only CASE]
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
from dataclasses import dataclass, field
from pathlib import Path

import docx
import numpy as np
import pyarrow.parquet as pq
import soundfile

import nunbit
from no_words import music
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import Singles

SECONDS = 12


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: In the table.
        sound: Samples.
        options: Of the analysis, by name.
        text: Lines of a transcript (name, text), none for no transcript.
        kind: Of the transcript's file.
        home: Whether weights that were fetched are there.
    """

    name: str
    sound: Singles
    options: dict[str, str] = field(default_factory=dict)
    text: tuple[tuple[str, str], ...] = ()
    kind: str = "txt"
    home: bool = True


def fragments(data: Path) -> list[tuple[Singles, str]]:
    """The first two fragments of four talks."""
    with (data / "speech/pansori_tedxkr/transcripts.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    talks = list(dict.fromkeys(row["talk"] for row in rows))[:4]
    chosen = [r for talk in talks for r in [x for x in rows if x["talk"] == talk][:2]]
    return [(soundfile.read(data / r["file"], dtype="float32")[0], r["text"]) for r in chosen]


def cases(data: Path) -> list[Case]:
    """Everything that is tried, a plain recording first."""
    pieces = fragments(data)
    gap = np.zeros(RATE // 2, np.float32)
    talk = np.concatenate([pieces[0][0], gap, pieces[1][0]])
    other = np.concatenate([pieces[2][0], gap, pieces[3][0]])
    n = min(len(talk), len(other))
    own = tuple(("", text) for _, text in pieces[:2])
    named = (("상담자", pieces[0][1]), ("내담자", pieces[1][1]))
    noted = ((own[0][0], f"[웃음] {own[0][1]} (한숨)"), ("", "[음악]"), own[1], ("", "(박수)"))
    rng, asr = np.random.default_rng(20), {"asr": "auto"}
    return [
        Case("a plain talk", talk, asr),
        Case("no model", talk, {"asr": "faster-whisper"}, home=False),
        Case("Korean told to be English", talk, {**asr, "language": "en"}),
        Case("a language that no model knows", talk, {**asr, "language": "tlh"}),
        Case("silence", np.zeros(SECONDS * RATE, np.float32), asr),
        Case("music", music(rng, SECONDS * RATE), asr),
        Case("two people at once", talk[:n] + other[:n], asr),
        Case("text of another recording", other, text=own),
        Case("text of silence", np.zeros(SECONDS * RATE, np.float32), text=own),
        Case("Word document with a table", talk, text=named, kind="docx"),
        Case("notes in brackets", talk, text=noted),
    ]


def write(case: Case, folder: Path) -> tuple[Path, dict[str, str]]:
    """The recording, and the options with the transcript's file."""
    media = folder / "talk.wav"
    with wave.open(str(media), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.clip(case.sound, -1, 1) * 32767.0).astype("<i2").tobytes())
    if not case.text:
        return media, case.options
    path = folder / f"text.{case.kind}"
    if case.kind == "docx":
        document = docx.Document()
        document.add_paragraph("면담 기록")
        table = document.add_table(rows=len(case.text), cols=2)
        for row, cells in zip(table.rows, case.text, strict=True):
            for cell, content in zip(row.cells, cells, strict=True):
                cell.text = content
        document.save(str(path))
    else:
        path.write_text("".join(f"{text}\n" for _, text in case.text), encoding="utf-8")
    return media, {**case.options, "transcript": str(path)}


def by_command(media: Path, options: dict[str, str], out: Path, env: dict[str, str]) -> str:
    """Exit code, words, what was told."""
    flags = [x for key in ("asr", "transcript") if key in options
             for x in (f"--{key}", options[key])]  # fmt: skip
    if "language" in options:
        flags += ["--set", f"language={options['language']}"]
    done = subprocess.run(
        [sys.executable, "-m", "nunbit", "analyze", str(media), "--out", str(out), *flags],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if "error" in line or "failed" in line]
    return f"exit {done.returncode}; {'; '.join(errors[-2:]) or kept(out)}"


def kept(out: Path) -> str:
    """Words of the timeline and what its summary tells."""
    folder = out / "talk"
    if not (folder / "summary.json").is_file():
        return "nothing written"
    words = pq.read_table(folder / "words.parquet").to_pylist()
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    sure = [w["confidence"] for w in words if w["confidence"] is not None]
    mean = f", mean confidence {np.mean(sure):.2f}" if sure else ""
    names = sorted({str(w["speaker"]) for w in words if w["speaker"]})
    said = " ".join(w["text"] for w in words[:6])
    notices = " / ".join(map(str, summary.get("notices", ())))
    return f"{len(words)} words{mean} {names or ''} «{said}»; told: {notices}"


def by_python(media: Path, options: dict[str, str], out: Path) -> str:
    """Kind of the error and its text, or words and what was told."""
    try:
        nunbit.analyze(media, out, **options)
    except nunbit.NunbitError as exc:
        return f"{type(exc).__name__}: {exc}"
    return kept(out)


def main() -> int:
    """Try each, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", help="name of a case; repeatable")
    given = parser.parse_args()
    data = Path(os.environ.get("NUNBIT_DATA", ""))
    if not os.environ.get("NUNBIT_DATA") or not (data / "speech").is_dir():
        print("skipped: NUNBIT_DATA does not name the folder of real data")
        return 0
    for case in cases(data):
        if given.only and case.name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            media, options = write(case, folder)
            env = dict(os.environ)
            if not case.home:
                env |= {"NUNBIT_WEIGHTS": str(folder / "none"), "HF_HUB_OFFLINE": "1"}
                env |= {"HF_HOME": str(folder / "hub")}
            before = os.environ.copy()
            print(f"== {case.name}")
            print("  command:", by_command(media, options, folder / "one", env))
            os.environ.update(env)
            print("  Python: ", by_python(media, options, folder / "two"), flush=True)
            os.environ.clear()
            os.environ.update(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
