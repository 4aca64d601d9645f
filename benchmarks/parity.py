"""Whether a bundle answers as the trained model on every image of the validation split.

python benchmarks/parity.py RUN BUNDLE DATA

``nunbit export`` checks up to 256 images; this checks all. Bars: cosine at least 0.999, same answer
on at least 99.5% of the images.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from nunbit.datasets.shards import open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import ensemble_cosines, normalise
from nunbit.training.checkpoints import load_final
from nunbit.training.export import torch_embed_images
from nunbit.training.networks import load_network
from nunbit.training.settings import RunFolder


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("run", "bundle", "data"):
        parser.add_argument(name, type=Path)
    a = parser.parse_args()
    network = load_network(a.run)
    final = load_final(RunFolder(a.run).checkpoints)
    if final is None:
        parser.error(f"{a.run}: no evaluated checkpoint")
    network.model.load_state_dict(final["model"])
    network.model.eval()
    bundle = load_bundle(a.bundle, threads=1)
    bundle.preprocessing = replace(bundle.preprocessing, mirror=False)  # torch sees each crop once
    data = open_dataset(a.data)
    rows = data.split_rows("validation")
    theirs, ours = [], []
    for part in np.array_split(rows, max(1, len(rows) // 256)):
        crops = np.stack([data.pixels(int(row)) for row in part])
        theirs.append(torch_embed_images(network, crops))
        ours.append(bundle.embed_images(crops))
    torch_rows, onnx_rows = np.concatenate(theirs), np.concatenate(ours)
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    answers = [
        ensemble_cosines(v, prompts, "mean_embedding").argmax(1) for v in (torch_rows, onnx_rows)
    ]
    smallest = float((normalise(torch_rows) * normalise(onnx_rows)).sum(axis=1).min())
    same = float((answers[0] == answers[1]).mean())
    print(f"{len(rows)} images: smallest cosine {smallest:.6f}, same answer {same:.2%}")
    return 0 if smallest >= 0.999 and same >= 0.995 else 1


if __name__ == "__main__":
    sys.exit(main())
