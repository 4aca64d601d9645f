"""The paper's two-class experiment: seven classes in the data, two in training and evaluation."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from nunbit.runtime.progress import set_lang

pytest.importorskip("torch")

from make_data import make_data, training_settings
from nunbit.core.messages import InputError, SettingsError
from nunbit.model.encoders import load_bundle
from nunbit.stories.evaluate import EvaluateSettings, evaluate
from nunbit.training.data import label_set_of
from nunbit.training.loop import train
from nunbit.training.settings import RunFolder

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nunbit.report.page.write_figures", lambda folder, view: None)


@pytest.mark.slow
def test_two_classes_from_data_of_seven(tmp_path: Path) -> None:
    data = make_data(tmp_path / "d", label_set="fer7", per_class=2)
    settings = training_settings(label_set="dep2", prompts="natural", epochs=1)
    out = tmp_path / "run"
    train(data, out, settings, resume=False)
    assert tomllib.loads((out / "config.toml").read_text())["label_set"] == "dep2"
    assert label_set_of(RunFolder(out).read(), out).ids == ("distress", "other")
    bundle = load_bundle(out / "bundle")
    assert bundle.label_set.ids == ("distress", "other")
    assert bundle.label_set.groups["depression_related"].stand_in_for
    trained = bundle.document.trained_prompts
    assert any("괴로" in text for text in trained)
    assert not any("우울" in text for text in trained)
    asked = EvaluateSettings(label_set="dep2", n_resamples=100)
    set_lang("ko")
    found = evaluate(data, out / "bundle", tmp_path / "e", asked).document
    assert found["labels"] == ["distress", "other"]
    assert found["binary"]["joined"] == ["sadness", "fear"]
    assert "binary_stand_in" in {w["id"] for w in found["warnings"]}
    assert found["per_template"][next(iter(found["per_template"]))]["trained"] is True
    with pytest.raises(SettingsError, match="label_set"):
        again = training_settings(label_set="aihub7")
        train(data, out, again, resume=True)


def test_a_label_set_that_does_not_cover_the_data_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "d", per_class=2)
    with pytest.raises(InputError, match="fer7 does not define the new class of"):
        train(data, tmp_path / "run", training_settings(label_set="fer7"), resume=False)
    assert not (tmp_path / "run" / "run.json").exists()
