"""Turn the shared folder of web faces into a table that `nunbit prepare` reads, alone or joined.

The folder (environment variable NUNBIT_DATA) holds `faces_web/faces.zip` and `labels.csv`.

    python scripts/faces_web_table.py --divide                 # once: who is held out
    NUNBIT_DATA=… python scripts/faces_web_table.py --out faces.csv [--join ferplus.csv]
    nunbit prepare faces.csv --label-set fer7 --labels votes --size 48 --out faces

* Persons, not pictures, are divided: `benchmarks/faces_web_persons.csv` lists by code the fifth
  that is held out for the report (`test`) and the eighth that chooses (`validation`); all others
  train. Within the persons whose rarest class is the same, the sha256 of the code decides.
* A near copy of a picture of a held-out or choosing person (64-bit difference hash at most 4 bits
  away) is left out of the parts before it.
* Each face is found by nunbit's detector and framed as `nunbit predict` frames it; a picture
  without a detected face is taken whole. `--whole` takes all whole.
* One student gave each label, so a label counts as 8 of 10 votes. The other two go to neutral; of
  neutral, one goes to joy and one to sadness: mild expressions are where these raters differ.
* `--join` puts the rows of another table (`fer2013_table.py --truth ferplus`) first.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.schema import Box
from nunbit.pictures.crops import square_around
from nunbit.pictures.faces import detect_faces

PERSONS = Path(__file__).parent.parent / "benchmarks" / "faces_web_persons.csv"
CLASSES = ("joy", "surprise", "anger", "fear", "disgust", "sadness", "neutral")
TEST_SHARE, VALIDATION_SHARE = 1 / 5, 1 / 8
NEAR_BITS = 4
VOTES, OWN_VOTES = 10, 8
# The framing of the shipped bundle, and the margin that `nunbit prepare` adds to a box.
FRAME_SCALE, FRAME_SHIFT, MARGIN = 0.98, -0.01, 0.1
_ORDER = ("test", "validation", "train")


def divided(labels: dict[str, set[str]], frequency: Counter[str]) -> dict[str, str]:
    """Part of each person: a fixed share of the persons of each rarest class.

    Args:
        labels: Person to the classes of their pictures.
        frequency: Pictures of each class.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for person, own in labels.items():
        strata[min(own, key=lambda name: (frequency[name], name))].append(person)
    part = {}
    for persons in strata.values():
        ordered = sorted(persons, key=lambda code: hashlib.sha256(code.encode()).hexdigest())
        first = round(TEST_SHARE * len(ordered))
        second = first + round(VALIDATION_SHARE * len(ordered))
        part |= dict.fromkeys(ordered[:first], "test")
        part |= dict.fromkeys(ordered[first:second], "validation")
        part |= dict.fromkeys(ordered[second:], "train")
    return part


def read_parts(path: Path = PERSONS) -> dict[str, str]:
    """Part of each listed person; who is not listed trains."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["person"]: row["part"] for row in csv.DictReader(stream)}


def votes_of(label: str) -> dict[str, str]:
    """Ten votes for a label that one rater gave."""
    votes = dict.fromkeys(CLASSES, 0)
    votes[label] = OWN_VOTES
    for other in ("joy", "sadness") if label == "neutral" else ("neutral", "neutral"):
        votes[other] += (VOTES - OWN_VOTES) // 2
    return {f"votes_{name}": str(n) for name, n in votes.items()}


def framed_box(pixels: NDArray[np.uint8]) -> Box | None:
    """The box that `nunbit prepare` with its margin cuts as `nunbit predict` cuts the face."""
    faces = detect_faces(pixels)
    if not faces:
        return None
    left, top, right, bottom = square_around(faces[0].box_xyxy, FRAME_SCALE, FRAME_SHIFT)
    half = (right - left) / 2 / (1 + 2 * MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(64,) whether each cell of 8 x 8 is brighter than its neighbour to the right."""
    small = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    cells = np.asarray(small, np.int16)
    return (cells[:, :-1] > cells[:, 1:]).ravel()


def near_copies(hashes: NDArray[np.bool_], parts: list[str], persons: list[str]) -> set[int]:
    """Positions to leave out: near copies of another person's picture in a part kept apart."""
    bits = hashes.astype(np.float32)
    apart = bits.sum(1)[:, None] + bits.sum(1)[None, :] - 2 * bits @ bits.T
    out = set()
    for i, j in zip(*np.nonzero(np.triu(apart <= NEAR_BITS, 1)), strict=True):
        if persons[i] != persons[j] and parts[i] != parts[j]:
            out.add(int(max(i, j, key=lambda k: _ORDER.index(parts[k]))))
    return out


def rows_of(folder: Path, whole: bool) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Table rows, and counts of what was left out or taken whole."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        images = list(csv.DictReader(stream))
    part_of = read_parts()
    parts = [part_of.get(image["person"], "train") for image in images]
    path = (folder / "faces.zip").resolve()
    with zipfile.ZipFile(path) as archive:
        pixels = [
            np.asarray(Image.open(io.BytesIO(archive.read(image["file"]))).convert("RGB"))
            for image in images
        ]
    hashes = np.stack([difference_hash(p) for p in pixels])
    copies = near_copies(hashes, parts, [image["person"] for image in images])
    rows, undetected = [], 0
    for k, image in enumerate(images):
        if k in copies:
            continue
        box = None if whole else framed_box(pixels[k])
        undetected += box is None and not whole
        rows.append(
            {
                "path": f"{path}!{image['file']}",
                "split": parts[k],
                "label": image["label"],
                "subject": image["person"],
                "box": "" if box is None else " ".join(f"{v:.1f}" for v in box),
                **votes_of(image["label"]),
            }
        )
    return rows, {"near_copies_left_out": len(copies), "no_face_found_taken_whole": undetected}


def divide(folder: Path) -> None:
    """Write the list of the persons that are kept apart."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        images = list(csv.DictReader(stream))
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        labels[image["person"]].add(image["label"])
    part = divided(labels, Counter(image["label"] for image in images))
    with PERSONS.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["person", "part"])
        writer.writerows(sorted((p, k) for p, k in part.items() if k != "train"))
    print(json.dumps(Counter(part.values())))


def main() -> int:
    """Write the table, or the list of persons, and print counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--join", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--divide", action="store_true")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("NUNBIT_DATA", "")) / "faces_web"
    if not (folder / "labels.csv").is_file():
        print("skipped: NUNBIT_DATA does not name the folder that holds faces_web/labels.csv")
        return 0
    if arguments.divide:
        divide(folder)
    if arguments.out is None:
        return 0
    rows, left_out = rows_of(folder, arguments.whole)
    kept = Counter((row["split"], row["label"]) for row in rows)
    if arguments.join:
        with arguments.join.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream)) + rows
    names = list(dict.fromkeys(name for row in rows[:1] + rows[-1:] for name in row))
    with arguments.out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=names, restval="0")
        writer.writeheader()
        writer.writerows({"subject": "", "box": ""} | row for row in rows)
    counts = {f"{split} {label}": n for (split, label), n in sorted(kept.items())}
    print(json.dumps({"faces_web": counts, **left_out, "rows": len(rows)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
