from __future__ import annotations

import ast
import dataclasses
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

import nunbit
from nunbit.core.messages import SettingsError
from nunbit.runtime.config import read_settings, settings_to_dict
from nunbit.runtime.files import parse_toml

ROOT = Path(nunbit.__file__).parent


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


def _given_by_a_person() -> set[str]:
    """Names of the classes of settings that commands read from files and options."""
    return {
        argument.id
        for path in ROOT.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and (
            getattr(call.func, "id", "") == "read_settings"
            or (getattr(call.func, "attr", ""), path.parent.name) == ("read", "cli")
        )
        for argument in call.args
        if isinstance(argument, ast.Name) and argument.id.endswith("Settings")
    }


def _settings_classes() -> dict[str, type]:
    """All dataclasses of the package that are named ``...Settings``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if "Settings:" in (text := path.read_text(encoding="utf-8")) or "Settings(" in text:
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = importlib.import_module(".".join(("nunbit", *parts)).removesuffix(".__init__"))
            found |= {
                f"{module.__name__}.{c.__name__}": c
                for c in vars(module).values()
                if isinstance(c, type) and c.__module__ == module.__name__
                if dataclasses.is_dataclass(c) and c.__name__.endswith("Settings")
            }
    return found


@pytest.mark.slow
def test_every_number_of_a_setting_has_both_ends() -> None:
    """Of all settings a person gives, and of every class that has a range at all."""
    given = _given_by_a_person()
    assert {"AlignSettings", "AnalyzeSettings", "TrainSettings", "CheckSettings"} <= given
    classes = _settings_classes()
    assert given <= {name.rpartition(".")[2] for name in classes}
    without = []
    for name, kind in classes.items():
        hints = get_type_hints(kind, include_extras=True)
        # A box lies anywhere in the picture, and beyond it.
        numbers = [(f, n) for f, h in hints.items() if f != "target_box" for n in _numbers(h)]
        ranges = [(field, *_ends(number)) for field, number in numbers]
        if kind.__name__ in given or any(low or high for _, low, high in ranges):
            without += [f"{name}.{field}" for field, low, high in ranges if not (low and high)]
    assert not without


@pytest.mark.slow
def test_defaults_stand_in_what_is_written_down() -> None:
    """However settings came about, provenance and keys of kept work name every one of them."""
    given = _given_by_a_person()
    classes = [c for c in _settings_classes().values() if c.__name__ in given]
    assert len(classes) > 8
    for kind in classes:
        names = {f.name for f in dataclasses.fields(kind) if getattr(kind(), f.name) is not None}
        assert set(settings_to_dict(read_settings(kind))) == names, kind
        assert settings_to_dict(read_settings(kind)) == settings_to_dict(kind()), kind


def _ends(number: Any) -> tuple[bool, bool]:
    """Whether an annotated number has a lower and an upper end."""
    ends = [m for m in get_args(number)[1:] if isinstance(m, msgspec.Meta)]
    low = any(e.ge is not None or e.gt is not None for e in ends)
    high = any(e.le is not None or e.lt is not None for e in ends)
    return low, high


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
    from nunbit.stories.analyze.job import AnalyzeSettings

    with pytest.raises(SettingsError) as caught:
        read_settings(AnalyzeSettings, overrides=[override])
    if says != "hop":
        assert says in caught.value.text.en
    assert "\n" not in caught.value.text.line("ko")


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


def test_a_byte_order_mark_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("\ufeffseed = 7\n", encoding="utf-8")
    assert parse_toml(path.read_text(encoding="utf-8")) == {"seed": 7}
