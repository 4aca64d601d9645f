"""The loop, and the proof that a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from make_data import SMALL, make_data, tiny_clip, training_settings
from nunbit.core.messages import InputError, SettingsError, TrainingError
from nunbit.runtime.progress import set_lang
from nunbit.training.settings import TrainSettings

torch = pytest.importorskip("torch")
from nunbit.training import steps
from nunbit.training.loop import fit
from nunbit.training.trainer import Trainer

pytestmark = pytest.mark.train


def run(data: Path, out: Path, *, resume: bool = False, **changes: Any) -> dict[str, Any]:
    return fit(data, out, training_settings(**changes), resume=resume)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(data, out)
    return out


def test_a_run_leaves_what_the_contract_names(whole: Path) -> None:
    names = {path.name.split(".out.")[0] for path in whole.iterdir()}
    assert names >= {"config.toml", "metrics.jsonl", "checkpoints", "events", "run.json"}
    kept = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert kept == ["best.pt", "step-00000020.pt", "step-00000021.pt"]
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == list(range(3, 22, 3))
    assert set(trained[0]) == {"step", "epoch", "loss", "lr", "logit_scale", "images_per_s"}
    judged = [line for line in lines if "validation_uar" in line]
    assert [line["step"] for line in judged] == [4, 8, 12, 16, 20, 21]
    assert [line["epoch"] for line in judged] == [1, 2, 2, 3, 3, 3]
    assert set(judged[0]) >= {"validation_top1", "validation_macro_f1", "validation_temperature"}
    run_document = json.loads((whole / "run.json").read_text())
    assert not Path(run_document["data"]).is_absolute()


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The metrics log without the one value that depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_s"} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser, random state, progress and metrics are equal bit for bit."""
    assert metrics(one) == metrics(other)
    for name in ("best.pt", "step-00000021.pt"):
        states = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other)]
        for state in states:
            state.pop("description", None)  # settings such as the number of workers
        assert_equal(states[0], states[1], name)


def assert_equal(a: Any, b: Any, where: str) -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def at_step(step: int, act: Callable[[], None]) -> Any:
    """A replacement of ``Trainer._step`` that acts before a given step."""
    original = Trainer._step

    def _step(self: Trainer, batch: Any) -> float:
        if self._progress.step == step:
            act()
        return original(self, batch)

    return _step


