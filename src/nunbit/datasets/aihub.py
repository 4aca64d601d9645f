"""Read AI Hub 「한국인 감정인식을 위한 복합 영상」 (data set 82), however it was downloaded.

It may be zips, unpacked folders or both, under either root, with file names damaged in any known
way. The content shows whether a file holds labels or photos, so the two zips of 기쁨 VALID with one
name need no special case. Label files cover all four parts of train, of which people often have
one: an entry without its photo is counted, a photo without an entry is a reject. Boxes are passed
on verbatim. No photo is opened here.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import NO_TEXT, InputError, Text
from nunbit.core.schema import FaceRecord, ImageRef, Reject, Split
from nunbit.datasets.aihub_labels import (
    MAX_LABEL_BYTES,
    UNKNOWN,
    FolderTraits,
    LabelRecord,
    decode_labels,
    file_names,
    folder_traits,
    is_aihub_path,
    label_file_class,
    loose_key,
    parse_photo_name,
)
from nunbit.datasets.archives import (
    NameIndex,
    ReadError,
    name_hashes,
    nfc,
    parse_split,
    read_bytes,
    record_id_from,
)
from nunbit.datasets.packed import CodedColumn, PackedRecords, RecordPacker
from nunbit.datasets.scan import Listing, Scan, container_notes, nothing_found, split_source_path
from nunbit.language.labels import LabelSet

VOTE_NAMES = ("annot_a", "annot_b", "annot_c")
_OF_ENTRIES = ("without_image", "repeated")
_OF_RECORDS = (
    "records_without_person", "records_with_null_vote", "records_with_missing_box",
    "records_without_split", "split_conflicts",
)  # fmt: skip


def read_aihub(found: Scan, label_set: LabelSet, where: str) -> Listing:
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
            Text(
                f"{where}: label files but no image; also give the "
                "folders or zips with the photos ([원천]EMOIMG_*.zip)" + _why(found.rejects).en,
                f"{where}: 레이블 파일은 있으나 이미지가 하나도 없습니다. 사진이 든 폴더나 zip"
                "([원천]EMOIMG_*.zip)도 주십시오" + _why(found.rejects).ko,
            )
        )
    join = _Join(found, label_set, where)
    for ref, root in found.labels:
        join.add_labels(ref, root)
    if not join.label_files:
        raise _no_labels(join, where)
    listing = join.listing()
    if not listing.records:
        raise InputError(
            Text(
                f"{where}: none of {len(found.images):,} images has an entry in the "
                f"{join.label_files} label files; give photos and labels of the same part, and "
                "keep the photos' names",
                f"{where}: 이미지 {len(found.images):,}개 가운데 레이블 파일 "
                f"{join.label_files}개에 있는 것이 없습니다. 같은 부분의 사진과 레이블을 주고 "
                "사진 이름을 바꾸지 마십시오",
            )
        )
    return listing


class _Join:
    """Joins the photos with the label entries, one label file after another."""

    def __init__(self, found: Scan, label_set: LabelSet, where: str) -> None:
        self._found, self._label_set, self._where = found, label_set, where
        self._labels_by_spelling: dict[str, str | None] = {}
        self.rejects = list(found.rejects)
        self.foreign: list[Reject] = []
        self.label_files = 0
        self._tally: Counter[str] = Counter()  # by the names of raw_counts
        self._label_records: dict[str, Counter[str]] = {}
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
            self.rejects.append(Reject(ref.source_path, exc.reason, exc.text.flat()))
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
        self._tally["label_records_repeated"] += int((~new).sum())
        self._tally["label_records_without_image"] += int((new & (images < 0)).sum())
        counter = self._label_records.setdefault(split, Counter())
        spelled = label_file_class(ref.source_path)
        for k in np.flatnonzero(new).tolist():
            counter[self._label(records[k].uploader or spelled, ref) or UNKNOWN] += 1

    def _add(
        self, image: int, entry: LabelRecord, label_split: Split | None, ref: ImageRef
    ) -> None:
        digest = hash(msgspec.json.encode(entry))
        if self._matched[image]:
            if self._digests[image] != digest:
                self._conflicting.add(image)
            return
        self._matched[image], self._digests[image] = True, digest
        traits = self._traits[image]
        source = self._found.images[image]
        name = split_source_path(source)[1]
        fields = parse_photo_name(name)
        label = self._label(entry.uploader or fields.label or traits.label, ref)
        self._label_of[image] = self._image_labels.index(label or UNKNOWN)
        votes = tuple(self._label(vote, ref) for vote in entry.votes())
        boxes = entry.boxes()
        split = label_split or traits.split
        self._tally.update(
            {
                "records_without_person": fields.subject_id is None,
                "records_with_null_vote": None in votes,
                "records_with_missing_box": any(math.isnan(sum(box)) for box in boxes),
                "records_without_split": split is None,
                "split_conflicts": None not in (label_split, traits.split)
                and label_split != traits.split,
            }
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
                raise InputError(exc.text.under(f"{self._where}: {ref.source_path}")) from exc
        return self._labels_by_spelling[spelling]

    def listing(self) -> Listing:
        """Everything joined; call once, after the last label file."""
        images = self._found.images
        orphans = self._named_orphans()
        for reason, indices in (
            ("no_record", orphans),
            ("duplicate_image", self._repeated.tolist()),
            ("conflicting_records", sorted(self._conflicting)),
        ):
            text = _REJECT_TEXTS[reason]
            self.rejects += [Reject(images[i].source_path, reason, text) for i in indices]
        records = self._packer.finish(drop_images=self._conflicting)
        counts = self._raw_counts(records, orphans)
        notes = notes_for(counts, self.rejects, self._found.others)
        return Listing("aihub", records, tuple(self.rejects), VOTE_NAMES, counts, notes)

    def _named_orphans(self) -> list[int]:
        """Photos without an entry; their class is that of name or folder, for the counts."""
        alone = ~self._matched
        alone[self._repeated] = False
        orphans: list[int] = np.flatnonzero(alone).tolist()
        for i in orphans:
            _, name = split_source_path(self._found.images[i])
            spelled = parse_photo_name(name).label or self._traits[i].label
            try:
                label = self._label_set.find(spelled) if spelled else None
            except InputError:
                label = None  # only a count; 'unknown' is its correct value
            self._label_of[i] = self._image_labels.index(label or UNKNOWN)
        return orphans

    def _raw_counts(self, records: PackedRecords, orphans: list[int]) -> dict[str, Any]:
        by_part: dict[str, Counter[str]] = {}
        repeated = set(self._repeated.tolist())
        for i, label in enumerate(self._label_of.tolist()):
            if i not in repeated:
                part = by_part.setdefault(self._traits[i].part, Counter())
                part[self._image_labels[label]] += 1
        tally = self._tally
        return {
            "images": len(self._found.images) - len(repeated),
            "images_by_part": {part: dict(by_part[part]) for part in sorted(by_part)},
            "label_files": self.label_files,
            "other_json_files": len(self.foreign),
            "label_records": {split: dict(c) for split, c in sorted(self._label_records.items())},
            "records": len(records),
            **{f"label_records_{what}": tally[f"label_records_{what}"] for what in _OF_ENTRIES},
            "label_records_conflicting": len(self._conflicting),
            "images_without_record": len(orphans),
            "images_repeated": len(repeated),
            **{what: tally[what] for what in _OF_RECORDS},
            "persons": _person_counts(records),
        }


def _person_counts(records: PackedRecords) -> dict[str, int]:
    images: dict[str, Counter[str]] = {"train": Counter(), "validation": Counter()}
    for split, subject in records.subjects():
        if subject is not None:
            images.setdefault(split, Counter())[subject] += 1
    train, validation = images["train"], images["validation"]
    unseen = {subject: n for subject, n in validation.items() if subject not in train}
    return {
        **{split: len(by_person) for split, by_person in images.items()},
        "train_and_validation": len(validation) - len(unseen),
        "validation_unseen": len(unseen),
        "images_of_validation_unseen": sum(unseen.values()),
    }


_REJECT_TEXTS = {
    "no_record": Text("not in any label file", "어느 레이블 파일에도 없음"),
    "duplicate_image": Text(
        "an image of the same name occurred earlier", "같은 이름의 이미지가 앞에 있음"
    ),
    "conflicting_records": Text(
        "two different label entries for this image", "이 이미지의 레이블 항목 둘이 서로 다름"
    ),
}


def _why(rejects: Sequence[Reject]) -> Text:
    """The first of some rejects in parentheses, for the end of an error; empty without one."""
    return Text(" ({first})", " ({first})").fill(first=rejects[0].said()) if rejects else NO_TEXT


def _no_labels(join: _Join, where: str) -> InputError:
    why = _why([*(r for r in join.rejects if r.reason != "unsafe_path"), *join.foreign])
    return InputError(
        Text(
            f"{where}: images, but no usable label JSON{why.en}; also give the label zips "
            "([라벨]EMOIMG_*.zip) or their JSON files, or take class folders with `kind=folder`",
            f"{where}: 이미지는 있으나 쓸 수 있는 레이블 JSON이 없습니다{why.ko}. 레이블 zip"
            "([라벨]EMOIMG_*.zip)이나 그 JSON도 주거나, 클래스 폴더라면 `kind=folder`를 주십시오",
        )
    )


# While listing only label files are read, so the reasons of reading are theirs too.
_LABEL_REASONS = (
    "broken_json",
    "not_labels",
    "bad_record",
    "broken_zip_member",
    "missing_file",
    "too_large",
)

# Count in raw_counts -> sentence; the order is the order of the notes.
_SENTENCES: dict[str, Text] = {
    "images_without_record": Text(
        "{n:,} images have no entry in any label file and are rejected (no_record); add the label "
        "zips of their parts",
        "이미지 {n:,}개는 어느 레이블 파일에도 없어 제외합니다(no_record). 해당 부분의 레이블 "
        "zip도 함께 주십시오",
    ),
    "label_records_conflicting": Text(
        "{n:,} images have two different label entries and are rejected (conflicting_records); "
        "keep only one release of the label files",
        "이미지 {n:,}개는 서로 다른 레이블 항목이 둘씩 있어 제외합니다(conflicting_records). "
        "레이블 파일은 한 버전만 남기십시오",
    ),
    "images_repeated": Text(
        "{n:,} images occur a second time under the same name and are used once (duplicate_image)",
        "이미지 {n:,}개는 같은 이름으로 두 번 있어 한 번만 씁니다(duplicate_image)",
    ),
    "split_conflicts": Text(
        "{n:,} images are in a folder of another split than in their label file; the label file "
        "decides",
        "이미지 {n:,}개는 폴더와 레이블 파일의 분할이 서로 다릅니다. 레이블 파일을 따랐습니다",
    ),
    "records_without_split": Text(
        "{n:,} records have neither TRAIN nor VALID in any name (as in the sample package) and "
        "count as train",
        "레코드 {n:,}개는 이름 어디에도 TRAIN이나 VALID가 없어(샘플 패키지처럼) train으로 "
        "처리합니다",
    ),
    "records_without_person": Text(
        "{n:,} file names do not begin with a person key of 64 hex digits; each such record counts "
        "as a person of its own",
        "파일 이름 {n:,}개는 64자리 16진수 인물 키로 시작하지 않습니다. 그런 레코드는 각각 다른 "
        "인물로 처리합니다",
    ),
    "records_with_missing_box": Text(
        "{n:,} records lack the box of at least one annotator; another annotator's is used",
        "기록 {n:,}개는 주석자 가운데 적어도 한 명의 상자가 없어 다른 주석자의 상자를 씁니다",
    ),
    "label_records_repeated": Text(
        "{n:,} label entries occur more than once and count once",
        "레이블 항목 {n:,}개는 두 번 이상 나와 한 번만 셉니다",
    ),
    "label_records_without_image": Text(
        "{n:,} label entries have no image here; that is normal if only some parts were downloaded",
        "레이블 항목 {n:,}개는 여기에 이미지가 없습니다. 일부 부분만 내려받았다면 정상입니다",
    ),
    "other_json_files": Text(
        "{n:,} JSON files are no label files and are skipped",
        "JSON 파일 {n:,}개는 레이블 파일이 아니어서 건너뜁니다",
    ),
    "records_with_null_vote": Text(
        "{n:,} records have a vote without a class (알수없음 or missing), which is a null vote",
        "레코드 {n:,}개에는 클래스를 고르지 않은 표(알수없음 또는 빈칸)가 있습니다",
    ),
}


_SHARED_PERSONS = Text(
    "{train_and_validation:,} of {validation:,} validation persons also occur in train; "
    "{images_of_validation_unseen:,} validation images show unseen persons",
    "validation 인물 {validation:,}명 가운데 {train_and_validation:,}명은 train에도 나옵니다. "
    "처음 보는 인물의 validation 이미지는 {images_of_validation_unseen:,}개입니다",
)


def notes_for(
    counts: Mapping[str, Any], rejects: Sequence[Reject], others: Counter[str]
) -> tuple[Text, ...]:
    """Sentences about a listing (its ``raw_counts`` and rejects), broken containers first."""
    notes = [*container_notes(rejects, others)]
    if bad := [reject for reject in rejects if reject.reason in _LABEL_REASONS]:
        first = f"{bad[0].file}: {bad[0].reason}"
        notes.append(
            Text(
                f"WARNING: {len(bad):,} label files or entries could not be read; first: {first}",
                f"경고: 레이블 파일이나 항목 {len(bad):,}개를 읽지 못했습니다. 첫째는 {first}",
            )
        )
    notes += [text.fill(n=counts[key]) for key, text in _SENTENCES.items() if counts[key]]
    persons = counts["persons"]
    if persons["train_and_validation"]:
        notes.append(_SHARED_PERSONS.fill(**persons))
    return tuple(notes)
