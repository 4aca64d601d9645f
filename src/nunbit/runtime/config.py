"""Settings: frozen dataclasses read from TOML and ``key=value``; the paper's preset.

Each command owns its dataclass; this module reads, checks and writes them, and refuses unknown
keys. Constraints are ``Annotated[int, msgspec.Meta(ge=1)]`` on the fields.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from nunbit.core.messages import InputError, SettingsError, Text, text_of
from nunbit.runtime.files import parse_toml, require_regular
from nunbit.runtime.resources import packaged_table

S = TypeVar("S")

# Every number has a lower and an upper limit: a value beyond them is a typing error that would run
# for days or fill the disk.
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
    origin: str = "command line",
) -> S:
    """Build settings from defaults, a preset, files, command-line options and overrides.

    What comes later wins.

    Args:
        kind: A frozen dataclass with a default for every field.
        files: TOML files, later ones win.
        overrides: ``key=value`` strings; the value is TOML, or a plain string if it is not.
        options: Values from the command line; None means not given.
        preset: Values that everything given overrides.
        origin: Where ``options`` come from, for messages: a function where Python calls.

    Raises:
        SettingsError: A file cannot be read, a key is unknown or a value does not fit.
    """
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    layers = itertools.chain(
        [("preset", preset or {})],
        ((str(path), _read_toml(path)) for path in files),
        [(origin, {k: v for k, v in (options or {}).items() if v is not None})],
        (("--set", _parse_override(text)) for text in overrides),
    )
    values: dict[str, Any] = {}
    for where, layer in layers:
        _check_keys(layer, known, where)
        values |= layer
    for key, value in values.items():  # NaN and infinity pass the comparisons of a range
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(n, float) and not math.isfinite(n) for n in numbers):
            problem = Text("expected a finite number", "유한한 수여야 합니다")
            raise SettingsError(problem.under(f"{key} = {value}"))
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        choices = _choices(kind, str(exc))
        # The name first: msgspec says 'Expected `str`, got `int` - at `$.baseline`'.
        told = re.sub(r"^(.*) - at `\$\.?(.*?)`$", r"`\2`: \1", str(exc))
        raise SettingsError(
            Text(
                f"setting does not fit: {told}{choices and f'; choose from {choices}'}",
                f"설정 값이 맞지 않습니다: {told}{choices and f'. 고를 수 있는 값: {choices}'}",
            )
        ) from exc


def settings_from(kind: type[S], given: Mapping[str, Any], origin: str, **layers: Any) -> S:
    """Build settings from what a Python user gives by name.

    Paths become texts with ``~`` replaced, numbers of numpy plain ones, and one text where a list
    is meant a list of it (names of fixed choices may be joined by commas).

    Args:
        kind: A frozen dataclass with a default for every field.
        given: Setting -> value, None = not given; ``settings`` may be a ready ``kind`` alone.
        origin: The function called, for messages.
        layers: ``files`` and ``preset`` of :func:`read_settings`.

    Raises:
        SettingsError: A key is unknown or a value does not fit.
        TypeError: ``settings`` is no ``kind``, or single settings stand beside it.
    """
    options = {key: value for key, value in given.items() if value is not None}
    if (ready := options.pop("settings", None)) is not None:
        if not isinstance(ready, kind):
            raise TypeError(f"settings: expected {kind.__name__}, got {type(ready).__name__}")
        if options:
            raise TypeError(f"settings: given beside {', '.join(options)}; put them into it")
        return ready
    hints = get_type_hints(kind)
    plain = {key: _plain(value, hints.get(key)) for key, value in options.items()}
    return read_settings(kind, options=plain, origin=origin, **layers)


def _plain(value: Any, hint: Any) -> Any:
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.startswith("~")):
        value = os.path.expanduser(os.fspath(value))  # noqa: PTH111  (it stays a text)
    elif type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    elif isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, None) for item in value]
    if isinstance(value, str) and get_origin(hint) is tuple:
        choices = get_origin(get_args(hint)[0]) is Literal
        return [part.strip() for part in value.split(",") if part.strip()] if choices else [value]
    return value


def _choices(kind: Any, message: str) -> str:
    """The values of the Literal that a message of msgspec points at, or an empty string."""
    pointed = re.search(r"`\$\.(\w+)", message)
    hint = get_type_hints(kind).get(pointed[1]) if pointed else None
    choices = (m for m in (hint, *get_args(hint)) if get_origin(m) is Literal)
    return ", ".join(str(value) for choice in choices for value in get_args(choice))


def settings_to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain data without None values (TOML has no null); defaults are in it."""
    return {k: v for k, v in msgspec.to_builtins(_by_field(settings)).items() if v is not None}


