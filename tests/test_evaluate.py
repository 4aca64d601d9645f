"""Evaluation: the contract of its files, its sections against naive computation, its warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nunbit
from command import run_command
from make import World, make_world, rebuilt
from make_eval import IDS, make_bundle, make_colours
from nunbit import statistics
from nunbit.core.messages import BundleError, InputError, NunbitError, SettingsError
from nunbit.datasets.policies import labels_under
from nunbit.datasets.predictions import SEEN, read_predictions, write_predictions
from nunbit.language.labels import load_label_set
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import ENSEMBLES, combine_cosines, prompt_cosines
from nunbit.report import render_any
from nunbit.runtime.progress import set_lang
from nunbit.runtime.results import EvalResult
from nunbit.stories.evaluate import (
    EvaluateSettings,
    Unfinished,
    evaluate,
    evaluate_part,
    merge_predictions,
)
from nunbit.stories.evaluate.assess import assess
from nunbit.stories.evaluate.compare import paper_findings, paper_scores, paper_table, seeds_section
from nunbit.stories.evaluate.people import subgroup_values
from nunbit.stories.evaluate.variants import Threshold, choose_threshold
from nunbit.synth.actors import Expression, sample_person
from nunbit.synth.drawn_photo import draw_photo, sample_photo

QUICK = EvaluateSettings(n_resamples=200)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "colours")


@pytest.fixture(scope="module")
def evaluated(
    colours: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("eval") / "test"
    settings = replace(QUICK, compare="paper", with_images=True)
    set_lang("ko")
    return out, evaluate(colours, bundle, out, settings).document


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(1500, persons=120)


@pytest.fixture(scope="module")
def assessed(world: World) -> dict[str, Any]:
    return assess(world.predictions, QUICK, evidence=world.evidence)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take a second and are tested with the report; ``evaluated`` still draws them."""
    monkeypatch.setattr("nunbit.report.page.write_figures", lambda folder, view: None)


CONTRACT = {
    *("labels", "n", "n_rejected", "policy", "split", "prompts", "ensemble", "top1", "macro_f1"),
    *("uar", "confusion", "per_class", "prediction_distribution", "truth_distribution"),
    *("per_template", "ci95", "ci_unit", "calibration", "subgroups", "binary", "seen_subjects"),
    *("unseen_subjects", "provenance"),
}


