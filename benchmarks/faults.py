"""Faults at random points of long commands: does the same line afterwards give the same result?

python benchmarks/faults.py [--trials 200] [--seed 0] [--only CASE…] [--for SECONDS] [--log FILE]
    [--work FOLDER]

A trial runs a command (prepare, train, evaluate, analyze, align), stops it before a file operation
drawn at random, does one of these to it, and lets it go on: kill -9 of the process and its workers;
a full disk; an output that may no longer be written; an input cut short, or removed; a file of the
output removed; a clock that jumps by days; a second process with the same line. What was harmed is
then mended, the same line is given again, and three things must hold: the disturbed run ended well
or with one clear line; at no time has a half-written file a final name; the result equals that of
an undisturbed run. `app` is killed between requests, and all that it acknowledged must be there.

Two undisturbed runs say which files are equal at all (times and durations are not). Disks are tmpfs
where this process may mount, else a limit on the size of files. Trials are logged one by one in
FILE and not done again: the same line goes on. Exit code 1 if a trial fails. Needs Linux, the
extras train, media, web and dev.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["LANG"] = "C.UTF-8"

LONGEST_S = 1800.0  # by the clock: the machine may do other things first
SHARES = {"prepare": 50, "train": 25, "evaluate": 45, "analyze": 40, "align": 15, "app": 25}
SOURCES = (".py", ".toml", ".json", ".onnx", ".npz")
FAULTS = ("kill", "kill", "full", "forbidden", "cut", "gone", "lost", "clock", "two")


@dataclass(frozen=True)
class Case:
    """A command on small material.

    Attributes:
        name: Of the command.
        inputs: What it reads; files of it are harmed.
        line: Its words for an output folder.
    """

    name: str
    inputs: Path
    line: Callable[[Path], list[str]]


# --- material -------------------------------------------------------------------------------------


def make_cases(work: Path) -> dict[str, Case]:
    """The material of every command; kept in ``work``."""
    ready = work / "ready"
    if not ready.is_file():
        if _fork(lambda: _make_material(work)):
            raise SystemExit("the material could not be made")
        ready.write_text("")
    return {
        "prepare": Case("prepare", work / "photos", lambda out: [
            "prepare", str(work / "photos"), "--out", str(out), "--label-set", "fer7", "--size",
            "48", "--set", "shard_size=5", "--set", "num_workers=2"]),
        "train": Case("train", work / "data", lambda out: [
            "train", str(work / "data"), "--out", str(out), "--init", "tiny", "--resume",
            "--set", "image_size=16", "--set", "max_steps=12", "--set", "batch_size=6",
            "--set", "eval_every=3", "--set", "num_workers=0", "--set", "threads=1"]),
        "evaluate": Case("evaluate", work / "colours", lambda out: [
            "evaluate", str(work / "colours"), "--bundle", str(work / "bundle"), "--out",
            str(out)]),
        "analyze": Case("analyze", work / "media", lambda out: [
            "analyze", str(work / "media"), "--out", str(out), "--export", "csv,vtt",
            "--set", "workers=1"]),
        "align": Case("align", work / "people", lambda out: [
            "align", str(work / "people" / "person00"), str(work / "people" / "person01"),
            "--out", str(out), "--set", "rate_hz=2", "--set", "workers=1", "--set", "hop_s=0.5",
            "--set", "n_candidates=10"]),
    }  # fmt: skip


def _make_material(work: Path) -> None:
    import numpy as np
    from PIL import Image

    from make_data import make_data
    from make_eval import make_bundle, make_colours
    from nunbit.synth.script import load_script
    from nunbit.synth.truth import PlantedSettings, planted_script
    from nunbit.synth.video import render_video

    for name in ("photos", "data", "colours", "bundle", "media", "people"):
        shutil.rmtree(work / name, ignore_errors=True)  # of a run that was stopped
    rng = np.random.default_rng(0)
    for label in ("happy", "sad", "neutral"):
        (work / "photos" / label).mkdir(parents=True)
        for n in range(14):
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).resize((120, 120)).save(work / "photos" / label / f"{n}.png")
    make_data(work / "data")
    make_colours(work / "colours")
    make_bundle(work / "bundle")
    script = work / "script.toml"
    script.write_text(
        "duration_s = 4.0\nwidth = 160\nheight = 120\nfps = 5\nseed = 1\nface_scale = 0.4\n"
        "emotions = [{ at_s = 0.0 }, { at_s = 2.0, joy = 1.0 }]\n"
    )
    (work / "media").mkdir()
    for name in ("one", "two"):
        render_video(work / "media" / f"{name}.mp4", load_script(script))
    planted = PlantedSettings(shared=True, duration_s=24.0, fps=2, hold_s=0.5, memory_s=4.0)
    for n in range(2):
        folder = work / "people" / f"person{n:02d}"
        folder.mkdir(parents=True)
        render_video(folder / f"talk{n:02d}.mp4", planted_script(n, 0, planted)[0])


# --- running --------------------------------------------------------------------------------------


def _fork(work: Callable[[], Any]) -> int:
    """Do something in a process of its own, which shares what is imported; its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Stop:
    """Stops this process before its n-th file operation, or lets the clock jump there."""

    def __init__(self, at: int, jump_s: float = 0.0) -> None:
        self.seen, self.at, self.jump_s = 0, at, jump_s
        self.owner = os.getpid()
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            mode, flags = arguments[1], arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if not writes and not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
        elif event not in ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree"):
            return
        if os.getpid() != self.owner:
            return
        self.seen += 1
        if self.seen == self.at:
            if self.jump_s:
                _shift_clock(self.jump_s)
            else:
                os.kill(self.owner, signal.SIGSTOP)


