"""What was unusual about an AI Hub download, said in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nunbit.schema import Reject
from nunbit.sources.scan import container_notes

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
_SENTENCES: tuple[tuple[str, str, str], ...] = (
    (
        "images_without_record",
        "{n:,} images have no entry in any label file and are rejected (no_record); add the label "
        "zips of their parts",
        "이미지 {n:,}개는 어느 레이블 파일에도 없어 제외합니다(no_record). 그 부분의 레이블 zip을 "
        "함께 주십시오",
    ),
    (
        "label_records_conflicting",
        "{n:,} images have two label entries that differ and are rejected (conflicting_records); "
        "leave only one release of the label files",
        "이미지 {n:,}개는 서로 다른 레이블 항목이 둘씩 있어 제외합니다(conflicting_records). "
        "레이블 파일은 한 판만 남기십시오",
    ),
    (
        "images_repeated",
        "{n:,} images occur a second time under the same name and are used once (duplicate_image)",
        "이미지 {n:,}개는 같은 이름으로 두 번 있어 한 번만 씁니다(duplicate_image)",
    ),
    (
        "split_conflicts",
        "{n:,} images lie in a folder of another split than their label file says; the label file "
        "was followed",
        "이미지 {n:,}개는 놓인 폴더와 레이블 파일의 분할이 다릅니다. 레이블 파일을 따랐습니다",
    ),
    (
        "records_without_split",
        "{n:,} records say neither TRAIN nor VALID anywhere (as in the sample package) and count "
        "as train",
        "기록 {n:,}개는 어디에도 TRAIN이나 VALID가 없어(샘플 꾸러미처럼) train으로 봅니다",
    ),
    (
        "records_without_person",
        "{n:,} file names do not begin with a person key of 64 hex digits; each such record counts "
        "as a person of its own",
        "파일 이름 {n:,}개는 64자리 16진수 인물 키로 시작하지 않습니다. 그런 기록은 각각 다른 "
        "인물로 봅니다",
    ),
    (
        "records_with_missing_box",
        "{n:,} records lack the box of at least one annotator; another annotator's is used",
        "기록 {n:,}개는 적어도 한 작업자의 상자가 없습니다. 다른 작업자의 상자를 씁니다",
    ),
    (
        "label_records_repeated",
        "{n:,} label entries occur more than once and count once",
        "레이블 항목 {n:,}개는 두 번 이상 나와 한 번만 셉니다",
    ),
    (
        "label_records_without_image",
        "{n:,} label entries have no image here; that is normal where not all parts were "
        "downloaded",
        "레이블 항목 {n:,}개는 여기에 이미지가 없습니다. 일부 부분만 내려받았다면 정상입니다",
    ),
    (
        "other_json_files",
        "{n:,} JSON files are no label files and were left out",
        "JSON 파일 {n:,}개는 레이블 파일이 아니어서 보지 않습니다",
    ),
    (
        "records_with_null_vote",
        "{n:,} records hold a vote that names no class (알수없음 or missing): a null vote",
        "기록 {n:,}개에는 감정을 고르지 않은 표(알수없음 또는 빈칸)가 있습니다",
    ),
)


def notes_for(
    counts: Mapping[str, Any], rejects: Iterable[Reject], others: Counter[str]
) -> tuple[tuple[str, str], ...]:
    """Sentences about a listing, as (en, ko), broken containers first.

    Args:
        counts: ``raw_counts``.
        rejects: All rejects of the listing.
        others: Files that nothing reads, by suffix.
    """
    rejects = list(rejects)
    notes = container_notes(rejects, others)
    bad = [reject for reject in rejects if reject.reason in _LABEL_REASONS]
    if bad:
        first = f"{bad[0].file}: {bad[0].reason}"
        notes.append(
            (
                f"WARNING: {len(bad):,} label files or entries could not be read; first: {first}",
                f"경고: 레이블 파일이나 항목 {len(bad):,}개를 읽지 못했습니다. 첫째는 {first}",
            )
        )
    for key, en, ko in _SENTENCES:
        if counts[key]:
            notes.append((en.format(n=counts[key]), ko.format(n=counts[key])))
    persons = counts["persons"]
    if persons["train_and_validation"]:
        notes.append(_shared_persons(persons))
    return tuple(notes)


def _shared_persons(persons: Mapping[str, int]) -> tuple[str, str]:
    shared, validation = persons["train_and_validation"], persons["validation"]
    unseen = persons["images_of_validation_unseen"]
    return (
        f"{shared:,} of {validation:,} persons in validation also occur in train; {unseen:,} "
        "validation images show unseen persons",
        f"validation 인물 {validation:,}명 가운데 {shared:,}명은 train에도 나옵니다. "
        f"처음 보는 인물의 validation 이미지는 {unseen:,}개입니다",
    )
