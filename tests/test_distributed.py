"""Many processes do what one does: shares, shared batch norms, and real runs under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_data import SMALL, make_data, training_settings
from nunbit.core.messages import SettingsError

torch = pytest.importorskip("torch")
from torch import nn

from nunbit.training import processes
from nunbit.training.data import Schedule
from nunbit.training.loop import _check_divisible, fit
from nunbit.training.optimisers import SharedBatchNorm2d, share_batch_norms
from nunbit.training.processes import LostProcess, World, joined_world
from nunbit.training.settings import TrainSettings, resolve_auto

pytestmark = pytest.mark.train


# ---------------------------------------------------------------- who does what


@pytest.mark.parametrize(("size", "parts"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_processes_share_every_batch_without_overlap_or_loss(size: int, parts: int) -> None:
    schedule = Schedule(np.arange(7).repeat(12), 5, resolve_auto(training_settings(batch_size=24)))
    worlds = [World(rank, size) for rank in range(size)]
    for step in range(schedule.total_steps):
        batch = schedule.positions(step)
        own = [world.own(batch, parts) for world in worlds]
        assert sorted(np.concatenate(own)) == sorted(batch)
        assert {len(share) for share in own} == {24 // size}
        # All processes together do the micro-batches that one process would do.
        together = np.stack(own).reshape(size, parts, -1).swapaxes(0, 1).reshape(parts, -1)
        np.testing.assert_array_equal(together, batch.reshape(parts, -1))


@pytest.mark.parametrize(("count", "size"), [(7, 1), (7, 2), (8, 3), (2, 4), (0, 2)])
def test_spans_cover_everything_once(count: int, size: int) -> None:
    spans = [World(rank, size).span(count) for rank in range(size)]
    assert [i for span in spans for i in span] == list(range(count))


class Lockstep(World):
    """A world whose other processes are this one with other tensors, in turn."""

    def gather(self, tensor: Any) -> Any:
        return torch.stack([t.detach() for t in self.store(tensor)])

    def sum_(self, tensor: Any) -> Any:
        return tensor.copy_(torch.stack(self.store(tensor)).sum(dim=0))


def test_embeddings_come_together_in_the_order_of_the_batch() -> None:
    batch = np.arange(24).reshape(24, 1)
    shares = [torch.from_numpy(World(rank, 3).own(batch, 2)) for rank in range(3)]
    world = Lockstep(0, 3, store=lambda _: shares)
    assert world.whole(shares[0], 2).flatten().tolist() == list(range(24))
    spans = [torch.arange(7)[World(rank, 3).span(7)][:, None] for rank in range(3)]
    padded = [nn.functional.pad(s, (0, 0, 0, 3 - len(s))) for s in spans]
    world = Lockstep(0, 3, store=lambda _: padded)
    assert world.join_spans(spans[0], 7).flatten().tolist() == list(range(7))


@pytest.mark.parametrize(
    ("size", "accumulate", "batch", "images", "fits"),
    [
        (2, 1, 64, 500, True),
        (3, 1, 63, 500, True),
        (3, 1, 64, 500, "batch_size=63 or 66"),
        (2, 3, 64, 500, "batch_size=60 or 66"),
        (4, 1, 64, 42, "batch_size=40"),  # the data set is smaller than the batch
    ],
)
def test_a_batch_must_divide_evenly(
    size: int, accumulate: int, batch: int, images: int, fits: bool | str
) -> None:
    settings = resolve_auto(training_settings(batch_size=batch, accumulate=accumulate))
    if fits is True:
        _check_divisible(settings, images, World(0, size))
        return
    with pytest.raises(SettingsError, match=f"among {size} process.*{fits}") as error:
        _check_divisible(settings, images, World(0, size))
    assert f"프로세스 {size}개" in error.value.text.ko


def test_one_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with joined_world() as world:
        assert (world.rank, world.size, world.first) == (0, 1, True)
        assert world.any(True, False) == (True, False)
        assert world.all_of("x") == ["x"]
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined_world() as world:
        assert world.size == 1


@pytest.mark.parametrize("prefix", ["", "OMPI_COMM_WORLD_", "PMI_"])
def test_launchers_say_who_a_process_is(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "PMI_RANK", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    names = ("RANK", "WORLD_SIZE") if not prefix else (f"{prefix}RANK", f"{prefix}SIZE")
    monkeypatch.setenv(names[0], "3")
    monkeypatch.setenv(names[1], "8")
    assert processes._number(processes._RANK, 0) == 3


def test_what_a_library_says_of_a_lost_process_becomes_one_line() -> None:
    noise = (
        "[/src/gloo/pair.cc:537] Read error [127.0.0.1]:1: Connection reset by peer. This is "
        "typically caused by a remote worker hanging. GLHF!"
    )
    with pytest.raises(LostProcess) as error, processes._talking():
        raise RuntimeError(noise)
    assert error.value.text.en.endswith("(Read error [127.0.0.1]:1: Connection reset by peer)")
    assert "`resume=True`" in error.value.text.ko


# ---------------------------------------------------------------- batch norm


def norms(world: World) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    """torch's own and the shared one, with equal weights that are not the identity."""
    plain, shared = nn.BatchNorm2d(5, momentum=0.2), nn.BatchNorm2d(5, momentum=0.2)
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 5))
        plain.bias.copy_(torch.linspace(-1, 1, 5))
    shared.load_state_dict(plain.state_dict())
    share_batch_norms(shared, world)
    assert isinstance(shared, SharedBatchNorm2d)
    return plain, shared


