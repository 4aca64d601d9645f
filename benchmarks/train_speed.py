"""Training samples per second, ViT-B/32 shape, batch 64, against the plain loop.

python benchmarks/train_speed.py [--steps N]

The plain loop is what most people write: fp32, one caption per image through the text tower in
each step, padded to CLIP's 77 tokens, AdamW. It runs again under bf16 autocast, which is the
precision that ``precision = "auto"`` takes on processors that multiply bf16. Random weights of the
real shape, all threads of this process, one process each. Bar: 2.5 times the plain loop in fp32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from nunbit.language.labels import load_label_set
from nunbit.runtime.config import read_settings
from nunbit.runtime.workers import available_cores
from nunbit.stories.prepare import PrepareSettings, prepare
from nunbit.training.loop import fit
from nunbit.training.settings import TrainSettings, recipe_path

BAR = 2.5
BATCH = 64
TOKENS = 77


def start_folder(folder: Path) -> Path:
    """A Hugging Face folder with a ViT-B/32 CLIP of random weights and byte pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(p + "</w>" for p in alphabet), "<|startoftext|>", "<|endoftext|>"]
    last = len(pieces) - 1
    ends = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    config = CLIPConfig(text_config=ends | {"vocab_size": len(pieces)})
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[]).save_pretrained(folder)
    size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(size), encoding="utf-8")
    return folder


def write_pictures(folder: Path) -> None:
    """Forty noisy pictures a class."""
    rng = np.random.default_rng(0)
    for label in load_label_set("aihub7").ids:
        (folder / label).mkdir(parents=True)
        for n in range(40):
            pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label}-{n}.jpg")


def plain_rate(folder: Path, steps: int, *, low: bool) -> float:
    """Images per second of the plain loop, the first step left out."""
    model = CLIPModel.from_pretrained(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(BATCH, 3, 224, 224, generator=generator)
    ids = torch.randint(0, 500, (BATCH, TOKENS), generator=generator)
    ids[:, -1] = model.config.text_config.eos_token_id
    truth = torch.arange(BATCH)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        around: Any = torch.autocast("cpu", torch.bfloat16) if low else nullcontext()
        with around:
            logits = model(input_ids=ids, pixel_values=pixels).logits_per_image.float()
        loss = torch.nn.functional.cross_entropy(logits, truth)
        loss = (loss + torch.nn.functional.cross_entropy(logits.T, truth)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return BATCH / statistics.median(seconds[1:])


def our_rate(folder: Path, data: Path, run: Path, steps: int, precision: str) -> float:
    """Images per second of ``nunbit train`` with the paper's recipe, the first step left out."""
    overrides = (
        f'init="{folder}"',
        f"batch_size={BATCH}",
        f"max_steps={steps + 1}",
        "log_every=1",
        f'precision="{precision}"',
    )
    settings = read_settings(TrainSettings, files=[recipe_path("paper")], overrides=overrides)
    fit(data, run, settings, resume=False)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rates = [row["images_per_s"] for row in map(json.loads, lines) if "images_per_s" in row]
    return float(statistics.median(rates[1:]))


def main() -> int:
    """Measure, print the ratios, and say whether the bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    steps = parser.parse_args().steps
    torch.set_num_threads(available_cores())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = start_folder(folder / "start")
        write_pictures(folder / "pictures")
        prepare([folder / "pictures"], folder / "data", PrepareSettings(size=224))
        plain = plain_rate(start, steps, low=False)
        plain_low = plain_rate(start, steps, low=True)
        ours = our_rate(start, folder / "data", folder / "run", steps, "auto")
        ours_full = our_rate(start, folder / "data", folder / "run32", steps, "fp32")
    rows = {
        "plain loop, fp32": plain,
        "plain loop, bf16": plain_low,
        "nunbit, precision = auto": ours,
        "nunbit, fp32": ours_full,
    }
    for way, value in rows.items():
        print(f"{way:<26} {value:6.2f} images/s  {value / plain:5.2f} x")
    print(f"against the plain loop {ours / plain:.2f} x (bar {BAR})")
    print(f"at equal precision: fp32 {ours_full / plain:.2f} x, bf16 {ours / plain_low:.2f} x")
    return 0 if ours / plain >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