def test_result_has_every_key_of_the_contract(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, document = evaluated
    assert document == json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert not CONTRACT - set(document)
    assert document["labels"] == list(IDS)
    assert (document["split"], document["policy"], document["n"]) == ("test", "annot_a", 70)
    assert document["n_rejected"] == 2
    assert document["prompts"] == "paper"  # the bundle's first
    assert document["ci_unit"] == "person"
    assert set(document["ci95"]) == {"top1", "macro_f1", "uar"}
    for entry in document["per_class"].values():
        assert {"precision", "recall", "f1", "support"} <= set(entry)
    assert {"ece_before", "ece_after", "brier"} <= set(document["calibration"])
    assert {"posterior_sum", "two_prompt", "constant"} <= set(document["binary"])
    for distribution in ("prediction_distribution", "truth_distribution"):
        assert sum(document[distribution].values()) == pytest.approx(1.0, abs=1e-5)
    assert list(document["per_template"]) == ["P1", "P2", "P3", "P4", "P5"]
    assert document["provenance"]["inputs"].keys() == {"bundle", "dataset"}
    assert str(out.parent) not in json.dumps(document)  # a path names people


def test_files_of_an_evaluation(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, document = evaluated
    expected = {"result.json", "predictions.parquet", "report.html", "confusion.png"}
    expected |= {"confusion.svg", "figures", "tables", "mistakes"}
    assert {path.name for path in out.iterdir()} == expected  # no parts, nothing half-written
    pictures = {path.stem for path in (out / "mistakes").iterdir()}
    assert pictures == {m["record_id"] for m in document["confident_mistakes"]}


def test_scores_equal_those_of_the_prediction_file(
    evaluated: tuple[Path, dict[str, Any]],
    reference: Any,
) -> None:
    out, document = evaluated
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    truth, predicted = [r["truth"] for r in rows], [r["prediction"] for r in rows]
    assert document["top1"] == pytest.approx(reference.accuracy_score(truth, predicted), abs=1e-6)
    expected = reference.f1_score(truth, predicted, average="macro")
    assert document["macro_f1"] == pytest.approx(expected, abs=1e-6)
    assert 0.5 < document["top1"] < 1.0
    for row in rows:
        assert len(row["prompt_cosine"]) == 35
        assert sum(row["probability"]) == pytest.approx(1.0, abs=1e-5)
        assert row["prediction"] == IDS[int(np.argmax(row["cosine"]))]


def test_evaluating_its_own_prediction_file_changes_nothing(
    evaluated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, document = evaluated
    again = evaluate(out / "predictions.parquet", tmp_path, tmp_path / "e", QUICK)
    for key in ("top1", "ci95", "confusion", "policies", "subgroups", "annotators"):
        assert again.document[key] == document[key]
    assert again.document["calibration"]["ece_after"] == document["calibration"]["ece_after"]
    assert (tmp_path / "e" / "predictions.parquet").is_file()


def test_pictures_of_an_earlier_evaluation_are_not_shown(
    colours: Path, bundle: Path, tmp_path: Path, evaluated: tuple[Path, dict[str, Any]]
) -> None:
    from nunbit.report.page import PICTURES, render_evaluation

    out = tmp_path / "eval"
    (out / PICTURES).mkdir(parents=True)
    (out / PICTURES / "notes.txt").write_text("mine", encoding="utf-8")
    listed = evaluate(colours, bundle, out, replace(QUICK, with_images=True)).document
    shown = f"{listed['confident_mistakes'][0]['record_id']}.jpg"
    assert (out / PICTURES / shown).is_file()
    assert "data:image/jpeg" in (out / "report.html").read_text(encoding="utf-8")
    evaluate(evaluated[0] / "predictions.parquet", None, out, QUICK)
    assert [path.name for path in (out / PICTURES).iterdir()] == ["notes.txt"]
    (out / PICTURES / shown).write_bytes(b"of another evaluation")
    render_evaluation(out, lang="en")
    assert "data:image/jpeg" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_link_in_place_of_the_pictures_is_replaced_and_its_target_stays(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mistakes").symlink_to(tmp_path / "mine", target_is_directory=True)
    evaluate(colours, bundle, tmp_path / "e", replace(QUICK, with_images=True))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert list((tmp_path / "e" / "mistakes").glob("*.jpg"))


@pytest.mark.parametrize("policy", ["uploader", "majority", "unanimous", "votes"])
def test_policies_side_by_side_equal_evaluations_of_their_own(
    policy: Any, evaluated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, document = evaluated
    settings = replace(QUICK, policy=policy)
    own = evaluate(out / "predictions.parquet", tmp_path, tmp_path / "e", settings)
    side = document["policies"][policy]
    assert (own.document["n"], own.document["top1"]) == (side["n"], side["top1"])
    assert own.document["ci95"]["uar"] == side["ci95"]["uar"]
    assert own.policy == policy


def test_records_without_a_label_are_counted_and_skipped(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    settings = replace(QUICK, policy="unanimous", split="validation")
    document = evaluate(colours, bundle, tmp_path, settings).document
    assert document["n"] == 35  # every second image has three equal votes
    assert document["n_skipped"] == {"no_label": 35, "rejected": 2}
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.num_rows == 70
    assert table["truth"].null_count == 35
    assert "images_without_label" in warning_ids(document)


def test_split_defaults_to_validation_without_test(bundle: Path, tmp_path: Path) -> None:
    data = make_colours(tmp_path / "d", splits=("train", "validation"), n=14)
    assert evaluate(data, bundle, tmp_path / "e", QUICK).split == "validation"


def test_all_splits_together_are_told_of(bundle: Path, tmp_path: Path) -> None:
    data = make_colours(tmp_path / "d", n=14)
    document = evaluate(data, bundle, tmp_path / "e", replace(QUICK, split="all")).document
    assert (document["split"], document["n"]) == ("all", 42)
    assert "all_splits" in warning_ids(document)
    page = render_any(tmp_path / "e", lang="ko").read_text(encoding="utf-8")
    assert "전체" in page


@pytest.mark.slow
def test_class_folders_are_prepared_and_evaluated_whole(bundle: Path, tmp_path: Path) -> None:
    for label, colour in (("joy", (220, 30, 30)), ("sadness", (30, 30, 220)), ("hurt", (9, 9, 9))):
        for n in range(4):
            (tmp_path / "faces" / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 48), colour).save(tmp_path / "faces" / label / f"{n}.png")
    done = run_command("evaluate", tmp_path / "faces", "--bundle", bundle,
                       "--out", tmp_path / "e", "--json", "--set", "n_resamples=100")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 12
    assert "class folders; prepared as" in done.stderr
    again = nunbit.evaluate(tmp_path / "faces", tmp_path / "e2", model=bundle, n_resamples=100)
    assert (again.split, again.n) == ("all", 12)
    # What has no folder called after a class is refused as before.
    (tmp_path / "others" / "cats").mkdir(parents=True)
    done = run_command("evaluate", tmp_path / "others", "--bundle", bundle, "--out", tmp_path / "x")
    assert "not a complete data set" in done.stderr


@pytest.mark.slow
def test_whole_photos_are_not_taken_for_face_crops_in_silence(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, label in enumerate(("joy", "sadness", "hurt") * 4):
        made = sample_photo(sample_person(rng), Expression(), "room", 320, rng)
        photo = draw_photo(made)
        left, top, right, bottom = (round(at) for at in made.box_xyxy)
        for kind, picture in (("photos", photo), ("crops", photo.crop((left, top, right, bottom)))):
            path = tmp_path / kind / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    for kind, warned in (("photos", True), ("crops", False)):
        out = tmp_path / f"{kind}_e"
        done = run_command("evaluate", tmp_path / kind, "--bundle", bundle, "--out", out,
                           "--json", "--set", "n_resamples=100")  # fmt: skip
        assert done.returncode == 0, done.stderr
        warnings = [each["id"] for each in json.loads(done.stdout)["warnings"]]
        assert ("whole_photos" in warnings) is warned
        assert ("no face fills the picture" in done.stderr) is warned  # prepare says it, too


class CountingTower:
    """Counts the images that are embedded, and is interrupted after some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.limit = 0, 0
        real = Bundle.embed_images

        def embed(bundle: Bundle, crops: np.ndarray) -> np.ndarray:
            if self.seen >= self.limit:
                raise KeyboardInterrupt
            self.seen += len(crops)
            return real(bundle, crops)

        monkeypatch.setattr(Bundle, "embed_images", embed)
        monkeypatch.setattr("nunbit.stories.evaluate.scoring._PART", 16)

    def allow(self, limit: int) -> None:
        self.seen, self.limit = 0, limit


@pytest.mark.slow
def test_interrupted_evaluation_goes_on(
    colours: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = CountingTower(monkeypatch)
    tower.allow(1000)
    settings = replace(QUICK, batch_size=8, split="validation")
    whole = evaluate(colours, bundle, tmp_path / "whole", settings).document
    tower.allow(40)
    with pytest.raises(KeyboardInterrupt):
        evaluate(colours, bundle, tmp_path / "e", settings)
    assert not (tmp_path / "e" / "result.json").exists()
    _, second = sorted((tmp_path / "e").glob(".scores/*.part"))
    second.write_bytes(second.read_bytes()[:100])  # the machine went down
    tower.allow(1000)
    resumed = evaluate(colours, bundle, tmp_path / "e", settings).document
    assert tower.seen == 70 - 16  # of two finished parts of 16, one is whole
    del whole["provenance"], resumed["provenance"]
    assert resumed == whole
    assert not list((tmp_path / "e").glob(".*"))


@pytest.mark.slow
def test_shares_of_jobs_join_to_what_one_run_gives(
    colours: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = CountingTower(monkeypatch)
    tower.allow(1000)
    settings = replace(QUICK, batch_size=8, split="validation")
    whole = evaluate(colours, bundle, tmp_path / "whole", settings).document
    out, seen, answers = tmp_path / "e", [], []
    for part in ("2/3", "3/3", "1/3"):
        tower.allow(1000)
        job = replace(settings, part=part)
        answers.append(evaluate_part(colours, bundle, out, job))
        seen.append(tower.seen)
    assert seen == [16 + 6, 16, 32]  # five parts of 16 images, the last has 6
    assert answers[:2] == [Unfinished(3), Unfinished(2)]
    joined = answers[2]
    assert isinstance(joined, EvalResult)
    del whole["provenance"]["created"], joined.document["provenance"]["created"]
    assert joined.document == whole
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("part", ["0/3", "4/3", "half"])
def test_a_share_that_is_none_is_refused(
    part: str, colours: Path, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="i/n"):
        evaluate_part(colours, bundle, tmp_path, replace(QUICK, part=part))
    evaluate(colours, bundle, tmp_path / "e", QUICK)
    file = tmp_path / "e" / "predictions.parquet"
    with pytest.raises(SettingsError, match="needs no `part`"):
        evaluate_part(file, None, tmp_path / "f", replace(QUICK, part="1/2"))


@pytest.mark.slow
def test_parts_of_another_bundle_are_not_taken_over(
    colours: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = CountingTower(monkeypatch)
    tower.allow(40)
    settings = replace(QUICK, batch_size=8, split="validation")
    with pytest.raises(KeyboardInterrupt):
        evaluate(colours, bundle, tmp_path / "e", settings)
    tower.allow(1000)
    other = make_bundle(tmp_path / "other", logit_scale=9.0)
    evaluate(colours, other, tmp_path / "e", settings)
    assert tower.seen == 70
    assert not list((tmp_path / "e").glob(".*"))


@pytest.mark.parametrize("rule", ENSEMBLES)
def test_ensemble_rules(rule: Any, colours: Path, bundle: Path, tmp_path: Path) -> None:
    document = evaluate(colours, bundle, tmp_path, replace(QUICK, ensemble=rule)).document
    assert document["ensemble"] == rule
    assert document["top1"] == document["ensembles"][rule]["top1"]
    p = read_predictions(tmp_path / "predictions.parquet")
    assert p.prompt_cosine is not None
    assert (p.predicted == p.cosine.argmax(axis=1)).all()


def test_combined_cosines_equal_the_mean_prompt_embedding() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(9, 6)).astype(np.float32)
    prompts = rng.normal(size=(4, 3, 6)).astype(np.float32)
    unit = prompts / np.linalg.norm(prompts, axis=2, keepdims=True)
    classes = unit.mean(axis=0)
    expected = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        classes / np.linalg.norm(classes, axis=1, keepdims=True)
    ).T
    cosines = prompt_cosines(images, prompts)
    np.testing.assert_allclose(
        combine_cosines(cosines, prompts, "mean_embedding"), expected, atol=1e-6
    )


def test_template_sections_equal_direct_computation(world: World, assessed: dict[str, Any]) -> None:
    p, bank = world.predictions, world.evidence.bank
    c = p.prompt_cosine
    assert c is not None
    for t, name in enumerate(bank.templates.ids):
        alone = (c[:, t].argmax(axis=1) == p.truth).mean()
        assert assessed["per_template"][name]["top1"] == pytest.approx(alone, abs=1e-6)
        rest = [i for i in range(5) if i != t]
        without = combine_cosines(c[:, rest], bank.prompts[rest], "mean_embedding")
        accuracy = (without.argmax(axis=1) == p.truth).mean()
        entry = assessed["leave_one_template_out"][name]
        assert entry["top1"] == pytest.approx(accuracy, abs=1e-6)
        difference = accuracy - assessed["top1"]
        assert entry["difference"]["top1"] == pytest.approx(difference, abs=2e-6)
        low, high = entry["difference"]["ci95"]["top1"]
        assert low <= difference <= high
    assert assessed["ensembles"]["mean_embedding"]["difference"]["top1"] == 0.0
    assert assessed["template_sets"]["english"]["unserved"]["ko"]
    assert sum(assessed["deciding_template"].values()) == pytest.approx(1.0, abs=1e-5)
    similarity = assessed["prompt_similarity"]
    assert np.diag(similarity["classes"]) == pytest.approx(1.0, abs=1e-4)


def test_bundle_marks_trained_and_new_wordings(
    evaluated: tuple[Path, dict[str, Any]],
) -> None:
    _, document = evaluated
    assert all(entry["trained"] for entry in document["per_template"].values())
    assert document["template_sets"]["natural"]["trained"] is False
    assert document["template_sets"]["english"]["n"] == 70  # by the text tower
    assert set(document["binary"]["two_prompt"]["wordings"]) == {
        "class_means",
        "named",
        "negated",
        "mood",
        "related",
    }


def test_without_text_tower_cached_prompts_are_enough(colours: Path, tmp_path: Path) -> None:
    small = make_bundle(tmp_path / "b", text_tower=False)
    document = evaluate(colours, small, tmp_path / "e", QUICK).document
    assert "no text tower" in document["template_sets"]["english"]["unserved"]["en"]
    assert list(document["binary"]["two_prompt"]["wordings"]) == ["class_means"]


def test_subgroups(world: World, assessed: dict[str, Any]) -> None:
    p = world.predictions
    gender = np.array(p.attributes["gender"])
    correct = p.predicted == p.truth
    for group in assessed["subgroups"]["gender"]["groups"]:
        own = gender == group["value"]
        assert group["top1"] == pytest.approx(correct[own].mean(), abs=1e-6)
        difference = correct[own].mean() - correct[~own].mean()
        assert group["difference_to_rest"]["top1"] == pytest.approx(difference, abs=1e-6)
    ages = [group["value"] for group in assessed["subgroups"]["age"]["groups"]]
    assert ages == ["10-19", "20-29", "30-39", "40-49", "50-59", "60-69"]
    sizes = [group["n"] for group in assessed["subgroups"]["box_px"]["groups"]]
    assert sum(sizes) == len(p)
    assert max(sizes) - min(sizes) <= 2


def test_small_and_unknown_subgroups() -> None:
    n = 300
    gender = ["여"] * 200 + ["남"] * 60 + ["x"] * 20 + [None] * 20
    small = make_world(n, attributes={"gender": gender, "age": ["아동"] * n})
    document = assess(small.predictions, QUICK)
    section = document["subgroups"]["gender"]
    marks = {group["value"]: group["small"] for group in section["groups"]}
    assert marks == {"x": True, "남": False, "여": False}
    assert section["n_unknown"] == 20
    assert set(section["gap"]) >= {"best", "worst", "difference", "ci95"}
    assert {section["gap"]["best"], section["gap"]["worst"]} == {"남", "여"}
    assert subgroup_values(small.predictions)["age"][0] == "아동"


def test_persons_seen_and_unseen(world: World, assessed: dict[str, Any]) -> None:
    p = world.predictions
    seen = p.seen == SEEN
    correct = p.predicted == p.truth
    assert assessed["seen_subjects"]["n"] == seen.sum()
    assert assessed["unseen_subjects"]["top1"] == pytest.approx(correct[~seen].mean(), abs=1e-6)
    assert assessed["unseen_subjects"]["n_subjects"] == len(
        {s for s, known in zip(p.subject_id, seen, strict=True) if not known}
    )
    folds = assessed["person_folds"]["top1"]["folds"]
    assert len(folds) == 5


def test_seen_follows_the_train_split(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, document = evaluated
    assert document["seen_subjects"]["n"] == 21  # persons 0, 1, 2 of ten, seven images each
    assert document["seen_subjects"]["n_subjects"] == 3
    p = read_predictions(out / "predictions.parquet")
    assert {s for s, k in zip(p.subject_id, p.seen, strict=True) if k == SEEN} == {"p0", "p1", "p2"}


def test_one_against_others_judges_model_and_annotators_by_the_same_cases(
    world: World, assessed: dict[str, Any]
) -> None:
    votes = world.predictions.votes
    expected = []
    for i, cast in enumerate(votes):
        for a in range(3):
            others = [v for b, v in enumerate(cast) if b != a]
            if others[0] == others[1]:
                expected.append((others[0], cast[a], IDS[world.predictions.predicted[i]]))
    ceiling = assessed["annotators"]
    assert ceiling["n_cases"] == len(expected)
    human = np.mean([truth == answer for truth, answer, _ in expected])
    model = np.mean([truth == answer for truth, _, answer in expected])
    assert ceiling["human"]["top1"] == pytest.approx(human, abs=1e-6)
    assert ceiling["model"]["top1"] == pytest.approx(model, abs=1e-6)
    assert list(ceiling["per_annotator"]) == ["annot_a", "annot_b", "annot_c"]


def test_nameless_votes_have_no_first_annotator() -> None:
    fer = make_world(300, vote_names=(), policy="majority")
    p = fer.predictions
    truth = labels_under("majority", p.uploader_label, p.votes)
    codes = np.array([-1 if t is None else IDS.index(t) for t in truth])
    document = assess(replace(p, truth=codes), QUICK)
    assert list(document["policies"]) == ["uploader", "majority", "unanimous", "votes"]
    assert document["policies"]["votes"]["soft_cross_entropy"] > 0
    assert document["annotators"]["per_annotator"] == {}


def test_asking_for_annotator_a_of_nameless_votes_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = make_colours(tmp_path / "d", n=7, vote_names=[], policy="majority")
    settings = replace(QUICK, policy="annot_a")
    with pytest.raises(SettingsError, match="no annotator A"):
        evaluate(data, bundle, tmp_path / "e", settings)
    fer = make_world(50, vote_names=(), policy="majority").predictions
    write_predictions(tmp_path / "p.parquet", fer, origin={})
    with pytest.raises(SettingsError, match="no annotator A"):
        evaluate(tmp_path / "p.parquet", bundle, tmp_path / "e", settings)
    assert not (tmp_path / "e" / "result.json").exists()


# Merged classes -------------------------------------------------------------------------------


def test_data_of_seven_classes_are_evaluated_as_two(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    settings = replace(QUICK, label_set="dep2")
    document = evaluate(colours, bundle, tmp_path / "e", settings).document
    assert document["labels"] == ["distress", "other"]
    assert document["dataset"]["merged_from"] == "aihub7"
    assert document["binary"]["joined"] == ["sadness", "anxiety", "hurt"]
    assert document["binary"]["stand_in_for"] == []
    assert document["truth_distribution"]["distress"] == pytest.approx(3 / 7)
    page = (tmp_path / "e" / "report.html").read_text()
    assert "sadness, anxiety, hurt" in page


def test_a_prediction_file_of_seven_classes_is_collapsed_to_two(
    world: World, assessed: dict[str, Any], tmp_path: Path
) -> None:
    write_predictions(tmp_path / "p.parquet", world.predictions, origin={})
    settings = replace(QUICK, label_set="dep2")
    found = evaluate(tmp_path / "p.parquet", tmp_path, tmp_path / "e", settings).document
    # The sum of posteriors over a half is the larger of the two sums.
    assert found["top1"] == assessed["binary"]["posterior_sum"]["accuracy"]
    assert found["binary"]["posterior_sum"]["auroc"] == assessed["binary"]["posterior_sum"]["auroc"]
    assert found["annotators"]["human"]["top1"] > assessed["annotators"]["human"]["top1"]
    assert found["per_template"] == {}


def test_merged_stand_ins_are_named() -> None:
    fer = load_label_set("fer7")
    names = {"flustered": "surprise", "anxiety": "fear", "hurt": "disgust"}
    p = make_world(300).predictions
    rename = [names.get(x, x) for x in IDS]
    columns = [rename.index(x) for x in fer.ids]
    votes = [tuple(v and names.get(v, v) for v in cast) for cast in p.votes]
    uploader = [x and names.get(x, x) for x in p.uploader_label]
    truth = np.array([fer.ids.index(rename[t]) for t in p.truth])
    p = replace(
        p,
        label_set=fer,
        truth=truth,
        probability=p.probability[:, columns],
        cosine=None,
        prompt_cosine=None,
        templates=None,
        votes=votes,
        uploader_label=uploader,
    )
    document = assess(merge_predictions(p, load_label_set("dep2")), QUICK)
    assert document["binary"]["joined"] == ["sadness", "fear"]
    note = next(w for w in document["warnings"] if w["id"] == "binary_stand_in")
    assert "sadness, fear stand in" in note["en"]
    assert "논문 묶음(슬픔, 불안, 상처)" in note["ko"]
    assert "슬픔, 공포로 대신" in note["ko"]


def test_binary_equals_sklearn(world: World, assessed: dict[str, Any], reference: Any) -> None:
    p = world.predictions
    inside = np.isin(p.truth, [3, 4, 5])
    posterior = p.probability[:, [3, 4, 5]].sum(axis=1)
    found = assessed["binary"]["posterior_sum"]
    answer = posterior > 0.5
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(inside, answer), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(inside, answer), abs=1e-6
    )
    assert found["sensitivity"] == pytest.approx(reference.recall_score(inside, answer), abs=1e-6)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(inside, posterior), abs=1e-6)
    for key in ("accuracy", "auroc"):
        low, high = found["ci95"][key]
        assert low < found[key] < high
    constant = assessed["binary"]["constant"]
    assert constant["accuracy"] == pytest.approx(max(inside.mean(), 1 - inside.mean()), abs=1e-6)
    assert constant["constant"] is True
    assert assessed["binary"]["two_prompt"]["wordings"]["negated"]["constant"] is True
    collapsed = assessed["binary"]["collapsed"]
    expected = reference.accuracy_score(inside, np.isin(p.predicted, [3, 4, 5]))
    assert collapsed["accuracy"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_chosen_threshold_is_the_best_one(seed: int, reference: Any) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.random(60) < 0.4
    posterior = np.round(np.clip(rng.normal(0.35, 0.2, 60) + 0.2 * inside, 0, 1), 2)

    def balanced(cut: float) -> float:
        return float(reference.balanced_accuracy_score(inside, posterior >= cut))

    best = max(balanced(cut) for cut in np.linspace(-0.005, 1.005, 203))
    assert balanced(choose_threshold(posterior, inside)) == pytest.approx(best)


def test_threshold_is_never_chosen_on_the_judged_images(
    world: World, assessed: dict[str, Any], evaluated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert assessed["binary"]["threshold"]["chosen_on"] == "crossfit"
    given = replace(world.evidence, threshold=Threshold(0.3, "bundle"))
    document = assess(world.predictions, QUICK, evidence=given)
    answered = world.predictions.probability[:, [3, 4, 5]].sum(axis=1) >= 0.3
    found = document["binary"]["threshold"]
    assert (found["value"], found["chosen_on"]) == (0.3, "bundle")
    assert found["share_answered_inside"] == pytest.approx(answered.mean(), abs=1e-6)
    assert evaluated[1]["binary"]["threshold"]["chosen_on"] == "validation"
    with_own = make_bundle(tmp_path / "b", thresholds={"depression_related": 0.4})
    data = make_colours(tmp_path / "d", n=14)
    document = evaluate(data, with_own, tmp_path / "e", QUICK).document
    assert document["binary"]["threshold"]["chosen_on"] == "bundle"


def test_calibration_uses_the_bundles_temperature(world: World, assessed: dict[str, Any]) -> None:
    p = world.predictions
    c = assessed["calibration"]
    assert (c["temperature"], c["temperature_source"]) == (1.3, "bundle")
    after = statistics.expected_calibration_error(p.probability.astype(float), p.truth)
    assert c["ece_after"] == pytest.approx(after, abs=1e-6)
    sharper = p.probability.astype(float) ** 1.3
    sharper /= sharper.sum(axis=1, keepdims=True)
    before = statistics.expected_calibration_error(sharper, p.truth)
    assert c["ece_before"] == pytest.approx(before, abs=1e-4)
    for key in ("ece_before", "ece_after", "brier", "nll_after"):
        low, high = c["ci95"][key]
        assert low <= c[key] <= high
    assert sum(b["n"] for b in c["bins"]) == len(p)
    curve = c["risk_coverage"]
    assert curve["accuracy"][-1] == pytest.approx(assessed["top1"], abs=1e-4)


def test_confident_mistakes_are_wrong_and_ordered(assessed: dict[str, Any]) -> None:
    mistakes = assessed["confident_mistakes"]
    assert len(mistakes) == QUICK.max_mistakes
    confidences = [m["probability"] for m in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert all(m["truth"] != m["prediction"] for m in mistakes)
    assert set(mistakes[0]) == {
        "record_id",
        "truth",
        "prediction",
        "probability",
        "probability_of_truth",
        "deciding_template",
        "votes",
    }


def test_intervals_by_person_are_wider_than_by_image() -> None:
    clustered = make_world(2000, persons=40, seed=3)
    p = clustered.predictions
    # Half of the persons are always right, the other half never.
    good = np.array([int(s[1:]) % 2 == 0 for s in p.subject_id])
    answers = np.where(good, p.truth, (p.truth + 1) % 7)
    people = rebuilt(clustered, np.eye(7)[answers])
    by_person = assess(people, QUICK)["ci95"]["top1"]
    by_image = assess(replace(people, subject_id=[None] * len(p)), QUICK)["ci95"]["top1"]
    assert by_person[1] - by_person[0] > 3 * (by_image[1] - by_image[0])


# Planted flaws --------------------------------------------------------------------------------


def warning_ids(document: dict[str, Any]) -> set[str]:
    return {w["id"] for w in document["warnings"]}


def _constant(world: World) -> World:
    n = len(world.predictions)
    p = rebuilt(world, np.tile([0.9, *[0.1 / 6] * 6], (n, 1)))
    return World(p, world.evidence)


def _nearly_constant(world: World) -> World:
    p = world.predictions
    answers = np.where(np.arange(len(p)) % 40 == 0, p.truth, 6)
    return World(rebuilt(world, np.eye(7)[answers] * 0.9 + 0.1 / 7), world.evidence)


def _swapped(world: World) -> World:
    p = world.predictions
    good = np.where(np.arange(len(p)) % 5 == 0, p.predicted, p.truth)
    order = np.array([1, 2, 0, 3, 4, 5, 6])  # a cycle of three, not a mere pair
    return World(rebuilt(world, np.eye(7)[order[good]] * 0.5 + 0.5 / 7), world.evidence)


def _bad_subgroup(world: World) -> World:
    p = world.predictions
    weak = np.array(p.attributes["age"]) == "60"
    answers = np.where(weak, (p.truth + 3) % 7, p.predicted)
    return World(rebuilt(world, np.eye(7)[answers] * 0.5 + 0.5 / 7), world.evidence)


def _unseen_only(world: World) -> World:
    p = world.predictions
    return World(replace(p, seen=np.zeros(len(p), np.int64)), world.evidence)


def _missing_class(world: World) -> World:
    p = world.predictions
    return World(replace(p, truth=np.where(p.truth == 4, -1, p.truth)), world.evidence)


def _overconfident(world: World) -> World:
    p = world.predictions
    return World(rebuilt(world, np.eye(7)[p.predicted] * 0.99 + 0.01 / 7), world.evidence)


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (_constant, "constant_classifier"),
        (_nearly_constant, "nearly_constant_classifier"),
        (lambda world: world, "persons_in_train"),
        (_swapped, "labels_swapped"),
        (_bad_subgroup, "subgroup_worse"),
        (_missing_class, "class_missing"),
        (_overconfident, "poorly_calibrated"),
    ],
)
def test_planted_flaw_is_caught(
    plant: Callable[[World], World], expected: str, world: World
) -> None:
    flawed = plant(world).predictions
    found = [w for w in assess(flawed, QUICK)["warnings"] if w["id"] == expected]
    assert found
    assert all(w["en"] and w["ko"] and w["level"] == "warning" for w in found)


def test_sound_evaluation_has_no_warning(world: World) -> None:
    sound = _unseen_only(world)
    document = assess(sound.predictions, QUICK)
    assert [w for w in document["warnings"] if w["level"] == "warning"] == []


def test_prompts_that_say_the_same_are_pointed_out(world: World) -> None:
    bank = world.evidence.bank
    vectors = bank.prompts.copy()
    vectors[:, 4] = vectors[:, 3]
    evidence = replace(world.evidence, bank=replace(bank, prompts=vectors))
    document = assess(world.predictions, QUICK, evidence=evidence)
    assert "prompts_alike" in warning_ids(document)
    assert document["prompt_similarity"]["most_alike"]["labels"] == ["anxiety", "hurt"]


@pytest.mark.slow
def test_training_images_and_missing_persons_are_said(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    document = evaluate(colours, bundle, tmp_path / "a", replace(QUICK, split="train")).document
    assert "train_split" in warning_ids(document)
    nobody = make_colours(tmp_path / "d", n=21, change=lambda row: row | {"subject_id": None})
    document = evaluate(nobody, bundle, tmp_path / "b", QUICK).document
    assert document["ci_unit"] == "image"
    assert {"no_persons", "few_images"} <= warning_ids(document)
    assert document["seen_subjects"]["n"] == 0
    assert document["seen_subjects"]["top1"] is None


# Prediction files of any origin ---------------------------------------------------------------


def write_foreign(path: Path, rows: list[dict[str, Any]], label_set: str = "aihub7") -> Path:
    """A file as a script of somebody else would write it, with nunbit's metadata."""
    world = make_world(3)
    write_predictions(path, world.predictions, origin={})
    meta = pq.read_table(path).schema.metadata
    described = json.loads(meta[b"nunbit"]) | {"templates": None, "ensemble": None}
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.replace_schema_metadata({b"nunbit": json.dumps(described)}), path)
    return path


def foreign_rows(n: int = 30) -> list[dict[str, Any]]:
    shares = np.random.default_rng(0).dirichlet(np.ones(7), n)
    return [
        {"record_id": f"x{i}", "truth": IDS[i % 7], "probability": row.tolist()}
        for i, row in enumerate(shares)
    ]


def test_foreign_prediction_file_with_three_columns(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "p.parquet", foreign_rows())
    document = evaluate(path, tmp_path, tmp_path / "e", QUICK).document
    assert document["n"] == 30
    assert document["per_template"] == {}
    assert document["ci_unit"] == "image"
    assert document["annotators"] == {"n_cases": 0}
    assert (tmp_path / "e" / "report.html").is_file()


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        (foreign_rows(3), "few_images"),
        ([r | {"truth": "joy"} for r in foreign_rows()], "class_missing"),
        (foreign_rows(1), "few_images"),
    ],
    ids=["three rows", "one class", "one row"],
)
def test_scanty_prediction_file_works_with_a_stated_limitation(
    rows: list[dict[str, Any]], warning: str, tmp_path: Path
) -> None:
    path = write_foreign(tmp_path / "p.parquet", rows)
    set_lang("ko")
    document = evaluate(path, tmp_path, tmp_path / "e", QUICK).document
    assert warning in warning_ids(document)
    assert (tmp_path / "e" / "report.html").is_file()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([foreign_rows(1)[0] | {"probability": [float("nan")] * 7}], "NaN"),
        ([foreign_rows(1)[0] | {"probability": [0.5] * 7}], "sum to 1"),
        ([foreign_rows(1)[0] | {"probability": [0.5, 0.5]}], "7 numbers"),
        ([foreign_rows(1)[0] | {"truth": "boredom"}], "boredom"),
        ([foreign_rows(1)[0] | {"truth": None}], "no image has a label"),
        ([{"record_id": "a", "truth": "joy"}], "probability"),
        ([], "not a prediction file"),
    ],
    ids=["nan", "sum", "width", "unknown label", "no truth", "no column", "no rows"],
)
def test_unusable_prediction_file_is_one_clear_error(
    rows: list[dict[str, Any]], words: str, tmp_path: Path
) -> None:
    path = write_foreign(tmp_path / "p.parquet", rows)
    with pytest.raises(InputError, match=words) as caught:
        evaluate(path, tmp_path, tmp_path / "e", QUICK)
    assert caught.value.text.ko
    assert not (tmp_path / "e").exists()


def test_prediction_file_fixes_what_was_asked_of_the_model(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "p.parquet", foreign_rows())
    with pytest.raises(SettingsError, match="prompts"):
        evaluate(path, tmp_path, tmp_path / "e", replace(QUICK, prompts="natural"))


def test_prediction_file_round_trip(world: World, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", world.predictions, origin={"made": "here"})
    found = read_predictions(tmp_path / "p.parquet")
    for name in world.predictions.__dataclass_fields__:
        own, read = getattr(world.predictions, name), getattr(found, name)
        if isinstance(own, np.ndarray):
            np.testing.assert_allclose(read, own, rtol=1e-6, err_msg=name)
        else:
            assert read == own, name


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "change", "kind", "words"),
    [
        ({"split": "test"}, dict, InputError, "no image in split test"),
        ({}, lambda r: r | {"split": "train"}, InputError, "there are: train"),
        ({"policy": "majority"}, lambda r: r | {"votes": []}, InputError, "majority"),
        ({}, lambda r: r | {"label": None}, InputError, "annot_a"),
        ({"prompts": "nowhere"}, dict, InputError, "nowhere"),
        ({"compare": "nowhere"}, dict, InputError, "nowhere"),
    ],
    ids=["no split", "only train", "no votes", "no label", "no prompts", "nothing to compare"],
)
def test_bad_input_is_one_clear_error(
    settings: dict[str, Any],
    change: Any,
    kind: type[NunbitError],
    words: str,
    bundle: Path,
    tmp_path: Path,
) -> None:
    data = make_colours(tmp_path / "d", n=7, splits=("validation",), change=change)
    with pytest.raises(kind, match=words) as caught:
        evaluate(data, bundle, tmp_path / "e", replace(QUICK, **settings))
    assert caught.value.text.ko
    assert not (tmp_path / "e" / "result.json").exists()


