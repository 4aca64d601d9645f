"""Turn the shared FER2013 + FER+ folder into a table that `nunbit prepare` reads.

The folder (environment variable NUNBIT_DATA) holds `fer2013/{train,validation,test}.zip` and
`fer2013/labels.csv`. What is left out, and why, is printed and written beside the table:

* train images whose group of near-identical pictures reaches into validation or test,
* validation images whose group reaches into test (choosing on them would peek),
* further copies inside one split (the first stays),
* train images that at least half of the FER+ raters call no face.

Test images are never dropped. `--truth fer2013` puts FER2013's single label into `label`;
`--truth ferplus` puts there the class that at least 5 of 10 raters chose, empty where there is
none or a tie. The raters' votes are in the table either way.

    NUNBIT_DATA=… python scripts/fer2013_table.py --out scratch/fer2013.csv
    nunbit prepare scratch/fer2013.csv --label-set fer7 --size 48 --out scratch/fer2013
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

SPLIT = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
REACH = {"train": ("validation", "test"), "validation": ("test",), "test": ()}
# FER+ column -> spelling that label set fer7 knows, in its order; the last three are null votes.
VOTES = {
    "happiness": "joy",
    "surprise": "surprise",
    "anger": "anger",
    "fear": "fear",
    "disgust": "disgust",
    "sadness": "sadness",
    "neutral": "neutral",
    "contempt": "contempt",
    "unknown": "unknown",
    "NF": "NF",
}
CLASSES = 7


def ferplus_majority(counts: list[int]) -> str:
    """The class that at least five raters chose, or an empty string for none or a tie."""
    top = max(counts[:CLASSES])
    winners = [name for name, n in zip(VOTES.values(), counts[:CLASSES], strict=False) if n == top]
    return winners[0] if top >= 5 and len(winners) == 1 else ""


def byte_groups(folder: Path, names: list[str]) -> dict[str, str]:
    """File name to a group id for files that are byte-identical; empty for files that are alone."""
    digests: dict[str, str] = {}
    for split in SPLIT.values():
        with zipfile.ZipFile(folder / f"{split}.zip") as archive:
            present = set(archive.namelist())
            for name in names:
                if name in present:
                    digests[name] = hashlib.sha1(archive.read(name)).hexdigest()
    count = Counter(digests.values())
    return {name: digest if count[digest] > 1 else "" for name, digest in digests.items()}


def rows_of(folder: Path, truth: str) -> tuple[list[dict[str, str]], Counter[str]]:
    """Table rows, and how many images were left out by split and reason."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        images = list(csv.DictReader(stream))
    same_bytes = byte_groups(folder, [image["file"] for image in images])
    splits_of_group: dict[str, set[str]] = defaultdict(set)
    for image in images:
        # The groups of the folder miss a few pictures that are the same to the byte.
        image["duplicate_group"] = image["duplicate_group"] or same_bytes[image["file"]]
        splits_of_group[image["duplicate_group"]].add(SPLIT[image["usage"]])
    rows, dropped, kept_groups = [], Counter[str](), set()
    for image in images:
        split, group = SPLIT[image["usage"]], image["duplicate_group"]
        counts = [int(image[f"ferplus_{name}"] or 0) for name in VOTES]
        reason = ""
        if group and splits_of_group[group] & set(REACH[split]):
            reason = "copy_in_a_later_split"
        elif group and (group, split) in kept_groups and split != "test":
            reason = "copy_inside_the_split"
        elif split == "train" and counts[-1] * 2 >= max(sum(counts), 1):
            reason = "no_face_by_vote"
        if reason:
            dropped[f"{split}: {reason}"] += 1
            continue
        kept_groups.add((group, split))
        label = image["label"] if truth == "fer2013" else ferplus_majority(counts)
        votes = {f"votes_{VOTES[name]}": str(n) for name, n in zip(VOTES, counts, strict=True)}
        path = folder / f"{split}.zip"
        rows.append({"path": f"{path}!{image['file']}", "split": split, "label": label, **votes})
    return rows, dropped


def main() -> int:
    """Write the table and print what was left out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truth", choices=["fer2013", "ferplus"], default="fer2013")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("NUNBIT_DATA", "")) / "fer2013"
    if not (folder / "labels.csv").is_file():
        print("skipped: NUNBIT_DATA does not name the folder that holds fer2013/labels.csv")
        return 0
    rows, dropped = rows_of(folder.resolve(), arguments.truth)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    kept = Counter(row["split"] for row in rows)
    summary = {"truth": arguments.truth, "kept": kept, "left_out": dict(sorted(dropped.items()))}
    print(json.dumps(summary, ensure_ascii=False, indent=2))
    arguments.out.with_suffix(".json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
