"""Settings: frozen dataclasses read from TOML and ``--set key=value``, unknown keys refused.

Each command owns its dataclass; this module only reads, checks and writes them. Constraints are
``Annotated[int, msgspec.Meta(ge=1)]`` on the fields.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from nunbit.errors import InputError, SettingsError
from nunbit.files import parse_toml, require_regular

S = TypeVar("S")

# Every number of a setting has both ends: what lies beyond them is a slip of the finger, and would
# run for days or fill the disk.
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Threads = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Workers = Annotated[int, msgspec.Meta(ge=0, le=1024)]
"""0 = the cores this process may use."""
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


def read_settings(
    kind: type[S],
    *,
    files: Iterable[Path] = (),
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    preset: Mapping[str, Any] | None = None,
) -> S:
    """Build settings from defaults, a preset, files, command-line options and overrides.

    What comes later wins.

    Args:
        kind: A frozen dataclass with a default for every field.
        files: TOML files, later ones win.
        overrides: ``key=value`` strings; the value is TOML, or a plain string if it is not.
        options: Values from the command line; None means not given.
        preset: Values that everything given overrides.

    Raises:
        SettingsError: A file cannot be read, a key is unknown or a value does not fit.
    """
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = _checked_keys(dict(preset or {}), known, "preset")
    for path in files:
        values |= _checked_keys(_read_toml(path), known, str(path))
    given = {k: v for k, v in (options or {}).items() if v is not None}
    values |= _checked_keys(given, known, "command line")
    for text in overrides:
        values |= _checked_keys(_parse_override(text), known, "--set")
    _refuse_infinite(values)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        choices = _choices(kind, str(exc))
        raise SettingsError(
            en=f"setting does not fit: {exc}{choices and f'; choose from {choices}'}",
            ko=f"설정 값이 맞지 않습니다: {exc}{choices and f'. 고를 수 있는 값: {choices}'}",
        ) from exc


def _refuse_infinite(values: Mapping[str, Any]) -> None:
    """NaN passes every comparison that a range is, and infinity most.

    Raises:
        SettingsError: A number is NaN or infinite.
    """
    for key, value in values.items():
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(n, float) and not math.isfinite(n) for n in numbers):
            raise SettingsError(
                en=f"{key} = {value}: expected a finite number",
                ko=f"{key} = {value}: 유한한 수여야 합니다",
            )


def _choices(kind: Any, message: str) -> str:
    """The values of the Literal that a message of msgspec points at, or an empty string."""
    pointed = re.search(r"`\$\.(\w+)", message)
    hint = get_type_hints(kind).get(pointed[1]) if pointed else None
    members = [hint, *get_args(hint)]
    values = [v for m in members if get_origin(m) is Literal for v in get_args(m)]
    return ", ".join(map(str, values))


def settings_to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain data without None values (TOML has no null)."""
    plain = msgspec.to_builtins(settings)
    return {k: v for k, v in plain.items() if v is not None}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        require_regular(path)
        return parse_toml(path.read_text(encoding="utf-8"))
    except InputError as exc:
        raise SettingsError(en=exc.en, ko=exc.ko) from exc
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            en=f"{path}: cannot read the settings: {exc}",
            ko=f"{path}: 설정을 읽을 수 없습니다: {exc}",
        ) from exc


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(
            en=f"--set {text}: expected key=value", ko=f"--set {text}: key=value 꼴이어야 합니다"
        )
    try:
        parsed = parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return {key.strip(): parsed}


def _checked_keys(values: dict[str, Any], known: set[str], where: str) -> dict[str, Any]:
    unknown = sorted(set(values) - known)
    if unknown:
        names = ", ".join(sorted(known))
        raise SettingsError(
            en=f"{where}: unknown setting {', '.join(unknown)}; there are: {names}",
            ko=f"{where}: 알 수 없는 설정 {', '.join(unknown)}. 쓸 수 있는 설정: {names}",
        )
    return values
