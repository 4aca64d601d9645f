"""Photos prepared per second, against the plain way: decode, turn upright, cut, resize, save.

python benchmarks/prepare_speed.py [--photos N]

Noisy 3000 x 2300 JPEGs with boxes like AI Hub's (median 822 x 1123 px, a third of the photos
with an EXIF orientation), 224 px crops. The plain way runs in one process and again in as many
as ``nunbit prepare`` uses. Bars: 4 times the plain way in one process, 3 times at equal processes,
crops within 1.5 grey levels of it (mean absolute difference of the worst crop). The floor is what
no program with libjpeg can avoid: reading the bits of the file in order, down to the lower edge
of the face (decoded at 1/8, where nearly nothing else is left to do).
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nunbit.pictures.crops import PAD_RGB, CropSettings, decode_crop, raw_rect, square_around
from nunbit.pictures.decode import SIDEWAYS, load_rows, open_image, read_orientation
from nunbit.runtime.workers import available_cores
from nunbit.stories.prepare import PrepareSettings, prepare

SPEED_BAR, EQUAL_BAR = 4.0, 3.0
DIFFERENCE_BAR = 1.5
PICTURES = 16
WIDTH, HEIGHT = 3000, 2300
SIZE, MARGIN = 224, 0.1
Job = tuple[str, tuple[float, float, float, float], str]


def noisy_photo(seed: int) -> Image.Image:
    """Shapes of all sizes under camera noise: between a smooth and a hopeless picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (HEIGHT // 60, WIDTH // 60, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    for _ in range(300):  # hard edges
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        width, height = rng.integers(4, 200, 2)
        pixels[y : y + height, x : x + width] = rng.integers(0, 255, 3)
    noise = rng.normal(0, 10, (HEIGHT, WIDTH, 1)).astype(np.int16)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def write_photos(folder: Path, count: int) -> list[Job]:
    """Write ``count`` photos (``PICTURES`` different ones) and say where the faces are."""
    rng = np.random.default_rng(0)
    encoded = []
    for seed in range(PICTURES):
        # AI Hub's shares of orientations, roughly: upright two thirds, turned by 180 one quarter.
        exif = Image.Exif()
        exif[0x0112] = int(rng.choice([1, 0, 3, 4, 6, 8], p=[0.58, 0.08, 0.24, 0.06, 0.02, 0.02]))
        stream = io.BytesIO()
        noisy_photo(seed).save(stream, "JPEG", quality=85, exif=exif)
        encoded.append((stream.getvalue(), exif[0x0112]))
    jobs: list[Job] = []
    for number in range(count):
        data, tag = encoded[number % PICTURES]
        path = folder / f"photo_{number:05d}.jpg"
        path.write_bytes(data)
        width, height = (HEIGHT, WIDTH) if tag in (6, 8) else (WIDTH, HEIGHT)
        scale = float(np.exp(rng.normal(0, 0.25)))
        box_w, box_h = 822 * scale, min(1123 * scale, height - 20)
        x0, y0 = rng.uniform(0, width - box_w), rng.uniform(0, height - box_h)
        jobs.append((str(path), (x0, y0, x0 + box_w, y0 + box_h), f"crop_{number:05d}.jpg"))
    return jobs


def plain_crop(data: bytes, box: tuple[float, float, float, float]) -> Image.Image:
    """The plain way, up to the finished crop."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
    x0, y0, x1, y1 = box
    side = round(max(x1 - x0, y1 - y0) * (1 + 2 * MARGIN))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    canvas = Image.new("RGB", (side, side), PAD_RGB)
    canvas.paste(image, (-left, -top))
    return canvas.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def plain_job(job: tuple[Job, str]) -> None:
    """The plain way from file to file."""
    (path, box, name), out = job
    plain_crop(Path(path).read_bytes(), box).save(Path(out) / name, "JPEG", quality=95)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and on all cores together (steadier on a busy machine)."""

    clock_s: float
    cpu_s: float


@contextmanager
def measured(costs: dict[str, Cost], what: str) -> Iterator[None]:
    """Measure the body and the processes it starts and ends."""
    before, started = os.times(), time.perf_counter()
    yield
    clock_s = time.perf_counter() - started
    costs[what] = Cost(clock_s, sum(os.times()[:4]) - sum(before[:4]))


def plain_way(jobs: list[Job], out: Path, processes: int) -> None:
    """Prepare all photos the plain way."""
    out.mkdir()
    tasks = [(job, str(out)) for job in jobs]
    if processes == 1:
        for task in tasks:
            plain_job(task)
        return
    pool = multiprocessing.get_context("spawn").Pool(processes)
    pool.map(plain_job, tasks, chunksize=4)
    pool.close()
    pool.join()


def own_way(folder: Path, jobs: list[Job], processes: int) -> None:
    """The whole of ``nunbit prepare``: listing, workers' start, shards, manifest."""
    table = folder / f"photos_{processes}.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", "x0", "y0", "x1", "y1"])
        for path, box, _ in jobs:
            writer.writerow([path, "joy", "train", *box])
    settings = PrepareSettings(
        kind="table", size=SIZE, margin=MARGIN, shard_size=30, num_workers=processes
    )
    prepare([table], folder / f"data_{processes}", settings)


