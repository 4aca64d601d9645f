"""Peak memory of ``nunbit prepare``: the whole process tree, for few and many images.

python benchmarks/prepare_memory.py [--images N]

Three runs, each in a fresh process whose tree's resident memory is sampled: a tenth of the
images, all of them, and a hundred with three of 216 megapixels among them, whose small faces must
be decoded at full size. Bars: every peak at most 1.5 GB; ten times the images at most a tenth more
memory. Baseline: the 216-megapixel photo decoded the plain way (Pillow, exif_transpose, crop).
"""

from __future__ import annotations

import argparse
import csv
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from nunbit.runtime.workers import available_cores
from nunbit.synth.aihub_records import GIANT_SIZE, giant_jpeg

PEAK_BAR_BYTES = 1.5e9
GROWTH_BAR = 1.10
PLAIN = """
import sys
from PIL import Image, ImageOps
Image.MAX_IMAGE_PIXELS = None
with Image.open(sys.argv[1]) as image:
    ImageOps.exif_transpose(image).crop((8000, 6000, 8600, 6600)).resize((224, 224))
"""


def write_sources(folder: Path, images: int) -> dict[str, Path]:
    """Tables of a tenth of the images, of all, and of a hundred with giants among them."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(images):
        grain = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(grain).resize((640, 480), Image.Resampling.BICUBIC)
        image.save(folder / f"photo_{number:05d}.jpg", quality=85)
        rows.append((f"photo_{number:05d}.jpg", "joy", "train", 200, 100, 420, 400))
    face = Image.fromarray(rng.integers(0, 255, (100, 100, 3), dtype=np.uint8))
    giants = []
    for number in range(3):
        (folder / f"giant_{number}.jpg").write_bytes(giant_jpeg(face, 6, 90 + number))
        x, y = GIANT_SIZE[0] // 2, GIANT_SIZE[1] // 2
        box = (x - 250, y - 300, x + 250, y + 300)
        giants.append((f"giant_{number}.jpg", "joy", "train", *box))
    tables = {
        f"{images // 10} photos": rows[: images // 10],
        f"{images} photos": rows,
        "100 photos and 3 of 216 MP": [*rows[:50], *giants, *rows[50:100]],
    }
    paths = {}
    for number, (name, chosen) in enumerate(tables.items()):
        paths[name] = folder / f"table_{number}.csv"
        with paths[name].open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "label", "split", "x0", "y0", "x1", "y1"])
            writer.writerows(chosen)
    return paths


def peak_bytes(command: list[str]) -> tuple[int, float]:
    """Largest sum of resident memory over a command's process tree, and its seconds."""
    started = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        total = 0
        for member in (process, *_children(process)):
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, total)
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"failed with exit code {process.returncode}: {' '.join(command)}")
    return peak, time.perf_counter() - started


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> int:
    """Print the peaks; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=3000)
    images = parser.parse_args().images
    print(f"{platform.machine()}, {available_cores()} cores, Python {platform.python_version()}")
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = write_sources(folder, images)
        for what, table in tables.items():
            out = folder / f"data_{table.stem}"
            command = [sys.executable, "-m", "nunbit", "prepare", str(table), "--out", str(out)]
            peaks[what], seconds = peak_bytes([*command, "--set", "shard_size=100"])
            print(f"{what:28} {peaks[what] / 1e6:7.0f} MB  {seconds:6.1f} s")
        plain, seconds = peak_bytes([sys.executable, "-c", PLAIN, str(folder / "giant_0.jpg")])
        print(
            f"{'one of 216 MP, plain way':28} {plain / 1e6:7.0f} MB  {seconds:6.1f} s  (baseline)"
        )
    few, many, giant = peaks.values()
    print(f"ten times the photos: {many / few:.3f} x the memory  (bar {GROWTH_BAR:.2f})")
    print(f"highest peak: {max(peaks.values()) / 1e9:.2f} GB  (bar {PEAK_BAR_BYTES / 1e9:.1f})")
    print(f"216 MP against the plain way in one process: {giant / plain:.2f} x")
    return int(max(peaks.values()) > PEAK_BAR_BYTES or many > GROWTH_BAR * few)


if __name__ == "__main__":
    sys.exit(main())
