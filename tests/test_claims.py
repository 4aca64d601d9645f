"""Two runs on one output, what killed runs leave, photos and results that changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import run_command
from nunbit.core.messages import InputError, MediaError, Text
from nunbit.datasets import shard_writer as claims_shard_writer
from nunbit.datasets.shards import DOCUMENT, open_dataset
from nunbit.datasets.source_changes import STATE_FILE
from nunbit.runtime import claims
from nunbit.runtime.claims import (
    LOCK,
    claimed,
    is_left,
    partial_path,
    remove_left,
    replaced_folder,
    require_own,
)
from nunbit.runtime.files import PartStore, atomic_path
from nunbit.stories.prepare import PrepareSettings, prepare

# --- claims ---


def holder(folder: Path, part: str = "") -> subprocess.Popen[str]:
    """Another process that holds a claim until it is killed."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom nunbit.runtime.claims import claimed\n"
        f"with claimed(Path({str(folder)!r}), part={part!r}):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "held\n"
    return run


def test_a_second_run_on_one_output_is_refused_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = holder(out)
    try:
        with (
            pytest.raises(InputError, match=f"another run is writing here .process {other.pid} on"),
            claimed(out, wait_s=0),
        ):
            pass
    finally:
        other.kill()
        other.communicate()
    begun = time.monotonic()
    with claimed(out):  # the system let go of it with the process
        assert time.monotonic() - begun < 1
        assert (out / LOCK).is_file()
        with claimed(out):  # the same run may
            pass
    assert not list(out.iterdir())


