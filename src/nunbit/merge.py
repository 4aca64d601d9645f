"""Join finished shards into a data set: ``manifest.parquet``, ``rejects.jsonl``, ``dataset.json``.

The order is that of the shards, whoever wrote them and when, so parts made on several machines
give the bytes that one run gives. ``dataset.json`` is written last: it says the data set is whole.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.errors import LANGS, InputError
from nunbit.files import atomic_path
from nunbit.policies import label_under, labels_under
from nunbit.schema import POLICIES, SPLITS, Reject
from nunbit.shard_writer import PARTS, Part, read_part, remove_partials
from nunbit.shards import MANIFEST, MANIFEST_SCHEMA, REJECTS

UNLABELLED = "unlabelled"

_ROWS_PER_GROUP = 16_384


@dataclass(slots=True)
class Tally:
    """What is counted while the parts pass by.

    Attributes:
        labels: Records by split, uploader label and votes.
        persons: Records by split and subject.
        rejects: Rejects by reason.
        whole_images: Records without a box.
        fallback_boxes: Records whose first box was unusable.
        photos: First 8 bytes of each photo's digest, by split.
        first_reject: For the error when nothing is usable.
    """

    labels: Counter[tuple[str, str | None, tuple[str | None, ...]]] = field(default_factory=Counter)
    persons: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    whole_images: int = 0
    fallback_boxes: int = 0
    photos: dict[str, array[int]] = field(default_factory=dict)
    first_reject: Reject | None = None

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Count manifest rows."""
        for row in rows:
            split, subject = row["split"], row["subject_id"]
            self.labels[split, row["uploader_label"], tuple(row["votes"])] += 1
            if subject is not None:
                self.persons[split, subject] += 1
            self.whole_images += row["box_index"] is None
            self.fallback_boxes += (row["box_index"] or 0) > 0
            digest = int(row["image_sha1"][:16], 16)
            self.photos.setdefault(split, array("Q")).append(digest)


def missing_shards(out: Path, indices: Iterable[int], fingerprint: str) -> list[int]:
    """Those of ``indices`` that are not finished."""
    return [index for index in indices if read_part(out, index, fingerprint) is None]


def merge_parts(
    out: Path, n_shards: int, fingerprint: str, policy: str, rejects: Iterable[Reject]
) -> Tally | None:
    """Write manifest and rejects from the parts of all shards.

    Args:
        out: ``DATA/``.
        n_shards: Number of shards of the plan.
        fingerprint: Of the plan.
        policy: Decides the column ``label``.
        rejects: What the source itself rejected; they come first.

    Returns:
        The counts; None where a part is missing, because another run has merged meanwhile.

    Raises:
        InputError: Not a single image could be used, or writing failed.
    """
    tally = Tally()
    try:
        with (
            atomic_path(out / MANIFEST) as manifest,
            atomic_path(out / REJECTS) as reject_lines,
            reject_lines.open("w", encoding="utf-8", newline="\n") as lines,
            pq.ParquetWriter(manifest, MANIFEST_SCHEMA, compression="zstd") as writer,
        ):
            _write_rejects(lines, rejects, tally)
            waiting: list[pa.Table] = []
            for part in _parts(out, n_shards, fingerprint):
                tally.add_rows(part.rows)
                _write_rejects(lines, part.rejects, tally)
                waiting.append(_table(part.rows, policy))
                if sum(table.num_rows for table in waiting) >= _ROWS_PER_GROUP:
                    _write_group(writer, waiting)
            _write_group(writer, waiting)
            if not tally.labels:
                raise _nothing_usable(out, tally)
    except _PartMissing:
        return None
    return tally


def remove_parts(out: Path) -> None:
    """Remove what only an unfinished data set needs."""
    remove_partials(out)
    shutil.rmtree(out / PARTS, ignore_errors=True)


def counts_document(tally: Tally, label_ids: tuple[str, ...]) -> dict[str, Any]:
    """The counts of ``dataset.json``, for every policy and not only the chosen one.

    Args:
        tally: All records.
        label_ids: The K ids; records without a label count as ``UNLABELLED``.
    """
    by_split = _by_split(tally)
    return {
        "records": sum(by_split.values()),
        "by_split": by_split,
        "by_policy": {
            policy: {split: _classes(tally, policy, split, label_ids) for split in by_split}
            for policy in POLICIES
        },
        "rejects": dict(sorted(tally.rejects.items())),
        "whole_images": tally.whole_images,
        "fallback_boxes": tally.fallback_boxes,
        "subjects": _subjects(tally),
        "identical_photos": _identical_photos(tally),
    }


