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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from development.voice_data import label_set_with_own, load_recordings
from development.voice_export import rounded, write_voice_bundle
from development.voice_stage import CHOSEN, fit_voice, held_out
from nunbit.core.messages import NunbitError
from nunbit.core.streams import AUDIO_RATE_HZ
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import BUNDLE_FILE, VoiceSection
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.recording.voice.functionals import FEATURE_FORMAT, standardise_persons
from nunbit.statistics import confusion_matrix
from nunbit.statistics.resampling import cluster_codes, confusion_cells, interval, resample
from nunbit.statistics.scores import fit_temperature

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
    rows = standardise_persons(heard.rows, heard.person, spread)

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
    answers = Answers(truth[own], cosines.argmax(axis=1), heard.speaker[own], heard.corpus[own])
    figures = figures_of(answers, ids) | {"logit_scale": round(scale, 4)}
    document = write_voice_bundle(source, out, fitted, section, rows, figures)
    return {key: value for key, value in document["voice"].items() if key != "spread"}


@dataclass(frozen=True, eq=False)
class Answers:
    """What held-out speakers' utterances were taken for: (N,) each."""

    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    speaker: NDArray[np.str_]
    corpus: NDArray[np.str_]


def figures_of(answers: Answers, ids: tuple[str, ...]) -> dict[str, Any]:
    """UAR of every corpus and of all, by speaker bootstrap, and the recall of each class."""
    every = np.ones(len(answers.truth), bool)
    parts = {name: answers.corpus == name for name in np.unique(answers.corpus).tolist()}
    tests = {}
    for name, part in ({"all corpora": every} | parts).items():
        truth, speaker = answers.truth[part], answers.speaker[part]
        shown = np.unique(truth)
        cells = confusion_cells(truth, answers.answer[part], len(ids))
        clusters = cluster_codes(speaker.tolist(), len(speaker))
        draws = resample({"c": cells}, clusters, n_resamples=1000, seed=0)["c"]
        matrices = draws.reshape(-1, len(ids), len(ids))[:, shown]
        found = interval(_recall(matrices, shown).mean(axis=-1))
        matrix = confusion_matrix(truth, answers.answer[part], len(ids))[shown]
        tests[name] = {
            "utterances": len(truth),
            "speakers": len(np.unique(speaker)),
            "uar": round(float(_recall(matrix, shown).mean()), 4),
            "ci95": [round(end, 4) for end in found or (float("nan"),) * 2],
        }
    matrix = confusion_matrix(answers.truth, answers.answer, len(ids))
    shown = np.unique(answers.truth)
    recall = _recall(matrix[shown], shown)
    named = {ids[c]: round(float(r), 4) for c, r in zip(shown, recall, strict=True)}
    return {"tests": tests, "recall": named}


def _recall(matrices: NDArray[Any], shown: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall of the shown classes from (..., S, K) rows of confusion; NaN without an utterance."""
    right = np.take_along_axis(
        matrices, np.broadcast_to(shown[:, None], (*matrices.shape[:-1], 1)), axis=-1
    )[..., 0]
    total = matrices.sum(axis=-1)
    found = np.full(total.shape, np.nan)
    np.divide(right, total, out=found, where=total > 0)
    return found


if __name__ == "__main__":
    sys.exit(main())
