"""Whose recording is it? By a table, by folder, or by the beginning of the file name.

1. ``--persons FILE.csv`` with the columns ``media`` (file name, or the end of its path) and
   ``person``.
2. Recordings from several folders: the folder's name is the person.
3. All in one folder: the file name up to the first ``_``; the whole name where that would make all
   recordings one person.

To take one person for two costs little; to take two for one would let identity pass as state
between recordings. The mean that is removed is that of the recording, so even that does not leak
into the vectors.
"""

from __future__ import annotations

import collections
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from nunbit.errors import InputError, Lang
from nunbit.progress import say
from nunbit.sources.tabular import open_table

_MOST_NAMED = 6


def persons_of(media: Sequence[Path], table: str = "") -> tuple[str, ...]:
    """The person of every recording.

    Args:
        media: Recordings.
        table: CSV file, or '' for the rules by name.

    Raises:
        InputError: The table cannot be read or does not cover the recordings, or two folders of
            different corpora carry the same name.
    """
    paths = [path.resolve() for path in media]
    if table:
        return _by_table(paths, Path(table))
    folders = {path.parent for path in paths}
    if len(folders) > 1:
        return _by_folder(paths, folders)
    whole = tuple(_nfc(path.stem) for path in paths)
    beginnings = tuple(stem.split("_", 1)[0] or stem for stem in whole)
    return whole if len(set(beginnings)) == 1 else beginnings


def persons_notice(
    media: Sequence[Path], persons: Sequence[str], table: str, lang: Lang
) -> tuple[tuple[str, str], ...]:
    """Say on stderr who was taken for whom where no table says it; names stay out of reports.

    Returns:
        What the report says of it, as (en, ko).
    """
    if table or len(media) < 2:
        return ()
    counts = collections.Counter(persons)
    named = ", ".join(f"{name} ({n})" for name, n in counts.most_common(_MOST_NAMED))
    named += ", …" if len(counts) > _MOST_NAMED else ""
    folders = len({path.resolve().parent for path in media}) > 1
    rule = ("folder", "폴더") if folders else ("file name", "파일 이름")
    en = f"{len(media)} recordings were taken for {len(counts)} people, by {rule[0]}"
    ko = f"녹화 {len(media)}개를 {rule[1]}에 따라 {len(counts)}명으로 보았습니다"
    if lang == "ko":
        say(f"{ko}: {named}. 다르면 --persons FILE.csv(media, person)로 알려 주십시오")
    else:
        say(f"{en}: {named}; if that is wrong, give --persons FILE.csv (media, person)")
    return ((f"{en}; --persons FILE.csv decides otherwise",
             f"{ko}. 다르면 --persons FILE.csv로 알려 주십시오"),)  # fmt: skip


def _by_folder(paths: Sequence[Path], folders: set[Path]) -> tuple[str, ...]:
    seen: dict[str, Path] = {}
    for folder in sorted(folders):
        name = _nfc(folder.name).casefold()
        other = seen.setdefault(name, folder)
        if other != folder:
            raise InputError(
                en=f"person '{folder.name}' is in two places, {other} and {folder}: the same "
                "person or two? Say it with --persons FILE.csv (columns media, person)",
                ko=f"'{folder.name}'(이)라는 사람이 두 곳에 있습니다: {other}, {folder}. 같은 "
                "사람인지 --persons FILE.csv(media, person 열)로 알려 주십시오",
            )
    return tuple(_nfc(path.parent.name) for path in paths)


def _by_table(paths: Sequence[Path], table: Path) -> tuple[str, ...]:
    rows = _read(table)
    found = []
    for path in paths:
        whole = "/" + _nfc(path.as_posix())
        persons = {person for media, person in rows if whole.endswith("/" + media)}
        if len(persons) != 1:
            what_en = "no person" if not persons else "several persons"
            what_ko = "사람이 없습니다" if not persons else "사람이 여럿입니다"
            raise InputError(
                en=f"{table}: {what_en} for {path.name}; give one row a recording (media, person), "
                "with folders in media where file names repeat",
                ko=f"{table}: {path.name}에 해당하는 {what_ko}. 녹화마다 한 행(media, person)을 "
                "적고, 파일 이름이 겹치면 media에 폴더까지 적으십시오",
            )
        found.append(persons.pop())
    return tuple(found)


def _read(table: Path) -> list[tuple[str, str]]:
    opened = open_table(table)
    missing = [name for name in ("media", "person") if name not in opened.columns]
    if missing:
        raise InputError(
            en=f"{table}: not a CSV file with the columns media and person (no {missing[0]})",
            ko=f"{table}: media, person 열이 있는 CSV 파일이 아닙니다({missing[0]} 없음)",
        )
    return [
        (
            _path_end(_nfc(row.text("media") or "").replace("\\", "/").strip(), table),
            _nfc(row.text("person") or ""),
        )
        for row in opened.rows()
    ]


def _path_end(media: str, table: Path) -> str:
    """The end of a path as a table writes it: ``./`` means nothing, ``../`` is from the table."""
    while media.startswith("./"):
        media = media.removeprefix("./")
    if ".." not in media.split("/"):
        return media
    return _nfc((table.parent / media).resolve().as_posix())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
