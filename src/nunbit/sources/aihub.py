"""AI Hub 「한국인 감정인식을 위한 복합 영상」 (data set 82) as people really have it.

Zips in place or unpacked trees or both, under either root, with any of the damage that names
suffer on the way. Which file holds labels and which holds photos is read from its content, so the
two zips of 기쁨 VALID that share one name need no special case. Label files cover all four parts
of train while often only one is there: an entry without its photo is counted, a photo without its
entry is a reject. Boxes are passed on verbatim. No photo is opened here.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.errors import InputError, Lang
from nunbit.labels import LabelSet
from nunbit.schema import FaceRecord, ImageRef, Reject, Split
from nunbit.sources.aihub_counts import KNOWN_COUNTS, compare_counts, difference_lines
from nunbit.sources.aihub_labels import (
    MAX_LABEL_BYTES,
    LabelRecord,
    decode_labels,
    file_names,
)
from nunbit.sources.aihub_names import (
    UNKNOWN,
    FolderTraits,
    folder_traits,
    is_aihub_path,
    label_file_class,
    loose_key,
    parse_photo_name,
)
from nunbit.sources.aihub_notes import notes_for
from nunbit.sources.archives import ReadError, read_bytes
from nunbit.sources.listing import Listing
from nunbit.sources.names import nfc, parse_split, record_id_from
from nunbit.sources.packed import (
    CodedColumn,
    NameIndex,
    PackedRecords,
    RecordPacker,
    name_hashes,
)
from nunbit.sources.scan import Scan, nothing_found, split_source_path

__all__ = ["KNOWN_COUNTS", "VOTE_NAMES", "compare_counts", "difference_lines", "read"]

VOTE_NAMES = ("annot_a", "annot_b", "annot_c")


def read(found: Scan, label_set: LabelSet, where: str) -> Listing:
    """Join photos and label entries of a scan.

    The split is the official one: what the label file's own name says, else the photo's folder or
    zip, else train. Person, gender, age and place come from the entry, else from the photo's name.

    Args:
        found: What the SRC paths hold.
        label_set: Must know the data set's spellings (``aihub7`` does).
        where: The SRC paths, for messages.

    Raises:
        InputError: No photos, no labels, no photo with a label, or an unknown label.
    """
    if not found.images and not found.labels:
        raise nothing_found(where, found)
    if not found.images:
        raise InputError(
            en=f"{where}: label files but not one image; also give the folders or zips with the "
            "photos ([원천]EMOIMG_*.zip)" + _first_reject(found),
            ko=f"{where}: 레이블 파일은 있으나 이미지가 하나도 없습니다. 사진이 든 폴더나 zip"
            "([원천]EMOIMG_*.zip)도 주십시오" + _first_reject(found),
        )
    join = _Join(found, label_set, where)
    for ref, root in found.labels:
        join.add_labels(ref, root)
    if not join.label_files:
        raise _no_labels(join, where)
    listing = join.listing()
    if not listing.records:
        raise InputError(
            en=f"{where}: none of {len(found.images):,} images has an entry in the "
            f"{join.label_files} label files; give photos and labels of the same part, and keep "
            "the photos' names",
            ko=f"{where}: 이미지 {len(found.images):,}개 가운데 레이블 파일 {join.label_files}개에 "
            "있는 것이 없습니다. 같은 부분의 사진과 레이블을 주고 사진 이름을 바꾸지 마십시오",
        )
    return listing


@dataclass(slots=True)
class Tally:
    """Counts that grow while label files are read."""

    label_records: dict[str, Counter[str]] = field(default_factory=dict)
    without_image: int = 0
    repeated_entries: int = 0
    without_person: int = 0
    with_null_vote: int = 0
    with_missing_box: int = 0
    without_split: int = 0
    split_conflicts: int = 0


class _Join:
    """Photos on one side, label entries coming file by file on the other."""

    def __init__(self, found: Scan, label_set: LabelSet, where: str) -> None:
        self._found, self._label_set, self._where = found, label_set, where
        self._labels_by_spelling: dict[str, str | None] = {}
        self.rejects = list(found.rejects)
        self.foreign: list[Reject] = []
        self.label_files = 0
        self.tally = Tally()
        self._traits: CodedColumn[FolderTraits] = CodedColumn()
        exact, loose = array("q"), array("q")
        for _, root, folder, name in found.directories():
            self._traits.append(folder_traits(self._trait_path(root, folder)))
            exact.append(hash(name))
            loose.append(hash(loose_key(name)))
        self._exact = NameIndex(np.frombuffer(exact, dtype=np.int64))
        self._loose = NameIndex(np.frombuffer(loose, dtype=np.int64))
        self._repeated = self._exact.repeated()
        n = len(found.images)
        self._digests = np.zeros(n, dtype=np.int64)  # of the entry's content
        self._matched = np.zeros(n, dtype=np.bool_)
        self._image_labels: list[str] = [UNKNOWN, *label_set.ids]
        self._label_of = np.zeros(n, dtype=np.uint8)  # index into the above
        self._conflicting: set[int] = set()
        self._entry_hashes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._packer = RecordPacker(found.images)

    def _trait_path(self, root: int, folder: str) -> str:
        # The SRC folder's own name counts only if it is one of the data set's, for people call
        # their folders 'test' for other reasons.
        name = self._found.roots[root]
        official = is_aihub_path(name) or parse_split(name.lstrip("0123456789. ")) is not None
        return f"{name}/{folder}" if official else folder

    def add_labels(self, ref: ImageRef, root: int) -> None:
        """Read one label file and join its entries."""
        try:
            data = read_bytes(ref, MAX_LABEL_BYTES)
        except ReadError as exc:
            self.rejects.append(Reject(ref.source_path, exc.reason, exc.text("en"), exc.text("ko")))
            return
        decoded = decode_labels(data, ref.source_path)
        records = decoded.records
        folder, name = split_source_path(ref)
        strange = [reject.reason for reject in decoded.rejects] == ["not_labels"]
        if strange and not is_aihub_path(name):
            # Somebody's package.json is no broken label file, unless there is no better one.
            self.foreign += decoded.rejects
            return
        self.rejects += decoded.rejects
        if not records:
            return
        self.label_files += 1
        split = folder_traits(self._trait_path(root, f"{folder}/{name}")).split
        names = [nfc(file_name) for file_name in file_names(records)]
        images = self._images_of(names)
        self._count(records, names, images, split or UNKNOWN, ref)
        for k in np.flatnonzero(images >= 0).tolist():
            self._add(int(images[k]), records[k], split, ref)

    def _images_of(self, names: list[str]) -> NDArray[np.int64]:
        """Image index per name, -1 where there is none; exact names before loose ones."""
        images = self._exact.find(name_hashes(names))
        missing = np.flatnonzero(images < 0)
        guesses = self._loose.find(name_hashes(loose_key(names[k]) for k in missing.tolist()))
        guesses[(guesses >= 0) & self._matched[guesses]] = -1
        images[missing] = guesses
        return images

    def _count(
        self,
        records: list[LabelRecord],
        names: list[str],
        images: NDArray[np.int64],
        split: str,
        ref: ImageRef,
    ) -> None:
        hashes = name_hashes(names)
        new = np.zeros(len(hashes), dtype=np.bool_)
        new[np.unique(hashes, return_index=True)[1]] = True
        new &= ~np.isin(hashes, self._entry_hashes)
        self._entry_hashes = np.concatenate([self._entry_hashes, hashes[new]])
        tally = self.tally
        tally.repeated_entries += int((~new).sum())
        tally.without_image += int((new & (images < 0)).sum())
        counter = tally.label_records.setdefault(split, Counter())
        spelled = label_file_class(ref.source_path)
        for k in np.flatnonzero(new).tolist():
            label = self._label(records[k].uploader or spelled, ref)
            counter[label or UNKNOWN] += 1

    def _add(
        self, image: int, entry: LabelRecord, label_split: Split | None, ref: ImageRef
    ) -> None:
        digest = hash(msgspec.json.encode(entry))
        if self._matched[image]:
            if self._digests[image] != digest:
                self._conflicting.add(image)
            return
        self._matched[image], self._digests[image] = True, digest
        traits, tally = self._traits[image], self.tally
        source = self._found.images[image]
        name = split_source_path(source)[1]
        fields = parse_photo_name(name)
        label = self._label(entry.uploader or fields.label or traits.label, ref)
        self._label_of[image] = self._image_labels.index(label) if label else 0
        votes = tuple(self._label(vote, ref) for vote in entry.votes())
        boxes = entry.boxes()
        tally.without_person += fields.subject_id is None
        tally.with_null_vote += None in votes
        tally.with_missing_box += any(math.isnan(sum(box)) for box in boxes)
        split = label_split or traits.split
        tally.without_split += split is None
        tally.split_conflicts += label_split != traits.split and None not in (
            label_split,
            traits.split,
        )
        age = entry.age if entry.age is not None else fields.age
        self._packer.append(
            image,
            FaceRecord(
                record_id=record_id_from(name),
                image=source,
                split=split or "train",
                uploader_label=label,
                votes=votes,
                subject_id=fields.subject_id,
                box_xyxy=boxes[0],
                fallback_boxes=boxes[1:],
                gender=entry.gender or fields.gender,
                age=None if age is None else str(age),
                place=entry.place or fields.place,
            ),
        )

    def _label(self, spelling: str | None, ref: ImageRef) -> str | None:
        if not spelling or not spelling.strip():
            return None
        if spelling not in self._labels_by_spelling:
            try:
                self._labels_by_spelling[spelling] = self._label_set.find(spelling)
            except InputError as exc:
                raise InputError(
                    en=f"{self._where}: {ref.source_path}: {exc.en}",
                    ko=f"{self._where}: {ref.source_path}: {exc.ko}",
                ) from exc
        return self._labels_by_spelling[spelling]

    def listing(self) -> Listing:
        """Everything joined; call once, after the last label file."""
        images = self._found.images
        orphans = self._orphans()
        self._name_orphans(orphans)
        for reason, indices in (
            ("no_record", orphans),
            ("duplicate_image", self._repeated.tolist()),
            ("conflicting_records", sorted(self._conflicting)),
        ):
            en, ko = _REJECT_TEXTS["en"][reason], _REJECT_TEXTS["ko"][reason]
            self.rejects += [Reject(images[i].source_path, reason, en, ko) for i in indices]
        records = self._packer.finish(drop_images=self._conflicting)
        counts = self._raw_counts(records, orphans)
        notes = notes_for(counts, self.rejects, self._found.others)
        return Listing("aihub", records, tuple(self.rejects), VOTE_NAMES, counts, notes)

    def _orphans(self) -> list[int]:
        alone = ~self._matched
        alone[self._repeated] = False
        orphans: list[int] = np.flatnonzero(alone).tolist()
        return orphans

    def _name_orphans(self, orphans: list[int]) -> None:
        """The class of photos without an entry, for the counts: from their name or folder."""
        for i in orphans:
            name = split_source_path(self._found.images[i])[1]
            spelled = parse_photo_name(name).label or self._traits[i].label
            try:
                label = self._label_set.find(spelled) if spelled else None
            except InputError:
                label = None  # only a count, and 'unknown' is its honest value
            self._label_of[i] = self._image_labels.index(label) if label else 0

    def _raw_counts(self, records: PackedRecords, orphans: list[int]) -> dict[str, Any]:
        by_part: dict[str, Counter[str]] = {}
        repeated = set(self._repeated.tolist())
        for i, label in enumerate(self._label_of.tolist()):
            if i not in repeated:
                part = by_part.setdefault(self._traits[i].part, Counter())
                part[self._image_labels[label]] += 1
        tally = self.tally
        return {
            "images": len(self._found.images) - len(repeated),
            "images_by_part": {part: dict(by_part[part]) for part in sorted(by_part)},
            "label_files": self.label_files,
            "other_json_files": len(self.foreign),
            "label_records": {split: dict(c) for split, c in sorted(tally.label_records.items())},
            "records": len(records),
            "label_records_without_image": tally.without_image,
            "label_records_repeated": tally.repeated_entries,
            "label_records_conflicting": len(self._conflicting),
            "images_without_record": len(orphans),
            "images_repeated": len(repeated),
            "records_without_person": tally.without_person,
            "records_with_null_vote": tally.with_null_vote,
            "records_with_missing_box": tally.with_missing_box,
            "records_without_split": tally.without_split,
            "split_conflicts": tally.split_conflicts,
            "persons": _person_counts(records),
        }


def _person_counts(records: PackedRecords) -> dict[str, int]:
    images: dict[str, Counter[str]] = {"train": Counter(), "validation": Counter()}
    for split, subject in records.subjects():
        if subject is not None:
            images.setdefault(split, Counter())[subject] += 1
    train, validation = images["train"], images["validation"]
    unseen = {subject: n for subject, n in validation.items() if subject not in train}
    counts = {split: len(by_person) for split, by_person in images.items()}
    return {
        **counts,
        "train_and_validation": len(validation) - len(unseen),
        "validation_unseen": len(unseen),
        "images_of_validation_unseen": sum(unseen.values()),
    }


_REJECT_TEXTS: dict[Lang, dict[str, str]] = {
    "en": {
        "no_record": "no entry in any label file",
        "duplicate_image": "an image of the same name was found before",
        "conflicting_records": "two entries for this image that differ",
    },
    "ko": {
        "no_record": "어느 레이블 파일에도 없음",
        "duplicate_image": "같은 이름의 이미지가 앞에 있음",
        "conflicting_records": "이 이미지의 레이블 항목 둘이 서로 다름",
    },
}


def _first_reject(found: Scan) -> str:
    if not found.rejects:
        return ""
    first = found.rejects[0]
    return f" ({first.file}: {first.reason}: {first.detail})"


def _no_labels(join: _Join, where: str) -> InputError:
    bad = [*(r for r in join.rejects if r.reason != "unsafe_path"), *join.foreign]
    why = f" ({bad[0].file}: {bad[0].reason}: {bad[0].detail})" if bad else ""
    return InputError(
        en=f"{where}: images but no usable label JSON{why}; also give the label zips "
        "([라벨]EMOIMG_*.zip) or their JSON files, or take class folders with --source folder",
        ko=f"{where}: 이미지는 있으나 쓸 수 있는 레이블 JSON이 없습니다{why}. 레이블 zip"
        "([라벨]EMOIMG_*.zip)이나 그 JSON도 주거나, 클래스 폴더라면 --source folder를 주십시오",
    )
