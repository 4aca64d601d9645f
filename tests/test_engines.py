"""Engines: lost parts are tried again, jobs of an array join to what one run gives."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nunbit
from command import run_command
from make_eval import make_bundle, make_colours
from nunbit.core.messages import InputError, MissingExtra, SettingsError
from nunbit.runtime import ray_cluster
from nunbit.runtime.claims import MachineTurn
from nunbit.runtime.engines import ATTEMPTS, EngineChoice, LocalEngine, open_engine
from nunbit.runtime.ray_cluster import portable, problem_error
from nunbit.runtime.workers import Tools, WorkerKilled
from nunbit.stories.evaluate import EvaluateSettings, evaluate, evaluate_part

ROOT = Path(__file__).parent.parent


def fragile(task: tuple[Path, int, int], tools: Tools) -> int:
    """Is killed at its first attempts, as often as the task says."""
    folder, number, deaths = task
    tools.advance(5)
    attempts = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{attempts}").touch()
    if attempts < deaths:
        time.sleep(0.5)  # so that the count is sent
        tools.advance(0)
        os.kill(os.getpid(), signal.SIGKILL)
    tools.advance(5)
    return number


def tasks(folder: Path, deaths: dict[int, int]) -> list[tuple[Path, int, int]]:
    return [(folder, number, deaths.get(number, 0)) for number in range(4)]


@pytest.mark.slow
def test_a_killed_worker_costs_its_part_only(tmp_path: Path, capsys: Any) -> None:
    counted: list[int] = []
    engine = LocalEngine(2)
    done = list(engine.run(fragile, tasks(tmp_path, {1: 1, 2: 2}), advance=counted.append))
    assert sorted(done) == [0, 1, 2, 3]
    assert sum(counted) == 40  # what a lost attempt counted is taken back
    assert "attempt 2 of 3" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 4 + 3


@pytest.mark.slow
def test_a_part_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(WorkerKilled, match="SIGKILL"):
        list(LocalEngine(2).run(fragile, tasks(tmp_path, {1: 9}), advance=lambda _: None))
    assert len(list(tmp_path.glob("1-*"))) == ATTEMPTS
    (tmp_path / "lost").mkdir()
    engine = LocalEngine(1)
    done = engine.run(
        fragile, tasks(tmp_path / "lost", {1: 9}), advance=lambda _: None,
        lost=lambda task, error: -task[1],
    )  # fmt: skip
    assert sorted(done) == [-1, 0, 2, 3]


def test_nothing_to_do_starts_nothing_and_names_who_was_asked() -> None:
    with open_engine(EngineChoice("ray", "10.0.0.1:6379"), 0) as engine:
        assert (engine.name, engine.workers) == ("ray", 0)
        assert list(engine.run(fragile, [], advance=lambda _: None)) == []


def test_an_address_without_its_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is of a Ray cluster"):
        EngineChoice("local", "10.0.0.1:6379")
    done = run_command("prepare", tmp_path, "--out", tmp_path / "o", "--address", "a:1")
    assert "--address a:1 is of a Ray cluster; add --engine ray" in done.stderr
    assert done.returncode == 1


def _hold(ready: Any, go: Any) -> None:
    with MachineTurn():
        ready.set()
        go.wait(30)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.seconds
def test_the_turn_is_given_back_by_the_dead(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(ready, go))
    process.start()
    assert ready.wait(30)
    got = threading.Event()

    def take() -> None:
        with MachineTurn():
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not got.wait(0.5)
    go.set()
    assert got.wait(30)
    thread.join()
    process.join()
    assert [path.name for path in tmp_path.iterdir()] == [f"nunbit-{os.getuid()}.turn"]


# -- Ray without Ray: what is said of a cluster that cannot be used --------------------------------


def test_an_address_that_nobody_answers_is_one_line_in_bounded_time(monkeypatch: Any) -> None:
    pytest.importorskip("ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(InputError, match=r"cannot be used: .*refused.*ray start --head"):
            ray_cluster._require_answer(address)
    for wrong in ("ray://10.0.0.1:10001", "10.0.0.1", "10.0.0.1:ray", "http://a:80/"):
        with pytest.raises(InputError, match="expected HOST:PORT"):
            ray_cluster._require_answer(wrong)
    monkeypatch.setattr(ray_cluster, "_ANSWER_S", 1.0)
    with socket.socket() as silent:  # takes the connection, says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(InputError, match="no answer of a Ray cluster in 1 s"):
            ray_cluster._require_answer(f"127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begun < 20


def test_without_ray_the_line_that_installs_it_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with (
        pytest.raises(MissingExtra, match=r"pip install 'nunbit\[cluster\]'"),
        open_engine(EngineChoice("ray"), 3, out=tmp_path),
    ):
        pass


def test_machines_that_differ_are_named(tmp_path: Path) -> None:
    compare, _, digest = portable()
    own = ray_cluster._expectation([tmp_path])
    assert compare(own) is None
    host = socket.gethostname()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"python": "3.10"}, r"Python 3\.1\d, here it is 3.10; install the same"),
        ({"packages": {"nunbit": "9.9"}}, r"nunbit \S+, here it is nunbit 9.9"),
        ({"packages": {"nopackage": "1"}}, "nopackage –, here it is nopackage 1"),
        ({"code": "other"}, "is not the nunbit that runs here, though the version is the same"),
        ({"paths": [str(tmp_path / "gone")]}, "gone is missing; mount it under the same name"),
        ({"mark": str(tmp_path / ".mark")}, "another folder there; `out` must be on storage"),
    ]
    for changed, line in wrong:
        error = problem_error(compare(own | changed))
        assert error.text.en.startswith(f"machine {host}: ")
        with pytest.raises(InputError, match=line):
            raise error
    (tmp_path / "a.py").write_text("1")
    before = digest(str(tmp_path))
    (tmp_path / "a.py").write_text("2")
    assert digest(str(tmp_path)) != before


def test_what_travels_needs_no_nunbit_to_be_opened() -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    compare, work, _ = portable()
    code = (
        "import sys; sys.modules['nunbit'] = None\n"
        "import pickle, sys\n"
        "compare, work = pickle.load(sys.stdin.buffer)\n"
        "print(compare({'python': 'x'})[1])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps((compare, work)),
        capture_output=True, check=True,
    )  # fmt: skip
    assert run.stdout.decode().strip() == "python"


# -- jobs of an array ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colours(tmp_path_factory.mktemp("colours") / "d")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


QUICK = EvaluateSettings(split="validation", n_resamples=100, batch_size=8)


@pytest.mark.slow
def test_jobs_that_differ_do_not_mix_and_lose_nothing(
    colours: Path, bundle: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("nunbit.stories.evaluate.scoring._PART", 16)
    evaluate_part(colours, bundle, tmp_path, replace(QUICK, part="1/2"))
    before = {path.name: path.read_bytes() for path in tmp_path.glob(".scores/*")}
    with pytest.raises(InputError, match="3 parts of another evaluation"):
        evaluate_part(colours, bundle, tmp_path, replace(QUICK, part="2/2", split="test"))
    assert {path.name: path.read_bytes() for path in tmp_path.glob(".scores/*")} == before
    # Another number of jobs is no other work.
    done = evaluate_part(colours, bundle, tmp_path, replace(QUICK, part="1/1"))
    whole = evaluate(colours, bundle, tmp_path / "whole", QUICK)
    assert done.document["confusion"] == whole.document["confusion"]


@pytest.mark.slow
def test_a_job_that_comes_late_finds_the_result(
    colours: Path, bundle: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from nunbit.stories.evaluate.scoring import Scorer

    whole = evaluate(colours, bundle, tmp_path, QUICK)
    monkeypatch.setattr(Scorer, "score_share", lambda *_: (2, {}))
    late = evaluate_part(colours, bundle, tmp_path, replace(QUICK, part="1/2"))
    assert late.document == whole.document


@pytest.mark.slow
def test_a_scorer_is_opened_once_in_another_process(colours: Path, bundle: Path) -> None:
    from nunbit.datasets.shards import open_dataset
    from nunbit.model.encoders import load_bundle
    from nunbit.stories.evaluate.scoring import Scorer, text_bank

    model, data = load_bundle(bundle, threads=2), open_dataset(colours)
    scorer = Scorer(data, model, text_bank(model, data.label_set, None), "max", 4)
    sent = pickle.dumps(scorer)
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.bundle is second.bundle
    assert first.bundle.threads == 1
    rows = data.split_rows("validation")[:6]
    own, other = (s.compare(rows, lambda _: None) for s in (scorer, first))
    assert (own.prompts == other.prompts).all()


def _queue(job: str, jobs: str, kind: str) -> dict[str, str]:
    names = {"slurm": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MAX"),
             "sge": ("SGE_TASK_ID", "SGE_TASK_LAST"), "lsf": ("LSB_JOBINDEX", "LSB_JOBINDEX_END"),
             "none": ("NUNBIT_JOB", "NUNBIT_JOBS")}[kind]  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SGE", "LSB"))}
    return clean | dict(zip(names, (job, jobs), strict=True)) | {"LANG": "C.UTF-8"}


@pytest.mark.slow
def test_the_script_for_job_arrays(tmp_path: Path) -> None:
    """Bash plays the queue: two jobs at once, one killed, then the array again with three jobs."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("joy", "anger"):
        for number in range(120):
            path = tmp_path / "src" / "train" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    nunbit_line = tmp_path / "nunbit"
    nunbit_line.write_text(f'#!/bin/bash\nexec {sys.executable} -m nunbit "$@"\n')
    nunbit_line.chmod(0o755)
    script = [str(ROOT / "examples" / "job_array.sh"), "prepare", str(tmp_path / "src")]
    rest = ["--size", "32", "--set", "shard_size=20", "--label-set", "fer7"]

    def job(number: int, jobs: int, kind: str) -> subprocess.Popen[bytes]:
        environment = _queue(str(number), str(jobs), kind) | {"NUNBIT": str(nunbit_line)}
        line = [*script, "--out", str(tmp_path / "array"), *rest]
        return subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)

    first = [job(number, 4, "slurm") for number in (1, 2, 3)]  # the fourth never starts
    first[2].kill()
    codes = [process.wait(200) for process in first]
    assert codes == [0, 0, -signal.SIGKILL]
    assert not (tmp_path / "array" / "dataset.json").exists()
    for kind, number in (("sge", 1), ("lsf", 2), ("none", 3)):
        assert job(number, 3, kind).wait(200) == 0
    one = ["prepare", tmp_path / "src", "--out", tmp_path / "one", *rest]
    assert run_command(*one).returncode == 0

    def contents(folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "dataset.json"}

    assert contents(tmp_path / "array") == contents(tmp_path / "one")
    alone = subprocess.run(script, env=_queue("", "", "none"), capture_output=True, check=False)
    assert alone.returncode == 2
    assert b"not in a job array" in alone.stderr


