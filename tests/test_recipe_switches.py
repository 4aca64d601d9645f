"""Each switch of the recipe does what it says: its effect, not only that it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_data import SIDE, make_data, tiny_clip, training_settings
from nunbit.core.messages import SettingsError
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.model.encoders import load_bundle
from nunbit.runtime.files import read_json
from nunbit.training.settings import TrainSettings
from test_training import assert_equal, at_step, fail, metrics

torch = pytest.importorskip("torch")
from torch import Tensor, nn

from nunbit.training import trainer
from nunbit.training.loop import fit, train
from nunbit.training.losses import Pairs
from nunbit.training.networks import Network, load_start
from nunbit.training.optimisers import (
    MovingAverage,
    decay_at,
    depth_shares,
    in_bfloat16,
    make_optimizer,
    measure_statistics,
    mixed_with_start,
    pretrained_part,
)
from nunbit.training.processes import World
from nunbit.training.steps import Captions, StepCaptions, StepLoss
from nunbit.training.towers import E5TextTower, LiteImageTower
from nunbit.training.trainer import Trainer

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="module")
def still_clip(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The same without dropout: nothing is left to chance."""
    folder = tiny_clip(tmp_path_factory.mktemp("still") / "clip")
    config = json.loads((folder / "config.json").read_text())
    for side in ("text_config", "vision_config"):
        config[side]["attention_dropout"] = 0.0
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(data: Path, out: Path, *, resume: bool = False, **changes: Any) -> dict[str, Any]:
    return fit(data, out, training_settings(**changes), resume=resume)


def saved(out: Path, name: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(out / "checkpoints" / name, weights_only=True)
    return state


# ---------------------------------------------------------------- moving average


def test_the_decay_warms_up_to_its_value() -> None:
    assert decay_at(1, 0.999) == pytest.approx(2 / 11)
    rising = [decay_at(step, 0.9) for step in range(1, 200)]
    assert rising == sorted(rising)
    assert rising[-1] == 0.9


def test_the_average_is_that_of_all_weights_so_far_and_comes_and_goes_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    average = MovingAverage(model, 0.7)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(1, 6):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        model(torch.randn(8, 3))
        for name, value in model.state_dict().items():
            moved = name != "2.weight" and value.is_floating_point()
            decay = decay_at(step, 0.7) if moved else 0.0
            expected[name] = (decay * expected[name] + (1 - decay) * value).to(value.dtype)
        average.update(step)
    live = {k: v.clone() for k, v in model.state_dict().items()}
    with average.in_place():
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[name], msg=name)
        assert not torch.equal(model.state_dict()["1.running_var"], live["1.running_var"])
    assert_equal(dict(model.state_dict()), dict(live), "restored")


@pytest.mark.slow
def test_the_average_is_what_is_judged_kept_and_exported(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = train(data, out, training_settings(ema=0.9, lr=0.01), resume=False)
    assert summary["parity"]["image_cosine_min"] > 0.999  # bundle and best.pt are one model
    best, last = saved(out, "best.pt"), saved(out, "step-00000021.pt")
    assert last["progress"]["best_step"] != 21 or all(
        torch.equal(best["model"][k], v) for k, v in last["average"].items()
    )
    plain = tmp_path / "plain"
    run(data, plain, lr=0.01)
    # Averaging touches no step: the optimiser's own weights are those of the run without it.
    assert_equal(saved(plain, "step-00000021.pt")["model"], last["model"], "model")
    losses = [[line["loss"] for line in metrics(r) if "loss" in line] for r in (out, plain)]
    judged = [[m for m in metrics(r) if "validation_uar" in m] for r in (out, plain)]
    assert losses[0] == losses[1]
    assert judged[0] != judged[1]


def test_an_average_is_nearer_to_the_optimum_that_noisy_steps_jump_around() -> None:
    torch.manual_seed(0)
    model = nn.Linear(500, 1, bias=False)
    average = MovingAverage(model, 0.9)
    for step in range(1, 101):
        with torch.no_grad():
            model.weight.copy_(1.0 + torch.randn(1, 500))  # the optimum is 1
        average.update(step)
    noise = float(model.weight.detach().std())
    with average.in_place():
        # Independent noise shrinks by the root of (1 - decay) / (1 + decay).
        assert float(model.weight.detach().std()) == pytest.approx(noise * 0.229, rel=0.15)
        assert float(model.weight.detach().mean()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 8])
