"""Classes no image was ever shown of: what a prompt alone can find.

python benchmarks/unseen_classes.py DATA --out FOLDER [--bundle B] [--only proxy|leave-one-out]

``DATA`` is FER2013 with FER+ votes, prepared with label set ``fer7``; the truth is the column
``uploader`` (at least 5 of 10 raters). Two experiments:

* proxy: prompts of ``aihub7`` classes that ``fer7`` lacks (flustered, anxiety, hurt), judged on
  the images of the nearest FER+ class against all others. FER2013 has no label for what these
  prompts ask, so this says how near they lie to a neighbour and no more.
* leave-one-out: for each of the seven emotions a model is trained without it: images whose
  plurality of raters names it are gone from every split it sees, votes for it on other images are
  null votes, and no template or description names it. Then its prompt, embedded for the first
  time, has to rank its images above all others. The same short training on all seven classes
  stands beside it.

The score of an image is the cosine with the class's prompts alone, no other prompt involved
(AUROC, 95% bootstrap interval over images). Beside it: the share of the class among the answers
when all seven prompts compete. In tables 'trained classes by prompt' and 'unseen classes by
prompt' are kept apart. Trainings are kept in ``--out``: run the same line again to go on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))


from development.paraphrases import load_paraphrases
from nunbit.datasets.policies import labels_under
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import DOCUMENT, MANIFEST, MANIFEST_SCHEMA, DataSet, open_dataset
from nunbit.language.labels import LabelSet, load_label_set
from nunbit.language.prompts import TemplateSet, load_template_set
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import auroc, auroc_from_bins, interval, rank_bins, resample

POLICY = "uploader"
TEMPLATES = "natural-0.1"  # the wording that fer7-lite was trained with
RESAMPLES, SEED = 2_000, 0
EVERYTHING = "none"  # the training that leaves nothing out
# Rare classes first: what is known early should be what is in doubt.
ORDER = ("fear", "sadness", "surprise", "anger", "disgust", "joy", "neutral", EVERYTHING)
NEAREST = {"flustered": "surprise", "anxiety": "fear", "hurt": "sadness"}
# A short training, the same for all eight; written out so that a new recipe does not change it.
SETTINGS: dict[str, object] = {
    "captions": "classes",
    "descriptions": "fer7",
    "logit_adjustment": 0.25,
    "degrade": 0.0,
    "image_size": 48,
    "lr": 6e-4,
    "ema": 0.0,
    "select_by": "macro_f1",
    "threads": 1,
}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Area:
    """An AUROC, its 95% interval, and the images on either side."""

    value: float
    ci95: tuple[float, float]
    n_positive: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.ci95[0]:.3f}, {self.ci95[1]:.3f}]"


def area(score: NDArray[Any], positive: Bools) -> Area:
    """AUROC with an interval that resamples images.

    Args:
        score: (N,) any ordered numbers.
        positive: (N,) bool.
    """
    score = np.asarray(score, np.float64)
    bins = rank_bins(score, positive)
    drawn = resample({"x": bins}, np.arange(len(score)), n_resamples=RESAMPLES, seed=SEED)["x"]
    found = interval(auroc_from_bins(drawn))
    return Area(auroc(score, positive), found or (np.nan, np.nan), int(positive.sum()))


@dataclass(frozen=True, eq=False)
class Images:
    """The labelled images of a split: (N, S, S, 3) uint8 and (N,) class positions."""

    crops: NDArray[np.uint8]
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, data: DataSet, split: str) -> Images:
        """Read them."""
        rows = data.split_rows(split)  # type: ignore[arg-type]
        truth = truth_of(data, rows, POLICY)
        kept = rows[truth >= 0]
        return cls(np.stack([data.pixels(int(row)) for row in kept]), truth[truth >= 0])


def without(data: DataSet, left_out: str, n_train: int, folder: Path) -> Path:
    """Write a data set that knows nothing of one class, over the same shards.

    Args:
        data: All classes.
        left_out: Label id, or ``none``.
        n_train: So many train images at most, drawn with a fixed seed: the same for every class
            as far as they are left.
        folder: Where to write; shards are links.

    Returns:
        ``folder``, as ``nunbit train`` takes it.
    """
    votes = data.column("votes")
    plurality = labels_under("votes", [None] * len(votes), [tuple(v) for v in votes])
    tied = [left_out in _most_voted(v) for v in votes]
    keep = np.array([not t for t in tied]) & np.array([p is not None for p in plurality])
    train = data.split_rows("train")
    drawn = np.random.default_rng(SEED).permutation(train)
    drawn = drawn[keep[drawn]][:n_train]
    keep[np.setdiff1d(train, drawn)] = False
    cut = data.manifest.filter(pa.array(keep))
    uploader = [None if x == left_out else x for x in cut["uploader_label"].to_pylist()]
    cast = [tuple(None if v == left_out else v for v in c) for c in cut["votes"].to_pylist()]
    columns = {"uploader_label": uploader, "votes": cast}
    columns["label"] = labels_under("votes", uploader, cast)
    for name, values in columns.items():
        column = pa.array(values, MANIFEST_SCHEMA.field(name).type)
        cut = cut.set_column(cut.column_names.index(name), MANIFEST_SCHEMA.field(name), column)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in set(cut["shard"].to_pylist()):
        if not (folder / shard).exists():
            (folder / shard).symlink_to((data.path / shard).resolve())
    document = dict(data.settings)
    labels = dict(document["label_set"])
    labels["labels"] = [entry for entry in labels["labels"] if entry["id"] != left_out]
    labels["groups"] = {}
    labels["name"] = "fer7" if left_out == EVERYTHING else f"fer7-without-{left_out}"
    digest = hashlib.sha256("\n".join(cut["record_id"].to_pylist()).encode()).hexdigest()
    document |= {"label_set": labels, "policy": "votes", "fingerprint": digest}
    document["counts"] = {"total": cut.num_rows}
    pq.write_table(cut, folder / MANIFEST)
    (folder / DOCUMENT).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return folder


def _most_voted(votes: Sequence[str | None]) -> list[str]:
    cast = [vote for vote in votes if vote is not None]
    most = max((cast.count(vote) for vote in set(cast)), default=0)
    return [vote for vote in set(cast) if cast.count(vote) == most]


def trained_without(data: DataSet, left_out: str, arguments: argparse.Namespace) -> Bundle:
    """Train without a class, or take what an earlier call trained."""
    run = arguments.out / f"run-{left_out}"
    bundle = run / "bundle"
    if not (bundle / "bundle.json").is_file():
        reduced = arguments.out / f"data-{left_out}"
        if not (reduced / DOCUMENT).is_file():
            without(data, left_out, arguments.train_images, reduced)
        settings = SETTINGS | {"epochs": arguments.epochs}
        asked = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
        line = [sys.executable, "-m", "nunbit", "train", str(reduced), "--recipe", "fer7-lite"]
        line += ["--out", str(run), "--resume", *asked]
        started = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with (arguments.out / f"run-{left_out}.log").open("a") as log:
            done = subprocess.run(line, stdout=log, stderr=log, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"training without {left_out} stopped; see {log.name}")
        print(f"trained without {left_out}: {time.perf_counter() - started:.0f} s", flush=True)
    return load_bundle(bundle, threads=1)


@dataclass(frozen=True)
class Found:
    """What prompts find of one class.

    Attributes:
        templates: By the templates filled with the label's name.
        paraphrases: By the frozen paraphrases (Korean and English).
        recall: Share of its images that are answered with it when all seven prompts compete.
        answers: Share of all answers that name it.
        top1_of_seven: Accuracy over all images with all seven prompts.
    """

    templates: Area
    paraphrases: Area
    recall: float
    answers: float
    top1_of_seven: float


def find(bundle: Bundle, images: Images, embedded: NDArray[np.float32], label: str) -> Found:
    """Judge one class of ``fer7`` by prompt."""
    labels = load_label_set("fer7")
    code = labels.index(label)
    positive = images.truth == code
    cosines = ensemble_cosines(
        embedded, bundle.prompt_embeddings(load_template_set(TEMPLATES), labels), "mean_embedding"
    )
    answer = cosines.argmax(axis=1)
    return Found(
        templates=area(cosines[:, code], positive),
        paraphrases=area(embedded @ _paraphrase_vector(bundle, "fer7", label), positive),
        recall=float((answer[positive] == code).mean()),
        answers=float((answer == code).mean()),
        top1_of_seven=float((answer == images.truth).mean()),
    )


def _paraphrase_vector(bundle: Bundle, label_set: str, label: str) -> NDArray[np.float32]:
    texts = load_paraphrases(label_set)
    vector = bundle.embed_texts([*texts.ko[label], *texts.en[label]]).mean(axis=0)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def refuse_other_settings(out: Path, asked: dict[str, Any]) -> None:
    """Keep trainings of different settings apart: what is in a folder is not trained again."""
    file = out / "settings.json"
    if not file.is_file():
        file.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    elif (kept := json.loads(file.read_text(encoding="utf-8"))) != asked:
        other = ", ".join(k for k in asked | kept if asked.get(k) != kept.get(k))
        raise SystemExit(f"{out}: its trainings have another {other}; give another --out")


def leave_one_out(data: DataSet, images: Images, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train eight times, or as often as asked; judge each class unseen and trained."""
    budget = {"epochs": arguments.epochs, "train_images": arguments.train_images}
    refuse_other_settings(arguments.out, SETTINGS | budget)
    wanted = [c for c in ORDER if c in (arguments.classes or ORDER) or c == EVERYTHING]
    unseen: dict[str, Found] = {}
    for left_out in wanted:
        bundle = trained_without(data, left_out, arguments)
        embedded = bundle.embed_images(images.crops)
        if left_out != EVERYTHING:
            unseen[left_out] = find(bundle, images, embedded, left_out)
            print(f"unseen {left_out}: AUROC {unseen[left_out].templates}", flush=True)
    trained = {label: find(bundle, images, embedded, label) for label in unseen}
    print(
        f"\nOne emotion left out at a time ({len(images.truth):,} images; at most "
        f"{arguments.train_images:,} train images, {arguments.epochs} epochs at "
        f"{SETTINGS['image_size']} px; top-1 of the same training on all seven "
        f"{next(iter(trained.values())).top1_of_seven:.3f})\n"
    )
    print(
        "| class | images | unseen classes by prompt: AUROC | … by paraphrases | recall unseen | "
        "trained classes by prompt: AUROC | … by paraphrases | recall trained |"
    )
    print("|---|---:|---|---|---:|---|---|---:|")
    for label, found in unseen.items():
        known = trained[label]
        print(
            f"| {label} | {found.templates.n_positive} | {found.templates} | {found.paraphrases} "
            f"| {found.recall:.2f} | {known.templates} | {known.paraphrases} | {known.recall:.2f} |"
        )
    if unseen:
        mean, known_mean = (
            np.mean([[f.templates.value, f.paraphrases.value] for f in group.values()], axis=0)
            for group in (unseen, trained)
        )
        print(
            f"| mean of {len(unseen)} | | {mean[0]:.3f} | {mean[1]:.3f} | | {known_mean[0]:.3f} | "
            f"{known_mean[1]:.3f} | |"
        )
    return {"unseen": _plain(unseen), "trained": _plain(trained)}