def test_bundle_that_does_not_serve_the_label_set_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = {"label_set": json.loads(json.dumps(_fer7())), "policy": "uploader"}
    change = {"label": "fear", "uploader_label": "fear", "votes": []}
    data = make_colours(tmp_path / "d", n=7, change=lambda row: row | change, **other)
    small = make_bundle(tmp_path / "b", text_tower=False)
    with pytest.raises(BundleError, match="fer7"):
        evaluate(data, small, tmp_path / "e", QUICK)
    document = evaluate(data, bundle, tmp_path / "e", QUICK).document
    assert {"other_label_set", "binary_stand_in"} <= warning_ids(document)
    assert document["binary"]["stand_in_for"] == ["sadness", "anxiety", "hurt"]


def _fer7() -> dict[str, Any]:
    from nunbit.language.labels import label_set_to_dict

    return label_set_to_dict(load_label_set("fer7"))


# Comparison -----------------------------------------------------------------------------------


def test_paper_figures_follow_from_its_table() -> None:
    table = paper_table()
    scores, found = paper_scores(table), paper_findings(table)
    assert (found["table_sum"], found["n_stated"], found["hits"]) == (52147, 52107, 29327)
    assert found["sum_minus_stated"] == 40
    assert round(found["accuracy_by_stated_n"], 4) == 0.5628
    assert round(found["accuracy_by_table_sum"], 4) == 0.5624
    assert (round(scores["macro_f1"], 3), round(scores["uar"], 3)) == (0.512, 0.518)
    f1 = [round(scores["per_class"][x]["f1"], 3) for x in table.labels]
    assert f1 == [0.808, 0.593, 0.552, 0.266, 0.165, 0.552, 0.649]
    assert found["truth_counts"] == [7753, 7629, 6620, 5620, 4711, 9067, 10747]
    assert found["images_missing"] == {"train": 68, "validation": 19}
    two = found["binary"]
    assert round(two["share_of_group"], 4) == 0.3720
    assert round(two["collapsed_accuracy"], 4) == 0.7617
    assert round(two["collapsed_sensitivity"], 3) == 0.653
    assert round(two["collapsed_specificity"], 3) == 0.826