def _shift_clock(seconds: float) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


class Run:
    """A command line in a process group of its own."""

    def __init__(self, line: list[str], said: Path, stop: Callable[[], Any] | None = None) -> None:
        self.said = said
        self.process = os.fork()
        if not self.process:
            _be_command(line, said, stop)
        self.status: int | None = None

    def wait(self, *, stopped: bool = False) -> str:
        """``stopped`` where it stopped itself, ``ended``, or ``hang``."""
        until = time.monotonic() + LONGEST_S
        while time.monotonic() < until:
            done, status = os.waitpid(self.process, os.WNOHANG | (os.WUNTRACED if stopped else 0))
            if done and os.WIFSTOPPED(status):
                return "stopped"
            if done:
                self.status = os.waitstatus_to_exitcode(status)
                return "ended"
            time.sleep(0.01)
        self.kill()
        return "hang"

    def kill(self) -> None:
        """Kill -9 of it and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def go_on(self) -> None:
        """Let it run again after it stopped itself."""
        os.kill(self.process, signal.SIGCONT)

    def fault(self) -> str:
        """What is wrong with how it ended; '' where nothing is."""
        text = self.said.read_text(errors="replace")
        if "Traceback" in text:
            return "traceback: " + text.strip().splitlines()[-1][:200]
        if self.status not in (0, 1, -signal.SIGKILL):
            return f"exit code {self.status}"
        if self.status == 1 and text.count("nunbit: error: ") != 1:
            return "no single line says why: " + text[-200:]
        return ""


def _be_command(line: list[str], said: Path, stop: Callable[[], Any] | None) -> None:
    code: Any = 1
    try:
        os.setpgid(0, 0)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8")
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), "utf-8", write_through=True
        )
        from nunbit.cli import main

        sys.argv = ["nunbit", *line]
        if stop is not None:
            stop()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if end.code is not None else 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


# --- results --------------------------------------------------------------------------------------

# The engine: a rerun may need fewer workers for what is left. The digest covers the date.
_NEVER_EQUAL = ("seconds", "images_per_s", "created", "date", "parity", "engine",
                "document_sha256")  # fmt: skip


def contents(out: Path) -> dict[str, str]:
    """Relative path -> digest of what a file says, without times and durations."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if "events.out." not in name:
            found[name] = hashlib.sha256(_said_in(path)).hexdigest()
    return found


def _said_in(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        lines = [json.dumps(_timeless(json.loads(line))) for line in data.splitlines()]
        return "\n".join(lines).encode()
    if path.suffix == ".pt":
        import torch

        return repr(_tensors(torch.load(io.BytesIO(data), weights_only=True))).encode()
    return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _NEVER_EQUAL}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _tensors(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tensors(v) for v in value]
    if hasattr(value, "numpy"):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    return value


def half_written(out: Path) -> list[str]:
    """Files with a final name that are not whole."""
    import pyarrow.parquet as pq

    bad = []
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        parts = path.relative_to(out).parts
        if any(part.startswith(".") and part != ".parts" for part in parts):
            continue  # no final name
        try:
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".tar":
                with tarfile.open(path) as archive:
                    archive.getmembers()
                if path.read_bytes()[-1024:] != bytes(1024):
                    raise ValueError("no end")
            elif path.suffix == ".pt":
                from nunbit.training.checkpoints import load_state

                load_state(path)
            elif path.suffix == ".part":
                head, _, body = path.read_bytes().partition(b"\n")
                if head.split()[-1].decode() != hashlib.sha256(body).hexdigest():
                    raise ValueError("digest")
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("no end")
        except Exception as exc:
            bad.append(f"{path.name}: {exc}")
    return bad