def test_a_resumed_average_is_the_uninterrupted_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    run(data, tmp_path / "whole", ema=0.9)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", at_step(step, fail))
        with pytest.raises(RuntimeError, match="power cut"):
            run(data, tmp_path / "run", ema=0.9)
    run(data, tmp_path / "run", resume=True)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "run")
    for name in ("best.pt", "step-00000021.pt"):
        assert_equal(saved(tmp_path / "whole", name), saved(tmp_path / "run", name), name)


# ---------------------------------------------------------------- accumulation


class Step:
    """One step of twelve random crops, and what a network makes of it."""

    def __init__(self, **changes: Any) -> None:
        labels, templates = load_label_set("aihub7"), load_template_set("paper")
        given = training_settings(batch_size=12, **changes)
        self.network, self.settings = load_start(given, labels, templates, {})
        draw = np.random.default_rng(0)
        codes = draw.integers(0, 7, 12)
        captions = Captions(self.network, templates, labels, self.settings, codes)
        self.crops = torch.from_numpy(draw.integers(0, 256, (12, SIDE, SIDE, 3), np.uint8))
        self.captions: StepCaptions = captions.of(codes, draw.integers(0, 5, 12))
        targets = np.eye(7, dtype=np.float32)[codes]
        self.pairs: Pairs = self.captions.pairs(targets, torch.ones(7), torch.device("cpu"))
        self.loss = StepLoss(self.network, self.settings, World())
        self.network.model.train()

    def backward(self) -> float:
        self.network.model.zero_grad(set_to_none=True)
        return self.loss.backward(self.crops, self.captions, self.pairs)

    def gradients(self) -> dict[str, Tensor]:
        named = self.network.model.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}


def plain_gradients(step: Step) -> tuple[float, dict[str, Tensor]]:
    """The step as it is usually written: one graph from pixels to loss."""
    from nunbit.training.losses import contrastive_loss
    from nunbit.training.steps import to_pixels

    model = step.network.model
    model.zero_grad(set_to_none=True)
    images = model.embed_images(to_pixels(step.crops, step.network, torch.device("cpu")))
    texts = model.embed_texts(step.captions.ids, step.captions.mask)
    loss = contrastive_loss(model.logit_scale * images @ texts.T, step.pairs, "paper")
    loss.backward()
    return float(loss.detach()), step.gradients()


@pytest.mark.parametrize("parts", [1, 2, 3, 12])
def test_parts_of_a_batch_give_the_loss_and_gradient_of_the_whole(
    still_clip: Path, parts: int
) -> None:
    step = Step(init=str(still_clip), accumulate=parts)
    expected, gradients = plain_gradients(step)
    seen: list[int] = []
    step.network.model.image.register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    assert step.backward() == pytest.approx(expected, rel=1e-6)
    found = step.gradients()
    assert set(found) == set(gradients)
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=name)
    # What it is for: never more images at a time, each of them twice.
    assert max(seen) == 12 // parts
    assert sum(seen) == (12 if parts == 1 else 24)


def test_the_loss_of_parts_alone_would_be_another(still_clip: Path) -> None:
    """Without the other parts' captions and images as negatives the loss is smaller."""
    whole = Step(init=str(still_clip), accumulate=3).backward()
    alone = []
    for part in range(3):
        step = Step(init=str(still_clip))
        rows = slice(4 * part, 4 * part + 4)
        own = step.pairs.own[rows]
        kept = own.sum(dim=0) > 0
        c = step.captions
        captions = StepCaptions(c.ids[kept], c.mask[kept], own[:, kept], c.text_class[kept])
        targets = step.pairs.targets[rows].numpy()
        pairs = captions.pairs(targets, torch.ones(7), torch.device("cpu"))
        alone.append(step.loss.backward(step.crops[rows], captions, pairs))
    assert np.mean(alone) < whole - 0.3


def test_dropout_falls_alike_when_embeddings_are_found_and_when_gradients_return(
    clip: Path,
) -> None:
    step = Step(init=str(clip), accumulate=3)
    seen: list[Tensor] = []
    step.network.model.image.register_forward_hook(lambda m, i, out: seen.append(out.detach()))
    torch.manual_seed(5)
    step.backward()
    first, second = seen[:3], seen[3:]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    after = torch.rand(1)
    torch.manual_seed(5)
    step.backward()
    assert torch.equal(seen[6], first[0])
    assert torch.equal(torch.rand(1), after)
    step.backward()
    assert not torch.equal(seen[12], first[0])


