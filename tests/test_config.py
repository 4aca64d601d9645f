from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from nunbit.config import read_settings, settings_to_dict
from nunbit.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    rate: Annotated[float, msgspec.Meta(gt=0)] = 0.1
    steps: int = 5
    kind: Literal["a", "b"] = "a"
    note: str | None = None


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("rate = 0.5\nsteps = 7\n")
    settings = read_settings(
        Settings, files=[path], options={"steps": 9, "kind": None}, overrides=["note=hello"]
    )
    assert settings == Settings(rate=0.5, steps=9, note="hello")
    assert settings_to_dict(Settings()) == {"rate": 0.1, "steps": 5, "kind": "a"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rate=-1", "> 0.0"),
        ("steps=1.5", "Expected `int`"),
        ("kind=c", "Invalid enum value.*choose from a, b"),
        ("colour=red", "unknown setting colour"),
        ("steps", "expected key=value"),
    ],
)
def test_bad_values_are_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(Settings, overrides=[override])


@pytest.mark.parametrize("content", ["rate = ", "colour = 1"])
def test_bad_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"s\.toml"):
        read_settings(Settings, files=[path])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings"):
        read_settings(Settings, files=[tmp_path / "none.toml"])


SETTINGS = ("analyze.AnalyzeSettings", "check.CheckSettings", "evaluate.settings.EvaluateSettings",
            "predict.PredictSettings", "prepare.PrepareSettings", "search.SearchSettings",
            "synth.aihub.SynthSettings", "training.settings.TrainSettings")  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_number_of_a_setting_has_both_ends(name: str) -> None:
    module, _, kind = name.rpartition(".")
    settings = getattr(importlib.import_module(f"nunbit.{module}"), kind)
    for field, hint in get_type_hints(settings, include_extras=True).items():
        for number in _numbers(hint):
            ends = [m for m in get_args(number)[1:] if isinstance(m, msgspec.Meta)]
            low = [e for e in ends if e.ge is not None or e.gt is not None]
            high = [e for e in ends if e.le is not None or e.lt is not None]
            # A box lies anywhere in the picture, and beyond it.
            assert field == "target_box" or (low and high), f"{name}.{field} has no range"


def _numbers(hint: Any) -> list[Any]:
    """The int and float parts of an annotation, with what is said of them."""
    if hint in (int, float):
        return [hint]
    if get_origin(hint) is Annotated and get_args(hint)[0] in (int, float):
        return [hint]
    if get_origin(hint) is Literal:
        return []
    return [found for part in get_args(hint) for found in _numbers(part)]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("hop_s=1e-9", "0.1"),
        ("hop_s=nan", "finite"),
        ("hop_s=inf", "finite"),
        ("window_s=1e9", "600"),
        ("workers=100000", "1024"),
        ("seed=99999999999999999999999999", "hop"),
        ("target_box=[0, 0, nan, 1]", "finite"),
    ],
)
def test_absurd_settings_are_refused_in_a_line(override: str, says: str) -> None:
    from nunbit.analyze import AnalyzeSettings

    with pytest.raises(SettingsError) as caught:
        read_settings(AnalyzeSettings, overrides=[override])
    if says != "hop":
        assert says in caught.value.en
    assert "\n" not in caught.value.text("ko")


def test_settings_files_that_are_hostile_are_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for text in ("note = " + "[" * 100_000, "steps = " + "9" * 5000):
        path.write_text(text)
        with pytest.raises(SettingsError, match="cannot read the settings"):
            read_settings(Settings, files=[path])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SettingsError, match="a pipe or a device"):
        read_settings(Settings, files=[pipe])
