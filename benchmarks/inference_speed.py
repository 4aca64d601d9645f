"""Images per second of a ViT-B/32 image tower: the bundle's engine against transformers.

python benchmarks/inference_speed.py [--images N]

Random weights of the real shape (speed does not depend on their values). The plain way is
``transformers``' ``CLIPModel`` in fp32. The bundle's tower is what ``nunbit export`` writes for a
transformer: int8 products where the bundle still agrees with torch. Fidelity is measured on a small
ViT fine-tuned on drawn faces: same answer on at least 99.5% of its validation images. Bar: 3 times.
Both sides get the same threads; the fp32 tower on onnxruntime is the same precision as the plain
way.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from nunbit.datasets.shards import open_dataset
from nunbit.model.encoders import load_bundle
from nunbit.runtime.config import read_settings
from nunbit.runtime.workers import available_cores
from nunbit.stories.prepare import PrepareSettings, prepare
from nunbit.synth.aihub_records import SynthSettings
from nunbit.synth.aihub_tree import write_tree
from nunbit.training.loop import train
from nunbit.training.onnx import export_image_tower, quantise_products
from nunbit.training.settings import TrainSettings, recipe_path
from nunbit.training.towers import from_hub

BAR = 3.0
FIDELITY_BAR = 0.995
BATCH = 8


def rate(call: Callable[[Any], Any], batches: list[Any]) -> float:
    """Images per second; one batch to warm up."""
    call(batches[0])
    started = time.perf_counter()
    for batch in batches:
        call(batch)
    return len(batches) * BATCH / (time.perf_counter() - started)


def session(path: Path, threads: int) -> Callable[[Any], Any]:
    """An onnxruntime session as a function of pixels."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    made = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: made.run(None, {"pixels": pixels})[0]


def speeds(folder: Path, images: int, threads: int) -> dict[str, float]:
    """Images per second of the three ways, interleaved, best of three rounds."""
    clip = CLIPModel(CLIPConfig()).eval()
    export_image_tower(from_hub(clip), 224, folder / "fp32.onnx")
    quantise_products(folder / "fp32.onnx", folder / "int8.onnx")
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(BATCH, 3, 224, 224)).astype(np.float32) for _ in range(images)]

    def plain(pixels: Any) -> Any:
        with torch.no_grad():
            return clip.get_image_features(pixel_values=torch.from_numpy(pixels))

    ways = {
        "transformers fp32": plain,
        "onnxruntime fp32": session(folder / "fp32.onnx", threads),
        "onnxruntime int8": session(folder / "int8.onnx", threads),
    }
    found = dict.fromkeys(ways, 0.0)
    for _ in range(3):
        for name, call in ways.items():
            found[name] = max(found[name], rate(call, batches))
    return found


def fidelity(folder: Path) -> dict[str, Any]:
    """Fine-tune a small ViT on drawn faces, export it, and say what its bundle's precision is."""
    start = folder / "small-vit"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(p + "</w>" for p in alphabet), "<|startoftext|>", "<|endoftext|>"]
    last = len(pieces) - 1
    size = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
    size |= {"num_attention_heads": 4}
    ends = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    config = CLIPConfig(
        text_config=size | ends | {"vocab_size": len(pieces), "max_position_embeddings": 77},
        vision_config=size | {"image_size": 48, "patch_size": 8},
        projection_dim=128,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(start)
    CLIPTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[]).save_pretrained(start)
    preprocessing = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}
    (start / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    tree = SynthSettings(per_class=120, per_class_validation=60, photo_width=480, seed=0)
    write_tree(folder / "tree", tree)
    prepare([folder / "tree"], folder / "data", PrepareSettings(size=64))
    overrides = (
        f'init="{start}"',
        "image_size=48",
        "epochs=30",
        "lr=0.0003",
        "text_lr=1.0",
        "weight_decay=0.01",
    )
    settings = read_settings(TrainSettings, files=[recipe_path("paper")], overrides=overrides)
    trained = train(folder / "data", folder / "run", settings, resume=False)
    bundle = load_bundle(folder / "run" / "bundle", threads=1)
    data = open_dataset(folder / "data")
    return {
        "precision": bundle.document.precision["image"],
        "parity": trained["parity"],
        "validation_top1": trained["validation"]["top1"],
        "images": len(data.split_rows("validation")),
    }


def main() -> int:
    """Measure, print, and say whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6, help="batches of 8 images a round")
    arguments = parser.parse_args()
    threads = available_cores()
    torch.set_num_threads(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as name:
        found = speeds(Path(name), arguments.images, threads)
        faithful = fidelity(Path(name))
    base = found["transformers fp32"]
    for way, value in found.items():
        print(f"{way:<20} {value:7.1f} images/s  {value / base:5.2f} x")
    print(f"fine-tuned small ViT: {json.dumps(faithful)}")
    ratio = found["onnxruntime int8"] / base
    same = faithful["parity"]["same_answer"]
    good = ratio >= BAR and same >= FIDELITY_BAR
    print(f"int8 {ratio:.2f} x (bar {BAR}), same answer {same:.2%} (bar {FIDELITY_BAR:.1%})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
