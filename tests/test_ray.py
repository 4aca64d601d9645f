"""The Ray engine on a real Ray of two workers: same bytes as here, one worker killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

psutil = pytest.importorskip("psutil")
pytest.importorskip("ray", reason="needs the extra cluster")

from PIL import Image

import nunbit
from make_eval import make_bundle, make_colours

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # Ray alone takes ten seconds to start, a minute on a busy machine
]
SOURCE = Path(nunbit.__file__).parents[1]


def environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    own = {"RAY_USAGE_STATS_ENABLED": "0", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    return clean | own | {"PYTHONPATH": str(SOURCE)} | more


@contextmanager
def cluster(folder: Path, **more: str) -> Iterator[tuple[str, Any]]:
    """A head with two CPUs, as ``ray start`` starts one on a machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Socket names are limited to a hundred bytes: the folder of a test is too deep for Ray.
    place = Path("/tmp") / f"nunbit-test-ray-{port}"
    line = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
        "--num-cpus=2", "--include-dashboard=false", "--object-store-memory=80000000",
        f"--temp-dir={place}",
    ]  # fmt: skip
    with (folder / "ray.log").open("wb") as log:
        head = psutil.Popen(line, env=environment(**more), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while b"Ray runtime started" not in (folder / "ray.log").read_bytes():
            assert time.monotonic() < deadline, (folder / "ray.log").read_text()
            time.sleep(0.5)
        yield f"127.0.0.1:{port}", head
    finally:
        family = [head, *head.children(recursive=True)]
        for process in family:
            with_suppressed(process.terminate)
        for process in psutil.wait_procs(family, timeout=20)[1]:
            with_suppressed(process.kill)
        head.wait(20)
        shutil.rmtree(place, ignore_errors=True)


def with_suppressed(call: Any) -> None:
    with suppress(psutil.Error):
        call()


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    with cluster(tmp_path_factory.mktemp("ray"), RAY_AUTH_MODE="disabled") as started:
        yield started


def nunbit_line(*words: object) -> list[str]:
    return [sys.executable, "-m", "nunbit", *map(str, words)]


def run(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        nunbit_line(*words), env=environment(), cwd=folder, capture_output=True, text=True,
        check=False, timeout=500,
    )  # fmt: skip


def photos(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for label in ("joy", "anger"):
        for number in range(count // 2):
            path = folder / "train" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (600, 600, 3), dtype=np.uint8)).save(path)
    (folder / "train" / "joy" / "broken.jpg").write_bytes(b"no picture")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "dataset.json"}


