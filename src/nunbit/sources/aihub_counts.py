"""The known numbers of AI Hub's data set 82, and how a download differs from them.

Counted over the real files by users who published their notebooks. The paper's own figures
(112,635 / 52,107) are a few dozen lower and are deliberately not here: nothing is forced to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABELS = ("joy", "flustered", "anger", "anxiety", "hurt", "sadness", "neutral")
REAL_SET_MINIMUM = 1000


def _by_label(*counts: int) -> dict[str, int]:
    return dict(zip(LABELS, counts, strict=True))


KNOWN_COUNTS: dict[str, dict[str, dict[str, int]]] = {
    "images": {
        "TRAIN_01": _by_label(16072, 16170, 16234, 16133, 16023, 15874, 16197),
        "TRAIN_02": _by_label(15914, 15924, 15880, 15913, 15506, 15804, 15934),
        "TRAIN_03+TRAIN_04": _by_label(28117, 27549, 27582, 27216, 27860, 28163, 27102),
        "VALID": _by_label(7499, 7454, 7461, 7407, 7423, 7479, 7403),
    },
    "label_records": {
        "train": _by_label(60103, 59643, 59696, 59262, 59389, 59841, 59233),
        "validation": _by_label(7499, 7454, 7461, 7407, 7423, 7479, 7403),
    },
    "totals": {
        "images": {
            "TRAIN_01": 112_703,
            "TRAIN_02": 110_875,
            "TRAIN_03+TRAIN_04": 193_589,
            "VALID": 52_126,
        },
        "label_records": {"train": 417_167, "validation": 52_126},
    },
}


def compare_counts(raw_counts: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a listing's counts with the known ones, part by part.

    A part is compared only where the input looks like the real set: some class has more than
    ``REAL_SET_MINIMUM`` images (label records only where some part was compared). Parts 3 and 4
    are known only as a sum and compared when both are there.

    Args:
        raw_counts: ``Listing.raw_counts`` of an AI Hub source.

    Returns:
        Plain data: ``compared`` (names of what was compared) and ``differences``, each with
        ``what``, ``label``, ``found`` and ``known``. Both empty for anything but the real set.
    """
    found = {part: dict(counts) for part, counts in raw_counts.get("images_by_part", {}).items()}
    if "TRAIN_03" in found and "TRAIN_04" in found:
        third, fourth = found["TRAIN_03"], found["TRAIN_04"]
        found["TRAIN_03+TRAIN_04"] = {
            label: third.get(label, 0) + fourth.get(label, 0) for label in {*third, *fourth}
        }
    compared: list[str] = []
    differences: list[dict[str, Any]] = []
    for part, known in KNOWN_COUNTS["images"].items():
        if max(found.get(part, {}).values(), default=0) > REAL_SET_MINIMUM:
            compared.append(f"images {part}")
            differences += _differences(f"images {part}", found[part], known)
    if compared:
        records = raw_counts.get("label_records", {})
        for split, known in KNOWN_COUNTS["label_records"].items():
            if max(records.get(split, {}).values(), default=0) > REAL_SET_MINIMUM:
                compared.append(f"label_records {split}")
                differences += _differences(f"label_records {split}", records[split], known)
    return {"compared": compared, "differences": differences}


def difference_lines(raw_counts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """``compare_counts`` as (en, ko): one line per difference, or one that says 'equal'.

    Empty for anything but the real set.
    """
    result = compare_counts(raw_counts)
    if not result["compared"]:
        return ()
    if not result["differences"]:
        what = ", ".join(result["compared"])
        return (
            (f"all counts equal the known ones: {what}", f"알려진 개수와 모두 같습니다: {what}"),
        )
    lines = []
    for item in result["differences"]:
        found, known = item["found"], item["known"]
        change = f"{found - known:+,}"
        what = f"{item['what']}, {item['label']}"
        lines.append(
            (
                f"{what}: {found:,} found, {known:,} known ({change})",
                f"{what}: {found:,}개, 알려진 수 {known:,}개 ({change})",
            )
        )
    return tuple(lines)


def _differences(
    what: str, found: Mapping[str, int], known: Mapping[str, int]
) -> list[dict[str, Any]]:
    labels = [*known, *(label for label in sorted(found) if label not in known)]
    return [
        {"what": what, "label": label, "found": found.get(label, 0), "known": known.get(label, 0)}
        for label in labels
        if found.get(label, 0) != known.get(label, 0)
    ]