def _plain(found: dict[str, Found]) -> dict[str, Any]:
    return {
        label: {
            "auroc_templates": [f.templates.value, *f.templates.ci95],
            "auroc_paraphrases": [f.paraphrases.value, *f.paraphrases.ci95],
            "n": f.templates.n_positive,
            "recall": f.recall,
            "answers": f.answers,
            "top1_of_seven": f.top1_of_seven,
        }
        for label, f in found.items()
    }


def proxy(images: Images, bundle: Bundle) -> dict[str, Any]:
    """Prompts of unseen ``aihub7`` classes on the images of their nearest FER+ class."""
    fer, aihub = load_label_set("fer7"), load_label_set("aihub7")
    templates = load_template_set(TEMPLATES)
    embedded = bundle.embed_images(images.crops)
    own = _cosines(bundle, embedded, templates, fer)
    other = _cosines(bundle, embedded, templates, aihub)
    answer = other.argmax(axis=1)
    result: dict[str, Any] = {}
    print(f"\naihub7 classes by prompt, a proxy ({len(images.truth):,} images)\n")
    print(
        "| unseen class by prompt | images of | n | AUROC by prompt | by paraphrases | AUROC of "
        "the trained class's prompt | answered with it | ranks best |"
    )
    print("|---|---|---:|---|---|---|---:|---|")
    for asked, nearest in NEAREST.items():
        positive = images.truth == fer.index(nearest)
        score = other[:, aihub.index(asked)]
        by_words = embedded @ _paraphrase_vector(bundle, "aihub7", asked)
        every = {c: auroc(score.astype(float), images.truth == k) for k, c in enumerate(fer.ids)}
        best = max(every, key=lambda c: every[c])
        share = float((answer[positive] == aihub.index(asked)).mean())
        areas = [
            area(score, positive),
            area(by_words, positive),
            area(own[:, fer.index(nearest)], positive),
        ]
        print(
            f"| {asked} | {nearest} | {areas[0].n_positive} | {areas[0]} | {areas[1]} | {areas[2]} "
            f"| {share:.2f} | {best} ({every[best]:.3f}) |"
        )
        result[asked] = {
            "nearest": nearest,
            "auroc_templates": [areas[0].value, *areas[0].ci95],
            "auroc_paraphrases": [areas[1].value, *areas[1].ci95],
            "auroc_of_trained_prompt": [areas[2].value, *areas[2].ci95],
            "auroc_on_every_class": every,
            "answered_with_it": share,
        }
    return result