def test_batch_norms_see_micro_batches_and_remember_each_once() -> None:
    whole, parts = Step(init="tiny"), Step(init="tiny", accumulate=3)
    losses = [step.backward() for step in (whole, parts)]
    assert abs(losses[0] - losses[1]) > 1e-4  # what accumulation does not reproduce
    stem = parts.network.model.image.stem[1]
    assert int(stem.num_batches_tracked) == 3
    expected = nn.BatchNorm2d(stem.num_features)
    seen: list[Tensor] = []
    handle = stem.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    stem.reset_running_stats()
    parts.backward()
    handle.remove()
    for x in seen[3:]:  # the second pass
        expected(x)
    torch.testing.assert_close(stem.running_mean, expected.running_mean)
    torch.testing.assert_close(stem.running_var, expected.running_var)


def test_a_run_in_parts_is_the_run_with_whole_batches(
    data: Path, still_clip: Path, tmp_path: Path
) -> None:
    losses = []
    for parts in (1, 3):
        out = tmp_path / f"run{parts}"
        run(data, out, init=str(still_clip), lr=1e-3, accumulate=parts, max_steps=12)
        losses.append([line["loss"] for line in metrics(out) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_batch_that_cannot_be_divided_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"6 images cannot be divided .*batch_size=4 or 8"):
        run(data, tmp_path / "run", accumulate=4)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- resuming with switches


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"init": "CLIP", "accumulate": 2, "lr": 1e-3},
        {"loss": "siglip", "ema": 0.9},
        {"init": "CLIP", "average_with_start": [0.0, 0.5], "layer_decay": 0.5, "lr": 1e-3},
    ],
)
def test_with_switches_a_resumed_run_is_the_uninterrupted_one(
    data: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    options = changes | ({"init": str(clip)} if "init" in changes else {})
    run(data, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", at_step(9, fail))
        with pytest.raises(RuntimeError, match="power cut"):
            run(data, tmp_path / "run", **options)
    fit(data, tmp_path / "run", TrainSettings(threads=1), resume=True)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "run")
    names = {path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()}
    assert ("averaged.pt" in names) == ("average_with_start" in changes)
    for name in names:
        assert_equal(saved(tmp_path / "whole", name), saved(tmp_path / "run", name), name)


# ---------------------------------------------------------------- rates by depth


def shares_of(tower: nn.Module, decay: float) -> dict[float, set[str]]:
    found: dict[float, set[str]] = {}
    for name, share in depth_shares(tower, decay).items():
        found.setdefault(round(share, 9), set()).add(name)
    return found


def test_depth_is_found_in_every_kind_of_tower(still_clip: Path) -> None:
    network = Step(init=str(still_clip)).network
    for tower, first in (
        (network.model.image, "model.embeddings.class_embedding"),
        (network.model.text, "model.embeddings.token_embedding.weight"),
    ):
        shares = depth_shares(tower, 0.5)
        assert shares[first] == 0.25
        assert shares["model.encoder.layers.0.mlp.fc1.weight"] == 0.5
        assert shares["projection.weight"] == 1.0
    assert depth_shares(network.model.image, 0.5)["model.pre_layrnorm.weight"] == 0.25
    lite = depth_shares(LiteImageTower(32, 8), 0.5)
    assert lite["backbone._conv_stem.weight"] == lite["backbone._bn0.weight"] == 0.5**17
    assert lite["backbone._blocks.0._bn1.bias"] == 0.5**16
    assert lite["backbone._blocks.15._bn2.weight"] == 0.5
    assert lite["backbone._conv_head.weight"] == lite["projection.weight"] == 1.0
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    bert = E5TextTower(sizes | {"num_hidden_layers": 3, "vocab_size": 9}, 4)
    shares = depth_shares(bert, 0.5)
    assert shares["model.embeddings.LayerNorm.weight"] == 0.0625
    layers = [shares[f"model.encoder.layer.{i}.output.dense.weight"] for i in range(3)]
    assert layers == [0.125, 0.25, 0.5]
    assert set(shares_of(network.model.image, 1.0)) == {1.0}


def test_the_first_step_moves_each_depth_by_its_share_of_the_rate(still_clip: Path) -> None:
    step = Step(init=str(still_clip), lr=1e-3, layer_decay=0.1, text_lr=0.5, weight_decay=0.0)
    optimizer = make_optimizer(step.network.model, step.settings)
    before = {n: p.detach().clone() for n, p in step.network.model.named_parameters()}
    step.backward()
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * group["share"]
    optimizer.step()
    after = dict(step.network.model.named_parameters())

    def moved(name: str) -> float:
        # AdamW's first step moves a weight by the rate, whatever the gradient, unless it is tiny.
        return float((after[name].detach() - before[name]).abs().max())

    assert moved("image.projection.weight") == pytest.approx(1e-3, rel=0.05)
    block = "model.encoder.layers.0.mlp.fc2.weight"
    assert moved(f"image.{block}") == pytest.approx(1e-4, rel=0.05)
    assert moved("image.model.embeddings.patch_embedding.weight") == pytest.approx(1e-5, rel=0.05)
    assert moved("text.projection.weight") == pytest.approx(1e-3, rel=0.05)
    assert moved(f"text.{block}") == pytest.approx(0.5e-4, rel=0.05)


# ---------------------------------------------------------------- averaging with the start


def test_weights_lie_on_the_line_between_end_and_start() -> None:
    start = {"a": torch.zeros(3), "b": torch.ones(2)}
    end = {"a": torch.full((3,), 4.0), "b": torch.full((2,), 5.0), "new": torch.ones(1)}
    found = mixed_with_start(end, start, 0.25)
    assert found["a"].tolist() == [3, 3, 3]
    assert found["b"].tolist() == [4, 4]
    assert found["new"].tolist() == [1]  # what the start lacks stays
    state = {"image.backbone.x": torch.ones(1), "image.projection.w": torch.ones(1)}
    state |= {"text.model.y": torch.ones(1), "text.model.n": torch.ones(1, dtype=torch.int64)}
    assert set(pretrained_part(state, "lite")) == {"image.backbone.x", "text.model.y"}
    assert set(pretrained_part(state, "hub")) == set(state) - {"text.model.n"}
    assert pretrained_part(state, "tiny") == {}


@pytest.mark.slow
@pytest.mark.parametrize("shares", [0.25, pytest.param([0.75, 0.0, 0.25], marks=pytest.mark.slow)])
def test_the_best_share_of_the_start_is_found_on_the_selection_split_and_exported(
    data: Path, clip: Path, tmp_path: Path, shares: Any
) -> None:
    out = tmp_path / "run"
    settings = training_settings(init=str(clip), lr=3e-3, average_with_start=shares, epochs=2)
    summary = train(data, out, settings, resume=False)
    tried = [line for line in metrics(out) if "start_share" in line]
    assert [line["start_share"] for line in tried] == list(settings.start_shares)
    scores = [line["validation_uar"] for line in tried]
    share = tried[scores.index(max(scores))]["start_share"]
    start, best, final = (saved(out, f"{n}.pt") for n in ("start", "best", "averaged"))
    assert final["start_share"] == share
    assert final["validation"] == summary["validation"]
    for name, value in final["model"].items():
        if value.is_floating_point():
            expected = (1 - share) * best["model"][name] + share * start["model"][name]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    bundle = load_bundle(out / "bundle")
    assert read_json(bundle.path / "bundle.json")["training"]["averaged_with_start"] == share
    assert summary["parity"]["image_cosine_min"] > 0.999  # bundle and averaged.pt are one model
    if settings.start_shares[0] == 0.0:  # 0 keeps the end as it is
        assert scores[0] == best["validation"]["uar"]
    before = metrics(out)
    again = fit(data, out, TrainSettings(threads=1), resume=True)
    assert again["validation"] == summary["validation"]
    assert metrics(out) == before


def test_a_random_start_is_nothing_to_average_with(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="starts with random weights"):
        run(data, tmp_path / "run", average_with_start=0.5)
    assert not (tmp_path / "run").exists()


def test_averaged_weights_get_batch_norm_statistics_of_their_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.01))
    x = torch.randn(5, 8, 3, 9, 9) * 3 + 1
    measure_statistics(model, list(x))
    assert not model.training
    assert model[1].momentum == 0.01
    with torch.no_grad():
        y = model(x.flatten(0, 1))
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.var(dim=(0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)


# ---------------------------------------------------------------- sigmoid loss


def test_the_sigmoid_loss_learns_a_bias_that_begins_at_the_odds_of_a_positive_pair() -> None:
    step = Step(init="tiny", loss="siglip")
    assert step.loss.bias is not None
    loss = step.backward()
    begun = float(step.loss.bias.value.detach())
    codes = step.pairs.targets.argmax(dim=1)
    share = float((codes[:, None] == codes[None, :]).float().mean())
    # Were all logits alike, each pair would cost the entropy of that share, times 12 columns.
    assert loss >= 12 * -(share * np.log(share) + (1 - share) * np.log(1 - share)) - 1e-4
    assert step.loss.bias.value.grad is not None
    with torch.no_grad():
        step.loss.bias.value.add_(1.0)
    step.backward()
    assert float(step.loss.bias.value.detach()) == begun + 1.0  # only the first batch sets it
    names = {name for name, _ in step.network.model.named_parameters()}
    assert not any("bias_value" in name or name.endswith("begun") for name in names)


def test_a_run_with_the_sigmoid_loss_moves_its_bias_and_learns(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", per_class=12)
    changes = {"loss": "siglip", "batch_size": 42, "epochs": 12, "flip": 0.0, "rotate": 0.0}
    run(data, tmp_path / "run", eval_every=100, keep_checkpoints=9, **changes)
    losses = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    state = saved(tmp_path / "run", "step-00000024.pt")
    assert bool(state["bias"]["begun"])
    assert len(state["optimizer"]["param_groups"][-1]["params"]) == 1
    assert state["optimizer"]["param_groups"][-1]["weight_decay"] == 0.0


# ---------------------------------------------------------------- precision


def test_auto_takes_bfloat16_for_wide_transformers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    wide = nn.Sequential(nn.Conv2d(3, 256, 8, 8), nn.Linear(256, 256))  # patches, then width
    narrow, convolutional = nn.Linear(64, 64), LiteImageTower(32, 8)
    for has in (True, False):
        monkeypatch.setattr("nunbit.training.optimisers._cpu_multiplies_bf16", lambda has=has: has)
        assert in_bfloat16(wide, "auto", cpu) is has
        assert not in_bfloat16(narrow, "auto", cpu)
        assert not in_bfloat16(convolutional, "auto", cpu)
        assert in_bfloat16(narrow, "bf16", cpu)
        assert not in_bfloat16(wide, "fp32", cpu)


def test_bfloat16_computes_towers_coarsely_and_keeps_weights_loss_and_gradients_whole(
    still_clip: Path,
) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        step = Step(init=str(still_clip), precision=precision)
        kinds: list[torch.dtype] = []
        step.network.model.image.register_forward_hook(
            lambda m, i, out, kinds=kinds: kinds.append(out.dtype)
        )
        loss = step.backward()
        assert kinds == [torch.bfloat16 if precision == "bf16" else torch.float32]
        gradients = step.gradients()
        assert {g.dtype for g in gradients.values()} == {torch.float32}
        found[precision] = (loss, torch.cat([g.flatten() for g in gradients.values()]))
    (loss, gradient), (coarse_loss, coarse_gradient) = found["fp32"], found["bf16"]
    assert coarse_loss != loss
    assert coarse_loss == pytest.approx(loss, rel=0.02)
    cosine = torch.nn.functional.cosine_similarity(gradient, coarse_gradient, dim=0)
    assert 0.98 < float(cosine) < 1.0


def test_validation_and_what_a_locked_encoder_remembers_stay_whole(
    data: Path, still_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    tower = E5TextTower(sizes | {"num_hidden_layers": 1, "vocab_size": 9}, 4).eval()
    tower.model.requires_grad_(False)
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tower(ids, mask)
    with torch.no_grad():
        torch.testing.assert_close(tower._recall(ids, mask), tower._pool(ids, mask))
    seen: list[torch.dtype] = []
    original = trainer.embed_crops

    def spied(network: Network, batches: Any, device: torch.device) -> Tensor:
        image = network.model.image
        handle = image.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
        found = original(network, batches, device)
        handle.remove()
        return found

    monkeypatch.setattr(trainer, "embed_crops", spied)
    run(data, tmp_path / "run", init=str(still_clip), precision="bf16", max_steps=4)
    assert set(seen) == {torch.float32}


# ---------------------------------------------------------------- padding


def embed(network: Network, ids: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.model.eval().embed_texts(ids, mask)
    return found


def test_texts_are_padded_to_the_longest_of_the_step_and_not_to_77(still_clip: Path) -> None:
    step = Step(init=str(still_clip))
    prompts = prompts_for(load_template_set("paper"), load_label_set("aihub7"))
    longest = max(len(step.network.tokenizer.encode(t).ids) for row in prompts for t in row)
    assert step.network.max_tokens == 77
    assert step.captions.ids.shape[1] <= longest < 77
    assert step.captions.ids.shape[1] == int(step.captions.mask.sum(dim=1).max())
    count = 77 - step.captions.ids.shape[1]
    end = int(step.captions.ids[0, int(step.captions.mask[0].sum()) - 1])
    padded = nn.functional.pad(step.captions.ids, (0, count), value=end)
    mask = nn.functional.pad(step.captions.mask, (0, count))
    torch.testing.assert_close(
        embed(step.network, step.captions.ids, step.captions.mask),
        embed(step.network, padded, mask),
    )