def _by_field(value: Any) -> Any:
    """Dataclasses as dictionaries of all their fields.

    In an instance that msgspec made of a dataclass without slots, a default stands in the class
    alone, and ``to_builtins`` of the instance would leave it out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _by_field(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [_by_field(item) for item in value]
    return value


def parse_part(part: str | None) -> tuple[int, int]:
    """``i/n`` as two numbers; None is ``1/1``.

    Raises:
        SettingsError: Not of that form, or i is not within 1 … n.
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", "1/1" if part is None else part)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise SettingsError(
            Text(
                f"part must be i/n with 1 <= i <= n, for example 2/8; got '{part}'",
                f"part는 1 <= i <= n인 i/n 꼴이어야 합니다(예: 2/8). 받은 값: '{part}'",
            )
        )
    return int(found[1]), int(found[2])


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        require_regular(path)
        return parse_toml(path.read_text(encoding="utf-8"))
    except InputError as exc:
        raise SettingsError(exc.text) from exc
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            Text(
                f"{path}: cannot read the settings: {exc}",
                f"{path}: 설정을 읽을 수 없습니다: {exc}",
            )
        ) from exc


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(
            Text(f"--set {text}: expected key=value", f"--set {text}: key=value 꼴이어야 합니다")
        )
    try:
        parsed = parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return {key.strip(): parsed}


def _check_keys(values: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(values) - known):
        names = ", ".join(sorted(known))
        raise SettingsError(
            Text(
                f"{where}: unknown setting {', '.join(unknown)}; there are: {names}",
                f"{where}: 알 수 없는 설정 {', '.join(unknown)}. 쓸 수 있는 설정: {names}",
            )
        )


# -- the paper's preset ---------------------------------------------------------------------------
# ``runtime/data/paper_preset.toml`` alone says which setting the paper states and which is assumed.
# Everything that the user gives wins over a preset; every difference is printed.

Command = Literal["prepare", "train", "evaluate"]
COMMANDS: tuple[Command, ...] = ("prepare", "train", "evaluate")


@dataclass(frozen=True, slots=True)
class Marked:
    """One setting of the paper's experiment.

    Attributes:
        value: What the preset sets.
        mark: ``paper`` where the paper states it, else ``assumed``.
        text: Why.
    """

    value: str | int
    mark: Literal["paper", "assumed"]
    text: Text


def paper_preset() -> dict[str, dict[str, Marked]]:
    """The preset of every command: command -> setting -> value and mark."""
    return {
        command: {
            name: Marked(entry["value"], entry["mark"], text_of(entry))
            for name, entry in settings.items()
        }
        for command, settings in packaged_table("runtime/data/paper_preset.toml").items()
    }


def preset_values(command: Command) -> dict[str, str | int]:
    """What ``--paper`` sets, as the lowest layer of ``config.read_settings``."""
    return {name: entry.value for name, entry in paper_preset()[command].items()}


def stated_by_paper(command: Command) -> frozenset[str]:
    """Names of the settings that the paper states."""
    return frozenset(n for n, entry in paper_preset()[command].items() if entry.mark == "paper")


def preset_lines(command: Command, settings: Any) -> list[Text]:
    """Lines for ``--paper``: one for each setting, then one for each that departs from the preset.

    Args:
        command: The command.
        settings: Its effective settings.
    """
    given = settings_to_dict(settings)
    lines, departing = [], []
    for name, entry in paper_preset()[command].items():
        value = _plain_preset(given.get(name))
        line = f"  {name} = {value}"
        if value == entry.value:
            marked = f"{line}  [{entry.mark}]"
            lines.append(Text(f"{marked} {entry.text.en}", f"{marked} {entry.text.ko}"))
        else:
            lines.append(text_of(line))
            departing.append(
                Text(
                    f"! --paper: {name} = {value} was given and wins; the preset's is "
                    f"{entry.value} [{entry.mark}]",
                    f"! --paper: 지정한 {name} = {value} 값을 씁니다. 프리셋 값은 {entry.value} "
                    f"[{entry.mark}]",
                )
            )
    head = Text(
        f"--paper: settings of {command}, each marked 'paper' (stated) or 'assumed'",
        f"--paper: {command} 설정. paper는 논문에 있는 것, assumed는 가정한 것",
    )
    return [head, *lines, *departing]


def _plain_preset(value: Any) -> Any:
    # One comparison may be given as a list of one.
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        values = list(value)
        return values[0] if len(values) == 1 else ", ".join(map(str, values))
    return value
