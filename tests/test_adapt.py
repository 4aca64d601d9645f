"""The story of adapt: what is written, what is refused, and that the old bundle never changes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nunbit
from command import run_command
from make_eval import make_bundle, make_colours
from nunbit.core.messages import BundleError, InputError, NunbitError
from nunbit.model.encoders import load_bundle
from nunbit.model.posterior import Posterior, adaptation_of, carried_shares
from nunbit.runtime.files import sha256_file
from nunbit.statistics.remapping import centred_logs
from nunbit.stories.adapt import AdaptResult, AdaptSettings, adapt
from nunbit.stories.adapt.labelled_faces import neutral_of_others
from nunbit.stories.evaluate import evaluate
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.predict import predict
from nunbit.stories.predict.texts import PredictSettings
from test_predict import COLOUR, toy_bundle

SHARES = dict(zip(COLOUR, (0.26, 0.13, 0.09, 0.04, 0.03, 0.14, 0.31), strict=True))
SWAPPED = {"anger": "disgust", "disgust": "anger", "joy": "surprise", "surprise": "joy"}
CROPS = AdaptSettings(crops=True, threads=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("model") / "toy", class_shares=SHARES)


@pytest.fixture(autouse=True)
def _colours_are_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nunbit.pictures.given._face_share", lambda crop: 1.0)


def paint_people(
    folder: Path,
    *,
    persons: int = 8,
    labels: Sequence[str] = tuple(COLOUR),
    looks: dict[str, str] | None = None,
    each: int = 1,
    subjects: bool = True,
    seed: int = 0,
) -> Path:
    """A table of plain crops, each in the colour of a class, or of the class it looks like."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for person in range(persons):
        for label in labels:
            for n in range(each):
                colour = np.array(COLOUR[(looks or {}).get(label, label)], float)
                mixed = np.clip(0.75 * colour + 0.25 * 127 + rng.normal(0, 30, 3), 0, 255)
                path = folder / f"p{person}-{label}-{n}.png"
                Image.new("RGB", (40, 40), tuple(int(c) for c in mixed)).save(path)
                rows.append({"path": path.name, "label": label, "subject": f"p{person}"})
    table = folder / "faces.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        names = ["path", "label", *(["subject"] if subjects else [])]
        writer = csv.DictWriter(stream, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return table


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_people(tmp_path_factory.mktemp("people") / "swapped", looks=SWAPPED)


@pytest.fixture(scope="module")
def adapted(
    bundle: Path, swapped: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdaptResult]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nunbit.pictures.given._face_share", lambda crop: 1.0)
        yield adapt(bundle, swapped, tmp_path_factory.mktemp("out") / "mine", CROPS)


def answers(bundle: Path, files: Sequence[Path], **more: Any) -> list[str]:
    result = predict(files, PredictSettings(crops=True, threads=1), bundle=bundle, **more)
    return [file.faces[0].label for file in result]


def stamps(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


# What is written


def test_a_swapped_model_becomes_right_and_the_old_one_stays(
    bundle: Path, adapted: AdaptResult, tmp_path: Path
) -> None:
    assert adapted.written
    assert adapted.method.startswith("remap")
    assert adapted.before is not None
    assert adapted.after is not None
    assert adapted.before["top1"] < 0.6
    assert adapted.after["top1"] > 0.9
    low, high = adapted.after["ci95"]["top1"]
    assert low <= adapted.after["top1"] <= high
    assert adapted.n_persons == 8
    others = paint_people(tmp_path / "others", looks=SWAPPED, seed=5)
    files = sorted(others.parent.glob("*.png"))
    truth = [path.stem.split("-")[1] for path in files]
    assert adapted.folder is not None
    right = np.mean([a == t for a, t in zip(answers(adapted.folder, files), truth, strict=True)])
    before = np.mean([a == t for a, t in zip(answers(bundle, files), truth, strict=True)])
    assert right > 0.9
    assert before < 0.6


def test_the_bundle_keeps_what_it_is_worth(bundle: Path, adapted: AdaptResult) -> None:
    assert adapted.folder is not None
    new, old = load_bundle(adapted.folder, threads=1), load_bundle(bundle, threads=1)
    assert new.hash != old.hash
    assert new.document.name == "toy-adapted"
    kept = adaptation_of(new)
    assert kept is not None
    assert kept.base == {"name": "toy", "sha256": old.hash}
    assert kept.evidence["after"] == adapted.after
    assert kept.evidence["n_images"] == 56
    assert old.document.adaptation is None


def test_what_was_adapted_is_removed_without_a_trace(
    bundle: Path, adapted: AdaptResult, tmp_path: Path
) -> None:
    result = adapt(adapted.folder, None, tmp_path / "plain", AdaptSettings(remove=True))
    assert result.written
    assert stamps(tmp_path / "plain") == stamps(bundle)
    with pytest.raises(InputError, match="has no adaptation"):
        adapt(bundle, None, tmp_path / "again", AdaptSettings(remove=True))


def test_a_model_that_is_right_stays_as_it_is(bundle: Path, tmp_path: Path) -> None:
    table = paint_people(tmp_path / "people")
    before = stamps(bundle)
    result = adapt(bundle, table, tmp_path / "mine", CROPS)
    scores = result.document
    assert not result.written or scores["after"]["top1"] >= scores["before"]["top1"]
    if not result.written:
        assert not (tmp_path / "mine").exists()
        assert result.method == "none"
        assert "nothing is written" in result.text("en")
        assert "저장하지" in result.text("ko")
    assert stamps(bundle) == before


def test_the_command_prints_the_contract(bundle: Path, swapped: Path, tmp_path: Path) -> None:
    figure = tmp_path / "f.svg"
    done = run_command(
        "adapt", bundle, swapped, "--crops", "--out", tmp_path / "b", "--figure", figure, "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) >= {"before", "after", "method", "n_persons", "written"}
    for when in ("before", "after"):
        assert set(document[when]) >= {"top1", "uar", "ci95"}
        assert set(document[when]["ci95"]) == {"top1", "uar"}
    assert document["written"] is True
    assert figure.read_text(encoding="utf-8").startswith("<?xml")


def test_python_adapts_a_loaded_model(bundle: Path, swapped: Path, tmp_path: Path) -> None:
    result = nunbit.adapt(nunbit.load(bundle), swapped, tmp_path / "mine", crops=True)
    assert result.written
    assert result.to_arrow().column_names[:2] == ["score", "before"]
    assert nunbit.load(result.folder).name == "toy-adapted"


def test_a_prepared_set_is_read_and_its_test_split_left(tmp_path: Path) -> None:
    data = make_colours(tmp_path / "colours")
    model = make_bundle(tmp_path / "bundle")
    result = adapt(model, data, tmp_path / "mine", replace(CROPS, crops=False))
    assert any("test split" in limit.en for limit in result.limits)


# What is refused


def few(table: Path, keep: int) -> Path:
    lines = table.read_text(encoding="utf-8").splitlines()
    path = table.with_name(f"few-{keep}.csv")
    path.write_text("\n".join(lines[: keep + 1]), encoding="utf-8")
    return path


@pytest.mark.slow
def test_data_that_cannot_serve_are_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    people = paint_people(tmp_path / "people")
    other = tmp_path / "people" / "other.csv"
    other.write_text("path,label\np0-joy-0.png,hurt\n", encoding="utf-8")
    cases: list[tuple[Path, str]] = [
        (few(people, 5), "5 labelled faces; at least 20"),
        (paint_people(tmp_path / "one", persons=25, labels=["joy"]), r"one class only \(joy\)"),
        (paint_people(tmp_path / "lone", persons=1, each=5), "one person only"),
        (other, "unknown label 'hurt'"),
        (tmp_path / "nowhere.csv", "nowhere.csv"),
    ]
    before = stamps(bundle)
    for data, words in cases:
        with pytest.raises(NunbitError, match=words) as caught:
            adapt(bundle, data, tmp_path / "mine", CROPS)
        assert caught.value.text.ko
        assert "\n" not in caught.value.text.en
        assert not (tmp_path / "mine").exists()
    assert stamps(bundle) == before


def test_prepared_data_of_another_label_set_are_refused(bundle: Path, tmp_path: Path) -> None:
    data = make_colours(tmp_path / "colours")  # AI Hub's seven
    with pytest.raises(InputError, match=r"another label set \(.*hurt"):
        adapt(bundle, data, tmp_path / "mine", AdaptSettings(threads=1))


def test_crops_without_faces_are_refused(
    bundle: Path, swapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.pictures.given._face_share", lambda crop: 0.0)
    with pytest.raises(InputError, match="these are no face crops"):
        adapt(bundle, swapped, tmp_path / "mine", CROPS)


def test_one_picture_with_two_labels_is_refused(bundle: Path, tmp_path: Path) -> None:
    people = paint_people(tmp_path / "people")
    text = people.read_text(encoding="utf-8")
    people.write_text(text + "p0-joy-0.png,anger,p0\n", encoding="utf-8")
    with pytest.raises(InputError, match="the same picture"):
        adapt(bundle, people, tmp_path / "mine", CROPS)


def test_unknown_persons_and_rare_classes_are_stated(bundle: Path, tmp_path: Path) -> None:
    people = paint_people(tmp_path / "people", looks=SWAPPED, subjects=False)
    lines = people.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if ",fear" not in line or line.startswith("p0")]
    people.write_text("\n".join(kept), encoding="utf-8")
    result = adapt(bundle, people, tmp_path / "mine", CROPS)
    said = " ".join(limit.en for limit in result.limits)
    assert "persons are unknown" in said
    assert "fewer than 3 faces of fear" in said
    assert result.n_persons is None
    assert result.written
    fear = list(COLOUR).index("fear")
    kept_map = adaptation_of(load_bundle(tmp_path / "mine"))
    assert kept_map is not None
    assert kept_map.plain is not None
    assert kept_map.plain.bias[fear] == 0.0
    assert not any(kept_map.plain.weight[fear])


def test_the_old_bundle_is_no_place_for_the_new_one(
    bundle: Path, swapped: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    for place in (bundle, bundle / "new", bundle.parent, tmp_path / "full"):
        with pytest.raises(InputError, match="choose another"):
            adapt(bundle, swapped, place, CROPS)


def test_an_adapted_bundle_is_not_adapted_again(
    adapted: AdaptResult, swapped: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="adapted already"):
        adapt(adapted.folder, swapped, tmp_path / "mine", CROPS)


def test_a_damaged_adaptation_is_said(adapted: AdaptResult, tmp_path: Path) -> None:
    assert adapted.folder is not None
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in adapted.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    document = json.loads((copy / "bundle.json").read_text(encoding="utf-8"))
    document["adaptation"]["plain"]["bias"] = [1.0]
    del document["document_sha256"]  # somebody changed it on purpose
    (copy / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match="finite numbers of 7 classes"):
        Posterior.of(load_bundle(copy))


# Without labels


def planted_raw(monkeypatch: pytest.MonkeyPatch, shift: str | None) -> None:
    from make_shifts import plant
    from nunbit.statistics.remapping import softmax

    alike = np.full(7, 1 / 7) if shift == "prior" else None
    world = plant(shift, 3, persons=40, per_class=1, shares=alike)
    raw = softmax(world.x).astype(np.float32)
    monkeypatch.setattr(
        "nunbit.stories.adapt.labelled_faces._asked", lambda bundle, crops, size: raw[: len(crops)]
    )


def photos(folder: Path, n: int = 280) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(("shift", "written"), [("prior", True), (None, False)])
def test_class_shares_are_found_without_labels(
    shift: str | None,
    written: bool,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted_raw(monkeypatch, shift)
    settings = replace(CROPS, unlabelled=True)
    result = adapt(bundle, photos(tmp_path / "photos"), tmp_path / "mine", settings)
    assert result.written is written
    assert result.document["before"] is None
    assert result.shares is not None
    assert any("only the class shares differ" in limit.en for limit in result.limits)
    if written:
        assert result.shares["fear"] > 2 * SHARES["fear"]
        shares = carried_shares(load_bundle(tmp_path / "mine"))
        assert shares == pytest.approx(list(result.shares.values()), abs=1e-5)


def test_few_photos_without_labels_are_refused(bundle: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 30)
    with pytest.raises(InputError, match="30 faces: at least 100"):
        adapt(bundle, folder, tmp_path / "mine", replace(CROPS, unlabelled=True))


# Where it is used


@pytest.mark.slow
def test_evaluate_shows_both_priors_and_the_adaptation(tmp_path: Path) -> None:
    data, labels = make_colours(tmp_path / "colours"), None
    model = make_bundle(tmp_path / "bundle")
    document = json.loads((model / "bundle.json").read_text(encoding="utf-8"))
    labels = [label["id"] for label in document["label_set"]["labels"]]
    shares = np.linspace(1, 40, len(labels))
    document["class_shares"] = dict(zip(labels, shares / shares.sum(), strict=True))
    (model / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    quick = EvaluateSettings(n_resamples=200, threads=1)
    plain = evaluate(data, model, tmp_path / "plain", quick).document
    other = evaluate(data, model, tmp_path / "b", replace(quick, prior="balanced")).document
    assert plain["prior"] == "train"
    assert other["prior"] == "balanced"
    assert plain["priors"] is not None
    assert other["top1"] == pytest.approx(plain["priors"]["balanced"]["top1"])
    assert "priors" in {warning["id"] for warning in plain["warnings"]}
    assert plain["adapted"] is None


def test_neutral_of_others_never_uses_the_picture_itself() -> None:
    x = centred_logs(np.eye(7)[[6, 6, 0, 6]] + 0.1)
    truth, person = np.array([6, 6, 0, 6]), np.array([0, 0, 0, 1])
    found = neutral_of_others(x, truth, person, 6)
    assert found[0] == pytest.approx(x[1])
    assert found[2] == pytest.approx(x[:2].mean(axis=0))
    assert np.isnan(found[3]).all()