def left_over(out: Path) -> list[str]:
    """Half-written files and locks that nothing removed."""
    names = [p.name for p in out.rglob("*") if p.name.endswith((".partial", ".old"))]
    return names + [p.name for p in out.rglob(".nunbit.lock*")]


# --- a trial --------------------------------------------------------------------------------------


def code() -> str:
    """Of the package's sources and bundles."""
    found = hashlib.sha256()
    for path in sorted(p for p in (ROOT / "src").rglob("*") if p.suffix in SOURCES):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@dataclass
class Reference:
    """What an undisturbed run is like: file operations, digests, bytes."""

    operations: int
    equal: dict[str, str]
    n_bytes: int


def reference_of(case: Case, work: Path) -> Reference:
    """Two undisturbed runs; kept in ``work`` for this code: another may answer otherwise."""
    kept = work / f"{case.name}.{code()}.reference.json"
    if kept.is_file():
        return Reference(**json.loads(kept.read_text()))
    both, counted = [], work / "operations"
    for n in (0, 1):
        out = work / "undisturbed" / case.name
        shutil.rmtree(out, ignore_errors=True)

        def count() -> None:
            stop = Stop(-1)
            import atexit

            atexit.register(lambda: None)
            real = os._exit

            def leave(code: int) -> None:
                if os.getpid() == stop.owner:
                    counted.write_text(str(stop.seen))
                real(code)

            os._exit = leave

        run = Run(case.line(out), work / f"{case.name}.undisturbed.{n}.log", count)
        if run.wait() != "ended" or run.status != 0:
            raise SystemExit(f"{case.name}: undisturbed: {run.said.read_text()[-2000:]}")
        both.append(contents(out))
    n_bytes = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    equal = {name: digest for name, digest in both[0].items() if both[1].get(name) == digest}
    others = sorted(set(both[0]) - set(equal))
    print(f"{case.name}: {len(equal)} files equal in two undisturbed runs, not: {others}")
    found = Reference(int(counted.read_text()), equal, n_bytes)
    kept.write_text(json.dumps(found.__dict__))
    return found


@contextlib.contextmanager
def disk(work: Path, mounted: bool) -> Iterator[Path]:
    """A folder for the output, on a small disk of its own where that may be mounted."""
    place = Path(tempfile.mkdtemp(prefix="disk-", dir=work))
    if mounted:
        _mount("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", place)
    try:
        yield place
    finally:
        if mounted:
            _mount("umount", "-l", place)
        shutil.rmtree(place, ignore_errors=True)


def _mount(*words: object) -> bool:
    return subprocess.run([*map(str, words)], capture_output=True, check=False).returncode == 0


def may_mount(work: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    with disk(work, True) as place:
        return os.path.ismount(place)


def trial(case: Case, fault: str, seed: int, work: Path, mounted: bool) -> dict[str, Any]:
    """One trial: what was done, and what was wrong ('' where nothing was)."""
    draw = random.Random(seed)
    ref = reference_of(case, work)
    inputs = _own_inputs(case, work)
    with disk(work, mounted) as place:
        # The output has the same name in every run: reports name the folder.
        out = place / case.name
        at = draw.randint(1, max(1, ref.operations))
        row = {"case": case.name, "fault": fault, "seed": seed, "at": at, "of": ref.operations}
        try:
            how, wrong = _disturbed(case, fault, draw, out, at, ref, mounted, inputs)
            wrong = wrong or "; ".join(half_written(out) if out.is_dir() else [])
            if not wrong:
                wrong = _again(case, out, ref)
        finally:
            _restore(inputs)
    return row | {"how": how, "wrong": wrong}


def _own_inputs(case: Case, work: Path) -> tuple[Path, Path]:
    """The inputs and a copy to mend them from, with the same dates."""
    kept = work / "whole" / case.inputs.name
    if not kept.exists():
        shutil.copytree(case.inputs, kept)
    return case.inputs, kept


def _restore(inputs: tuple[Path, Path]) -> None:
    own, whole = inputs
    for path in whole.rglob("*"):
        mine = own / path.relative_to(whole)
        if path.is_file() and not (
            mine.is_file() and mine.stat().st_size == path.stat().st_size
            and mine.stat().st_mtime_ns == path.stat().st_mtime_ns
        ):  # fmt: skip
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, mine)