def count_notes(
    counts: dict[str, Any], policy: str, label_ids: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Sentences, as (en, ko), about what a reader of the counts should not overlook."""
    notes = []
    if counts["rejects"]:
        listed = ", ".join(f"{reason} {n:,}" for reason, n in counts["rejects"].items())
        notes.append(
            (
                f"inputs not used (rejects.jsonl): {listed}",
                f"쓰지 않은 입력(rejects.jsonl): {listed}",
            )
        )
    if n := counts["fallback_boxes"]:
        notes.append(
            (
                f"{n:,} images have an unusable first box; another annotator's was used"
                " (box_index)",
                f"이미지 {n:,}개는 첫째 상자를 쓸 수 없어 다른 작업자의 상자를 썼습니다(box_index)",
            )
        )
    for splits, n in counts["identical_photos"]["across_splits"].items():
        notes.append(
            (
                f"{n:,} byte-identical photos occur in both {splits} (image_sha1)",
                f"똑같은 파일 {n:,}개가 {splits} 양쪽에 있습니다(image_sha1)",
            )
        )
    for split, classes in counts["by_policy"][policy].items():
        absent = [label for label in label_ids if not classes[label]]
        if absent:
            listed = ", ".join(absent)
            notes.append(
                (
                    f"classes without a single image in {split} under {policy}: {listed}",
                    f"{split}에 {policy} 기준으로 한 장도 없는 클래스: {listed}",
                )
            )
    return notes


class _PartMissing(Exception):  # noqa: N818  (a signal, not an error)
    pass


def _parts(out: Path, n_shards: int, fingerprint: str) -> Iterator[Part]:
    for index in range(n_shards):
        part = read_part(out, index, fingerprint)
        if part is None:
            raise _PartMissing
        yield part


def _write_rejects(lines: TextIO, rejects: Iterable[Reject], tally: Tally) -> None:
    for reject in rejects:
        tally.rejects[reject.reason] += 1
        tally.first_reject = tally.first_reject or reject
        lines.write(json.dumps(asdict(reject), ensure_ascii=False) + "\n")


def _table(rows: list[dict[str, Any]], policy: str) -> pa.Table:
    labels = labels_under(
        policy, [row["uploader_label"] for row in rows], [row["votes"] for row in rows]
    )
    labelled = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
    return pa.Table.from_pylist(labelled, schema=MANIFEST_SCHEMA)


def _write_group(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    # One group for many shards: groups of a few hundred rows compress badly and read slowly.
    if waiting:
        table = pa.concat_tables(waiting).combine_chunks()
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        waiting.clear()


def _by_split(tally: Tally) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for (split, _, _), n in tally.labels.items():
        totals[split] += n
    return {split: totals[split] for split in SPLITS if totals[split]}


def _classes(tally: Tally, policy: str, split: str, label_ids: tuple[str, ...]) -> dict[str, int]:
    classes = dict.fromkeys((*label_ids, UNLABELLED), 0)
    for (own, uploader_label, votes), n in tally.labels.items():
        if own == split:
            classes[label_under(policy, uploader_label, votes) or UNLABELLED] += n
    return classes


def _subjects(tally: Tally) -> dict[str, Any]:
    persons: dict[str, set[str]] = {}
    for split, subject in tally.persons:
        persons.setdefault(split, set()).add(subject)
    seen = persons.get("train", set())
    present = [split for split in SPLITS if split in persons]
    return {
        "by_split": {split: len(persons[split]) for split in present},
        "shared": {f"{a}+{b}": len(persons[a] & persons[b]) for a, b in combinations(present, 2)},
        "unseen": {
            split: {
                "subjects": len(persons[split] - seen),
                "records": sum(
                    n for (own, who), n in tally.persons.items() if own == split and who not in seen
                ),
            }
            for split in present
            if split != "train"
        },
    }


def _identical_photos(tally: Tally) -> dict[str, Any]:
    digests: dict[str, NDArray[np.uint64]] = {
        split: np.unique(np.frombuffer(tally.photos[split], dtype=np.uint64))
        for split in SPLITS
        if split in tally.photos
    }
    across = {
        f"{a}+{b}": int(np.intersect1d(digests[a], digests[b], assume_unique=True).size)
        for a, b in combinations(digests, 2)
    }
    repeated = {split: len(tally.photos[split]) - len(digests[split]) for split in digests}
    return {
        "repeated_in_split": {split: n for split, n in repeated.items() if n},
        "across_splits": {splits: n for splits, n in across.items() if n},
    }


def _nothing_usable(out: Path, tally: Tally) -> InputError:
    listed = ", ".join(f"{reason} {n:,}" for reason, n in sorted(tally.rejects.items()))
    first = tally.first_reject
    example, example_ko = "-", "-"
    if first is not None:
        example, example_ko = (f"{first.file}: {first.text(lang)}" for lang in LANGS)
    return InputError(
        en=f"{out}: not a single image could be used ({listed}); the first: {example}; check SRC",
        ko=f"{out}: 쓸 수 있는 이미지가 하나도 없습니다({listed}). 첫째: {example_ko}. "
        "SRC를 확인하십시오",
    )