def test_a_batch_norm_over_two_processes_is_the_one_over_both_batches() -> None:
    """Two threads stand for the processes; they meet where processes would send messages."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    torch.manual_seed(0)
    x = torch.randn(6, 5, 4, 3) * torch.linspace(0.1, 3, 6)[:, None, None, None] + 2
    meeting, box = Barrier(2, timeout=20), [torch.zeros(0)] * 2

    def exchange(rank: int) -> Any:
        def others(tensor: Any) -> list[Any]:
            box[rank] = tensor.clone()
            meeting.wait()
            found = [t.clone() for t in box]
            meeting.wait()
            return found

        return others

    pulled = torch.randn(6, 5, 4, 3)
    plain, _ = norms(Lockstep(0, 2, store=exchange(0)))
    inputs = x.clone().requires_grad_()
    expected = plain(inputs)
    expected.backward(pulled)

    def process(rank: int) -> tuple[Any, ...]:
        _, shared = norms(Lockstep(rank, 2, store=exchange(rank)))
        own = x[3 * rank : 3 * rank + 3].clone().requires_grad_()
        y = shared(own)
        y.backward(pulled[3 * rank : 3 * rank + 3])
        return y.detach(), own.grad, shared.weight.grad, shared.bias.grad, shared

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(process, range(2))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(torch.cat([one[0], two[0]]), expected.detach(), **close)
    torch.testing.assert_close(torch.cat([one[1], two[1]]), inputs.grad, **close)
    torch.testing.assert_close(one[2] + two[2], plain.weight.grad, **close)
    torch.testing.assert_close(one[3] + two[3], plain.bias.grad, **close)
    for shared in (one[4], two[4]):
        torch.testing.assert_close(shared.running_mean, plain.running_mean, **close)
        torch.testing.assert_close(shared.running_var, plain.running_var, **close)
        assert int(shared.num_batches_tracked) == 1
        torch.testing.assert_close(shared.eval()(x), plain.eval()(x), **close)
        plain.train()


# ---------------------------------------------------------------- real processes

OPTIONS = {"epochs": 2, "log_every": 1, "ema": 0.9}

KILLER = """
import os, signal
from pathlib import Path
from nunbit.cli import main
from nunbit.training import loop
from nunbit.training.trainer import Trainer
loop.bundle_of_run = lambda *a, **k: {"parity": {}}  # the other test has seen it
original = Trainer._step
def step(self, batch):
    mark = Path(os.environ["MARK"])
    if self._world.rank == 1 and self._progress.step == 10 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch)
Trainer._step = step
main()
"""


def launch(
    *arguments: object, program: tuple[object, ...] = ("-m", "nunbit"), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run nunbit in two processes under torchrun."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    line = [*torchrun, "--nproc-per-node", "2", *map(str, (*program, *arguments))]
    return subprocess.run(line, capture_output=True, text=True, env=variables, check=False)


def options(**changes: object) -> list[str]:
    values = SMALL | OPTIONS | changes
    init = ["--init", str(values.pop("init")), "--lang", "en"]
    return init + [part for k, v in values.items() for part in ("--set", f"{k}={v}")]


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_s"} for line in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    done = launch("train", data, "--out", out, "--json", *options())
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # one document: only the first process says anything
    assert document["steps"] == 14
    assert document["parity"]["image_cosine_min"] > 0.999
    assert done.stderr.count("14 steps of 6 in 2 processes") == 1
    return out


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(data: Path, two: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "one", training_settings(**OPTIONS), resume=False)
    one, both = log_of(tmp_path / "one"), log_of(two)
    assert [line["step"] for line in one] == [line["step"] for line in both]
    losses = [[line["loss"] for line in log if "loss" in line] for log in (one, both)]
    assert losses[0][:3] == pytest.approx(losses[1][:3], rel=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=3e-3)  # roundings grow from step to step
    states = [
        torch.load(run / "checkpoints" / "step-00000014.pt", weights_only=True)
        for run in (tmp_path / "one", two)
    ]
    for part in ("model", "average"):
        for name, value in states[0][part].items():
            if "running_" in name:
                torch.testing.assert_close(states[1][part][name], value, rtol=0.01, atol=0.01)
    assert len(states[1]["random_others"]) == 1
    # One process can take over what two began.
    again = fit(data, two, TrainSettings(threads=1), resume=True)
    assert again["steps"] == 14
    assert log_of(two) == both


@pytest.mark.slow
def test_a_killed_process_ends_the_other_with_one_line_and_a_restart_goes_on(
    data: Path, two: Path, tmp_path: Path
) -> None:
    program = tmp_path / "killer.py"
    program.write_text(KILLER)
    out = tmp_path / "run"
    done = launch(
        *("train", data, "--out", out, "--resume", *options()),
        program=("--max-restarts", "1", program),
        MARK=str(tmp_path / "killed"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    # At most once: the launcher may end the other process before it notices by itself.
    assert done.stderr.count("nunbit: error: another process of this run ended") <= 1
    assert "resuming at step 8" in done.stderr
    assert log_of(out) == log_of(two)  # bit for bit what two undisturbed processes do


@pytest.mark.slow
def test_what_is_wrong_is_said_once(data: Path, tmp_path: Path) -> None:
    done = launch("train", data, "--out", tmp_path / "run", *options(batch_size=7))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("nunbit: error:")]
    assert len(said) == 1
    assert "7 images cannot be divided evenly among 2 process" in said[0]
    assert not (tmp_path / "run").exists()


def test_baselines_train_in_one_process() -> None:
    from nunbit.training.baselines import _check

    _check("majority", None, World())
    with pytest.raises(SettingsError, match=r"one process, 2 were started.*without torchrun"):
        _check("majority", None, World(1, 2))
