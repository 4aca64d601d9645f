"""Class shares and the own neutral face: what acts on probabilities after the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nunbit
from command import run_command
from make_shifts import SHIFTS, plant
from nunbit.core.messages import BundleError, InputError
from nunbit.model.bundle import default_bundle_path
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import load_bundle
from nunbit.model.posterior import Posterior, base_shares, check_neutral, neutral_face
from nunbit.statistics.remapping import Form, centred_logs, fit_correction, prior_by_em, softmax
from nunbit.stories.adapt.choice import FORMS, OF_NEUTRAL, helps, judge
from test_predict import COLOUR, paint, toy_bundle

SHARES = dict(zip(COLOUR, (0.26, 0.13, 0.09, 0.04, 0.03, 0.14, 0.31), strict=True))
RAW = np.array([[0.05, 0.05, 0.1, 0.2, 0.15, 0.1, 0.35]], np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("model") / "toy", class_shares=SHARES)


def test_nothing_asked_is_nothing_done(bundle: Path) -> None:
    posterior = Posterior.of(load_bundle(bundle))
    assert posterior.probabilities(RAW) is RAW
    assert posterior.notes == ()
    assert posterior.to_dict(relative=False) == {
        "adapted": None, "prior": "train", "relative": False,
    }  # fmt: skip


def test_balanced_shares_divide_by_those_of_training(bundle: Path) -> None:
    shown = Posterior.of(load_bundle(bundle), prior="balanced").probabilities(RAW)
    expected = RAW / np.array(list(SHARES.values()))
    assert shown == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_shares_of_a_file(bundle: Path, tmp_path: Path) -> None:
    table, document = tmp_path / "shares.csv", tmp_path / "shares.json"
    given = {label: 10 * (1 + n) for n, label in enumerate(COLOUR)}
    lines = ["label,share", *(f"{k},{v}" for k, v in given.items())]
    table.write_text("\n".join(lines), encoding="utf-8")
    document.write_text(json.dumps(given), encoding="utf-8")
    ratio = np.array(list(given.values())) / np.array(list(SHARES.values()))
    expected = RAW * ratio / (RAW * ratio).sum()
    for file in (table, document):
        posterior = Posterior.of(load_bundle(bundle), prior=str(file))
        assert posterior.probabilities(RAW) == pytest.approx(expected, rel=1e-4)
        assert posterior.prior == file.name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("label,share\njoy,1\n", "no share of surprise"),
        ("label,share\nglee,1\n", "unknown label 'glee'"),
        ("label,share\n" + "\n".join(f"{k},0" for k in COLOUR), "not above zero"),
        ("name,part\njoy,1\n", "cannot use as `prior`"),
    ],
)
def test_a_bad_prior_is_one_line(content: str, words: str, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "prior.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        Posterior.of(load_bundle(bundle), prior=str(path))
    assert "\n" not in caught.value.text.en


def test_other_shares_need_to_know_those_of_training(tmp_path: Path) -> None:
    silent = load_bundle(toy_bundle(tmp_path / "toy"))
    with pytest.raises(BundleError, match="class shares"):
        Posterior.of(silent, prior="balanced")
    assert Posterior.of(silent).probabilities(RAW) is RAW


def test_the_shipped_bundle_knows_its_shares() -> None:
    shown = Posterior.of(nunbit.load().bundle, prior="balanced")
    assert shown.ratio is not None
    assert shown.ratio.argmax() == 4  # disgust was the rarest
    missing = run_command("predict", "x.jpg", "--prior", "nowhere.csv")
    assert missing.returncode == 1
    assert "nowhere.csv" in missing.stderr


# Of the bundle that shipped first: its training data, its temperature, and no class shares.
FIRST = "e8eef329a21634789666840274cc9ea2be6b1dfa00aa756f33cd9685a9f631b9"


def test_a_bundle_adapted_before_new_weights_shipped_works_as_before(tmp_path: Path) -> None:
    """It holds all it needs: nothing of it is looked up in the shipped one."""
    folder = tmp_path / "mine"
    shutil.copytree(default_bundle_path(), folder)
    document = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    document.pop("class_shares", None)
    document["training_data"] = document["training_data"] | {"sha256": FIRST}
    document |= {"name": "mine", "temperature": 0.608881}
    document["adaptation"] = {
        "method": "bias",
        "plain": {"scale": 1.0, "bias": [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]},
        "own_neutral": None,
        "class_shares": None,
        "evidence": {},
        "base": {"name": "fer7-lite", "sha256": "c" * 64},
    }
    text = json.dumps(sealed_document(document), ensure_ascii=False)
    (folder / "bundle.json").write_text(text, encoding="utf-8")
    mine = load_bundle(folder, threads=1)
    assert mine.temperature == 0.608881
    shares = base_shares(mine)
    assert shares is not None
    assert shares[0] == pytest.approx(0.258, abs=1e-3)
    raw = np.full((1, 7), 1 / 7, np.float32)
    assert Posterior.of(mine).probabilities(raw).argmax() == 4
    crop = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), np.uint8)
    assert np.isfinite(mine.embed_images(crop)).all()


def test_an_own_neutral_takes_off_what_it_is_misread_as(bundle: Path) -> None:
    posterior = Posterior.of(load_bundle(bundle))
    sad_at_rest = neutral_face(np.array([[0.01, 0.01, 0.02, 0.02, 0.01, 0.63, 0.3]]))
    at_rest = np.array([[0.01, 0.01, 0.02, 0.02, 0.01, 0.53, 0.4]], np.float32)
    shown = posterior.probabilities(at_rest, sad_at_rest)
    assert at_rest.argmax() == 5
    assert shown.argmax() == 6
    plain = neutral_face(np.array([[0.02, 0.02, 0.02, 0.02, 0.02, 0.1, 0.8]]))
    assert posterior.probabilities(RAW, plain) == pytest.approx(RAW, abs=1e-6)


def test_a_joyful_neutral_is_refused_and_a_doubtful_one_said(bundle: Path) -> None:
    labels = load_bundle(bundle).label_set
    joyful = np.array([[0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]])
    with pytest.raises(InputError, match="not a neutral face"):
        check_neutral(joyful, labels, "a.jpg")
    sad = np.array([[0.04, 0.01, 0.01, 0.01, 0.01, 0.71, 0.21]])
    (doubt,) = check_neutral(sad, labels, "a.jpg")
    assert "read as sadness" in doubt.en
    assert check_neutral(np.eye(7)[[6]] * 0.9 + 0.01, labels, "a.jpg") == ()


@pytest.mark.slow
def test_predict_relative_to_the_own_neutral(bundle: Path, tmp_path: Path) -> None:
    sad, white, joy = (paint(tmp_path, name) for name in ("sadness", "neutral", "joy"))
    bluish = tmp_path / "rest.png"
    Image.new("RGB", (40, 40), (90, 90, 255)).save(bluish)
    done = run_command("predict", sad, "--crops", "--bundle", bundle, "--neutral", bluish, "--json")
    document = json.loads(done.stdout)
    assert document["relative"] is True
    assert any("relative to the person" in note["en"] for note in document["notices"])
    relative = document["files"][0]["faces"][0]["probability"]["sadness"]
    plain = json.loads(run_command("predict", sad, "--crops", "--bundle", bundle, "--json").stdout)
    assert plain["relative"] is False
    assert relative < plain["files"][0]["faces"][0]["probability"]["sadness"]
    refused = run_command("predict", sad, "--crops", "--bundle", bundle, "--neutral", joy)
    assert refused.returncode == 1
    assert "not a neutral face" in refused.stderr
    pixels = np.full((40, 40, 3), 255, np.uint8)
    result = nunbit.load(bundle).predict(sad, crops=True, neutral=pixels)
    assert result.document["relative"] is True
    assert white.exists()


# The fit


def test_no_data_change_nothing_and_planted_numbers_are_found() -> None:
    world = plant(None, 0, persons=80, per_class=3)
    few = fit_correction(world.x[:2], world.truth[:2], Form(True, True, 0.3))
    assert few.logits(world.x) == pytest.approx(world.x)
    bias = np.array([0.8, -0.5, 0.4, 0.0, -0.7, 0.3, -0.3])
    off = centred_logs(softmax(world.x - bias))
    found = fit_correction(off, world.truth, Form(bias=True))
    assert found.bias - found.bias.mean() == pytest.approx(bias - bias.mean(), abs=0.5)
    flat = centred_logs(softmax(world.x / 2.0))
    assert fit_correction(flat, world.truth, Form(scale=True)).scale == pytest.approx(2.0, abs=0.2)


def test_shares_are_found_by_expectation_maximisation() -> None:
    world = plant("prior", 1, persons=200, per_class=1)
    shares = np.array(list(SHARES.values()))
    found = prior_by_em(softmax(world.x), shares)
    true = np.bincount(world.truth, minlength=7) / len(world)
    assert np.abs(found - true).max() < 0.06


@pytest.mark.seconds
@pytest.mark.parametrize("shift", ["swapped", "bias"])
def test_a_planted_shift_is_written(shift: str) -> None:
    written = [
        helps(judge(world, list(FORMS), 0), world)
        for world in (plant(shift, seed, per_class=2) for seed in range(3))
    ]
    assert sum(written) >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shift", SHIFTS)
def test_eight_of_ten_planted_shifts_are_written(shift: str) -> None:
    names = [*FORMS, *OF_NEUTRAL] if shift == "neutral_drift" else list(FORMS)
    worlds = [plant(shift, seed, per_class=2) for seed in range(10)]
    assert sum(helps(judge(world, names, 0), world) for world in worlds) >= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_is_right_is_left_alone() -> None:
    worlds = [plant(None, seed, per_class=2) for seed in range(10)]
    assert sum(helps(judge(world, list(FORMS), 0), world) for world in worlds) <= 1
