"""List the images and files in folders and zips, and find the image that a path names.

A scan finds images and JSON files, on disk and inside zips, in an order that does not depend on
the file system. Whatever it cannot use becomes a reject with a reason. It interprets no names:
the adapters find split, class and role, and return a :class:`Listing`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nunbit.core.messages import NO_TEXT, InputError, Text, text_of
from nunbit.core.schema import FaceRecord, ImageRef, Reject
from nunbit.datasets.archives import (
    Member,
    NameIndex,
    ZipListError,
    is_image_name,
    list_zip,
    name_hashes,
    nfc,
    repair_name,
)
from nunbit.datasets.packed import PackedRefs, StringColumn
from nunbit.runtime.progress import listed


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """All records of a source, before any image has been opened.

    Attributes:
        kind: ``aihub``, ``folder`` or ``table``.
        records: In a fixed order; a sequence that makes records on access (see ``packed``).
        rejects: Inputs that give no record, with the reason.
        vote_names: Name of each position of ``FaceRecord.votes``; empty if the positions stand for
            no particular annotators or there are no votes.
        raw_counts: Plain data: counts before any policy and any decoding.
        notes: Sentences about what was unusual, most serious first.
    """

    kind: str
    records: Sequence[FaceRecord]
    rejects: tuple[Reject, ...]
    vote_names: tuple[str, ...]
    raw_counts: Mapping[str, object]
    notes: tuple[Text, ...]


CONTAINER_REASONS = ("broken_zip", "encrypted_zip", "nested_zip", "unsafe_path", "unreadable")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
GIVEN_TABLE_SUFFIXES = (*TABLE_SUFFIXES, ".txt", ".tab")
"""Of a table that is given itself; inside folders a ``.txt`` is rather a note."""
_UNREAD_ARCHIVES = (".tar", ".tgz", ".gz", ".7z", ".rar", ".alz", ".egg", ".xz", ".bz2")
_UNREAD = (*_UNREAD_ARCHIVES, ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif")
_PIECE = re.compile(r"\.part\d+$", re.IGNORECASE)
_ZIP_MARK = re.compile(r"\.zip!", re.IGNORECASE)
_JUNK = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")


@dataclass(slots=True)
class Scan:
    """Everything found below the SRC paths.

    Attributes:
        roots: Names of the SRC paths (a folder's or a file's name, repaired).
        images: All images, in SRC order, then by name.
        image_roots: For each image the index of its SRC in ``roots``.
        labels: All JSON files, each with the index of its SRC.
        tables: CSV and Parquet files, as ``source_path``.
        pieces: Pieces of split downloads (absolute paths).
        others: Number of other files by suffix.
        rejects: Containers and files that cannot be used.
        zips: Number of zips that could be listed.
        places: Device and number of each zip: one that is given twice is read once.
    """

    roots: list[str]
    images: PackedRefs = field(default_factory=PackedRefs)
    image_roots: array[int] = field(default_factory=lambda: array("H"))
    labels: list[tuple[ImageRef, int]] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    zips: int = 0
    places: set[tuple[int, int]] = field(default_factory=set)

    def directories(self) -> Iterator[tuple[int, int, str, str]]:
        """For each image: index, SRC index, folder part and base name of its ``source_path``.

        In the folder part ``!`` is replaced by ``/``, so a zip reads as one more folder.
        """
        for index, root in enumerate(self.image_roots):
            yield index, root, *split_source_path(self.images[index])


def split_source_path(ref: ImageRef) -> tuple[str, str]:
    """Folder part (zip and inner folders as folders) and base name of a reference."""
    path = ref.source_path
    if ref.member is not None:
        # The zip's own name may hold a '!': cut behind its suffix, not at the first mark.
        at = _ZIP_MARK.search(path)
        end = at.end() if at else path.index("!") + 1
        path = f"{path[: end - 1]}/{path[end:]}"
    folder, _, name = path.rpartition("/")
    return folder, name


def scan(paths: Sequence[Path]) -> Scan:
    """Look into every SRC.

    Args:
        paths: Folders, zips and label files.

    Raises:
        InputError: A path does not exist, cannot be listed or is a kind of file nothing reads.
    """
    found = Scan(roots=[])
    visited: set[tuple[int, int]] = set()
    for path in paths:
        if not path.exists():
            raise InputError(
                Text(
                    f"{path}: no such file or folder; check the path, and quote names that hold "
                    "brackets or spaces",
                    f"{path}: 그런 파일이나 폴더가 없습니다. 경로를 확인하고, 대괄호나 빈칸이 있는 "
                    "이름은 따옴표로 싸십시오",
                )
            )
        full = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow a link's name)
        found.roots.append(repair_name(full.name))
        if full.is_dir():
            _scan_folder(found, full, visited)
        else:
            _scan_single_file(found, full)
    _refuse_pieces(found)
    return found


def _scan_single_file(found: Scan, path: Path) -> None:
    def used() -> int:
        return len(found.labels) + found.zips + len(found.pieces) + len(found.rejects)

    before = used()
    _add_file(found, str(path.parent), path.name, "")
    if before == used():
        raise InputError(
            Text(
                f"{path}: not a folder, zip, label JSON or table (.csv, .tsv, .txt, .parquet); "
                "unpack other archives first, and give the folder of an image",
                f"{path}: 폴더, zip, 레이블 JSON, 표(.csv, .tsv, .txt, .parquet)가 아닙니다. "
                "다른 압축은 먼저 풀고, 이미지는 폴더로 주십시오",
            )
        )


def _scan_folder(found: Scan, root: Path, visited: set[tuple[int, int]]) -> None:
    def refuse(exc: OSError) -> None:
        name = str(exc.filename or root)
        if Path(name) == root:
            raise InputError(
                Text(
                    f"{root}: cannot list this folder: {exc.strerror}",
                    f"{root}: 폴더를 열 수 없습니다: {exc.strerror}",
                )
            ) from exc
        relative = shown_path(os.path.relpath(name, root))
        found.rejects.append(Reject(relative, "unreadable", text_of(str(exc.strerror))))

    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        # Links are followed (data often lies on another disk), each real folder once.
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted((f for f in folders if not _is_junk(f)), key=repair_name)
        relative = os.path.relpath(folder, root)
        head = "" if relative == "." else shown_path(relative) + "/"
        for name in sorted(files, key=repair_name):
            _add_file(found, folder, name, head)


def shown_path(relative: str) -> str:
    """A relative path as people read it: every part repaired, NFC, with ``/``."""
    return "/".join(repair_name(part) for part in Path(relative).parts)


def _add_file(found: Scan, folder: str, name: str, head: str) -> None:
    """Sort one file on disk by what its name says it is."""
    path = os.path.join(folder, name)  # noqa: PTH118  (half a million of them)
    shown, lower = head + repair_name(name), name.lower()
    root = len(found.roots) - 1
    if _is_junk(name):
        return
    if is_image_name(lower):
        found.images.add(folder, head, name, in_zip=False)
        found.image_roots.append(root)
    elif lower.endswith(".json"):
        found.labels.append((ImageRef(path, None, shown), root))
    elif lower.endswith(".zip"):
        _add_zip(found, path, shown)
    elif _PIECE.search(lower):
        found.pieces.append(path)
    elif lower.endswith(TABLE_SUFFIXES):
        found.tables.append(shown)
    else:
        found.others[os.path.splitext(lower)[1] or name] += 1  # noqa: PTH122


def _add_zip(found: Scan, path: str, shown: str) -> None:
    try:
        members = list_zip(path)
        status = Path(path).stat()
    except (ZipListError, OSError) as exc:
        text = Text(
            f"broken or incomplete zip, download it again ({exc})",
            f"손상되었거나 완전히 받지 못한 zip입니다. 다시 내려받으십시오 ({exc})",
        )
        found.rejects.append(Reject(shown, "broken_zip", text))
        return
    if (place := (status.st_dev, status.st_ino)) in found.places:
        found.rejects.append(Reject(shown, "repeated_zip", _TEXTS["repeated"]))
        return
    found.places.add(place)
    found.zips += 1
    root, encrypted = len(found.roots) - 1, 0
    for member in members:
        source_path = f"{shown}!{member.name}"
        lower = member.name.lower()
        if member.unsafe:
            found.rejects.append(Reject(source_path, "unsafe_path", _TEXTS["unsafe"]))
        elif any(_is_junk(part) for part in member.name.split("/")):
            continue
        elif member.replaced:
            found.rejects.append(Reject(source_path, "replaced_member", _TEXTS["replaced"]))
        elif member.encrypted:
            encrypted += 1
        elif is_image_name(lower):
            found.images.add(path, f"{shown}!", member.raw, in_zip=True)
            found.image_roots.append(root)
        elif lower.endswith(".json"):
            found.labels.append((ImageRef(path, member.raw, source_path), root))
        elif lower.endswith(".zip"):
            found.rejects.append(Reject(source_path, "nested_zip", _TEXTS["nested"]))
        else:
            found.others[os.path.splitext(lower)[1] or member.name] += 1  # noqa: PTH122
    if encrypted:
        text = Text(
            f"{encrypted} encrypted files: unpack them with their password first",
            f"암호가 걸린 파일 {encrypted}개: 암호로 먼저 푸십시오",
        )
        found.rejects.append(Reject(shown, "encrypted_zip", text))


def _is_junk(name: str) -> bool:
    # Hidden files, AppleDouble twins (._x.jpg) and what Windows and network disks leave behind.
    return (name.startswith(".") and name != ".") or name.lower() in _JUNK


def _refuse_pieces(found: Scan) -> None:
    """Reject the pieces of a split download, unless the joined file lies beside them."""
    for piece in found.pieces:
        whole = _PIECE.sub("", piece)
        if Path(whole).exists():
            continue
        folder, name = os.path.split(whole)
        quoted = name.replace("'", "'\\''")
        line = f"ls -v '{quoted}'.part* | xargs -d '\\n' cat > '{quoted}'"
        raise InputError(
            Text(
                f"{piece}: a piece of a split download; put the pieces together in {folder} first: "
                f"{line}",
                f"{piece}: 분할된 다운로드의 조각입니다. {folder}에서 먼저 합치십시오: {line}",
            )
        )


def container_notes(rejects: Sequence[Reject], others: Counter[str]) -> Iterator[Text]:
    """Loud sentences about zips and folders that could not be used, or in part."""
    for reason in CONTAINER_REASONS:
        if hit := [reject for reject in rejects if reject.reason == reason]:
            names = listed([reject.file for reject in hit], 3)
            yield Text(
                f"WARNING: {len(hit):,} {reason}, continuing without: {names}: {hit[0].text.en}",
                f"경고: {reason} {len(hit):,}건, 나머지만으로 계속합니다: {names}: "
                f"{hit[0].text.ko}",
            )
    if unread := _counted(others, _UNREAD):
        yield Text(
            f"WARNING: files that were not read: {unread}; unpack archives first, "
            "convert images to JPEG or PNG",
            f"경고: 읽지 않은 파일이 있습니다: {unread}. 압축은 먼저 풀고, "
            "이미지는 JPEG나 PNG로 바꾸십시오",
        )


def _counted(others: Counter[str], suffixes: tuple[str, ...]) -> str:
    """Those of some suffixes that occur, with their number."""
    return ", ".join(f"{others[s]} {s}" for s in sorted(others) if s in suffixes)


def nothing_found(where: str, found: Scan) -> InputError:
    """The error for SRC paths (``where``) without a single image or label file."""
    why = NO_TEXT
    if found.rejects:
        said = found.rejects[0].said()
        why = Text(f" ({said.en})", f" ({said.ko})")
    elif unread := _counted(found.others, _UNREAD_ARCHIVES):
        why = Text(f" (unpack first: {unread})", f" (먼저 푸십시오: {unread})")
    elif found.tables:
        why = Text(
            f" (for a table give the file itself: {found.tables[0]})",
            f" (표는 파일 자체를 주십시오: {found.tables[0]})",
        )
    return InputError(
        Text(
            f"{where}: no image and no label JSON here{why.en}; give AI Hub zips or their unpacked "
            "folders, class folders, or a table (.csv, .parquet)",
            f"{where}: 이미지도 레이블 JSON도 없습니다{why.ko}. AI Hub zip이나 그것을 푼 폴더, "
            "클래스 폴더, 또는 표(.csv, .parquet)를 주십시오",
        )
    )


_TEXTS = {
    "unsafe": Text("its name points outside the archive", "압축 밖을 가리키는 이름"),
    "nested": Text(
        "a zip inside a zip: unpack the outer one first", "zip 안의 zip: 바깥 zip을 먼저 푸십시오"
    ),
    "repeated": Text("this zip is given twice: it is read once", "두 번 준 zip: 한 번만 읽음"),
    "replaced": Text(
        "a later file in the zip has the same name: that one is used",
        "zip 안의 뒤쪽에 같은 이름의 파일이 있음: 뒤의 것을 씀",
    ),
    "file": Text("no such file", "그런 파일이 없음"),
    "zip": Text("the zip cannot be read", "zip을 읽을 수 없음"),
    "member": Text(
        "no readable file of this name in the zip", "zip 안에 그 이름의 읽을 수 있는 파일이 없음"
    ),
}


class ImageFinder:
    """Finds the image that a path names, on disk or in a zip; lists each zip once."""

    def __init__(self) -> None:
        self._zips: dict[str, _ZipNames | None] = {}

    def find(self, written: str, folder: Path) -> ImageRef | Reject:
        """The reference, or the reject where there is no such image."""
        if (path := _existing(written, folder)) is not None:
            return ImageRef(path, None, _relative(path, folder))
        zip_name, mark, member = written.partition("!")
        while mark:
            if (archive := _existing(zip_name, folder)) is not None:
                return self._find_member(archive, member, folder)
            more, mark, member = member.partition("!")
            zip_name = f"{zip_name}!{more}"
        return Reject(nfc(written), "missing_file", _TEXTS["file"])

    def _find_member(self, archive: str, member: str, folder: Path) -> ImageRef | Reject:
        if archive not in self._zips:
            self._zips[archive] = _ZipNames.read(archive)
        names, shown = self._zips[archive], f"{_relative(archive, folder)}!"
        if names is None:
            return Reject(shown + nfc(member), "broken_zip", _TEXTS["zip"])
        raw = names.find(member)
        if raw is None:
            return Reject(shown + nfc(member), "missing_file", _TEXTS["member"])
        return ImageRef(archive, raw, shown + repair_name(raw))


class _ZipNames:
    """Raw member names of one zip, found by raw or repaired name."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._raws = StringColumn()
        for member in members:
            self._raws.append(member.raw)
        self._by_name = NameIndex(name_hashes(member.name for member in members))
        self._by_raw = NameIndex(name_hashes(member.raw for member in members))

    @classmethod
    def read(cls, archive: str) -> _ZipNames | None:
        """Names of a zip; None if it cannot be read."""
        try:
            members = list_zip(archive)
        except ZipListError:
            return None
        return cls([m for m in members if not (m.unsafe or m.encrypted)])

    def find(self, member: str) -> str | None:
        """The raw name for a raw or repaired one."""
        rows = (
            *self._by_name.find(name_hashes([nfc(member)])),
            *self._by_raw.find(name_hashes([member])),
        )
        return next((self._raws[int(row)] for row in rows if row >= 0), None)


def _existing(written: str, folder: Path) -> str | None:
    """The absolute path of a file, also if the name is composed differently on this disk."""
    spellings = [written]
    if not written.isascii():
        spellings += [unicodedata.normalize(form, written) for form in ("NFC", "NFD")]
    if "\\" in written and "/" not in written and os.sep == "/":
        spellings.append(written.replace("\\", "/"))
    paths = (os.path.abspath(folder / spelling) for spelling in spellings)  # noqa: PTH100
    return next(filter(os.path.isfile, paths), None)


def _relative(path: str, folder: Path) -> str:
    return shown_path(os.path.relpath(path, os.path.abspath(folder)))  # noqa: PTH100
