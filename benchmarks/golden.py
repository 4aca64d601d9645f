"""Golden results: everything nunbit writes about fixed recordings and pictures, kept and compared.

python benchmarks/golden.py make GOLDEN                # the tree that PYTHONPATH names
python benchmarks/golden.py compare GOLDEN             # run the tree of PYTHONPATH and compare
python benchmarks/golden.py compare GOLDEN OTHER       # compare two kept folders

Made results of an older commit: ``git worktree add ../old COMMIT`` and ``make`` with
``PYTHONPATH=../old/src``. Only the command line is used (``--nunbit "python -m nunbit"``), so any
layout of the package can be compared with any other. ``NUNBIT_DATA`` names the data folder; its
sibling ``cases`` (or ``--cases``) holds small awkward inputs. Nothing of either comes into the
repository: GOLDEN lies outside and holds

- ``media/``: what ``nunbit synth video`` made, and transcripts written here. It is made once; a
  comparison analyses the same files again.
- ``results/RUN/``: tables, arrays, JSON and exports of every run, digests of shards and archives.
  Left out of JSON: provenance, digests of files, paths (``DROPPED``). Left out altogether: HTML,
  figures, marked photos, models, and the caches of unfinished work.

Twelve analyses (18 recordings, 5 minutes), one of them again with other words; the alignment of six
clips, with an analysis and a search in its space; 3,027 pictures (the whole test part of FER2013)
through ``prepare``, ``evaluate`` and ``predict``; eight photos; a drawn recording, and a drawn AI
Hub tree with what ``prepare`` makes of it. The comparison is bit for bit; what differs is printed
with the number of rows and the largest difference, and the exit code is 1. ``--sentences`` lets
sentences for people in JSON differ; what only the newer results hold is told and no fault.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCRIPTS = Path(__file__).with_suffix("")  # NAME.toml: what `synth video` draws as NAME
TURNS = (("anna", 0.8, 5.0), ("ben", 6.5, 6.5), ("anna", 14.5, 4.5))
GRID = ("s1_bbaf2n", "s1_lriyzn", "brbk7n")
WEBCAMS = ("opendbm/subj01_timepoint01.mp4", "openwillis/baseline.mp4", "pyfeat/face_noface.mov")
TALKING = ("t1_1.mkv", "t2_1.mkv", "t2_3.mkv", "t3_1.mkv", "t3_2.mkv", "t4_1.mp4")
SAID = ("정말 즐거웠어요", "너무 외롭고 눈물이 나요", "오늘은 일찍 일어났습니다",
        "화가 나서 참을 수 없었어요", "내일이 기다려집니다", "무서워서 잠을 못 잤어요",
        "책상 위에 책이 있습니다")  # invented words of these clips  # fmt: skip
EVERYTHING = "eaf,textgrid,vtt,csv,openface"
ROW_KEY = ("modality", "measure", "track", "scope", "t_start", "t_end")  # of timeline.parquet
IMAGES, SHOWN = 3027, 5  # test pictures; differing values of a JSON file that are printed


@dataclass(frozen=True)
class Run:
    """One command line whose results are kept.

    Attributes:
        name: Folder in ``results``.
        line: Arguments; ``@data``, ``@cases``, ``@media`` and ``@results`` stand for folders and
            ``@out`` for the run's own.
        analysis: Whether it takes the settings of ``--set``.
    """

    name: str
    line: str
    analysis: bool = True


def runs(talk: str) -> tuple[Run, ...]:
    """Everything that is run, in order; ``talk`` is a folder name below @data/speech."""
    a = "analyze --lang en --json --out @out "
    video, cases = "@data/video", "@cases"
    grid = " ".join(f"{video}/grid/{name}.mpg" for name in GRID)
    return (
        Run("baseline", a + "@media/baseline.mp4 --transcript @media/baseline.srt --baseline 0-62 "
            f"--subject P01 --export {EVERYTHING}"),
        Run("two", a + "@media/two.mp4 --transcript @media/two.srt --speakers @media/two.rttm "
            f"--export {EVERYTHING} --set target_speaker=anna"),
        Run("sound", a + "@media/sound.wav --transcript @media/sound.srt --export textgrid,csv "
            "--set single_speaker=true --set fuse_voice=true"),
        Run("picture", "analyze --lang ko --json --out @out @media/picture.mp4 --export openface "
            "--set rate_hz=15 --set window_s=3 --set hop_s=0.5"),
        Run("blinks", a + "@media/blinks.mkv --full-rate --export openface --set target=only "
            "--set target_box=[110,60,330,320] --set target_time=3 --set seed=7"),
        Run("grid", a + f"{grid} --transcript @media/grid --export eaf,vtt --set language=en "
            "--set window_s=1.5 --set hop_s=0.5"),
        Run("webcams", a + " ".join(f"{video}/{name}" for name in WEBCAMS) + " --export openface"),
        Run("upright", a + f"{video}/liveportrait/d13.mp4 --full-rate --export openface,csv"),
        Run("talking", a + f"{video}/talking/t11_1.mp4 --set language=en --set min_face_px=60"),
        Run("tedx", a + f"{talk} --transcript @media/tedx --export eaf,textgrid,vtt,csv"),
        Run("speech", a + f"{cases}/speech.wav --transcript {cases}/subtitles/good.srt --speakers "
            f"{cases}/rttm/names.rttm --export eaf,textgrid,vtt,csv"),
        Run("cut", a + f"{cases}/video/cut.mp4 --set min_face_px=30"),
        Run("cpp", a + f"{cases}/speech.wav --transcript {cases}/json/cpp_full.json"),
        Run("check", f"check {cases}/video {cases}/sound @media/grid --json --lang en", False),
        Run("align", "align " + " ".join(f"{video}/talking/{name}" for name in TALKING)
            + " --transcript @media/said --out @out --json --lang en", False),
        Run("aligned", a + f"{video}/talking/t3_2.mkv --bundle @results/align/bundle "
            "--transcript @media/said/t3_2.vtt --set unproven_agreement=true"),
        Run("search", "search @results/aligned '환하게 웃는 얼굴' --bundle @results/align/bundle "
            "--json --lang en", False),
        Run("synth", "synth video @out/again.mp4 --json --lang en --set duration_s=6 --seed 3 "
            f"--script {SCRIPTS / 'blinks.mkv.toml'}", False),
        Run("aihub", "synth aihub @out/tree --per-class 3 --seed 5 --json --lang en", False),
        Run("faces", "prepare @results/aihub/tree --paper --size 64 --out @out --json --lang en",
            False),
        Run("prepare", "prepare @media/fer.csv --label-set fer7 --size 48 --out @out --json "
            "--lang en", False),
        Run("evaluate", "evaluate @results/prepare --out @out --json --lang en", False),
        Run("crops", "predict @media/crops/angry @media/crops/disgust @media/crops/fear "
            "@media/crops/happy @media/crops/neutral @media/crops/sad @media/crops/surprise "
            "--crops --json --lang en", False),
        Run("photos", f"predict @data/image {cases}/photos/alb --json --lang en --annotate "
            "@out/marked --prompt '환하게 웃는 얼굴' --prompt '침울한 얼굴'", False),
    )  # fmt: skip


# ---- making -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a make works.

    Attributes:
        nunbit: Command that starts nunbit, split.
        data: ``NUNBIT_DATA``.
        cases: Folder of awkward inputs.
        media: Made recordings and transcripts.
        results: Gets one folder a run.
        settings: Further ``key=value`` of every analysis.
    """

    nunbit: tuple[str, ...]
    data: Path
    cases: Path
    media: Path
    results: Path
    settings: tuple[str, ...]

    def call(self, arguments: list[str]) -> str:
        """Standard output of one command; stops where it fails."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [*self.nunbit, *arguments], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise SystemExit(f"nunbit {shlex.join(arguments)}\n{done.stderr[-2000:]}")
        return done.stdout

    def fill(self, line: str, own: Path) -> list[str]:
        """The arguments of a line with the folders put in."""
        folders = {"@data": self.data, "@cases": self.cases, "@media": self.media, "@out": own}
        folders["@results"] = self.results
        return [
            re.sub("|".join(folders), lambda m: str(folders[m.group()]), part)
            for part in shlex.split(line)
        ]

    def mask(self, text: str) -> str:
        """Text with the folders named by what they are."""
        for name in ("results", "media", "data", "cases"):
            folder = str(getattr(self, name))
            text = text.replace(folder, f"@{name}").replace(os.path.relpath(folder), f"@{name}")
        return text


def talk_of(data: Path, count: int = 3) -> list[dict[str, str]]:
    """The first fragments of the Korean talks, one a talk."""
    with (data / "speech/pansori_tedxkr/transcripts.csv").open(encoding="utf-8") as stream:
        rows = {row["talk"]: row for row in reversed(list(csv.DictReader(stream)))}
    return [rows[talk] for talk in sorted(rows)[:count]]


def make_media(place: Place) -> None:
    """Draw the made recordings and write the transcripts; what is there is kept."""
    place.media.mkdir(parents=True, exist_ok=True)
    for script in sorted(SCRIPTS.glob("*.toml")):
        target = place.media / script.stem
        if not target.exists():
            place.call(["synth", "video", str(target), "--script", str(script)])
    lines = [f"SPEAKER two 1 {at} {length} <NA> <NA> {who} <NA> <NA>" for who, at, length in TURNS]
    (place.media / "two.rttm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (place.data / "video/clips.csv").open(encoding="utf-8") as stream:
        clips = {Path(row["file"]).stem: row for row in csv.DictReader(stream)}
    (place.media / "grid").mkdir(exist_ok=True)
    for name in GRID:
        text = f"WEBVTT\n\n00:00.500 --> 00:02.500\n{clips[name]['text']}\n"
        (place.media / "grid" / f"{name}.vtt").write_text(text, encoding="utf-8")
    (place.media / "said").mkdir(exist_ok=True)
    for i, name in enumerate(TALKING):
        cues = (f"00:{2 * k:02}.000 --> 00:{2 * k + 1:02}.800\n{SAID[(3 * i + k) % len(SAID)]}\n"
                for k in range(int(float(clips[Path(name).stem]["duration_s"])) // 2))  # fmt: skip
        path = place.media / "said" / f"{Path(name).stem}.vtt"
        path.write_text("\n".join(("WEBVTT\n", *cues)), encoding="utf-8")
    (place.media / "tedx").mkdir(exist_ok=True)
    for row in talk_of(place.data):
        cue = {"segments": [{"start": 0.2, "end": 2.4, "text": row["text"]}], "language": "ko"}
        path = place.media / "tedx" / f"{Path(row['file']).stem}.json"
        path.write_text(json.dumps(cue, ensure_ascii=False), encoding="utf-8")
    make_images(place)


def make_images(place: Place) -> None:
    """Unpack the test part of FER2013 and write its table, label and votes."""
    archive = place.data / "fer2013/test.zip"
    with (place.data / "fer2013/labels.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["usage"] == "PrivateTest"]
    if len(rows) != IMAGES:
        raise SystemExit(f"{archive}: expected {IMAGES} pictures, got {len(rows)}")
    names = {"ferplus_happiness": "votes_joy"}
    table = []
    for row in rows:
        votes = {k: v or "0" for k, v in row.items() if k.startswith("ferplus_") and len(k) > 10}
        votes.pop("ferplus_name")
        counts = {names.get(k, k.replace("ferplus_", "votes_")): v for k, v in votes.items()}
        path = f"{archive}!{row['file']}"
        table.append({"path": path, "split": "test", "label": row["label"], **counts})
    with (place.media / "fer.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            target = place.media / "crops" / Path(*Path(name).parts[1:])
            if not name.endswith("/") and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(name))


KEPT = {".parquet", ".npz", ".json", ".jsonl", ".csv", ".eaf", ".vtt", ".textgrid", ".srt"}
DROPPED = {"provenance", "path", "out", "folder", "fingerprint", "nunbit_version", "seconds"}
DROPPED |= {"times_real_time"}
CACHES = {"recordings", "parts", "figures", "bundle/prompts.npz", "bundle/sentences.npz"}


def make(place: Place, only: set[str]) -> list[str]:
    """Run everything, or only some; the names of what was run."""
    made = []
    talk = shlex.join(f"@data/{row['file']}" for row in talk_of(place.data))
    for run in runs(talk):
        if only and run.name not in only:
            continue
        started, own = time.monotonic(), place.results / run.name
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        extra = [f"--set={value}" for value in place.settings if run.analysis]
        printed = place.call(place.fill(run.line, own) + extra)
        (own / "stdout.json").write_text(printed, encoding="utf-8")
        print(f"{run.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        made.append(run.name)
    return made


def normalise(place: Place, own: Path) -> None:
    """Bring what a run wrote into the form that is compared, when no run needs it any more."""
    for path in sorted(p for p in own.rglob("*") if p.is_file()):
        inside = path.relative_to(own).as_posix()
        if path.suffix in {".tar", ".mp4", ".zip"}:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            path.with_name(path.name + ".sha256.json").write_text(json.dumps(digest))
        cached = any(inside == c or inside.startswith(f"{c}/") for c in CACHES)
        if path.suffix.lower() not in KEPT or cached or path.name == "tokenizer.json":
            path.unlink()
        elif path.suffix == ".json":
            value = plain(json.loads(place.mask(path.read_text(encoding="utf-8"))))
            path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
        elif path.suffix == ".jsonl":
            path.write_text(place.mask(path.read_text(encoding="utf-8")), encoding="utf-8")
        elif path.suffix == ".eaf":
            text = re.sub(r' (DATE|MEDIA_URL|RELATIVE_MEDIA_URL)="[^"]*"', "", path.read_text())
            path.write_text(text, encoding="utf-8")


def plain(value: Any) -> Any:
    """JSON without what tells when, where and by which versions it was made."""
    if isinstance(value, dict):
        gone = DROPPED | {k for k, v in value.items() if k == "files" and isinstance(v, dict)}
        return {key: plain(child) for key, child in value.items() if key not in gone}
    return [plain(child) for child in value] if isinstance(value, list) else value


# ---- comparing --------------------------------------------------------------------------------


def compare(old: Path, new: Path, sentences: bool = False) -> list[str]:
    """What differs between two folders of results, a line each; empty where they are identical."""
    before, after = ({p.relative_to(f).as_posix() for p in f.rglob("*") if p.is_file()}
                     for f in (old, new))  # fmt: skip
    for name in sorted(after - before):
        print(f"only in the newer results: {name}", file=sys.stderr)
    found = [f"{name}: missing in the newer results" for name in sorted(before - after)]
    for name in sorted(before & after):
        found += [f"{name}: {line}" for line in differences(old / name, new / name, sentences)]
    return found


def differences(old: Path, new: Path, sentences: bool) -> Iterator[str]:
    """Lines about one file."""
    if old.suffix == ".parquet":
        yield from columns_differ(pq.read_table(old), pq.read_table(new))
    elif old.suffix == ".npz":
        with np.load(old, allow_pickle=False) as a, np.load(new, allow_pickle=False) as b:
            for key in sorted({*a.files} | {*b.files}):
                if key not in a.files or key not in b.files:
                    yield f"array {key}: only in one of the two"
                else:
                    yield from arrays_differ(f"array {key}", a[key], b[key])
    elif old.suffix == ".json":
        a, b = (plain(json.loads(p.read_text(encoding="utf-8"))) for p in (old, new))
        lines = list(values_differ("", a, b, sentences))
        yield from lines[:SHOWN]
        if len(lines) > SHOWN:
            yield f"… {len(lines)} values differ"
    elif old.read_bytes() != new.read_bytes():
        a, b = (p.read_text(encoding="utf-8").splitlines() for p in (old, new))
        at = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
        first = f"; first, line {at[0] + 1}: {a[at[0]]!r} → {b[at[0]]!r}" if at else ""
        yield f"{len(at)} of {len(a)} lines differ ({len(b)} now){first}"


def columns_differ(old: pa.Table, new: pa.Table) -> Iterator[str]:
    """Lines about one table: types, rows, and every column to the bit."""
    if old.column_names != new.column_names:
        gone, come = ([c for c in a.column_names if c not in b.column_names]
                      for a, b in ((old, new), (new, old)))  # fmt: skip
        yield f"other columns or order: without {gone}, with {come}"
    if old.num_rows != new.num_rows:
        yield f"{old.num_rows} rows → {new.num_rows}"
        if not {*ROW_KEY} <= {*old.column_names} & {*new.column_names}:
            return
        yield from measures_differ(old, new)
        return
    for name in old.column_names:
        if name not in new.column_names:
            continue
        a, b = old[name].combine_chunks(), new[name].combine_chunks()
        if a.type != b.type:
            yield f"column {name}: type {a.type} → {b.type}"
        elif pa.types.is_floating(a.type):
            missing = np.asarray(a.is_null()), np.asarray(b.is_null())
            yield from arrays_differ(f"column {name} (null)", *missing)
            # Null and NaN are told apart by the line before.
            values = (column.to_numpy(zero_copy_only=False) for column in (a, b))
            yield from arrays_differ(f"column {name}", *values)
        elif not a.equals(b):
            pairs = list(zip(a.to_pylist(), b.to_pylist(), strict=True))
            at = [i for i, (x, y) in enumerate(pairs) if x != y]
            if at:
                x, y = pairs[at[0]]
                first = f"first, row {at[0]}: {x!r} → {y!r}"
                yield f"column {name}: {len(at)} of {len(pairs)} rows; {first}"


def measures_differ(old: pa.Table, new: pa.Table) -> Iterator[str]:
    """Lines about tables of measures with other rows: what came and went, and what differs."""
    rows = [{tuple(row[k] for k in ROW_KEY): row for row in t.to_pylist()} for t in (old, new)]
    for sign, some in (
        ("gone", rows[0].keys() - rows[1].keys()),
        ("new", rows[1].keys() - rows[0].keys()),
    ):
        if names := sorted({f"{key[0]}.{key[1]}" for key in some}):
            yield f"rows {sign}: {len(some)}, of {', '.join(names)}"
    for column in (c for c in old.column_names if c in new.column_names):
        changed: dict[str, int] = {}
        for key in rows[0].keys() & rows[1].keys():
            x, y = (side[key][column] for side in rows)
            if x != y and not (x != x and y != y):
                changed[f"{key[0]}.{key[1]}"] = changed.get(f"{key[0]}.{key[1]}", 0) + 1
        if changed:
            told = ", ".join(f"{name} {n}" for name, n in sorted(changed.items()))
            yield f"column {column}: rows that both have differ: {told}"


def arrays_differ(name: str, old: Any, new: Any) -> Iterator[str]:
    """A line where two arrays differ in shape, type or any bit; NaN equals NaN, 0 not −0."""
    if old.shape != new.shape or old.dtype != new.dtype:
        yield f"{name}: {old.dtype}{old.shape} → {new.dtype}{new.shape}"
        return
    if old.dtype.kind != "f":
        count = int((old != new).sum())
        if count:
            yield f"{name}: {count} of {old.size} differ"
        return
    bits = np.dtype(f"u{old.dtype.itemsize}")
    both = np.isnan(old) & np.isnan(new)
    differs = (np.ascontiguousarray(old).view(bits) != np.ascontiguousarray(new).view(bits)) & ~both
    if differs.any():
        with np.errstate(invalid="ignore"):
            gap = np.abs(old[differs].astype(np.float64) - new[differs].astype(np.float64))
        largest = f"{np.nanmax(gap):.3g}" if np.isfinite(gap).any() else "of a number and none"
        yield f"{name}: {int(differs.sum())} of {old.size} rows, largest difference {largest}"


def values_differ(at: str, old: Any, new: Any, sentences: bool) -> Iterator[str]:
    """Lines about two JSON values, each with its place."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield f"{at}/{key}: gone"
            else:
                yield from values_differ(f"{at}/{key}", old[key], new[key], sentences)
        for key in new.keys() - old.keys():
            print(f"new in JSON: {at}/{key}", file=sys.stderr)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{at}: {len(old)} entries → {len(new)}"
        for i, (x, y) in enumerate(zip(old, new, strict=False)):
            yield from values_differ(f"{at}/{i}", x, y, sentences)
    elif type(old) is not type(new) or old != new:
        prose = isinstance(old, str) and isinstance(new, str) and " " in old
        if not (prose and sentences):
            yield f"{at}: {'sentence ' if prose else ''}{old!r} → {new!r}"


