"""Class-paired real sets through ``nunbit study``: a check of the code, not a result about people.

    NUNBIT_DATA=... python benchmarks/study_paired.py --cache FOLDER [--per-class 3]

Each of RAVDESS's actors is given, for every clip, a FER2013 face and a KOTE comment of the same
class (train and validation parts). Given the class, the three then have nothing to do with one
another, which favours every fusion: a fusion that gains here shows that the code joins modalities,
and nothing about faces, voices and words that belong together. Baselines in the same run: each
modality alone, and the same stretches with classes dealt anew within each actor (UAR must be that
of chance). Needs the development extra for reading the sets.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from development.comments import read_kote
from development.voice_data import label_set_with_own, load_recordings
from nunbit.api import load
from nunbit.measures.class_probabilities import chances_of
from nunbit.recording.voice.functionals import standardise_persons
from nunbit.stories.study.emotions import assess_stretches
from nunbit.stories.study.fusions import LabelledStretches
from nunbit.stories.study.study_plan import StudySettings

FER = ("joy", "surprise", "anger", "fear", "disgust", "sadness", "neutral")
FER_FOLDERS = dict(zip(("happy", "surprise", "angry", "fear", "disgust", "sad", "neutral"), FER,
                       strict=True))  # fmt: skip


def faces(root: Path, wanted: int, rng: np.random.Generator) -> dict[str, Any]:
    """Class -> (wanted, K) log shares of FER2013's validation faces, no near-duplicates."""
    model = load("fer7-lite")
    rows: dict[str, list[str]] = defaultdict(list)
    groups: set[str] = set()
    with (root / "fer2013" / "labels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["usage"] != "PublicTest" or row["duplicate_group"] in groups - {""}:
                continue
            groups.add(row["duplicate_group"])
            rows[FER_FOLDERS[row["label"]]].append(row["file"])
    found = {}
    with zipfile.ZipFile(root / "fer2013" / "validation.zip") as stored:
        for label, names in rows.items():
            chosen = rng.permutation(names)[:wanted]
            pictures = [
                np.asarray(Image.open(io.BytesIO(stored.read(str(n)))).convert("RGB"))
                for n in chosen
            ]
            vectors = np.concatenate(
                [model.embed(pictures[i : i + 32], crops=True)
                 for i in range(0, len(pictures), 32)]
            )  # fmt: skip
            bundle = model.bundle
            shares = chances_of(bundle, vectors, bundle.logit_scale, bundle.temperature)
            found[label] = np.log(np.maximum(shares, 1e-4))
    return found


def words(root: Path, wanted: int, rng: np.random.Generator) -> dict[str, Any]:
    """Class -> (wanted, K) log shares of KOTE's validation comments with one class above half."""
    bundle = load("fer7-lite").bundle
    comments = read_kote(root / "text" / "kote.csv", "val", bundle.label_set)
    fitted = bundle.document.text_emotion
    assert fitted is not None
    found = {}
    for at, label in enumerate(bundle.label_set.ids):
        clear = np.flatnonzero(comments.targets[:, at] > 0.5)
        chosen = rng.permutation(clear)[:wanted]
        vectors = bundle.embed_sentences([comments.texts[i][-200:] for i in chosen])
        shares = chances_of(bundle, vectors, fitted.logit_scale, fitted.temperature)
        found[label] = np.log(np.maximum(shares, 1e-4))
    return found


def paired(root: Path, cache: Path, per_class: int, seed: int) -> LabelledStretches:
    """Stretches: clips of each actor, each with a face and a comment of its class."""
    rng = np.random.default_rng(seed)
    clips = load_recordings(root, cache / "ravdess.npz", ("ravdess",))
    clips = clips.take(np.isfinite(clips.rows).all(axis=1))
    ids = label_set_with_own(load("fer7-lite").bundle.label_set)[1]
    truth = np.array([ids.get(e, "") for e in clips.emotion])
    chosen = []
    for speaker in np.unique(clips.speaker):
        for label in FER:
            own = np.flatnonzero((clips.speaker == speaker) & (truth == label))
            chosen += rng.permutation(own)[:per_class].tolist()
    clips, truth = clips.take(np.array(chosen)), truth[chosen]
    counts = {label: int((truth == label).sum()) for label in FER}
    shown = {"face": faces(root, max(counts.values()), rng),
             "text": words(root, max(counts.values()), rng)}  # fmt: skip
    tables = {
        "voice": standardise_persons(clips.rows, clips.person, clips.spread).astype(np.float64)
    }
    for name, by_class in shown.items():
        table = np.empty((len(truth), len(FER)))
        for label in FER:
            rows = np.flatnonzero(truth == label)
            table[rows] = np.resize(by_class[label], (len(rows), len(FER)))
        tables[name] = table
    person = clips.person
    ordered = {m: tables[m] for m in ("face", "voice", "text")}
    place = np.array([(person[:i] == p).sum() for i, p in enumerate(person)], float)
    return LabelledStretches(
        person, np.array([FER.index(t) for t in truth]), FER, ordered,
        {m: tuple(f"{m}.{i}" for i in range(x.shape[1])) for m, x in ordered.items()},
        None, None, place[:, None], ("place",),
    )  # fmt: skip


def dealt_anew(sample: LabelledStretches, seed: int) -> LabelledStretches:
    """The same stretches with each actor's classes in another order."""
    rng, truth = np.random.default_rng(seed), sample.truth.copy()
    for person in np.unique(sample.person):
        rows = np.flatnonzero(sample.person == person)
        truth[rows] = truth[rng.permutation(rows)]
    return LabelledStretches(
        sample.person, truth, sample.classes, sample.modalities, sample.names, None, None,
        sample.covariates, sample.covariate_names,
    )  # fmt: skip


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=3)
    parser.add_argument("--without-transformer", action="store_true")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    cross_modal = None
    if not given.without_transformer:
        from nunbit.training.cross_modal import cross_modal_chances as cross_modal
    sample = paired(Path(os.environ["NUNBIT_DATA"]), given.cache, given.per_class, 0)
    settings = StudySettings(permutations=199, folds=5)
    for name, each, network in (("paired by class", sample, cross_modal),
                                ("classes dealt anew", dealt_anew(sample, 1), None)):  # fmt: skip
        found = assess_stretches(each, settings, network)
        print(f"{name}: {each.n_persons} actors, {len(each.truth)} stretches, "
              f"{found['code']}, fusion {found['fusion']['code']}")  # fmt: skip
        for model, scores in found["models"].items():
            ends = ", ".join(f"{end:.3f}" for end in scores["ci95"])
            print(f"  {model}: UAR {scores['uar']:.3f} [{ends}], NLL {scores['nll']:.2f}, "
                  f"ECE {scores['ece']:.2f}", flush=True)  # fmt: skip
        for pattern in found["patterns"]:
            shown = {n: round(m["uar"], 3) for n, m in pattern["models"].items()}
            print(f"  {'+'.join(pattern['modalities'])}: {shown}")


if __name__ == "__main__":
    main()
