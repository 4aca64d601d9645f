"""Write a bundle with a voice tower: a copy of a bundle plus the tower, its licence and limits.

The copy appears under its name only when it is whole and onnxruntime agrees with torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from development.voice_stage import FittedVoice
from nunbit.core.messages import InputError, Text, TrainingError
from nunbit.core.streams import Singles
from nunbit.model.bundle import BUNDLE_FILE, VOICE_FILE, VoiceSection
from nunbit.model.encoders import load_bundle
from nunbit.runtime.files import read_json, sha256_file, write_json, write_text, writing
from nunbit.training.onnx import CARD_FILE, DYNAMIC, export_tower

PARITY_COSINE = 0.999
MOST_BYTES = 2_000_000
LICENCE_FILE = "LICENSE"
_HEADING = "\n## Voice tower (experimental)\n"
_LICENCE_HEADING = "\nThe voice tower (voice.onnx)\n"

CORPUS_LICENCES = {
    "ravdess": "RAVDESS (Livingstone and Russo 2018): CC BY-NC-SA 4.0",
    "emodb": "EmoDB (Burkhardt et al. 2005): free for research",
    "korean_emotional": "Korean emotional speech: CC BY-NC-SA 4.0, research only",
}


def write_voice_bundle(
    source: Path,
    out: Path,
    fitted: FittedVoice,
    section: VoiceSection,
    samples: Singles,
    figures: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Copy a bundle and put a voice tower into it.

    Args:
        source: The bundle; a voice tower of its own is replaced.
        out: Must not exist.
        fitted: The tower.
        section: Goes into ``bundle.json`` as ``voice``.
        samples: (N, F) standardised functionals for the comparison of torch and onnxruntime.
        figures: What held-out speakers gave; kept in ``bundle.json`` as ``voice.held_out``.

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
            Text(
                f"{out}: exists already; choose another --out",
                f"{out}: 이미 있습니다. 다른 --out을 고르십시오",
            )
        )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    with writing(out):
        try:
            shutil.copytree(source, partial)
            example = torch.zeros(2, len(section.spread))
            export_tower(
                fitted.tower, (example,), ({0: DYNAMIC},), ["functionals"], partial / VOICE_FILE
            )
            document: dict[str, Any] = read_json(partial / BUNDLE_FILE) | {"voice": asdict(section)}
            _seal(partial, document)
            document["voice"]["parity"] = _parity(partial, fitted, samples)
            document["voice"]["held_out"] = dict(figures or {})
            _replace_tail(partial / CARD_FILE, _HEADING, voice_card(document), "# Model card\n")
            _replace_tail(partial / LICENCE_FILE, _LICENCE_HEADING, voice_licence(document), "")
            _seal(partial, document)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return document


def _seal(folder: Path, document: dict[str, Any]) -> None:
    files = sorted(p for p in folder.iterdir() if p.name != BUNDLE_FILE)
    document["checksums"] = {p.name: sha256_file(p) for p in files}
    write_json(folder / BUNDLE_FILE, document)


def _parity(folder: Path, fitted: FittedVoice, samples: Singles) -> dict[str, float]:
    cosines = (load_bundle(folder, threads=1).embed_voice(samples) * fitted.embed(samples)).sum(1)
    smallest, size = float(cosines.min()), (folder / VOICE_FILE).stat().st_size
    if smallest < PARITY_COSINE or size > MOST_BYTES:
        raise TrainingError(
            Text(
                f"{VOICE_FILE}: smallest cosine to torch {smallest:.5f} (at least "
                f"{PARITY_COSINE}), {size} bytes (at most {MOST_BYTES})",
                f"{VOICE_FILE}: torch와의 최소 코사인 {smallest:.5f} (최소 {PARITY_COSINE}), "
                f"{size}바이트 (최대 {MOST_BYTES})",
            )
        )
    return {"min_cosine": round(smallest, 6), "stretches": len(samples), "bytes": size}


def voice_card(document: Mapping[str, Any]) -> str:
    """The voice section of ``MODEL_CARD.md``, its heading included; '' without a voice tower.

    Args:
        document: ``bundle.json`` as :func:`write_voice_bundle` writes it.
    """
    voice = document.get("voice")
    if not voice:
        return ""
    seen = voice["labels_seen"]
    unheard = [lb["id"] for lb in document["label_set"]["labels"] if lb["id"] not in seen]
    lines = [
        _HEADING,
        f"Experimental: {voice['note']}.\n",
        f"Corpora: {', '.join(voice['corpora'])} (acted speech). "
        f"Labels heard: {', '.join(seen)}. "
        f"Never heard, known by their prompt only: {', '.join(unheard) or 'none'}.\n",
    ]
    figures = voice.get("held_out")
    if figures:
        lines += [
            "Speakers held out in turn (five parts); the settings were chosen after seeing folds "
            "of these corpora, so the figures are slightly optimistic. The temperature was fitted "
            "on the same answers.\n",
            "| test | utterances | speakers | UAR [95%, speaker bootstrap] |",
            "|---|--:|--:|--:|",
            *(
                f"| {name} | {f['utterances']:,} | {f['speakers']} | {f['uar']:.3f} "
                f"[{f['ci95'][0]:.3f}, {f['ci95'][1]:.3f}] |"
                for name, f in figures["tests"].items()
            ),
            "",
            "Over so few speakers these intervals are too narrow: in simulation a bootstrap of 4 "
            "to 20 persons covers 80 to 93% where it says 95%.\n",
            "Recall per class: "
            + ", ".join(f"{k} {v:.2f}" for k, v in figures["recall"].items())
            + ".\n",
        ]
    parity = voice["parity"]
    lines.append(
        f"Agreement with torch on {parity['stretches']} stretches: smallest cosine "
        f"{parity['min_cosine']:.6f}; {parity['bytes']:,} bytes; logit scale "
        f"{voice['logit_scale']}, temperature {voice['temperature']}.\n"
    )
    return "\n".join(lines)


def voice_licence(document: Mapping[str, Any]) -> str:
    """What LICENSE says of the voice tower, its heading included; '' without one."""
    voice = document.get("voice")
    if not voice:
        return ""
    named = [f"- {CORPUS_LICENCES.get(c, c)}" for c in voice["corpora"]]
    return "\n".join(
        [
            _LICENCE_HEADING,
            "voice.onnx holds weights trained on acted speech of these corpora, none of which is "
            "contained in it:",
            *named,
            "It may be used for non-commercial research and teaching only, with the corpora named, "
            "and passed on only with this file and under the same terms. The limits of use above "
            "hold for it, too.\n",
        ]
    )


def _replace_tail(path: Path, heading: str, text: str, otherwise: str) -> None:
    kept = path.read_text(encoding="utf-8") if path.is_file() else otherwise
    write_text(path, kept.split(heading)[0].rstrip() + "\n" + text)


def rounded(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    """Six significant digits: what ``bundle.json`` holds is what training used."""
    return tuple(float(f"{v:.6g}") for v in values)
