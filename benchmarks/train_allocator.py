"""Training steps of the image tower of ``lite`` with freed memory kept, against glibc's default.

python benchmarks/train_allocator.py [--steps 12] [--size 72]

Forward and backward pass of EfficientNet-lite0, batch 64, float32, all threads. Each way runs in a
process of its own, in turn, three times; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

BATCH, ROUNDS = 64, 3


def measure(size: int, steps: int, kept: bool) -> dict[str, float]:
    """Images per second and peak memory of this process."""
    import torch

    from nunbit.runtime.workers import available_cores, keep_freed_memory
    from nunbit.training.towers import LiteImageTower

    torch.set_num_threads(available_cores())
    torch.manual_seed(0)
    if kept and not keep_freed_memory():
        raise SystemExit("this C library is not glibc: nothing to compare")
    tower = LiteImageTower(size, 384).train().to(memory_format=torch.channels_last)
    pixels = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    took = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        tower.zero_grad(set_to_none=True)
        tower(pixels).square().mean().backward()
        took.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images_per_s": BATCH / statistics.median(took[2:]), "peak_mb": peak}


def main() -> int:
    """Run both ways and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--size", type=int, default=72)
    parser.add_argument("--way", choices=("kept", "default"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.way:
        print(json.dumps(measure(a.size, a.steps, a.way == "kept")))
        return 0
    found: dict[str, list[dict[str, float]]] = {"default": [], "kept": []}
    for _ in range(ROUNDS):
        for way, rows in found.items():
            line = [sys.executable, __file__, "--steps", str(a.steps), "--size", str(a.size)]
            done = subprocess.run([*line, "--way", way], check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
    middle = {
        way: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for way, rows in found.items()
    }
    for way, row in middle.items():
        print(f"{way:8} {row['images_per_s']:6.1f} images/s, peak {row['peak_mb']:.0f} MB")
    print(f"ratio {middle['kept']['images_per_s'] / middle['default']['images_per_s']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