def differences(jobs: list[Job]) -> list[float]:
    """Mean absolute difference of each crop to the plain way's, before both become JPEGs."""
    settings = CropSettings("square", SIZE, MARGIN)
    found = []
    for path, box, _ in jobs:
        data = Path(path).read_bytes()
        fast = decode_crop(data, box, (), settings).pixels.astype(int)
        found.append(float(np.abs(fast - np.asarray(plain_crop(data, box))).mean()))
    return found


def floor(jobs: list[Job]) -> tuple[float, float]:
    """CPU milliseconds a photo: reading its bits down to the face, and the plain crop alone."""
    spent = [0.0, 0.0]
    for path, box, _ in jobs:
        data = Path(path).read_bytes()
        began = time.process_time()
        image = open_image(data)
        orientation = read_orientation(image)
        upright = image.size[::-1] if orientation in SIDEWAYS else image.size
        square = square_around(box, 1 + 2 * MARGIN)
        lower = raw_rect(square, orientation, upright)[3]
        image.draft(None, (image.width // 8, image.height // 8))
        load_rows(image, data, math.ceil(lower / 8))
        spent[0] += time.process_time() - began
        began = time.process_time()
        plain_crop(data, box)
        spent[1] += time.process_time() - began
    return spent[0] / len(jobs) * 1000, spent[1] / len(jobs) * 1000


def main() -> int:
    """Print the ratios; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=360)
    count = parser.parse_args().photos
    cores = available_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        jobs = write_photos(folder / "photos", count)
        megabytes = sum(Path(path).stat().st_size for path, _, _ in jobs) / len(jobs) / 1e6
        costs: dict[str, Cost] = {}
        for processes in (1, cores):
            with measured(costs, f"plain way, processes: {processes}"):
                plain_way(jobs, folder / f"plain_{processes}", processes)
            with measured(costs, f"nunbit prepare, processes: {processes}"):
                own_way(folder, jobs, processes)
        apart = differences(jobs[: 4 * PICTURES])
        lowest, whole = floor(jobs[: 4 * PICTURES])
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    print(f"{count} JPEGs of {WIDTH}x{HEIGHT}, {megabytes:.1f} MB each, {SIZE} px crops")
    for what, cost in costs.items():
        per_photo = cost.cpu_s / count * 1000
        print(f"{what:28} {count / cost.clock_s:6.1f} photos/s  {per_photo:5.0f} ms CPU a photo")
    plain_one, own_one = costs["plain way, processes: 1"], costs["nunbit prepare, processes: 1"]
    plain_all = costs[f"plain way, processes: {cores}"]
    own_all = costs[f"nunbit prepare, processes: {cores}"]
    ratio = plain_one.clock_s / own_all.clock_s
    same = plain_all.clock_s / own_all.clock_s
    print(f"against the plain way in 1 process:   {ratio:.2f} x  (bar {SPEED_BAR:.1f})")
    print(f"against the plain way in {cores} processes: {same:.2f} x")
    one = plain_one.clock_s / own_one.clock_s
    print(f"1 process against 1:                  {one:.2f} x  (bar {EQUAL_BAR:.1f})")
    print(
        f"floor: {lowest:.1f} ms CPU a photo, plain crop alone: {whole:.1f} ms: with nothing else "
        f"to do at most {whole / lowest:.2f} x"
    )
    print(f"CPU time, 1 process against 1:        {plain_one.cpu_s / own_one.cpu_s:.2f} x")
    print(
        f"mean absolute difference: mean {np.mean(apart):.2f}, worst crop {max(apart):.2f} grey "
        f"levels  (bar {DIFFERENCE_BAR:.1f})"
    )
    return int(ratio < SPEED_BAR or min(one, same) < EQUAL_BAR or max(apart) > DIFFERENCE_BAR)


if __name__ == "__main__":
    sys.exit(main())
