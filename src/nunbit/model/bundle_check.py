"""``bundle.json`` as it is read: whole, unchanged, and with numbers that a model can have.

Whoever made a bundle may be a stranger, and a file may be damaged: nothing in it is used before
it is looked at. ``bundle.json`` holds the checksums of all files beside it, and one of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.model.bundle import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    IMAGE_FILE,
    BundleDocument,
    Preprocessing,
    damaged,
    verify_checksums,
)
from nunbit.runtime.files import require_regular

OWN_CHECKSUM = "document_sha256"

MOST_PIXELS = 1024
"""Side of the image tower's input. A batch of 32 then takes 400 MB; no CLIP model has more."""
_FEWEST_PIXELS = 8
_MOST_DIMENSIONS = 65_536
_MOST_SCALE = 1e4
"""CLIP caps its logit scale at 100."""
_LEAST_DIVISOR = 1e-6


def sealed_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of ``bundle.json`` with the checksum of all that it says."""
    rest = {key: value for key, value in document.items() if key != OWN_CHECKSUM}
    return rest | {OWN_CHECKSUM: _digest(rest)}


def _digest(document: Mapping[str, Any]) -> str:
    # Of what it says, not of its bytes: a copy through a tool that changes line ends is no damage.
    told = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


def read_bundle_document(path: Path) -> tuple[BundleDocument, str]:
    """Read ``bundle.json`` of a folder and verify it and the checksums of the files beside it.

    Args:
        path: The bundle's folder.

    Returns:
        The document, and the sha256 of its file.

    Raises:
        BundleError: The folder or a file is missing, unreadable or damaged.
    """
    file = path / BUNDLE_FILE
    try:
        require_regular(file)
        raw = file.read_bytes()
        plain = json.loads(raw)
        document = msgspec.convert(plain, BundleDocument)
        preprocessing = msgspec.convert(document.preprocessing, Preprocessing)
    except FileNotFoundError as exc:
        raise BundleError(
            Text(
                f"{path}: no bundle here (no {BUNDLE_FILE}); give the folder that nunbit train or "
                "nunbit export wrote, for example RUN/bundle",
                f"{path}: 번들이 아닙니다 ({BUNDLE_FILE} 없음). nunbit train이나 nunbit export가 "
                "만든 폴더(예: RUN/bundle)를 주십시오",
            )
        ) from exc
    except InputError as exc:
        raise BundleError(exc.text) from exc
    except RecursionError as exc:
        raise damaged(file, "nested too deeply") from exc
    except (OSError, ValueError, OverflowError, msgspec.ValidationError) as exc:
        raise damaged(file, exc) from exc
    if document.format != BUNDLE_FORMAT:
        raise damaged(file, f"format '{document.format}', expected '{BUNDLE_FORMAT}'")
    _check_own(file, plain)
    if IMAGE_FILE not in document.checksums:
        raise damaged(file, f"no checksum of {IMAGE_FILE}")
    for wrong in _unusable(document, preprocessing):
        raise damaged(file, wrong)
    verify_checksums(path, document.checksums)
    return document, hashlib.sha256(raw).hexdigest()


def _check_own(file: Path, plain: Mapping[str, Any]) -> None:
    """Compare the document with its own checksum; one of version 0.1 has none."""
    own = plain.get(OWN_CHECKSUM)
    if own is None:
        return
    if own != _digest({key: value for key, value in plain.items() if key != OWN_CHECKSUM}):
        raise BundleError(
            Text(
                f"{file}: was changed or not copied completely (its own checksum differs); copy or "
                f"export the bundle again, or remove {OWN_CHECKSUM} if you changed it on purpose",
                f"{file}: 변경되었거나 완전히 복사되지 않았습니다(자체 체크섬이 다름). 번들을 다시 "
                f"복사하거나 내보내십시오. 일부러 고쳤다면 {OWN_CHECKSUM}을(를) 지우십시오",
            )
        )


def _unusable(document: BundleDocument, preprocessing: Preprocessing) -> Iterator[str]:
    """What no model can have, first things first."""
    if not _FEWEST_PIXELS <= preprocessing.image_size <= MOST_PIXELS:
        yield _wants("preprocessing.image_size", f"{_FEWEST_PIXELS} to {MOST_PIXELS} pixels")
    if not all(_is_divisor(s) for s in preprocessing.std):
        yield _wants("preprocessing.std", "numbers above zero")
    if not all(map(math.isfinite, preprocessing.mean)):
        yield _wants("preprocessing.mean", "finite numbers")
    if not 1 <= document.embedding_size <= _MOST_DIMENSIONS:
        yield _wants("embedding_size", f"1 to {_MOST_DIMENSIONS:,}")
    if document.max_tokens is not None and document.max_tokens < 1:
        yield _wants("max_tokens", "1 or more")
    for name, part in (
        ("", document),
        ("voice.", document.voice),
        ("text_emotion.", document.text_emotion),
    ):
        if part is not None and not 0 < part.logit_scale <= _MOST_SCALE:
            yield _wants(f"{name}logit_scale", f"a number above 0, at most {_MOST_SCALE:g}")
        if part is not None and not _is_divisor(part.temperature):
            yield _wants(f"{name}temperature", "a number above zero")
    if (voice := document.voice) is not None:
        if not voice.spread or not all(_is_divisor(s) for s in voice.spread):
            yield _wants("voice.spread", "numbers above zero")
        if voice.rate_hz < 1 or not _is_divisor(voice.window_s):
            yield _wants("voice.rate_hz and voice.window_s", "numbers above zero")
    shares = (document.class_shares or {}).values()
    if not all(math.isfinite(share) and share >= 0 for share in shares):
        yield _wants("class_shares", "shares")
    if any(t is not None and not 0 <= t <= 1 for t in (document.thresholds or {}).values()):
        yield _wants("thresholds", "numbers from 0 to 1")


def _is_divisor(number: float) -> bool:
    return math.isfinite(number) and number >= _LEAST_DIVISOR


def _wants(name: str, expected: str) -> str:
    return f"{name}: expected {expected}"
