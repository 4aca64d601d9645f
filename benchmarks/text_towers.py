"""Text that means something, or a head in disguise: the text encoder locked, light or full.

python benchmarks/text_towers.py DATA --out FOLDER [--steps 500] [--bundle B ...]

``DATA`` is FER2013 with FER+ votes, prepared with label set ``fer7``. Three trainings that differ
in the rate of the text encoder alone: 0 (locked), a twentieth of the rate of BERT's fine-tuning
(light) and that rate (full). A step draws one caption of each class, so that all three see the same
texts. Judged on the validation split: with the templates, and with the frozen paraphrases that no
training sees, as the mean embedding of a class's paraphrases ('all') and as single ones ('one': the
mean over k of the answers to the k-th paraphrase of every class). 95% intervals over images.
Trainings are kept in ``--out``: run the same line again to go on. ``--bundle`` judges bundles as
they are, instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))


from development.paraphrases import load_paraphrases
from nunbit.core.messages import Lang
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines, normalise
from nunbit.statistics import interval

LR = 6e-4
#: Share of ``lr`` at which the text encoder learns: 3e-5 is the rate of BERT (Devlin et al. 2019).
RATES = {"locked": 0.0, "light": 0.0025, "full": 0.05}
SETTINGS: dict[str, object] = {
    "captions": "classes",
    "captions_per_class": 1,
    "descriptions": "fer7",
    "logit_adjustment": 0.25,
    "image_size": 48,
    "lr": LR,
    "ema": 0.0,
    "degrade": 0.0,
    "select_by": "macro_f1",
    "checkpoint_minutes": 3,
}
RESAMPLES, SEED = 2_000, 0

Codes = NDArray[np.int64]


def trained(name: str, arguments: argparse.Namespace) -> Path:
    """The bundle of one variant: trained now, continued, or found."""
    run: Path = arguments.out / name
    if not (run / "bundle" / "bundle.json").is_file():
        settings = SETTINGS | {"max_steps": arguments.steps, "text_lr": RATES[name]}
        asked = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
        line = [sys.executable, "-m", "nunbit", "train", str(arguments.data), "--recipe"]
        line += ["fer7-lite", "--out", str(run), "--resume", *asked]
        started = time.perf_counter()
        with (arguments.out / f"{name}.log").open("a") as log:
            done = subprocess.run(line, stdout=log, stderr=log, env=os.environ, check=False)
        if done.returncode:
            raise SystemExit(f"training of {name} stopped; see {log.name}")
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return run / "bundle"


def judged(bundle: Bundle, data: DataSet) -> dict[str, list[float]]:
    """Accuracy with templates and with paraphrases: value and 95% interval each."""
    rows = data.split_rows("validation")
    truth = truth_of(data, rows, "uploader")
    rows, truth = rows[truth >= 0], truth[truth >= 0]
    images = np.concatenate(
        [
            bundle.embed_images(np.stack([data.pixels(int(row)) for row in part]))
            for part in np.array_split(rows, max(1, len(rows) // 256))
        ]
    )
    templates = bundle.prompt_embeddings(
        load_template_set(bundle.default_template_set), bundle.label_set
    )
    answers = {"templates": ensemble_cosines(images, templates, "mean_embedding").argmax(axis=1)}
    right = {"templates": answers["templates"] == truth}
    for lang in ("ko", "en"):
        by_class = _paraphrase_vectors(bundle, lang)
        everything = np.stack([normalise(v.mean(axis=0)) for v in by_class])  # (K, D)
        right[f"{lang}, all"] = (images @ everything.T).argmax(axis=1) == truth
        count = min(len(v) for v in by_class)
        single = [
            (images @ np.stack([v[k] for v in by_class]).T).argmax(axis=1) == truth
            for k in range(count)
        ]
        right[f"{lang}, one"] = np.mean(single, axis=0)
    return {name: _with_interval(np.asarray(hit, np.float64)) for name, hit in right.items()}


def _paraphrase_vectors(bundle: Bundle, lang: Lang) -> list[NDArray[np.float32]]:
    texts = load_paraphrases("fer7")
    by_label = texts.ko if lang == "ko" else texts.en
    return [bundle.embed_texts(list(by_label[label])) for label in bundle.label_set.ids]


def _with_interval(hit: NDArray[np.float64]) -> list[float]:
    draw = np.random.default_rng(SEED)
    drawn = np.array([hit[draw.integers(0, len(hit), len(hit))].mean() for _ in range(RESAMPLES)])
    low, high = interval(drawn) or (float("nan"), float("nan"))
    return [float(hit.mean()), low, high]


def main() -> int:
    """Train what is missing, judge, print a table; figures also go to ``--out``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500, help="of 64 images")
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = open_dataset(arguments.data)
    paths = {p.name: p for p in arguments.bundle} or {
        name: trained(name, arguments) for name in RATES
    }
    found: dict[str, Any] = {n: judged(load_bundle(p, threads=1), data) for n, p in paths.items()}
    columns = list(next(iter(found.values())))
    print(f"| | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, row in found.items():
        cells = [f"{100 * v:.1f} [{100 * a:.1f}, {100 * b:.1f}]" for v, a, b in row.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    name = "bundles" if arguments.bundle else "text_towers"
    (arguments.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
