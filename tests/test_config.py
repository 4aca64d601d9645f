from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

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