def fail() -> None:
    raise RuntimeError("power cut")


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 5, 8, 18])
def test_a_run_that_failed_and_was_resumed_is_the_uninterrupted_run(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", at_step(step, fail))
        with pytest.raises(RuntimeError, match="power cut"):
            run(data, out)
    summary = run(data, out, resume=True)
    assert summary["steps"] == 21
    assert_same_run(whole, out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_checkpoints_the_very_step_and_the_run_goes_on(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", at_step(9, lambda: signal.raise_signal(number)))
        with pytest.raises(KeyboardInterrupt):
            run(data, out)
    assert signal.getsignal(number) is before
    assert (out / "checkpoints" / "step-00000010.pt").is_file()
    run(data, out, resume=True, num_workers=2)
    assert_same_run(whole, out)


@pytest.mark.slow
def test_a_second_signal_does_not_wait(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_step", at_step(9, twice))
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "step-00000010.pt").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit_with_dropout_and_workers(
    data: Path, clip: Path, tmp_path: Path
) -> None:
    changes = {"init": str(clip), "lr": 0.001}
    run(data, tmp_path / "whole", **changes)
    code = (
        "import json, os, signal, sys; from pathlib import Path\n"
        "from nunbit.runtime.config import read_settings\n"
        "from nunbit.training.loop import fit\n"
        "from nunbit.training.settings import TrainSettings\n"
        "from nunbit.training.trainer import Trainer\n"
        "original = Trainer._step\n"
        "def step(self, batch):\n"
        "    if self._progress.step == 10:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, batch)\n"
        "Trainer._step = step\n"
        "data, out, options = sys.argv[1:]\n"
        "settings = read_settings(TrainSettings, options=json.loads(options))\n"
        "fit(Path(data), Path(out), settings, resume=False)\n"
    )
    out = tmp_path / "run"
    options = json.dumps(SMALL | changes | {"num_workers": 1})
    killed = subprocess.run([sys.executable, "-c", code, str(data), str(out), options], check=False)
    assert killed.returncode == -signal.SIGKILL
    # What a kill while writing leaves behind is cleared away.
    (out / "checkpoints" / ".step-00000012.pt.99.partial").write_bytes(b"half")
    # The stored settings win, INIT included, where none are given.
    set_lang("ko")
    fit(data, out, TrainSettings(threads=1), resume=True)
    assert_same_run(tmp_path / "whole", out)
    assert not list((out / "checkpoints").glob(".*"))


def test_patience_stops_the_run(data: Path, clip: Path, tmp_path: Path) -> None:
    # A rate of almost zero, and no batch norm: nothing changes after the first evaluation.
    summary = run(data, tmp_path / "run", init=str(clip), patience=2, lr=1e-12, epochs=50)
    assert summary["best_step"] == 4
    assert summary["steps"] == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lr": 0.5}, "lr = 0.002, now 0.5 was given"), ({"seed": 3}, "seed = 0, now 3 was given")],
)
def test_resuming_with_other_settings_is_refused(
    data: Path, whole: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run(data, whole, resume=True, **changes)


def test_a_run_in_the_way_is_refused(data: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is already a run; add `resume=True`"):
        run(data, whole)
    (tmp_path / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="exists and is not a run"):
            run(data, tmp_path, resume=resume)


def test_resuming_with_another_data_set_is_refused(whole: Path, tmp_path: Path) -> None:
    other = make_data(tmp_path / "other", label_set="fer7")
    with pytest.raises(InputError, match="not the data set of this run"):
        run(other, whole, resume=True)


def test_resuming_a_finished_run_changes_nothing(data: Path, whole: Path) -> None:
    before = metrics(whole)
    summary = run(data, whole, resume=True)
    assert summary["steps"] == 21
    assert summary["validation"]["uar"] == max(line.get("validation_uar", 0) for line in before)
    assert metrics(whole) == before


def infinite_loss(loss: Any) -> Any:
    return loss * float("inf")


def infinite_gradient(loss: Any) -> Any:
    return loss + torch.sqrt(loss * 0)  # adds nothing, but 0 x infinity to the gradient


@pytest.mark.parametrize("spoil", [infinite_loss, infinite_gradient])
def test_what_is_not_finite_stops_the_run_before_it_harms_the_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], Any]
) -> None:
    original, calls = steps.contrastive_loss, []

    def explode(*arguments: Any) -> Any:
        calls.append(1)
        loss = original(*arguments)
        return spoil(loss) if len(calls) == 6 else loss

    monkeypatch.setattr(steps, "contrastive_loss", explode)
    with pytest.raises(TrainingError, match=r"not finite at step 6.*`lr=.*step-00000004") as e:
        run(data, tmp_path / "run")
    assert "유한하지" in e.value.text.ko
    kept = torch.load(tmp_path / "run" / "checkpoints" / "step-00000004.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in kept["model"].values())


def test_checkpoints_come_with_the_clock_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_step", at_step(3, fail))
    with pytest.raises(RuntimeError, match="power cut"):
        run(data, tmp_path / "run", checkpoint_minutes=1e-9, keep_checkpoints=1)
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step-00000003.pt"]


@pytest.mark.parametrize("metric", ["uar", "top1", "macro_f1"])
def test_the_chosen_metric_picks_the_best_checkpoint(tmp_path: Path, metric: str) -> None:
    skewed = make_data(tmp_path / "data", seed=3)
    summary = run(skewed, tmp_path / "run", select_by=metric)
    judged = [line for line in metrics(tmp_path / "run") if "validation_uar" in line]
    values = [line[f"validation_{metric}"] for line in judged]
    assert summary["best_step"] == judged[values.index(max(values))]["step"]


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run", epochs=1)
    path = tmp_path / "run" / "checkpoints" / "step-00000007.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"step-00000007\.pt: cannot read this checkpoint"):
        run(data, tmp_path / "run", epochs=1, resume=True)
    path.unlink()
    assert run(data, tmp_path / "run", epochs=1, resume=True)["steps"] == 7


def test_a_full_disk_is_said_and_the_earlier_checkpoint_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = torch.save, []

    def save(state: Any, stream: Any) -> None:
        calls.append(1)
        if len(calls) > 2:  # the best weights and the checkpoint of step 4 fit
            stream.write(b"half of it")
            raise OSError(28, "No space left on device")
        original(state, stream)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(InputError, match="the disk is full"):
            run(data, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"best.pt", "step-00000004.pt"}
    assert run(data, tmp_path / "run", resume=True)["steps"] == 21


def test_the_logit_scale_stays_below_its_cap(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run", logit_scale_max=5.0)
    scales = [line["logit_scale"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert max(scales) <= 5.0 + 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "infonce"},
        {"captions": "all"},
        {"vote_weight": 0.5},
        {"class_balance": "sampler"},
        {"class_balance": "loss"},
        {"grey": True},
        {"grad_clip": 0.001},
        {"weight_decay": 0.0},
    ],
)
def test_each_switch_changes_the_run(whole: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    data = make_data(tmp_path / "data", votes=True, unlabelled=2)
    losses = []
    for name, options in (("plain", {}), ("changed", changes)):
        run(data, tmp_path / name, max_steps=6, **options)
        losses.append([line["loss"] for line in metrics(tmp_path / name) if "loss" in line])
    assert len(losses[0]) == len(losses[1]) == 2
    assert losses[0][1] != losses[1][1]


@pytest.mark.slow
def test_it_learns_patterns_and_shuffled_labels_leave_it_at_chance(tmp_path: Path) -> None:
    found = []
    for shuffle in (False, True):
        data = make_data(tmp_path / f"data{shuffle}", per_class=24, shuffle=shuffle)
        changes = {"epochs": 20, "batch_size": 42, "eval_every": 500, "flip": 0.0, "rotate": 0.0}
        summary = run(data, tmp_path / f"run{shuffle}", **changes)
        assert summary["choosing_images"] == 168
        assert summary["best_step"] == summary["steps"]
        found.append(summary["validation"]["uar"])
    assert found[0] >= 0.8
    assert found[1] <= 0.3  # chance is 1/7; 168 images scatter by 0.03
