"""Write an adapted bundle, or one without its adaptation: always into a new folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from nunbit.core.messages import InputError, Text
from nunbit.model.bundle import BUNDLE_FILE, damaged
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.posterior import adaptation_of
from nunbit.runtime.claims import replaced_folder
from nunbit.runtime.files import as_given, json_text, read_json, sha256_file
from nunbit.stories.adapt.adaptation_result import AdaptResult

BASE_FILE = "bundle.base.json"
"""In an adapted bundle: ``bundle.json`` as it was, byte for byte."""


def refuse_place(base: Bundle, out: Path) -> None:
    """Refuse an ``out`` that is, holds or lies in the old bundle, or has files in it.

    Raises:
        InputError: It is not free.
    """
    place, old = as_given(out).resolve(), base.path.resolve()
    if place == old or old in place.parents or place in old.parents:
        raise InputError(
            Text(
                f"{out}: the old bundle is there and is never changed; choose another `out`",
                f"{out}: 원래 번들이 있는 곳입니다. 원래 번들은 바꾸지 않으니 다른 `out`을 "
                "고르십시오",
            )
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(
            Text(
                f"{out}: exists and is not empty; choose another `out` or delete it",
                f"{out}: 비어 있지 않습니다. 다른 `out`을 고르거나 지우십시오",
            )
        )


def write_adapted(base: Bundle, out: Path, result: AdaptResult) -> AdaptResult:
    """Copy the bundle and write the adaptation into its ``bundle.json``."""
    assert result.adaptation is not None
    document = dict(read_json(base.path / BUNDLE_FILE))
    adaptation = replace(result.adaptation, evidence=result.evidence)
    # Two models that answer differently have two names.
    document["name"] = f"{base.document.name}-adapted"
    # Chosen on other probabilities.
    document.pop("thresholds", None)
    document["adaptation"] = msgspec.to_builtins(adaptation)
    before = (base.path / BUNDLE_FILE).read_bytes()
    folder = _copied(base, out, {BUNDLE_FILE: _bytes(document), BASE_FILE: before})
    return replace(result, written=True, adaptation=adaptation, folder=folder)


def write_removed(base: Bundle, out: Path) -> AdaptResult:
    """Copy the bundle without its adaptation.

    Raises:
        InputError: It has none.
        BundleError: What it was made from is not kept in it.
    """
    adaptation = adaptation_of(base)
    if adaptation is None:
        raise InputError(
            Text(
                f"{base.path}: has no adaptation to remove",
                f"{base.path}: 제거할 맞춤이 없는 번들입니다",
            )
        )
    kept = base.path / BASE_FILE
    if not kept.is_file() or sha256_file(kept) != adaptation.base.get("sha256"):
        raise damaged(kept, "it is missing or was changed, and holds the bundle as it was")
    folder, about = _copied(base, out, {BUNDLE_FILE: kept.read_bytes()}), adaptation.evidence
    return AdaptResult(
        written=True,
        method="removed",
        before=None,
        after=None,
        tried={"method": adaptation.method, "after": None},
        gain={},
        losses={},
        n_images=int(about.get("n_images") or 0),
        n_persons=about.get("n_persons"),
        counts={},
        limits=(),
        bundle_name=base.document.name,
        bundle_hash=base.hash,
        labels=base.label_set.ids,
        folder=folder,
    )


def _bytes(document: dict[str, Any]) -> bytes:
    return (json_text(sealed_document(document), indent=2) + "\n").encode()


def _copied(base: Bundle, out: Path, written: dict[str, bytes]) -> Path:
    """The new folder, whole or not at all; it is read again before it counts."""
    folder = as_given(out)
    with replaced_folder(folder) as partial:
        for file in sorted(base.path.iterdir()):
            if file.is_file() and file.name not in (BUNDLE_FILE, BASE_FILE):
                shutil.copyfile(file, partial / file.name)
        for name, content in written.items():
            (partial / name).write_bytes(content)
        load_bundle(partial)
    return folder
