"""Train the voice tower of a bundle on acted speech and write a copy of the bundle that has it.

    python scripts/fit_voice.py BUNDLE DATA --out BUNDLE2 --cache FOLDER

BUNDLE is a bundle or a run that holds one; DATA holds speech/ravdess, speech/emodb and
speech/korean_emotional. The temperature is fitted on voices of speakers that were held out in turn;
the tower that is written has heard all speakers. benchmarks/voice_tower.py measures it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nunbit.encoders import BUNDLE_FILE, VoiceSection, load_bundle
from nunbit.errors import NunbitError
from nunbit.metrics import confusion_matrix, uar
from nunbit.metrics.calibration import fit_temperature
from nunbit.prompts import load_template_set
from nunbit.streams import AUDIO_RATE_HZ
from nunbit.training.voice_data import label_set_with_own, load_recordings
from nunbit.training.voice_export import rounded, write_voice_bundle
from nunbit.training.voice_stage import CHOSEN, fit_voice, held_out
from nunbit.voice_features import FEATURE_FORMAT, standardise
from nunbit.zeroshot import ensemble_cosines

NOTE = (
    "not validated on spontaneous speech: trained on acted speech only; relative to the person's "
    "mean over the recording; labels not in labels_seen are known by their prompt only"
)


def main() -> int:
    """Fit, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are small: more threads only wait for each other
    source = a.bundle if (a.bundle / BUNDLE_FILE).is_file() else a.bundle / "bundle"
    try:
        print(json.dumps(fit(source, a.data, a.out, a.cache), indent=2))
    except NunbitError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def fit(source: Path, data: Path, out: Path, cache: Path) -> dict[str, Any]:
    """Everything; returns the figures."""
    bundle = load_bundle(source, threads=1)
    labels, names = label_set_with_own(bundle.label_set)
    prompts = bundle.prompt_embeddings(load_template_set(bundle.default_template_set), labels)
    cache.mkdir(parents=True, exist_ok=True)
    heard = load_recordings(data, cache / "functionals.npz")
    heard = heard.take(np.isfinite(heard.rows).any(axis=1))
    truth = np.array([labels.index(names[e]) for e in heard.emotion])
    spread = rounded(heard.spread)
    rows = standardise(heard.rows, heard.person, spread)

    # What analyze answers with: the label set's own classes, the corpora's further ones left out.
    k = len(bundle.label_set.labels)
    own = truth < k
    vectors, scale = held_out(rows, truth, prompts, heard.speaker, CHOSEN)
    cosines = ensemble_cosines(vectors[own], prompts[:, :k], "mean_embedding")
    fitted = fit_voice(rows, truth, prompts, CHOSEN)
    temperature = fit_temperature(cosines * fitted.logit_scale, truth[own])
    ids = bundle.label_set.ids
    section = VoiceSection(
        format=FEATURE_FORMAT,
        rate_hz=AUDIO_RATE_HZ,
        window_s=4.0,
        logit_scale=round(fitted.logit_scale, 4),
        temperature=round(temperature, 4),
        spread=spread,
        labels_seen=tuple(ids[c] for c in np.unique(truth[own])),
        corpora=tuple(np.unique(heard.corpus).tolist()),
        note=NOTE,
    )
    document = write_voice_bundle(source, out, fitted, section, rows)
    matrix = confusion_matrix(truth[own], cosines.argmax(axis=1), k)
    return {
        "held_out_speakers_uar": float(uar(matrix)),
        "held_out_logit_scale": scale,
        "utterances": len(rows),
    } | {key: value for key, value in document["voice"].items() if key != "spread"}


if __name__ == "__main__":
    sys.exit(main())
