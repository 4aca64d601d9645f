"""``RUN/bundle/``: the bundle as it was, with the heads of the alignment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nunbit.alignment import Heads
from nunbit.analyze.aligned import ALIGNMENT, ALIGNMENT_FILE, TREND, write_heads
from nunbit.encoders import BUNDLE_FILE, load_bundle
from nunbit.files import read_json, sha256_file, write_json, writing


def write_aligned_bundle(source: Path, target: Path, heads: Heads, result: dict[str, Any]) -> None:
    """Copy a bundle and add the heads; everything else stays as it is.

    Args:
        source: The bundle whose models the heads were fitted to.
        target: Folder to write; an earlier one is replaced.
        heads: Of the alignment.
        result: ``result.json``; its figures go into the bundle's section.

    Raises:
        InputError: It cannot be written.
    """
    document = read_json(source / BUNDLE_FILE)
    with writing(target):
        if target.resolve() != source.resolve():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        write_heads(target / ALIGNMENT_FILE, heads)
    document["checksums"] = document["checksums"] | {
        ALIGNMENT_FILE: sha256_file(target / ALIGNMENT_FILE)
    }
    document[ALIGNMENT] = {
        "modalities": list(heads.modalities),
        "method": heads.method,
        "size": heads.size,
        "window_s": result["window_s"],
        "people": result["assessment"]["people"],
        "windows": result["assessment"]["windows"],
        "synthetic": result["synthetic"],
        "trend": TREND,
        "headline": result["assessment"]["headline"],
        "verdict": {
            name: {k: v for k, v in pair["verdict"].items() if k not in ("text", "text_ko")}
            for name, pair in result["assessment"]["pairs"].items()
        },
        "identity": {
            modality: {k: probe[k] for k in ("state", "chance", "above_chance", "margin", "people")}
            for modality, probe in result["assessment"]["identity"].items()
        },
    }
    write_json(target / BUNDLE_FILE, document)
    load_bundle(target, threads=1)  # what was written can be read