def _disturbed(
    case: Case, fault: str, draw: random.Random, out: Path, at: int, ref: Reference,
    mounted: bool, inputs: tuple[Path, Path],
) -> tuple[str, str]:  # fmt: skip
    """Run the line and harm it: how it ended, and what was wrong with that."""
    said = out.with_suffix(".log")
    line = case.line(out)
    if fault == "two":
        both = [Run(line, out.with_suffix(f".{n}.log")) for n in (0, 1)]
        ended = [run.wait() for run in both]
        codes = sorted(run.status or 0 for run in both)
        wrong = "; ".join(filter(None, (run.fault() for run in both)))
        if "hang" in ended or codes not in ([0, 0], [0, 1]):
            wrong = wrong or f"ended {ended} {codes}"
        return f"codes {codes}", wrong
    jump = draw.choice((-1, 1)) * draw.uniform(3600, 40 * 86400) if fault == "clock" else 0.0
    if fault == "full" and not mounted:
        run = Run(line, said, lambda: _limit(draw, ref))
    else:
        run = Run(line, said, lambda: Stop(at, jump))
    if run.wait(stopped=True) == "stopped":
        _harm(fault, draw, run, out, inputs, mounted)
        if fault != "kill":
            run.go_on()
            if run.wait() == "hang":
                return "hang", "hang"
    if mounted and fault in ("full", "forbidden"):
        _mount("mount", "-o", "remount,rw,size=256m", out.parent)
    return f"code {run.status}", run.fault()


def _limit(draw: random.Random, ref: Reference) -> None:
    most = draw.randint(1, max(2, ref.n_bytes // 4))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _harm(
    fault: str, draw: random.Random, run: Run, out: Path, inputs: tuple[Path, Path], mounted: bool
) -> None:
    def some(folder: Path) -> Path | None:
        files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
        return draw.choice(files) if files else None

    if fault == "kill":
        run.kill()
        time.sleep(0.3)  # its workers notice
    elif fault == "full" and mounted:
        used = sum(p.stat().st_blocks * 512 for p in out.parent.rglob("*") if p.is_file())
        room = draw.choice((0, 4096, 65536))
        _mount("mount", "-o", f"remount,size={max(4096, used + room)}", out.parent)
    elif fault == "forbidden" and mounted:
        _mount("mount", "-o", "remount,ro", out.parent)
    elif fault == "cut":
        path = some(inputs[0])
        if path is not None:
            with path.open("r+b") as stream:
                stream.truncate(draw.randint(0, path.stat().st_size))
    elif fault == "gone":
        path = some(inputs[0])
        if path is not None:
            path.unlink()
    elif fault == "lost":
        path = some(out)
        if path is not None:
            path.unlink()


def _again(case: Case, out: Path, ref: Reference) -> str:
    """Give the same line again; what is wrong with the result."""
    _restore((case.inputs, case.inputs.parent / "whole" / case.inputs.name))
    said = out.with_suffix(".again.log")
    run = Run(case.line(out), said)
    if run.wait() != "ended" or run.status != 0:
        return f"again: code {run.status}: {said.read_text()[-300:]}"
    if wrong := run.fault():
        return f"again: {wrong}"
    now = contents(out)
    differ = sorted(name for name, digest in ref.equal.items() if now.get(name) != digest)
    if differ:
        return f"again: differ: {differ[:5]}"
    if litter := left_over(out.parent):
        return f"again: left: {litter[:5]}"
    return "; ".join(half_written(out))


# --- the app --------------------------------------------------------------------------------------


def app_trial(seed: int, work: Path) -> dict[str, Any]:
    """Kill the app between requests; what it acknowledged must be there when it runs again."""
    import sqlite3

    import httpx

    from make_app import new_session

    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="app-", dir=work))
    wrong, made = "", []
    with contextlib.suppress(httpx.HTTPError):
        run, client = _app(folder)
        made += [new_session(client, code=f"P-{n:02d}") for n in range(draw.randint(1, 6))]
        if draw.random() < 0.7:
            delay = draw.uniform(0, 0.05)
            killer = os.fork()
            if not killer:
                time.sleep(delay)
                os.killpg(run.process, signal.SIGKILL)
                os._exit(0)
            for n in range(6, 30):
                made.append(new_session(client, code=f"P-{n:02d}"))
            os.waitpid(killer, 0)
    run.kill()
    base = sqlite3.connect(folder / "nunbit.sqlite")
    if base.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
        wrong = "the database is damaged"
    base.close()
    run, client = _app(folder)
    try:
        for session in made:
            answer = client.get(
                f"/api/sessions/{session['id']}", headers={"X-Session-Key": session["key"]}
            )
            if answer.status_code != 200:
                wrong = wrong or f"a session is lost: {answer.status_code} {answer.text[:100]}"
    finally:
        run.kill()
    wrong = wrong or (run.fault() if run.status != -signal.SIGKILL else "")
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "case": "app",
        "fault": "kill",
        "seed": seed,
        "how": f"{len(made)} kept",
        "wrong": wrong,
    }


