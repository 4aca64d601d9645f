"""``nunbit study``: both kinds of labels on planted worlds, through files, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest

import nunbit
from command import run_command
from nunbit.core.messages import InputError, SettingsError
from nunbit.report import render_any
from nunbit.runtime.config import read_settings, settings_to_dict
from nunbit.statistics.nested import splits_of
from nunbit.stories.study import outcome_study, study
from nunbit.stories.study.emotions import assess_stretches
from nunbit.stories.study.outcome_study import assess_outcomes
from nunbit.stories.study.study_plan import StudySettings
from nunbit.stories.study.study_sample import read_study_timelines
from nunbit.synth.study_worlds import WorldSettings
from nunbit.synth.world_files import write_study_world

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

EFFECT = {"persons": 52, "r": 0.85}
QUICK = StudySettings(permutations=99, repeats=1, folds=4, inner_folds=3, transformer=False)

pytestmark = pytest.mark.seconds


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Worlds as files, each written and read once."""
    made: dict[str, Path] = {}

    read = nunbit.stories.study.read_study_timelines  # type: ignore[attr-defined]
    known: dict[Any, Any] = {}

    def read_once(folders: Any, **how: Any) -> Any:
        key = (*map(str, folders), *how.items())
        if key not in known:
            known[key] = read(folders, **how)
        return known[key]

    patch = pytest.MonkeyPatch()
    patch.setattr("nunbit.stories.study.read_study_timelines", read_once)

    def world(name: str, **settings: Any) -> Path:
        key = f"{name}{sorted(settings.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("world") / name
            write_study_world(made[key], WorldSettings(world=name, **settings))  # type: ignore[arg-type]
        return made[key]

    yield world
    patch.undo()


def _run(world: Path, out: Path, settings: StudySettings = QUICK, **given: Any) -> dict[str, Any]:
    """A study without its page, which takes longer than the rest; ``render_any`` writes it."""
    labels = given.pop("labels", world / "labels.csv")
    folder = world / given.pop("timelines", "timelines")
    with mock.patch("nunbit.stories.study.render_study"):
        return dict(study([folder], labels, out, settings, **given).document)