def test_the_library_takes_engine_and_address(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ray"):
        nunbit.prepare(tmp_path, tmp_path / "o", address="10.0.0.1:6379")
    with pytest.raises(SettingsError, match="local"):
        nunbit.prepare(tmp_path, tmp_path / "o", engine="dask")


@pytest.mark.slow
def test_parts_of_analyze_join_to_what_one_run_gives(tmp_path: Path) -> None:
    import wave

    import numpy as np
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    for name, pitch in (("a", 110), ("b", 180), ("c", 140)):
        with wave.open(str(tmp_path / "in" / f"{name}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(16000)
            t = np.arange(16000 * 10) / 16000
            tone = np.sin(2 * np.pi * pitch * t) * (np.sin(2 * np.pi * t) > 0)
            sound.writeframes((9000 * tone).astype(np.int16).tobytes())
    for part in ("2/2", "1/2"):
        done = run_command("analyze", tmp_path / "in", "--out", tmp_path / "parts", "--part", part)
        assert done.returncode == 0, done.stderr
    whole = nunbit.analyze(tmp_path / "in", tmp_path / "whole")
    assert len(whole) == 3
    found = [
        pq.read_table(tmp_path / name / "sessions.parquet").to_pandas()
        for name in ("parts", "whole")
    ]
    assert sorted(found[0]["session"].unique()) == ["a", "b", "c"]
    assert found[0].equals(found[1])
    wrong = run_command("analyze", tmp_path / "in", "--out", tmp_path / "x", "--part", "3/2")
    assert "part must be i/n" in wrong.stderr