def _app(folder: Path) -> tuple[Run, Any]:
    import httpx

    said = folder.with_suffix(f".{time.monotonic_ns()}.log")
    words = ["app", "--port", "0", "--no-browser", "--json", "--data", str(folder)]
    run = Run(words, said)
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        for line in said.read_text(errors="replace").splitlines() if said.is_file() else ():
            if line.startswith("{"):
                told = json.loads(line)
                given = {"Authorization": f"Bearer {told['key']}"}
                return run, httpx.Client(
                    base_url=told["url"], headers=given, timeout=LONGEST_S, trust_env=False
                )
        time.sleep(0.05)
    run.kill()
    raise SystemExit(f"the app does not start: {said.read_text()}")


# --- all ------------------------------------------------------------------------------------------


def plan(trials: int, seed: int) -> list[tuple[str, str, int]]:
    """Case, fault and seed of every trial, in a drawn order."""
    draw = random.Random(seed)
    total = sum(SHARES.values())
    rows = []
    for case, share in SHARES.items():
        own = range(max(1, round(trials * share / total)))
        rows += [(case, FAULTS[n % len(FAULTS)], draw.randrange(1 << 30)) for n in own]
    draw.shuffle(rows)
    return rows


def warm_up() -> None:
    """Import what the commands import, once: trials are forks."""
    import av  # noqa: F401
    import onnxruntime  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    import nunbit.cli
    import nunbit.stories.align
    import nunbit.stories.analyze
    import nunbit.stories.evaluate
    import nunbit.stories.prepare
    import nunbit.training.loop  # noqa: F401

    torch.set_num_threads(1)


def main() -> int:
    """Run the trials; 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=SHARES)
    parser.add_argument("--for", dest="most_s", type=float, default=float("inf"),
                        help="begin no trial after so many seconds")  # fmt: skip
    parser.add_argument("--log", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "nunbit-faults")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    done = {}
    if options.log.is_file():
        rows = map(json.loads, options.log.read_text().splitlines())
        done = {(row["case"], row["fault"], row["seed"]): row for row in rows}
    warm_up()
    cases, mounted = make_cases(work), may_mount(work)
    print(f"disks: {'tmpfs' if mounted else 'a limit on the size of files'}", flush=True)
    results, begun = [], time.monotonic()
    for case, fault, seed in plan(options.trials, options.seed):
        if options.only and case not in options.only:
            continue
        fault = "kill" if case == "app" else fault
        if not mounted and fault == "forbidden":
            continue  # root is never forbidden
        row = done.get((case, fault, seed))
        if row is None and time.monotonic() - begun > options.most_s:
            continue
        if row is None:
            run = app_trial if case == "app" else None
            row = run(seed, work) if run else trial(cases[case], fault, seed, work, mounted)
            with options.log.open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(f"{case} {fault}: {row['wrong'] or row['how']}", flush=True)
        results.append(row)
    print(table(results))
    return 1 if any(row["wrong"] for row in results) else 0


def table(results: list[dict[str, Any]]) -> str:
    """Trials and failures by command and fault, as Markdown."""
    counts = Counter((row["case"], row["fault"]) for row in results)
    failed = Counter((row["case"], row["fault"]) for row in results if row["wrong"])
    faults = list(dict.fromkeys(FAULTS))
    lines = ["| command | " + " | ".join(faults) + " | trials | failed |"]
    lines.append("|---" * (len(faults) + 3) + "|")
    for case in SHARES:
        own = [counts[case, fault] for fault in faults]
        bad = sum(failed[case, fault] for fault in faults)
        lines.append(f"| {case} | {' | '.join(map(str, own))} | {sum(own)} | {bad} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