def test_a_claim_waits_for_workers_of_a_killed_run(tmp_path: Path) -> None:
    other = holder(tmp_path)
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -9 {other.pid}"])
    with claimed(tmp_path, wait_s=10):
        pass
    other.communicate()
    killer.wait()
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="workers are not forked there")
def test_a_claim_waits_longer_for_workers_whose_run_is_gone(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from nunbit.runtime.claims import claimed\n"
        "with claimed(Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(2)\n"
        "    os._exit(0)\n"  # neither gives the claim back
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with pytest.raises(InputError, match="another run"), claimed(tmp_path, wait_s=0):
        pass
    with claimed(tmp_path, wait_s=0.2):
        pass


def test_different_parts_do_not_exclude_one_another(tmp_path: Path) -> None:
    other = holder(tmp_path, "1/2")
    try:
        with claimed(tmp_path, part="2/2", wait_s=0):
            pass
        with pytest.raises(InputError), claimed(tmp_path, part="1/2", wait_s=0):
            pass
    finally:
        other.kill()
        other.communicate()


def test_half_written_files_of_killed_runs_are_removed_and_of_living_ones_kept(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = f".x.json.{claims.machine()}"
    left = [
        tmp_path / f"{name}-{dead.pid}.partial",
        tmp_path / ".x.json.123456.partial",  # version 0.1
        tmp_path / "inner" / f"{name}-{dead.pid}.old",
    ]
    elsewhere = tmp_path / ".x.json.abcdef-17.partial"
    mine = partial_path(tmp_path / "x.json")
    living = tmp_path / f"{name}-{os.getppid()}.partial"
    (tmp_path / "inner").mkdir()
    for path in (*left, elsewhere, mine, living):
        path.write_bytes(b"half")
    assert all(map(is_left, left))
    with claimed(tmp_path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in (elsewhere, mine, living))
    week = time.time() - 8 * 24 * 3600
    os.utime(elsewhere, (week, week))
    assert remove_left(tmp_path) == 1


def test_hidden_files_of_the_user_stay(tmp_path: Path) -> None:
    names = (
        *(".bashrc.old", ".vim.old", ".notes.partial", ".bashrc.20240101.old", ".x.99.old"),
        *(
            ".film.2024.partial",
            ".data.v2-17.old",
            ".x.abcdef-.partial",
            ".x.ABCDEF-17.old",
            "x.json.77.partial",
        ),
    )
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_bytes(b"by the user")
        (tmp_path / "inner" / name).mkdir(parents=True)
    with claimed(tmp_path):
        pass
    assert remove_left(tmp_path, deep=True) == 0
    assert all((tmp_path / name / "kept").exists() for name in names)
    assert all((tmp_path / "inner" / name).exists() for name in names)


def test_stale_parts_go_and_a_living_partial_stays(tmp_path: Path) -> None:
    store: PartStore[dict[str, int]] = PartStore(tmp_path, dict, "key")
    other = tmp_path / f".a.part.{claims.machine()}-{os.getppid()}.partial"
    for path in (other, tmp_path / "b.part", tmp_path / ".c.part.99.partial"):
        path.write_bytes(b"x")
    store.remove_stale()
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_two_that_replace_one_folder_both_succeed(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    code = (
        "import sys\nfrom pathlib import Path\nfrom nunbit.runtime.claims import replaced_folder\n"
        "for n in range(60):\n"
        f"    with replaced_folder(Path({str(out)!r})) as folder:\n"
        "        for name in 'ab': (folder / name).write_text(sys.argv[1])\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, who]) for who in "12"]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert len({path.read_text() for path in out.iterdir()}) == 1


def test_a_failed_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with replaced_folder(out) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), replaced_folder(out) as folder:
        raise RuntimeError
    assert (out / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_names_of_half_written_files_say_whose_they_are(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.json") as partial:
        assert partial.name == f".a.json.{claims.machine()}-{os.getpid()}.partial"
        assert not is_left(partial)
        partial.write_text("x")


# --- photos that changed behind a prepared data set ---


def photos(folder: Path, n: int = 8) -> Path:
    rng = np.random.default_rng(3)
    for label in ("happy", "sad"):
        (folder / label).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label}{number}.png")
    return folder


SETTINGS = PrepareSettings(label_set="fer7", size=32, shard_size=3, num_workers=1)


def crops(out: Path) -> dict[str, bytes]:
    data = open_dataset(out)
    return {name: data.jpeg(n) for n, name in enumerate(data.column("record_id"))}


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(folder.rglob("*.png")):
            target.write(path, path.relative_to(folder).as_posix())
    return archive


def test_a_damaged_zip_that_was_mended_at_the_same_size_is_read_again(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    (tmp_path / "src").mkdir()
    whole = zipped(source, tmp_path / "src" / "a.zip")
    good = whole.read_bytes()
    bad = bytearray(good)
    for place in (len(good) // 4, len(good) // 2):
        bad[place : place + 2000] = bytes(2000)
    whole.write_bytes(bad)
    out = tmp_path / "data"
    prepare([tmp_path / "src"], out, SETTINGS)
    n_before = len(open_dataset(out))
    assert n_before < 16
    whole.write_bytes(good)
    prepare([tmp_path / "src"], out, SETTINGS)
    assert len(open_dataset(out)) == 16
    prepare([tmp_path / "src"], tmp_path / "fresh", SETTINGS)
    for name in ("manifest.parquet", "rejects.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert crops(out) == crops(tmp_path / "fresh")


def test_a_photo_that_was_replaced_is_read_again_and_the_other_shards_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "data"
    prepare([source], out, SETTINGS)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    Image.new("RGB", (40, 40), "red").save(source / "happy" / "happy3.png")
    prepare([source], out, SETTINGS)
    assert "1 photos changed since; 1 of" in capsys.readouterr().err
    later = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    assert sum(times[name] != later[name] for name in times) == 1
    prepare([source], tmp_path / "fresh", SETTINGS)
    assert crops(out) == crops(tmp_path / "fresh")
    assert (out / "rejects.jsonl").read_bytes() == (tmp_path / "fresh/rejects.jsonl").read_bytes()


def test_other_dates_alone_make_nothing_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "data"
    prepare([source], out, SETTINGS)
    before = (out / DOCUMENT).stat().st_mtime_ns
    state = (out / STATE_FILE).read_bytes()
    moved = tmp_path / "elsewhere"
    shutil.copytree(source, moved, copy_function=shutil.copyfile)
    source.rename(tmp_path / "old")
    moved.rename(source)
    prepare([source], out, SETTINGS)
    assert "already prepared" in capsys.readouterr().err
    assert (out / DOCUMENT).stat().st_mtime_ns == before
    assert (out / STATE_FILE).read_bytes() != state


def test_photos_that_are_lost_do_not_cost_their_crops(tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "data"
    prepare([source], out, SETTINGS)
    before = crops(out)
    (source / "sad" / "sad1.png").write_bytes(b"")
    (source / "sad" / "sad2.png").unlink()
    (source / "sad" / "sad2.png").mkdir()
    with pytest.raises(InputError, match=r"read before cannot be read any more|another data set"):
        prepare([source], out, SETTINGS)
    assert crops(out) == before


# --- results that somebody changed ---


@pytest.mark.parametrize("place", ["labels", "per_class", "ci95", "confusion", "policies", "n"])
@pytest.mark.parametrize("how", ["removed", "text", "null", "nested"])
def test_a_tampered_result_is_one_line(
    evaluation: Path, tmp_path: Path, place: str, how: str
) -> None:
    shutil.copytree(evaluation, tmp_path / "eval")
    path = tmp_path / "eval" / "result.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {"text": "=cmd|' /C calc'!A0", "null": None, "nested": {"a": [{}]}}
    if how == "removed":
        del document[place]
    else:
        document[place] = values[how]
    path.write_text(json.dumps(document), encoding="utf-8")
    done = run_command("report", tmp_path / "eval")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
        assert "result.json" in done.stderr


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    from make_eval import make_bundle, make_colours
    from nunbit.stories.evaluate import evaluate
    from nunbit.stories.evaluate.assess import EvaluateSettings

    folder = tmp_path_factory.mktemp("evaluation")
    data, bundle = make_colours(folder / "data"), make_bundle(folder / "bundle")
    evaluate(data, bundle, folder / "eval", EvaluateSettings())
    return folder / "eval"


# --- output that cannot be written ---


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "line", [["measures", "--json"], ["measures"], ["--help"], ["report", "nowhere", "--json"]]
)
def test_a_full_device_behind_stdout_is_one_line(line: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nunbit", "--lang", "en", *line],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("nunbit: error: ")
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_photo_that_was_only_away_is_read_when_it_is_back(tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "data"
    gone = source / "happy" / "happy2.png"
    real = claims_shard_writer.read_image_bytes

    def away(ref: Any) -> bytes:
        if ref.path == str(gone):
            raise MediaError(Text("away", "없음"), reason="missing_file")
        return real(ref)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_shard_writer, "read_image_bytes", away)
        prepare([source], out, SETTINGS)
    assert len(open_dataset(out)) == 15
    prepare([source], out, SETTINGS)
    assert len(open_dataset(out)) == 16
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    prepare([source], out, SETTINGS)
    assert times == {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}


def test_photos_that_stay_unreadable_make_nothing_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "data"
    (source / "sad" / "sad3.png").write_bytes(b"no picture")
    prepare([source], out, SETTINGS)
    before = (out / DOCUMENT).stat().st_mtime_ns
    prepare([source], out, SETTINGS)
    assert "already prepared" in capsys.readouterr().err
    assert (out / DOCUMENT).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("media", "duration_s"), "long"),
        (("media",), None),
        (("measures", 0, "value"), "=1+1"),
        (("measures", 0, "measure"), {"a": 1}),
        (("measures",), {}),
        (("windows", "hop_s"), [1]),
        (("session",), 3),
        (("measures", 0, "ci"), [1]),
    ],
)
def test_a_tampered_summary_is_one_line(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    from nunbit.report.joined_tables import find_recordings
    from nunbit.report.summary_document import read_summary

    document: dict[str, Any] = {
        "kind": "timeline",
        "media": {"name": "a.mp4", "duration_s": 3.0},
        "session": "a",
        "windows": {"length_s": 4.0, "hop_s": 1.0},
        "measures": [{"measure": "m", "modality": "face", "value": 1.0, "unit": "s"}],
    }
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(document))
    read_summary(folder)
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (folder / "summary.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"summary\.json") as found:
        read_summary(folder)
    assert "\n" not in str(found.value)
    assert find_recordings(tmp_path).folders == ()  # named and left out; the others stay


def test_a_document_of_another_command_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    require_own(path, ("nunbit-alignment-1",))
    for text in ('{"format": "nunbit-alignment-1"}', '{"format": "nunb'):
        path.write_text(text, encoding="utf-8")
        require_own(path, ("nunbit-alignment-1",))
    for text in ('{"format": "nunbit-study-1"}', '{"mine": 1}', "[1]"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="was not written by this command"):
            require_own(path, ("nunbit-alignment-1",))
