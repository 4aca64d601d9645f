"""A bundle with a voice tower: a copy of a bundle, the tower, how it is used, and the proof.

The copy appears under its name only when it is whole and onnxruntime agrees with torch.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.encoders import BUNDLE_FILE, VOICE_FILE, VoiceSection, load_bundle
from nunbit.errors import InputError, TrainingError
from nunbit.files import read_json, sha256_file, write_json, write_text, writing
from nunbit.training.model_card import CARD_FILE
from nunbit.training.onnx_export import export_voice_tower
from nunbit.training.voice_stage import FittedVoice
from nunbit.zeroshot import Array

PARITY_COSINE = 0.999
MOST_BYTES = 2_000_000
_HEADING = "\n## Voice tower\n"
LICENCE_FILE = "LICENSE"
_LICENCE_HEADING = "\nVoice tower (voice.onnx)\n"
CORPUS_LICENCES = {
    "ravdess": "RAVDESS (CC BY-NC-SA 4.0)",
    "emodb": "EmoDB (free for research)",
    "korean_emotional": "Korean emotional speech (CC BY-NC-SA 4.0)",
}


def write_voice_bundle(
    source: Path, out: Path, fitted: FittedVoice, section: VoiceSection, samples: Array
) -> dict[str, Any]:
    """Copy a bundle and put a voice tower into it.

    Args:
        source: The bundle; a voice tower of its own is replaced.
        out: Must not exist.
        fitted: The tower.
        section: Goes into ``bundle.json`` as ``voice``.
        samples: (N, F) standardised functionals for the comparison of torch and onnxruntime.

    Returns:
        ``bundle.json``.

    Raises:
        BundleError: ``source`` is no bundle or damaged.
        InputError: ``out`` exists or cannot be written.
        TrainingError: The tower cannot be exported, is too large, or answers otherwise than torch.
    """
    load_bundle(source)
    if out.exists():
        raise InputError(
            en=f"{out}: exists already; choose another --out",
            ko=f"{out}: 이미 있습니다. 다른 --out을 고르십시오",
        )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    with writing(out):
        try:
            shutil.copytree(source, partial)
            export_voice_tower(fitted.tower, len(section.spread), partial / VOICE_FILE)
            document: dict[str, Any] = read_json(partial / BUNDLE_FILE) | {"voice": asdict(section)}
            _seal(partial, document)
            figures = _parity(partial, fitted, samples)
            document["voice"] |= {"parity": figures}
            _extend_card(partial / CARD_FILE, document["voice"])
            _extend_licence(partial / LICENCE_FILE, section.corpora)
            _seal(partial, document)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return document


def _seal(folder: Path, document: dict[str, Any]) -> None:
    files = sorted(p for p in folder.iterdir() if p.name != BUNDLE_FILE)
    document["checksums"] = {p.name: sha256_file(p) for p in files}
    write_json(folder / BUNDLE_FILE, document)


def _parity(folder: Path, fitted: FittedVoice, samples: Array) -> dict[str, float]:
    cosines = (load_bundle(folder, threads=1).embed_voice(samples) * fitted.embed(samples)).sum(1)
    smallest, size = float(cosines.min()), (folder / VOICE_FILE).stat().st_size
    if smallest < PARITY_COSINE or size > MOST_BYTES:
        raise TrainingError(
            en=f"{VOICE_FILE}: smallest cosine to torch {smallest:.5f} (at least {PARITY_COSINE}), "
            f"{size} bytes (at most {MOST_BYTES})",
            ko=f"{VOICE_FILE}: torch와의 최소 코사인 {smallest:.5f} (최소 {PARITY_COSINE}), "
            f"{size}바이트 (최대 {MOST_BYTES})",
        )
    return {"min_cosine": round(smallest, 6), "stretches": len(samples), "bytes": size}


def _extend_card(path: Path, voice: dict[str, Any]) -> None:
    card = path.read_text(encoding="utf-8") if path.is_file() else "# Model card\n"
    about = {k: v for k, v in voice.items() if k != "spread"}
    lines = "\n".join(f"- {k}: {json.dumps(v, ensure_ascii=False)}" for k, v in about.items())
    write_text(path, card.split(_HEADING)[0].rstrip() + f"\n{_HEADING}\n{lines}\n")


def _extend_licence(path: Path, corpora: tuple[str, ...]) -> None:
    """Name the speech the tower learned from; a bundle without a licence file gets one."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    named = "; ".join(CORPUS_LICENCES.get(c, f"{c} (licence not recorded)") for c in corpora)
    about = f"voice.onnx holds weights trained on: {named}. Non-commercial research only.\n"
    kept = before.split(_LICENCE_HEADING)[0].rstrip()
    write_text(path, f"{kept}\n{_LICENCE_HEADING}\n{about}".lstrip())


def rounded(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    """Six significant digits: what ``bundle.json`` holds is what training used."""
    return tuple(float(f"{v:.6g}") for v in values)