def _cosines(
    bundle: Bundle, embedded: NDArray[np.float32], templates: TemplateSet, labels: LabelSet
) -> NDArray[np.float32]:
    prompts = bundle.prompt_embeddings(templates, labels)
    return ensemble_cosines(embedded, prompts, "mean_embedding")


def main() -> int:
    """Run what is asked for; the figures also go to ``--out/unseen_classes_SPLIT.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="FER2013 with FER+ votes, prepared")
    parser.add_argument("--out", type=Path, required=True, help="trainings and figures")
    parser.add_argument("--bundle", type=Path, help="of the proxy (default: the shipped one)")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--only", choices=("proxy", "leave-one-out"))
    parser.add_argument("--classes", nargs="+", choices=ORDER[:-1], help="leave out these only")
    parser.add_argument("--train-images", type=int, default=8_000)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = open_dataset(arguments.data)
    images = Images.of(data, arguments.split)
    result: dict[str, Any] = {}
    if arguments.only != "leave-one-out":
        bundle = load_bundle(arguments.bundle or default_bundle_path(), threads=1)
        result["proxy"] = {"bundle": bundle.hash} | proxy(images, bundle)
    if arguments.only != "proxy":
        result["leave_one_out"] = leave_one_out(data, images, arguments)
    file = arguments.out / f"unseen_classes_{arguments.split}.json"
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    result = earlier | result
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
