"""``--paper``: one preset for prepare, train and evaluate, every setting marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command import run_command
from nunbit.cli import cli
from nunbit.runtime.config import (
    COMMANDS,
    paper_preset,
    preset_lines,
    preset_values,
    read_settings,
    stated_by_paper,
)
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.prepare import PrepareSettings
from preset_docs import preset_table, with_table

# So few persons have to hold out more of them, or a class would be missing.
HELD = ("--set", "holdout=0.4")
ROOT = Path(__file__).parent.parent


def test_what_the_paper_decides_is_set_and_marked() -> None:
    prepare = read_settings(PrepareSettings, preset=preset_values("prepare"))
    assert (prepare.crop, prepare.policy, prepare.label_set) == ("box", "annot_a", "aihub7")
    evaluate = read_settings(EvaluateSettings, preset=preset_values("evaluate"))
    assert (evaluate.ensemble, evaluate.prompts) == ("mean_similarity", "paper")
    assert (evaluate.policy, evaluate.split) == ("annot_a", "validation")
    assert stated_by_paper("train") == {"init", "prompts"}
    assert paper_preset()["train"]["loss"].mark == "assumed"
    assert paper_preset()["prepare"]["crop"].mark == "paper"
    for entries in paper_preset().values():
        for entry in entries.values():
            assert entry.text.en
            assert entry.text.ko


def test_what_is_given_wins_and_is_said() -> None:
    settings = read_settings(
        PrepareSettings,
        overrides=["crop=square"],
        options={"size": 64, "policy": None},
        preset=preset_values("prepare"),
    )
    assert (settings.crop, settings.size, settings.policy) == ("square", 64, "annot_a")
    said = [line.en for line in preset_lines("prepare", settings) if line.en.startswith("!")]
    assert len(said) == 2
    assert "crop = square was given and wins; the preset's is box [paper]" in said[0]
    assert not [x for x in preset_lines("prepare", settings) if "was given" in x.ko]
    plain = read_settings(PrepareSettings, preset=preset_values("prepare"))
    assert not [x for x in preset_lines("prepare", plain) if x.en.startswith("!")]


@pytest.mark.parametrize(("name", "lang"), [("reproduce.md", "en"), ("reproduce.ko.md", "ko")])
def test_the_documents_show_the_table(name: str, lang: Any) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == with_table(page, lang), "run python scripts/preset_docs.py"
    assert preset_table(lang) in page
    rows = preset_table(lang).splitlines()[2:]
    assert len(rows) == sum(len(paper_preset()[command]) for command in COMMANDS)
    assert all("paper" in row or "assumed" in row for row in rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_three_commands_have_it_within_fourteen_options(command: str) -> None:
    options = {option for p in cli.commands[command].params for option in p.opts}
    assert "--paper" in options
    shared = {"--json", "--lang", "--config", "--set"}
    assert len([o for o in options if o.startswith("--")]) - len(shared) <= 14


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_three_commands_on_a_drawn_tree(tmp_path: Path) -> None:
    """Effective settings are recorded in what each command writes."""
    pytest.importorskip("torch")
    _run("synth", "aihub", "tree", "--per-class", "20", folder=tmp_path)
    small = ("--size", "48")
    said = _run("prepare", "tree", "--out", "data", "--paper", *small, folder=tmp_path)
    assert "crop = box  [paper]" in said
    assert "size = 48 was given and wins" in said
    dataset = json.loads((tmp_path / "data" / "dataset.json").read_text(encoding="utf-8"))
    assert (dataset["settings"]["crop"], dataset["policy"]) == ("box", "annot_a")
    assert dataset["provenance"]["settings"]["crop"] == "box"
    few = ("--init", "tiny", "--set", "max_steps=3", "--set", "batch_size=16", *HELD)
    said = _run("train", "data", "--out", "run", "--paper", *few, folder=tmp_path)
    assert "loss = paper  [assumed]" in said
    assert "init = tiny was given and wins; the preset's is openai/clip" in said
    config = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert 'loss = "paper" # assumed' in config
    _run("evaluate", "data", "--bundle", "run/bundle", "--out", "e", "--paper", folder=tmp_path)
    result = json.loads((tmp_path / "e" / "result.json").read_text(encoding="utf-8"))
    settings = result["provenance"]["settings"]
    assert (settings["ensemble"], settings["prompts"]) == ("mean_similarity", "paper")
    assert (result["policy"], result["split"], result["prompts"]) == (
        "annot_a",
        "validation",
        "paper",
    )
    assert result["ensemble"] == "mean_similarity"
    assert result["comparison"]["kind"] == "paper"


def _run(*arguments: str, folder: Path) -> str:
    """Run a command; its stderr."""
    done = run_command(*arguments, "--lang", "en", folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr
