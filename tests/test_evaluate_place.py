"""An evaluation in a folder that is not empty, and beside others: nothing is mixed or lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from make_eval import make_bundle, make_colours
from nunbit.core.messages import InputError
from nunbit.stories.evaluate import EvaluateSettings, Unfinished, evaluate, evaluate_part

pytestmark = pytest.mark.slow

QUICK = EvaluateSettings(n_resamples=100)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "colours")


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nunbit.report.page.write_figures", lambda folder, view: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("key", ["seeds", "compare"])
def test_a_comparison_that_does_not_fit_leaves_the_earlier_evaluation_whole(
    key: str, colours: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e"
    evaluate(colours, bundle, out, QUICK)
    before = contents(out)
    if key == "seeds":  # of another split
        evaluate(colours, bundle, tmp_path / "other", replace(QUICK, split="train"))
    monkeypatch.setattr(
        "nunbit.stories.evaluate.Scorer.score_share", lambda *_: pytest.fail("scored first")
    )
    change: dict[str, Any] = {key: (str(tmp_path / "other"),), "split": "validation"}
    with pytest.raises(InputError, match="other"):
        evaluate(colours, bundle, out, replace(QUICK, **change))
    assert contents(out) == before


@pytest.mark.parametrize("last", ["write_predictions", "write_json"])
def test_a_killed_evaluation_leaves_no_pair_of_two(
    last: str, colours: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e"
    evaluate(colours, bundle, out, QUICK)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nunbit.stories.evaluate.{last}", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(colours, bundle, out, replace(QUICK, split="validation"))
    assert not (out / "result.json").exists()


def test_a_part_with_other_prompts_of_the_same_name_does_not_take_the_old_result(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    from importlib.resources import files

    own = tmp_path / "my.toml"
    text = files("nunbit.language").joinpath("data", "prompts", "paper.toml").read_text("utf-8")
    own.write_text(text, encoding="utf-8")
    settings = replace(QUICK, prompts=str(own), batch_size=8)
    evaluate(colours, bundle, tmp_path / "e", settings)
    own.write_text(text + "\n# changed\n", encoding="utf-8")
    found = evaluate_part(colours, bundle, tmp_path / "e", replace(settings, part="2/2"))
    assert isinstance(found, Unfinished)


def test_seeds_count_once_and_are_of_the_same_images(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    out, first, foreign = tmp_path / "e", tmp_path / "first", tmp_path / "foreign"
    evaluate(colours, bundle, first, QUICK)
    evaluate(make_colours(tmp_path / "others", noise=5.0), bundle, foreign, QUICK)
    evaluate(colours, bundle, out, QUICK)
    for seeds, words in (
        ((first, first), "the same evaluation as"),
        ((first, tmp_path / "x" / ".." / "first"), "the same evaluation as"),
        ((out,), "is the output itself"),
        ((foreign,), "another data set"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            evaluate(colours, bundle, out, replace(QUICK, seeds=tuple(map(str, seeds))))
    found = evaluate(colours, bundle, out, replace(QUICK, seeds=(str(first),))).document
    assert found["seeds"]["n"] == 2
    assert found["provenance"]["inputs"].keys() == {"bundle", "dataset", "seeds 1"}


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_what_another_command_wrote_is_not_replaced(
    name: str, colours: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "probe"
    out.mkdir()
    (out / name).write_text(json.dumps({"format": "another"}), encoding="utf-8")
    (out / "predictions.parquet").write_bytes(b"a baseline's")
    before = contents(out)
    with pytest.raises(InputError, match="would be lost; choose another `out`"):
        evaluate(colours, bundle, out, QUICK)
    assert contents(out) == before
