"""Checkpoints: damage is noticed, other networks are refused, a full disk is one line."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from make_data import make_data, training_settings
from nunbit.core.messages import InputError, TrainingError

torch = pytest.importorskip("torch")
from nunbit.runtime import claims
from nunbit.training import checkpoints
from nunbit.training.checkpoints import BEST, load_state, save_weights
from nunbit.training.export import export_run
from nunbit.training.loop import fit, train

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(make_data(folder / "data"), folder / "run", training_settings(max_steps=8), resume=False)
    return folder


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "own")
    return tmp_path / "own"


def state() -> dict[str, Any]:
    return {"model": {"a": torch.arange(4000.0), "b": torch.zeros(3)}, "step": 3}


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    save_weights(tmp_path, BEST, state())
    data = (tmp_path / BEST).read_bytes()
    assert torch.equal(load_state(tmp_path / BEST)["model"]["a"], torch.arange(4000.0))
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        place = draw.randrange(len(data))
        damaged[place] ^= 1 << draw.randrange(8)
        (tmp_path / BEST).write_bytes(damaged)
        with pytest.raises(InputError):
            load_state(tmp_path / BEST)
    for _ in range(50):
        (tmp_path / BEST).write_bytes(data[: draw.randrange(len(data))])
        with pytest.raises(InputError):
            load_state(tmp_path / BEST)


def test_torch_alone_would_have_read_the_damage(tmp_path: Path) -> None:
    save_weights(tmp_path, BEST, state())
    data = bytearray((tmp_path / BEST).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / BEST).write_bytes(data)
    assert not torch.equal(
        torch.load(tmp_path / BEST, weights_only=True)["model"]["a"], torch.arange(4000.0)
    )


def test_a_checkpoint_of_version_0_1_is_checked_by_its_zip(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "old.pt")
    load_state(tmp_path / "old.pt")
    data = bytearray((tmp_path / "old.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "old.pt").write_bytes(data)
    with pytest.raises(InputError, match="its checksum differs"):
        load_state(tmp_path / "old.pt")


STRUCTURES: dict[str, Any] = {
    "a list": [1, 2],
    "no model": {"step": 3},
    "a model that is a number": {"model": 3},
    "another network": {"model": {"x": torch.zeros(3)}, "validation": {"temperature": 1.0}},
    "no temperature": None,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_weights_of_another_structure_are_one_line(own: Path, name: str) -> None:
    path = own / "run" / "checkpoints" / BEST
    if name == "no temperature":
        content = load_state(path) | {"validation": {}}
    else:
        content = STRUCTURES[name]
    save_weights(path.parent, BEST, content)
    with pytest.raises(InputError, match=r"cannot read this checkpoint") as found:
        export_run(own / "run", own / "bundle")
    assert "\n" not in str(found.value)
    assert not (own / "bundle").exists()


@pytest.mark.parametrize("key", ["model", "optimizer", "progress", "random"])
@pytest.mark.parametrize("value", [None, {}, {"x": 1}, "text"])
def test_a_step_of_another_structure_is_not_resumed(own: Path, key: str, value: Any) -> None:
    folder = own / "run" / "checkpoints"
    newest = max(folder.glob("step-*.pt"))
    save_weights(folder, newest.name, load_state(newest) | {key: value})
    before = (own / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"cannot read this checkpoint") as found:
        fit(own / "data", own / "run", training_settings(max_steps=8), resume=True)
    assert newest.name in str(found.value)
    assert "\n" not in str(found.value)
    assert (own / "run" / "metrics.jsonl").read_bytes() == before


class _Full(io.RawIOBase):
    """A disk that is full after some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return len(data)


@pytest.mark.parametrize("room", [0, 100, 10_000])
def test_a_full_disk_is_one_line_and_leaves_the_old_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    save_weights(tmp_path, BEST, state())
    before = (tmp_path / BEST).read_bytes()
    real = Path.open

    def full(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if self.suffix == ".partial":
            return _Full(room)
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match="the disk is full"):
        save_weights(tmp_path, BEST, state())
    monkeypatch.undo()
    assert (tmp_path / BEST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [BEST]


@pytest.mark.slow
def test_a_second_train_on_one_run_is_refused(own: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom nunbit.runtime.claims import claimed\n"
        f"with claimed(Path({str(own / 'run')!r})):\n    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    before = (own / "run" / "metrics.jsonl").read_bytes()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "_LEAVING_S", 0.0)
            with pytest.raises(InputError, match="another run is writing here"):
                train(own / "data", own / "run", training_settings(max_steps=8), resume=True)
        other.kill()
    assert (own / "run" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(TrainingError, match="there is already a run"):
        train(own / "data", own / "run", training_settings(max_steps=8), resume=False)


def test_the_seal_does_not_hinder_other_readers(tmp_path: Path) -> None:
    save_weights(tmp_path, BEST, state())
    assert torch.load(tmp_path / BEST, weights_only=True)["step"] == 3
    assert (tmp_path / BEST).read_bytes()[-46:].startswith(checkpoints._SEAL)
    with zipfile.ZipFile(tmp_path / BEST) as archive:
        assert archive.testzip() is None


def test_a_full_disk_under_the_log_is_not_called_stdout(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorboardX

    class Full:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboardX, "SummaryWriter", Full)
    with pytest.raises(InputError, match=r"new: the disk is full"):
        fit(own / "data", own / "new", training_settings(max_steps=2), resume=False)


@pytest.mark.seconds
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("tokenizer.json", "model.json")),
        *("run.json", pytest.param("config.toml", marks=pytest.mark.slow)),
    ],
)
def test_a_removed_description_is_made_again(tmp_path: Path, name: str) -> None:
    data, out = make_data(tmp_path / "data"), tmp_path / "run"
    settings = training_settings(max_steps=2)
    train(data, out, settings, resume=False)
    before = (out / name).read_bytes()
    (out / name).unlink()
    train(data, out, settings, resume=True)
    assert (out / name).read_bytes() == before