def kill_a_worker(head: psutil.Process, patience_s: float = 120) -> int:
    """Kill a process of Ray that does a part."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for process in head.children(recursive=True):
            try:
                if "nunbit part" in " ".join(process.cmdline()):
                    process.kill()
                    return process.pid
            except psutil.Error:
                continue
        time.sleep(0.05)
    raise AssertionError("no worker was seen")


def test_one_of_two_workers_is_killed_and_not_a_byte_differs(
    ray: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    photos(tmp_path / "src", 400)
    same = ["prepare", "src", "--size", "64", "--set", "shard_size=50", "--label-set", "fer7"]
    line = nunbit_line(*same, "--out", "many", "--engine", "ray", "--address", ray[0], "--json")
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            line, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=log, text=True
        )
        kill_a_worker(ray[1])
        shown, _ = running.communicate(timeout=400)
    told = (tmp_path / "log").read_text()
    assert running.returncode == 0, told
    assert "a worker was killed" in told
    assert "attempt 2 of 3" in told
    document = json.loads(shown)
    assert document["provenance"]["engine"] == {"name": "ray", "workers": 2}
    one = run(*same, "--out", "one", "--set", "num_workers=2", folder=tmp_path)
    assert one.returncode == 0, one.stderr
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    local = json.loads((tmp_path / "one" / "dataset.json").read_text())
    assert local["provenance"]["engine"] == {"name": "local", "workers": 2}
    for key in ("created", "engine"):
        del local["provenance"][key], document["provenance"][key]
    assert document == local
    # What is finished is finished for every engine: nothing is started.
    again = run(
        *same, "--out", "many", "--engine", "ray", "--address", "127.0.0.1:1", folder=tmp_path
    )
    assert again.returncode == 0, again.stderr


def test_scores_are_those_of_this_machine(ray: tuple[str, psutil.Process], tmp_path: Path) -> None:
    data, bundle = make_colours(tmp_path / "d"), make_bundle(tmp_path / "b")
    line = ["evaluate", data, "--bundle", bundle, "--split", "validation"]
    many = run(*line, "--out", tmp_path / "many", "--engine", "ray", "--address", ray[0])
    assert many.returncode == 0, many.stderr
    assert run(*line, "--out", tmp_path / "one").returncode == 0
    names = ("many", "one")
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in names]
    assert tables[0].equals(tables[1])
    found = [json.loads((tmp_path / name / "result.json").read_text()) for name in names]
    assert found[0].pop("provenance")["engine"] == {"name": "ray", "workers": 1}  # one part
    found[1].pop("provenance")
    assert found[0] == found[1]


def test_recordings_are_analysed_and_one_that_is_broken_is_told(
    ray: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    import wave

    (tmp_path / "in").mkdir()
    for name, pitch in (("a", 110), ("b", 180)):
        with wave.open(str(tmp_path / "in" / f"{name}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(16000)
            t = np.arange(16000 * 12) / 16000
            tone = np.sin(2 * np.pi * pitch * t) * (np.sin(2 * np.pi * t) > 0)
            sound.writeframes((9000 * tone).astype(np.int16).tobytes())
    (tmp_path / "in" / "c.wav").write_bytes(b"no sound")
    far = run(
        "analyze", "in", "--out", "many", "--engine", "ray", "--address", ray[0], folder=tmp_path
    )
    assert far.returncode == 1
    assert "c.wav" in far.stderr
    near = run("analyze", "in", "--out", "one", "--set", "workers=2", folder=tmp_path)
    assert near.returncode == 1
    for name in ("a", "b"):
        tables = [pq.read_table(tmp_path / o / name / "timeline.parquet") for o in ("many", "one")]
        assert tables[0].to_pandas().equals(tables[1].to_pandas())  # NaN equals NaN there
        told = json.loads((tmp_path / "many" / name / "summary.json").read_text())
        assert told["provenance"]["engine"] == {"name": "ray", "workers": 2}
    assert (tmp_path / "many" / "index.html").is_file()


def test_a_full_disk_is_one_line_and_finished_parts_stay(
    ray: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    photos(tmp_path / "src", 400)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(small)], check=False,
        capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        line = ["prepare", tmp_path / "src", "--size", "96", "--set", "shard_size=50",
                "--label-set", "fer7"]  # fmt: skip
        cut = ["--out", small / "out", "--engine", "ray", "--address", ray[0]]
        full = run(*line, *cut)
        assert full.returncode == 1
        last = full.stderr.strip().splitlines()[-1]
        assert "the disk is full; free space and run the same line again" in last
        assert len(list((small / "out").glob("shard-*.tar"))) >= 1
        subprocess.run(["mount", "-o", "remount,size=40m", str(small)], check=True)
        assert run(*line, *cut).returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_workers_with_another_nunbit_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(
        SOURCE / "nunbit", other / "nunbit",
        ignore=shutil.ignore_patterns("bundles", "__pycache__", "fonts"),
    )  # fmt: skip
    with (other / "nunbit" / "runtime" / "workers.py").open("a") as changed:
        changed.write("# changed\n")
    photos(tmp_path / "src", 40)
    with cluster(tmp_path, RAY_AUTH_MODE="disabled", PYTHONPATH=str(other)) as (address, _):
        line = ["prepare", tmp_path / "src", "--out", tmp_path / "out", "--label-set", "fer7"]
        refused = run(*line, "--engine", "ray", "--address", address)
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert f"machine {socket.gethostname()}: {other / 'nunbit'} is not the nunbit" in last
    assert not list((tmp_path / "out").glob("shard-*"))
    assert run(*line).returncode == 0  # nothing lost, nothing in the way


def test_a_cluster_started_here_ends_with_the_run(tmp_path: Path) -> None:
    photos(tmp_path / "src", 40)
    before = {path.name for path in Path("/tmp").glob("nunbit-ray-*")}
    done = run("prepare", tmp_path / "src", "--out", tmp_path / "out", "--engine", "ray",
               "--label-set", "fer7", "--set", "num_workers=1", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["engine"] == {"name": "ray", "workers": 1}
    assert {path.name for path in Path("/tmp").glob("nunbit-ray-*")} <= before


def test_an_alignment_read_by_the_cluster_is_that_of_this_machine(
    ray: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    pytest.importorskip("av")
    from nunbit.synth.truth import PlantedSettings, planted_script
    from nunbit.synth.video import render_video

    planted = PlantedSettings(shared=True, duration_s=24.0, fps=2, hold_s=0.5, memory_s=4.0)
    people = [tmp_path / f"person{n}" for n in range(2)]
    for n, person in enumerate(people):
        person.mkdir()
        render_video(person / f"talk{n}.mp4", planted_script(n, 0, planted)[0])
    line = ["align", *people, "--set", "rate_hz=2", "--set", "hop_s=0.5", "--set", "workers=2",
            "--set", "n_candidates=10"]  # fmt: skip
    many, one = tmp_path / "many" / "run", tmp_path / "one" / "run"
    done = run(*line, "--out", many, "--engine", "ray", "--address", ray[0])
    assert done.returncode == 0, done.stderr
    done = run(*line, "--out", one)
    assert done.returncode == 0, done.stderr
    found = [json.loads((out / "result.json").read_text()) for out in (many, one)]
    assert found[0].pop("provenance")["engine"] == {"name": "ray", "workers": 2}
    found[1].pop("provenance")
    assert found[0] == found[1]
    read = [sorted(p for p in out.rglob("*.npz") if p.name != "windows.npz") for out in (many, one)]
    assert len(read[0]) == len(read[1]) >= 2
    for far, near in zip(*read, strict=True):
        arrays = [np.load(path, allow_pickle=False) for path in (far, near)]
        assert arrays[0].files == arrays[1].files
        for name in arrays[0].files:
            assert np.array_equal(
                arrays[0][name], arrays[1][name], equal_nan=arrays[0][name].dtype.kind == "f"
            )
