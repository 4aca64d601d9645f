"""Sources: one adapter per kind of labelled photo collection, all giving a ``Listing``.

``aihub`` reads AI Hub's data set 82, ``folder`` class folders, ``table`` a CSV or Parquet file.
Listing opens no photo; ``read_image_bytes`` does, in the workers of ``prepare``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nunbit.errors import InputError, SettingsError
from nunbit.labels import LabelSet
from nunbit.sources import aihub, folder, table
from nunbit.sources.aihub_names import is_aihub_path, is_photo_name
from nunbit.sources.archives import ReadError, read_image_bytes
from nunbit.sources.listing import Listing
from nunbit.sources.scan import GIVEN_TABLE_SUFFIXES, Scan, nothing_found, scan

__all__ = ["KINDS", "Listing", "ReadError", "read_image_bytes", "read_source"]

KINDS = ("aihub", "folder", "table")


def read_source(paths: Sequence[Path], kind: str | None, label_set: LabelSet) -> Listing:
    """List all records of a source without opening a photo.

    Args:
        paths: The SRC arguments: folders, zips, label files or tables.
        kind: ``aihub``, ``folder``, ``table``, or None to find out.
        label_set: Labels that the source's spellings are looked up in.

    Raises:
        InputError: Nothing usable, an unknown label, or not the kind it was said to be.
        SettingsError: ``kind`` is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise SettingsError(
            en=f"unknown source '{kind}'; there are: {', '.join(KINDS)}",
            ko=f"알 수 없는 자료 종류 '{kind}'. 쓸 수 있는 종류: {', '.join(KINDS)}",
        )
    where = ", ".join(str(path) for path in paths)
    if not paths:
        raise InputError(en="no SRC given", ko="SRC가 없습니다")
    tables = [p for p in paths if p.suffix.lower() in GIVEN_TABLE_SUFFIXES and p.is_file()]
    if kind == "table" or (kind is None and tables):
        if len(tables) < len(paths):
            raise InputError(
                en=f"{where}: a table source is CSV or Parquet files only; give the files "
                "themselves",
                ko=f"{where}: 표 자료는 CSV나 Parquet 파일만 받습니다. 파일 자체를 주십시오",
            )
        return table.read(tables, label_set)
    found = scan(paths)
    kind = kind or _detect(found, label_set, where)
    if kind == "aihub":
        return aihub.read(found, label_set, where)
    return folder.read(found, label_set, where)


def _detect(found: Scan, label_set: LabelSet, where: str) -> str:
    """AI Hub by its names, else class folders, else an error that lists what is accepted.

    Raises:
        InputError: Neither.
    """
    if any(is_aihub_path(ref.source_path) for ref, _ in found.labels):
        return "aihub"
    reader = folder.FolderReader(label_set)
    classes = False
    for _, root, path, name in found.directories():
        if is_photo_name(name) or is_aihub_path(path) or is_aihub_path(found.roots[root]):
            return "aihub"
        classes = classes or reader.read(found.roots[root], path).says_class
    if classes:
        return "folder"
    if not found.images and (not found.labels or found.rejects):
        raise nothing_found(where, found)
    raise InputError(
        en=f"{where}: neither AI Hub's data (EMOIMG_* names, label JSON) nor folders named after "
        f"the labels of {label_set.name} ({', '.join(label_set.ids)}); check the path, or say "
        "--source and --label-set",
        ko=f"{where}: AI Hub 자료(EMOIMG_* 이름, 레이블 JSON)도 아니고 {label_set.name}의 레이블"
        f"({', '.join(label_set.ids)}) 이름으로 된 폴더도 아닙니다. 경로를 확인하거나 --source와 "
        "--label-set을 주십시오",
    )