def test_compare_with_the_paper_names_the_policy(
    evaluated: tuple[Path, dict[str, Any]], world: World
) -> None:
    comparison = evaluated[1]["comparison"]
    assert comparison["kind"] == "paper"
    assert comparison["other"]["n"] == 52147
    assert len(comparison["notes"]) == 1  # annot_a: comparable
    other = replace(world.predictions, policy="uploader")
    document = assess(other, replace(QUICK, compare="paper"))
    assert any("uploader" in note["en"] for note in document["comparison"]["notes"])


@pytest.mark.slow
def test_compare_with_an_evaluation_is_paired(
    colours: Path, bundle: Path, evaluated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, document = evaluated
    settings = replace(QUICK, compare=str(out))
    same = evaluate(colours, bundle, tmp_path / "same", settings).document
    paired = same["comparison"]["paired"]
    assert (paired["n"], paired["difference"]["top1"]) == (70, 0.0)
    assert paired["difference"]["ci95"]["top1"] is None  # ten persons, all alike: no spread
    assert paired["mcnemar"]["p_value"] == 1.0
    settings = replace(settings, prompts="natural", policy="uploader")
    set_lang("ko")
    other = evaluate(colours, bundle, tmp_path / "other", settings).document
    assert "annot_a" in other["comparison"]["notes"][0]["en"]
    assert str(tmp_path) not in json.dumps(other)
    assert other["comparison"]["name"]["en"] == f"{document['bundle']['name']} ({out.name})"


def test_compare_other_images_and_other_classes(
    evaluated: tuple[Path, dict[str, Any]], world: World, tmp_path: Path
) -> None:
    out, _ = evaluated
    document = assess(world.predictions, replace(QUICK, compare=str(out)))
    assert document["comparison"]["paired"] is None
    assert "share no image" in document["comparison"]["notes"][-1]["en"]
    fewer = load_label_set("fer7")
    foreign = replace(world.predictions, label_set=fewer, votes=[], uploader_label=[])
    with pytest.raises(InputError, match="label set"):
        assess(foreign, replace(QUICK, compare=str(out)))


def test_several_comparisons_keep_their_order(
    evaluated: tuple[Path, dict[str, Any]], bundle: Path, tmp_path: Path
) -> None:
    out, document = evaluated
    settings = replace(QUICK, compare=(str(out), "paper", str(out)), seeds=(str(out),))
    file = out / "predictions.parquet"
    found = evaluate(file, bundle, tmp_path / "e", settings).document
    assert found["model"] == "colours"
    kinds = [c["kind"] for c in (found["comparison"], *found["further_comparisons"])]
    assert kinds == ["evaluation", "paper", "evaluation"]
    assert found["comparison"]["name"]["en"] == "colours (test)"
    assert found["seeds"]["n"] == 2
    assert found["seeds"]["top1"] == {
        "mean": document["top1"],
        "sd": 0.0,
        "min": document["top1"],
        "max": document["top1"],
    }
    told = found["provenance"]["settings"]
    assert told["compare"] == ["test", "paper", "test"]
    assert str(out.parent) not in json.dumps(found, ensure_ascii=False)


def test_seeds_are_summarised_as_numpy_does(tmp_path: Path) -> None:
    documents = [assess(make_world(300, seed=seed).predictions, QUICK) for seed in range(3)]
    for number, document in enumerate(documents[1:]):
        (tmp_path / f"s{number}").mkdir()
        (tmp_path / f"s{number}" / "result.json").write_text(json.dumps(document))
    found = seeds_section(documents[0], [str(tmp_path / "s0"), str(tmp_path / "s1")])
    assert found is not None
    for key in ("top1", "macro_f1", "uar"):
        values = [d[key] for d in documents]
        assert found[key]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert found[key]["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
        assert (found[key]["min"], found[key]["max"]) == (min(values), max(values))
    assert [run["name"] for run in found["runs"]] == ["", "s0", "s1"]
    assert seeds_section(documents[0], []) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"policy": "majority"}, "policy is majority, here annot_a"), ({"n": 7}, "n is 7")],
)
def test_seeds_of_something_else_are_refused(
    change: dict[str, Any], words: str, assessed: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(assessed | change))
    with pytest.raises(InputError, match=words):
        seeds_section(assessed, [str(tmp_path)])
    with pytest.raises(InputError, match="cannot read"):
        seeds_section(assessed, [str(tmp_path / "nowhere")])