def main() -> int:
    """Make or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["make", "compare"])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--nunbit", default=f"{sys.executable} -m nunbit")
    parser.add_argument("--cases", type=Path, help="default: beside NUNBIT_DATA")
    parser.add_argument("--only", default="", help="names of runs, separated by commas")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--sentences", action="store_true", help="let sentences in JSON differ")
    a = parser.parse_args()
    golden = a.folders[0].resolve()
    if a.command == "compare" and len(a.folders) == 2:
        return told(compare(golden / "results", a.folders[1] / "results", a.sentences))
    data = Path(os.environ.get("NUNBIT_DATA", "")).resolve()
    if not (data / "fer2013/labels.csv").is_file():
        print("skipped: NUNBIT_DATA does not name the data folder")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        out = golden if a.command == "make" else Path(scratch)
        cases = (a.cases or data.parent / "cases").resolve()
        place = Place(tuple(shlex.split(a.nunbit)), data, cases, golden / "media", out / "results",
                      tuple(a.settings))  # fmt: skip
        only = {name for name in a.only.split(",") if name}
        if a.command == "make":
            make_media(place)
        made = make(place, only)
        for name in made:
            normalise(place, place.results / name)
        if a.command == "make":
            return 0
        old = golden / "results"
        faults = [
            f"{run}/{line}"
            for run in sorted(p.name for p in old.iterdir() if not only or p.name in only)
            for line in compare(old / run, place.results / run, a.sentences)
        ]
        return told(faults)


def told(faults: list[str]) -> int:
    """Print what differs; the exit code."""
    print("\n".join(faults) or "identical")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