def _rows(world: Path) -> list[dict[str, str]]:
    with (world / "labels.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _labels(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


# -- the two kinds, end to end ---------------------------------------------------------------------


@pytest.mark.slow
def test_an_effect_is_found_and_written_without_persons(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("effect", **EFFECT)
    out = tmp_path / "study"
    done = run_command(
        "study", world / "timelines", "--labels", world / "labels.csv", "--out", out, "--json",
        "--set", "permutations=99", "--set", "repeats=1", "--set", "folds=5", "--lang", "ko",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["kind"] == "outcome"
    assert document["n_persons"] == 52
    assert document["verdict"]["code"] == "more_than_controls"
    assert document == json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert set(document["models"]) == {"face", "voice", "text", "fused", "concat", "mean", "hybrid"}
    assert set(document["controls"]) == {
        "mean", "interviewer", "covariates", "leave_site_out", "permutations"}  # fmt: skip
    # Below 100 persons no AUROC, whatever the cutoff.
    assert document["models"]["concat"]["auroc"]["value"] is None
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert names == ["figures/results.png", "figures/results.svg", "plan.toml", "report.html",
                     "result.json"]  # fmt: skip
    for path in (p for p in out.rglob("*") if p.suffix in (".json", ".toml", ".html")):
        text = path.read_text(encoding="utf-8")
        assert "P0001" not in text, path
    # No list of one number a person anywhere.
    assert max(_lengths(document)) < 60
    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("레이블을 읽기 전에", "말할 수 없는 것", "진단", document["plan"]["sha256"]):
        assert words in page
    assert "more than every control" not in page
    english = render_any(out, lang="en").read_text(encoding="utf-8")
    assert "What was decided before labels were read" in english


def _lengths(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [n for each in value.values() for n in _lengths(each)]
    if isinstance(value, list):
        numbers = all(isinstance(each, int | float) for each in value)
        return [len(value) if numbers else 0, *(n for each in value for n in _lengths(each))]
    return [0]


def _drawn(**world: Any) -> Any:
    from study_worlds import outcome_sample

    return outcome_sample(WorldSettings(**world))


def test_an_interviewer_who_gives_it_away_is_no_effect() -> None:
    found = assess_outcomes(_drawn(world="leak", persons=120), QUICK)
    assert found["code"] == "not_more_than_controls"
    assert found["models"]["concat"]["ci95"][0] > 0  # what a naive analysis reports
    assert found["controls"]["interviewer"]["ccc"] > 0.4
    assert not found["controls"]["interviewer"]["beaten"]
    auroc = found["models"]["concat"]["auroc"]
    assert auroc == {"value": None, "ci95": None, "reason": "no_cutoff"}


def test_a_difference_between_sites_is_no_effect() -> None:
    sample = _drawn(world="site", persons=90)
    found = assess_outcomes(sample, QUICK)
    assert found["code"] == "not_more_than_controls"
    controls = found["controls"]
    assert controls["leave_site_out"]["state"] == "run"
    assert controls["leave_site_out"]["sites"] == 3
    assert not controls["leave_site_out"]["beaten"]
    assert controls["permutations"]["within_sites"]
    # Without sites the same data look like an effect: that is what they are for.
    assert found["models"]["concat"]["ci95"][0] > 0


@pytest.mark.train
@pytest.mark.slow
def test_complementary_modalities_add_and_the_transformer_takes_part(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    world = worlds("complementary", persons=12)
    result = nunbit.study(
        world / "timelines", world / "labels.csv", tmp_path / "study",
        permutations=99, folds=4, inner_folds=3,
    )  # fmt: skip
    assert result.verdict == "more_than_controls"
    d = result.document
    assert d["kind"] == "emotion"
    assert d["fusion"]["code"] == "adds"
    assert set(d["models"]) == {"face", "voice", "text", "mean", "pool", "concat", "hybrid",
                                "shared_space", "index", "transformer"}  # fmt: skip
    assert len(d["patterns"]) == 7
    whole, face = (next(p for p in d["patterns"] if p["modalities"] == m)
                   for m in (["face", "voice", "text"], ["face"]))  # fmt: skip
    for name in ("concat", "transformer"):
        assert whole["models"][name]["uar"] > face["models"][name]["uar"] + 0.1
        assert 0.0 <= d["models"][name]["ece"] <= 1.0
        assert d["models"][name]["nll"] > 0.0
    assert not (tmp_path / "study" / "parts").exists()
    table = result.to_pandas()
    assert set(table.role) == {"model", "control"}
    assert "more_than_controls, 12 persons" in repr(result)
    assert nunbit.StudyResult.save(result, tmp_path / "table.csv").is_file()
    assert result.report.is_file()


@pytest.mark.parametrize(
    ("world", "verdict"),
    [("redundant", "more_than_controls"), ("useless", "more_than_controls"),
     ("null", "not_more_than_controls")],
)  # fmt: skip
def test_fusion_is_credited_only_where_it_adds(world: str, verdict: str) -> None:
    from study_worlds import stretches_sample

    sample = stretches_sample(WorldSettings(world=world, persons=14, labels="emotion"))  # type: ignore[arg-type]
    found = assess_stretches(sample, QUICK)
    assert found["fusion"]["code"] == "does_not_add"
    assert found["code"] == verdict
    assert "transformer" not in found["models"]
    if world == "useless":
        assert found["fusion"]["best_single"] == "face"


def test_files_and_drawn_numbers_give_the_same_result(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    """The benchmark draws worlds without writing them."""
    document = _run(worlds("effect", **EFFECT), tmp_path / "study")
    drawn = assess_outcomes(_drawn(world="effect", **EFFECT), QUICK)
    for name, model in drawn["models"].items():
        assert model["ccc"] == pytest.approx(document["models"][name]["ccc"], abs=0.02), name
    assert drawn["code"] == document["verdict"]["code"]


def test_timelines_of_a_world_are_those_of_the_library(worlds: Callable[..., Path]) -> None:
    world = worlds("effect", **EFFECT)
    sessions = nunbit.read_sessions(world / "timelines")
    assert len(sessions) == 104
    wide = sessions.wide()
    assert "face.smile" in wide.columns
    assert np.isfinite(sessions["P0001"].windows(wide=True)["voice.pause_ratio"]).all()
    assert (
        sessions[0]
        .to_arrow()
        .schema.equals(pq.read_schema(world / "timelines" / "P0001" / "timeline.parquet"))
    )


# -- the plan, and going on ------------------------------------------------------------------------


def test_the_plan_names_every_setting_however_it_was_given() -> None:
    given = read_settings(StudySettings, overrides=["folds=5"])
    assert settings_to_dict(given) == settings_to_dict(StudySettings(folds=5))


def test_the_plan_is_written_and_hashed_before_labels_are_read(
    worlds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, out = worlds("effect", **EFFECT), tmp_path / "study"
    real, seen = nunbit.stories.study.read_labels, []  # type: ignore[attr-defined]

    def read(*given: Any) -> Any:
        seen.append((out / "plan.toml").read_bytes())
        return real(*given)

    monkeypatch.setattr("nunbit.stories.study.read_labels", read)
    only = study([world / "timelines"], world / "labels.csv", out,
                 StudySettings(**{**_plain(QUICK), "plan_only": True}))  # fmt: skip
    assert not only.finished
    assert seen == []
    document = _run(world, out)
    assert seen == [(out / "plan.toml").read_bytes()]
    import hashlib

    assert hashlib.sha256(seen[0]).hexdigest() == document["plan"]["sha256"]
    assert document["plan"]["sha256"] == only.document["plan"]["sha256"]
    with pytest.raises(InputError, match="the plan of another study"):
        _run(world, out, StudySettings(**{**_plain(QUICK), "seed": 5}))


def _plain(settings: StudySettings) -> dict[str, Any]:
    return {k: getattr(settings, k) for k in settings.__dataclass_fields__}


def test_an_interrupted_study_goes_on(
    worlds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds("effect", **EFFECT)
    settings = StudySettings(**{**_plain(QUICK), "permutations": 250})
    whole = _run(world, tmp_path / "whole", settings)
    real, calls = outcome_study._Nested._chunk, []

    def chunk(self: Any, ridges: Any, at: int, size: int) -> Any:
        calls.append(at)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, ridges, at, size)

    monkeypatch.setattr(outcome_study._Nested, "_chunk", chunk)
    with pytest.raises(KeyboardInterrupt):
        _run(world, tmp_path / "cut", settings)
    assert not (tmp_path / "cut" / "result.json").exists()
    again = _run(world, tmp_path / "cut", settings)
    assert calls == [0, 100, 200, 200]
    assert again["models"] == whole["models"]
    assert again["permutations"] == whole["permutations"]


def test_folders_and_results_of_others_are_left(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world, out = worlds("effect", **EFFECT), tmp_path / "study"
    (out / "parts").mkdir(parents=True)
    (out / "parts" / "score.musicxml").write_text("mine", encoding="utf-8")
    (out / "result.json").write_text('{"format": "nunbit-evaluation-1"}', encoding="utf-8")
    with pytest.raises(InputError, match="not written by this command"):
        _run(world, out)
    (out / "result.json").unlink()
    _run(world, out)
    assert [p.name for p in (out / "parts").iterdir()] == ["score.musicxml"]


def test_a_damaged_timeline_is_left_out_and_one_recording_twice_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from make_timeline import Recipe, make_timeline

    folders = [make_timeline(tmp_path / "t" / f"visit{n}", Recipe(duration_s=30.0, seed=n))
               for n in range(3)]  # fmt: skip
    for folder in folders[:2]:
        path = folder / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary.setdefault("provenance", {})["inputs"] = {"media": "0" * 64}
        path.write_text(json.dumps(summary), encoding="utf-8")
    table = folders[2] / "timeline.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    found = read_study_timelines([tmp_path / "t"], windows=False)
    assert set(found.sessions) == {"visit0", "visit1"}
    assert [("damaged" in n.en, "counts twice" in n.en) for n in found.notices] == [
        (True, False), (False, True)]  # fmt: skip
    assert "visit2" in capsys.readouterr().err
    with pytest.raises(InputError):
        read_study_timelines([folders[2]], windows=False)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, float):
        yield value


def test_no_score_of_a_person_is_written_also_not_by_an_interrupted_study(
    worlds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prediction is caught where it is made, and looked for in every file."""
    import msgspec

    from nunbit.runtime.files import PartStore

    world, made, kept = worlds("effect", **EFFECT), [], []
    predictions, write = outcome_study._Nested.predictions, PartStore.write

    def caught(self: Any) -> Any:
        found = predictions(self)
        made.extend(np.concatenate([p.ravel() for p in found.values()]).tolist())
        return found

    def written(self: Any, name: str, part: Any) -> None:
        kept.append(msgspec.to_builtins(part))
        write(self, name, part)

    monkeypatch.setattr(outcome_study._Nested, "predictions", caught)
    monkeypatch.setattr(PartStore, "write", written)
    document = _run(world, tmp_path / "study")
    render_any(tmp_path / "study", lang="en")
    assert len(made) > 52 * 8
    assert kept
    scores = {f"{value:.9g}" for value in made}
    assert not scores & {f"{value:.9g}" for value in _numbers([document, kept])}
    assert max(_lengths(document)) < 52
    names = {r["person"] for r in _rows(world)} | {r["session"] for r in _rows(world)}
    for path in (p for p in (tmp_path / "study").rglob("*") if p.is_file() and p.suffix != ".png"):
        text = path.read_text(encoding="utf-8")
        assert not [n for n in names if n and n in text], path


def test_a_study_of_stretches_keeps_no_prediction_either(
    worlds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.stories.study.fusions import CrossModalTask

    world, kept = worlds("complementary", persons=12), []
    write = nunbit.runtime.files.PartStore.write  # type: ignore[attr-defined]

    def written(self: Any, name: str, part: Any) -> None:
        kept.append(part)
        write(self, name, part)

    def even(task: CrossModalTask) -> np.ndarray:
        """The transformer's place: even shares."""
        m = len(next(iter(task.test.values())))
        return np.full((len(task.patterns), m, task.n_classes), 1.0 / task.n_classes)

    monkeypatch.setattr("nunbit.runtime.files.PartStore.write", written)
    settings = StudySettings(**{**_plain(QUICK), "transformer": True})
    document = _run(world, tmp_path / "s", settings, cross_modal=even)
    assert {type(part).__name__ for part in kept} == {"PermutedUars"}
    # Every pattern of missing modalities, for every model that joins them.
    patterns = {tuple(p["modalities"]): set(p["models"]) for p in document["patterns"]}
    assert set(patterns) == {
        ("face", "voice", "text"), ("face", "voice"), ("face", "text"), ("voice", "text"),
        ("face",), ("voice",), ("text",)}  # fmt: skip
    assert all(
        names == {"mean", "pool", "concat", "hybrid", "transformer"} for names in patterns.values()
    )
    assert max(_lengths(document)) < 12


# -- what is refused, left out, or only described --------------------------------------------------


def _change(rows: list[dict[str, str]], **values: str) -> list[dict[str, str]]:
    return [{**rows[0], **values}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: _change(rows, phq9="31"), "phq9 is 31, but the scale goes from 0 to 27"),
        (lambda rows: _change(rows, phq9="-1"), "from 0 to 27"),
        (lambda rows: _change(rows, phq9="many"), "expected a number"),
        (lambda rows: [{**r, "phq9": "9"} for r in rows], "same value in every row"),
        (lambda rows: [*rows, {**rows[0], "phq9": "1" if rows[0]["phq9"] != "1" else "2"}],
         "give two values of phq9"),
        (lambda rows: [{**r, "person": f"X{r['person']}", "session": ""} for r in rows],
         "no row of the labels has a timeline"),
        (lambda rows: [{k: v for k, v in r.items() if k not in ("person", "session")}
                       for r in rows], "no column says whose the labels are"),
    ],
    ids=["above", "below", "word", "constant", "twice", "unknown", "nobody"],
)  # fmt: skip
def test_bad_outcomes_are_one_line(
    worlds: Callable[..., Path], tmp_path: Path, change: Callable[..., Any], says: str
) -> None:
    world = worlds("effect", **EFFECT)
    labels = _labels(tmp_path / "labels.csv", change(_rows(world)))
    done = run_command("study", world / "timelines", "--labels", labels, "--out", tmp_path / "s")
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("nunbit: error: ")
    assert says in error
    assert not (tmp_path / "s" / "result.json").exists()


def test_labels_without_timelines_and_timelines_without_labels_are_named(
    worlds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = worlds("effect", **EFFECT)
    rows = _rows(world)
    labels = _labels(tmp_path / "l.csv", [*rows[2:], {**rows[0], "person": "Z", "session": "Z"}])
    document = _run(world, tmp_path / "s", labels=labels)
    left = document["sample"]["left_out"]
    assert left["labels_without_timeline"] == 1
    assert left["timelines_without_label"] == 2
    said = " ".join(en for en, _ in document["notices"])
    assert "1 rows of labels have no timeline and are left out" in said
    assert "2 timelines have no label" in said
    # Who they are is for the terminal; names of sessions are names of persons.
    shown = capsys.readouterr().err
    assert "labels without a timeline: Z" in shown
    gone = {r["session"] or r["person"] for r in rows[:2]}
    assert all(name in shown for name in gone)
    written = (tmp_path / "s" / "result.json").read_text(encoding="utf-8")
    assert not any(name in written for name in (*gone, "(Z)"))
    assert document["n_persons"] == 50


def test_rows_that_contradict_one_another_are_named_however_they_name_a_session(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("effect", **EFFECT)
    rows = _rows(world)
    first = next(r for r in rows if r["session"] or r["person"])
    name = first["session"] or first["person"]
    other = "1" if first["phq9"] != "1" else "2"
    for change, says in (
        ({"session": f"{name}.mp4", "phq9": other}, "give two values of phq9"),
        ({"session": name, "person": "Q", "phq9": first["phq9"]}, "two persons"),
    ):
        row = {**first, "session": name, **change}
        labels = _labels(tmp_path / f"{len(says)}.csv", [*rows, row])
        with pytest.raises(InputError, match=says):
            _run(world, tmp_path / f"s{len(says)}", labels=labels)
    # An empty row of the same session takes nothing away.
    whole = _labels(tmp_path / "w.csv", [{**first, "phq9": ""}, *rows])
    assert _run(world, tmp_path / "w", labels=whole)["n_persons"] == 52
    one = [r if i < 3 else {**r, "session": f"X{i}", "person": f"X{i}"} for i, r in enumerate(rows)]
    same = _labels(tmp_path / "o.csv", [{**r, "phq9": "7"} if i < 3 else r
                                        for i, r in enumerate(one)])  # fmt: skip
    with pytest.raises(InputError, match="all rows that have a timeline have the same phq9"):
        _run(world, tmp_path / "o", labels=same)


def test_a_person_of_two_sites_is_never_trained_and_tested() -> None:
    person = np.repeat(np.arange(6), 2)
    site = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    for split in splits_of(site, person, 2, 0):
        assert not set(person[split.train]) & set(person[split.test])


def test_below_fifty_persons_there_are_correlations_and_no_predictions(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("effect", **EFFECT)
    labels = _labels(tmp_path / "l.csv", _rows(world)[:30])
    document = _run(world, tmp_path / "s", labels=labels)
    assert document["verdict"]["code"] == "too_few"
    assert document["models"] == {}
    known = [r for r in document["measures"]["participant"] if r["rho"] is not None]
    assert len(known) > 20
    assert all(r["ci95"][0] < r["rho"] < r["ci95"][1] and r["q"] >= r["p"] for r in known)
    assert document["measures"]["interviewer"]
    assert document["measures"]["covariates"]
    page = render_any(tmp_path / "s", lang="en").read_text(encoding="utf-8")
    assert "nothing is predicted" in page
    five = _labels(tmp_path / "five.csv", _rows(world)[:5])
    document = _run(world, tmp_path / "five", labels=five)
    assert document["verdict"]["code"] == "too_few"
    assert document["n_persons"] == 5


def test_a_modality_missing_for_half_is_a_stated_limitation(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    document = _run(worlds("effect", persons=8, missing_face=0.5, seed=3), tmp_path / "s")
    assert document["sample"]["modalities"]["face"] < 0.8
    assert any("face is missing in" in en for en, _ in document["notices"])
    found = assess_outcomes(_drawn(world="effect", missing_face=0.5, **EFFECT), QUICK)
    assert found["models"]["face"]["ccc"] < found["models"]["concat"]["ccc"]


def test_an_auroc_needs_a_hundred_persons_and_a_cutoff() -> None:
    settings = StudySettings(**{**_plain(QUICK), "cutoff": 10.0})
    for persons, reason in ((110, ""), (90, "below_100_persons")):
        sample = _drawn(world="effect", persons=persons, r=0.7)
        auroc = assess_outcomes(sample, settings)["models"]["concat"]["auroc"]
        assert auroc["reason"] == reason
        if reason:
            assert auroc["value"] is None
        else:
            assert 0.5 < auroc["ci95"][0] <= auroc["value"] <= auroc["ci95"][1]
            assert auroc["n_positive"] > 0


def test_no_interviewer_is_said_and_not_counted_as_beaten(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("effect", **EFFECT)
    own = [p for p in (world / "timelines").iterdir() if not p.name.endswith("_interviewer")]
    document = study(sorted(own), world / "labels.csv", tmp_path / "s", QUICK).document
    assert document["controls"]["interviewer"] == {"state": "absent", "reason": "no_interviewer"}
    assert "Not controlled here: the interviewer alone" in document["verdict"]["text"]
    assert "questions alone can give an outcome away" in (
        tmp_path / "s" / "report.html").read_text(encoding="utf-8")  # fmt: skip


def test_two_labels_for_one_time_and_one_class_are_refused(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("complementary", persons=12)
    rows = _rows(world)
    other = next(r["label"] for r in rows if r["label"] != rows[0]["label"])
    twice = _labels(tmp_path / "twice.csv", [*rows, {**rows[0], "label": other}])
    with pytest.raises(InputError, match="give two labels"):
        _run(world, tmp_path / "a", labels=twice)
    one = _labels(tmp_path / "one.csv", [{**r, "label": "joy"} for r in rows])
    with pytest.raises(InputError, match=r"only one class \(joy\)"):
        _run(world, tmp_path / "b", labels=one)
    # A long stretch over several short ones, and one session written in two ways.
    at = {k: rows[0][k] for k in rows[0]}
    ends = [{**at, "t_start": f"{500 + k}", "t_end": f"{500 + k + w}", "label": label}
            for k, w, label in ((0, 9, "x"), (1, 1, "x"), (3, 1, "y"))]  # fmt: skip
    with pytest.raises(InputError, match="give two labels"):
        _run(world, tmp_path / "g", labels=_labels(tmp_path / "long.csv", [*rows, *ends]))
    spelt = {**at, "session": f"{at['session']}.mp4", "label": other}
    with pytest.raises(InputError, match="give two labels"):
        _run(world, tmp_path / "h", labels=_labels(tmp_path / "spelt.csv", [*rows, spelt]))
    same = _labels(tmp_path / "same.csv", [*rows, rows[0]])
    assert _run(world, tmp_path / "c", labels=same)["n_rows"] == len(rows)
    five = [r for r in rows if r["person"] in ("P0001", "P0002", "P0003", "P0004", "P0005")]
    few = _run(world, tmp_path / "d", labels=_labels(tmp_path / "five.csv", five))
    assert few["verdict"]["code"] == "too_few"
    outside = _labels(tmp_path / "out.csv", _change(rows, t_start="9000", t_end="9004"))
    document = _run(world, tmp_path / "e", labels=outside)
    assert document["sample"]["left_out"]["rows_without_label_or_windows"] == 1
    backwards = _labels(tmp_path / "back.csv", _change(rows, t_start="9", t_end="4"))
    with pytest.raises(InputError, match="a start before its end"):
        _run(world, tmp_path / "f", labels=backwards)


def test_columns_that_do_not_exist_and_tables_that_are_not_there(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    world = worlds("effect", **EFFECT)
    for setting, value in (("outcome", "bdi"), ("covariates", ("height",))):
        with pytest.raises(SettingsError, match=f"`{setting}`: the labels have no column"):
            _run(world, tmp_path / "s", StudySettings(**{**_plain(QUICK), setting: value}))
    with pytest.raises(InputError, match="no such table of labels"):
        _run(world, tmp_path / "s", labels=tmp_path / "none.csv")
    with pytest.raises(InputError, match="no timelines here"):
        study([tmp_path], world / "labels.csv", tmp_path / "s", QUICK)
    with pytest.raises(InputError, match="not an empty folder"):
        write_study_world(world, WorldSettings())


def test_an_interviewer_named_in_the_labels_is_no_participant(
    worlds: Callable[..., Path], tmp_path: Path
) -> None:
    source = worlds("effect", persons=8, missing_face=0.5, seed=3)
    world = tmp_path / "world"
    world.mkdir()
    shutil.copytree(source / "timelines", world / "timelines")
    rows = []
    for row in _rows(source):
        name = row["session"]
        (world / "timelines" / f"{name}_interviewer").rename(world / "timelines" / f"ask{name}")
        rows.append({**row, "interviewer": f"ask{name}"})
    _labels(world / "labels.csv", rows)
    document = _run(world, tmp_path / "s")
    assert document["sample"]["left_out"]["timelines_without_label"] == 0
    assert document["n_persons"] == 8
    assert any("interviewer.voice" in r["measure"] for r in document["measures"]["interviewer"])
    rows[0]["interviewer"] = "nobody"
    with pytest.raises(InputError, match="names 'nobody' as the interviewer"):
        _run(world, tmp_path / "t", labels=_labels(tmp_path / "bad.csv", rows))


# -- timelines that analyze wrote ------------------------------------------------------------------


def test_timelines_with_other_people_give_an_interviewer(tmp_path: Path) -> None:
    """A made recording with two faces, two speakers and gaps has the shape of a real one."""
    from make_timeline import Recipe, make_timeline

    rows, stretches = [], []
    for number in range(4):
        folder = make_timeline(
            tmp_path / "t" / f"visit{number}", Recipe(duration_s=90.0, persons=2, seed=number)
        )
        rows.append({"session": folder.name, "person": number, "phq9": 3 * number})
        stretches += [
            {"session": folder.name, "person": number, "t_start": 6 * i, "t_end": 6 * i + 5,
             "label": ("joy", "neutral")[i % 2]}
            for i in range(14)
        ]  # fmt: skip
    found = read_study_timelines([tmp_path / "t"], windows=True)
    one = found.sessions["visit0"]
    assert "face.expressivity" in one.own
    assert one.windows is not None
    assert "face.p_joy" in one.windows.names
    assert one.other_windows is not None
    assert "face.p_joy" in one.other_windows.names
    of_outcome = _run(tmp_path, tmp_path / "s", labels=_labels(tmp_path / "o.csv", rows),
                      timelines="t")  # fmt: skip
    assert of_outcome["verdict"]["code"] == "too_few"
    assert of_outcome["n_persons"] == 4
    # Modalities of different sizes, gaps, another face, classes that the index knows.
    labels = _labels(tmp_path / "e.csv", stretches)
    of_emotion = _run(tmp_path, tmp_path / "e", labels=labels, timelines="t")
    assert {"face", "voice", "text", "shared_space", "index"} <= set(of_emotion["models"])
    assert of_emotion["controls"]["interviewer"]["state"] == "run"
    two = _labels(tmp_path / "two.csv", stretches[:28])
    with pytest.raises(InputError, match="labels of 2 persons; at least 3"):
        _run(tmp_path, tmp_path / "f", labels=two, timelines="t")


@pytest.mark.slow
def test_timelines_that_analyze_makes_can_be_studied(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from nunbit.synth.script import VideoScript
    from nunbit.synth.video import render_video

    clips = []
    for number in range(3):
        clip = tmp_path / f"clip{number}.mp4"
        # Twelve seconds are three labels a person.
        render_video(clip, VideoScript(duration_s=12.0, seed=number))
        clips.append(clip)
    result = nunbit.analyze(clips, tmp_path / "t", transcript=None)
    rows = [
        {"session": s.session, "t_start": 4 * i, "t_end": 4 * i + 4, "label": "ab"[i % 2]}
        for s in result
        for i in range(int(s.duration_s // 4))
    ]
    labels = _labels(tmp_path / "labels.csv", rows)
    done = nunbit.study(
        result, labels, tmp_path / "s", permutations=99, folds=2, inner_folds=2, transformer=False
    )
    assert done.verdict == "too_few"
    assert "face" in done.document["models"]
    assert "index" not in done.document["models"]


def test_the_story_never_loads_torch() -> None:
    import subprocess

    code = (
        "import sys, nunbit.stories.study, nunbit.synth.world_files; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
