"""Find recordings, their names in the results, their persons, and the files that belong to them.

Names come from other systems, broken downloads, or people who want to break something. A session's
name is a folder below ``out`` and part of file names, so it is made safe here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from nunbit.core.messages import InputError, MissingExtra, Text, missing_file
from nunbit.core.schema import ReadingNote
from nunbit.datasets.archives import repair_name
from nunbit.datasets.tabular import open_table
from nunbit.runtime.files import require_regular
from nunbit.runtime.progress import listed, say

TRANSCRIPT_SUFFIXES = (
    *(".srt", ".vtt", ".textgrid", ".eaf", ".json", ".csv", ".tsv", ".txt"),
    *(".sbv", ".json3", ".jsonl", ".docx"),
)
SPEAKER_SUFFIXES = (".rttm",)
MEDIA_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ts", ".mts"),
        *(".3gp", ".flv", ".ogv", ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"),
        *(".wma", ".aiff", ".aif", ".caf", ".amr", ".mxf", ".m2ts", ".vob", ".mka", ".m4b", ".3g2"),
        *(".f4v", ".asf", ".dv", ".oga", ".w64", ".au", ".ac3", ".ape", ".wv", ".tta"),
    )
)

MAX_NAME_BYTES = 150
"""Most UTF-8 bytes of a session's name: file systems take 255, and exports add to the name."""

# Not allowed in a name on one system or another, and what could be read as a path.
_UNSAFE = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')
# Devices of Windows, whatever suffix follows.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
# What `analyze` writes beside the sessions' folders.
_TAKEN = re.compile(r"index\.html|.*\.(?:parquet|csv|json)", re.IGNORECASE)
_MOST_NAMED = 3
_MOST_PEOPLE = 6


def list_media(media: Sequence[Path]) -> tuple[Path, ...]:
    """Every recording once, folders replaced by the recordings directly in them.

    Raises:
        InputError: A path is missing or a pipe, or a folder has no recording.
    """
    found: dict[str, Path] = {}  # by their place: a/../b.mp4 is b.mp4
    for path in media:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_media(p) and p.is_file())
            if not inside:
                raise _nothing_in(path)
        elif path.exists():
            require_regular(path)
            inside = [path]
        else:
            raise missing_file(path)
        for each in inside:
            found.setdefault(os.path.normpath(each.absolute()), each)
    if not found:
        raise InputError(Text("no recording given", "영상이나 음성 파일을 하나 이상 주십시오"))
    return tuple(found.values())


def unread_folders(media: Sequence[Path]) -> Iterator[Text]:
    """Sentences on recordings in folders inside the given ones: nobody reads them."""
    for path in filter(Path.is_dir, media):
        dead = [p for p in path.iterdir() if _is_media(p) and p.is_symlink() and not p.exists()]
        if dead:
            names = listed(sorted(safe_name(p.name) for p in dead), _MOST_NAMED)
            yield Text(
                f"{path}: links to missing files are not read ({names})",
                f"{path}: 원본 파일이 없는 링크는 읽지 않습니다({names})",
            )
        if inner := [*_inner_folders(path)]:
            names = listed(inner, _MOST_NAMED)
            yield Text(
                f"{path}: recordings in its subfolders are not read ({names}); to read them "
                f"too, give {path}/*/",
                f"{path}: 하위 폴더의 녹화는 읽지 않습니다({names}). 함께 읽으려면 "
                f"{path}/*/ 를 주십시오",
            )


def session_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """One folder name per recording: the stem; with its folder and suffix where stems repeat.

    Every name is safe (:func:`safe_name`): it names a folder directly below ``--out``. Names that
    are one even so (``talk.wav`` and ``Talk.wav``, a Korean name in two spellings of Unicode, the
    same folder in two places) get a digest of the path behind.
    """
    names = [safe_name(p.stem) for p in paths]
    longer = [f"{path.resolve().parent.name}-{path.name}" for path in paths]
    digests = [
        f"{name}{_tail(os.fsencode(p.absolute()))}" for name, p in zip(longer, paths, strict=True)
    ]
    for further in (longer, digests):
        often = Counter(name.casefold() for name in names)
        names = [
            safe_name(instead) if often[name.casefold()] > 1 else name
            for name, instead in zip(names, further, strict=True)
        ]
    return tuple(names)


def _tail(data: bytes) -> str:
    return "-" + hashlib.sha256(data).hexdigest()[:8]


def safe_name(name: str) -> str:
    """The name changed as little as needed to be a valid file name on every system.

    NFC; bytes that are no UTF-8 are read as CP949 where they can be; path marks, control
    characters and what Windows forbids become ``_``, and so do dots in front. Names of Windows
    devices and of files that ``analyze`` writes get ``_`` behind. Longer than ``MAX_NAME_BYTES``:
    the end becomes a digest.
    """
    # Windows drops dots and blanks behind, and two names would be one folder.
    shown = _UNSAFE.sub("_", repair_name(name)).strip().rstrip(". ")
    bare = shown.lstrip(".")
    shown = "_" * (len(shown) - len(bare)) + bare or "_"
    if _DEVICE.fullmatch(shown) or _TAKEN.fullmatch(shown):
        shown += "_"
    data = shown.encode("utf-8")
    if len(data) > MAX_NAME_BYTES:
        tail = _tail(data)
        shown = data[: MAX_NAME_BYTES - len(tail)].decode("utf-8", "ignore") + tail
    return shown


def companion(given: str, media: Path, n_media: int, suffixes: tuple[str, ...]) -> Path | None:
    """The transcript or diarisation that belongs to a recording.

    Args:
        given: A file, a folder with one file of the recording's stem, or '' for none.
        media: The recording.
        n_media: How many recordings there are: a single file fits only one.
        suffixes: Of files in a folder, preferred first.

    Raises:
        InputError: It does not exist, or one file is given for several recordings.
    """
    if not given:
        return None
    path = Path(given)
    if path.is_dir():
        nfc = partial(unicodedata.normalize, "NFC")
        beside = (p for p in sorted(path.iterdir()) if nfc(p.stem) == nfc(media.stem))
        same = {p.suffix.lower(): p for p in beside}
        return next((same[s] for s in suffixes if s in same), None)
    if not path.exists():
        raise missing_file(path)
    require_regular(path)
    if n_media > 1:
        raise InputError(
            Text(
                f"{path}: one file for {n_media} recordings; give a folder with one file of the "
                "same name for each",
                f"{path}: 녹화가 {n_media}개인데 파일은 하나입니다. 녹화와 이름이 같은 파일이 든 "
                "폴더를 주십시오",
            )
        )
    return path


def without_companion(
    media: Path, *, transcript: tuple[str, Path | None], speakers: tuple[str, Path | None]
) -> tuple[ReadingNote, ...]:
    """Notes where a folder of transcripts or diarisations has no file for a recording.

    Args:
        media: The recording.
        transcript: What was given (a folder, a file or '') and what was found.
        speakers: Likewise, of the diarisation.
    """
    stem = safe_name(media.stem)
    return tuple(
        ReadingNote(
            treatment="left_out",
            code=code,
            count=1,
            first=media.name,
            text=Text(
                f"{given} has no {what.en} named {stem}: the recording is read without one; give "
                "both files the same name",
                f"{given}에 이름이 {stem}인 {what.ko}이 없어 녹화만 읽습니다. 두 파일의 이름을 "
                "같게 하십시오",
            ),
        )
        for code, (given, found), what in (
            ("no_matching_transcript", transcript, Text("transcript", "전사 파일")),
            ("no_matching_speakers", speakers, Text("diarisation (RTTM)", "화자 구분 파일(RTTM)")),
        )
        if given and found is None
    )


def persons_of(media: Sequence[Path], table: str = "") -> tuple[str, ...]:
    """The person of every recording, by a table or else by where the file lies.

    Recordings from several folders: the folder's name is the person. All in one folder: the file
    name up to the first ``_``; the whole name where that would make all recordings one person.
    Taking one person for two costs little; taking two for one would let identity look like state
    between recordings. The mean of each recording is removed, so even that does not enter the
    vectors.

    Args:
        media: Recordings.
        table: CSV file, or '' for the rules by name.

    Raises:
        InputError: The table cannot be read or does not cover the recordings, or two folders of
            different corpora carry the same name.
    """
    paths = [path.resolve() for path in media]
    if table:
        rows = _person_rows(Path(table))
        return tuple(_in_table(path, rows, table) for path in paths)
    if len({path.parent for path in paths}) > 1:
        return _by_folder(paths)
    whole = tuple(_nfc(path.stem) for path in paths)
    beginnings = tuple(stem.split("_", 1)[0] or stem for stem in whole)
    return whole if len(set(beginnings)) == 1 else beginnings


def persons_notice(media: Sequence[Path], persons: Sequence[str], table: str) -> tuple[Text, ...]:
    """Print the assumed persons to stderr if no table is given; names stay out of reports.

    Returns:
        What the report says of it.
    """
    if table or len(media) < 2:
        return ()
    counts = Counter(persons)
    named = listed([f"{name} ({n})" for name, n in counts.most_common()], _MOST_PEOPLE)
    folders = len({path.resolve().parent for path in media}) > 1
    rule = Text("folder", "폴더") if folders else Text("file name", "파일 이름")
    en = f"{len(media)} recordings were assumed to show {len(counts)} people, by {rule.en}"
    ko = f"녹화 {len(media)}개를 {rule.ko}에 따라 {len(counts)}명으로 간주했습니다"
    otherwise = Text(
        "; otherwise give a table of media and person as `persons`",
        ". 사실과 다르면 media와 person 열이 있는 표를 `persons`로 지정하십시오",
    )
    say(Text(f"{en}: {named}{otherwise.en}", f"{ko}: {named}{otherwise.ko}"))
    return (Text(en + otherwise.en, ko + otherwise.ko),)


def _by_folder(paths: Sequence[Path]) -> tuple[str, ...]:
    seen: dict[str, Path] = {}
    for folder in sorted({path.parent for path in paths}):
        if (other := seen.setdefault(_nfc(folder.name).casefold(), folder)) != folder:
            raise InputError(
                Text(
                    f"person '{folder.name}' is in two places, {other} and {folder}: one person "
                    "or two? Give a table of media and person as `persons`",
                    f"'{folder.name}'(이)라는 사람이 두 곳에 있습니다: {other}, {folder}. 같은 "
                    "사람인지 media와 person 열이 있는 표를 `persons`로 지정하십시오",
                )
            )
    return tuple(_nfc(path.parent.name) for path in paths)


def _in_table(path: Path, rows: Sequence[tuple[str, str]], table: str) -> str:
    """The person whose row names the end of this path."""
    whole = "/" + _nfc(path.as_posix())
    persons = {person for media, person in rows if whole.endswith("/" + media)}
    if len(persons) == 1:
        return persons.pop()
    what = (
        Text("several persons", "사람이 여럿입니다")
        if persons
        else Text("no person", "사람이 없습니다")
    )
    raise InputError(
        Text(
            f"{table}: {what.en} for {path.name}; give one row a recording (media, person), with "
            "folders in media where file names repeat",
            f"{table}: {path.name}에 해당하는 {what.ko}. 녹화마다 한 행(media, person)을 적고, "
            "파일 이름이 겹치면 media에 폴더까지 적으십시오",
        )
    )


def _person_rows(table: Path) -> list[tuple[str, str]]:
    opened = open_table(table)
    for name in ("media", "person"):
        if name not in opened.columns:
            raise InputError(
                Text(
                    f"{table}: not a CSV file with the columns media and person (no {name})",
                    f"{table}: media, person 열이 있는 CSV 파일이 아닙니다({name} 없음)",
                )
            )
    rows = ((row.text("media") or "", row.text("person") or "") for row in opened.rows())
    return [(_path_end(_nfc(media), table), _nfc(person)) for media, person in rows]


def _path_end(media: str, table: Path) -> str:
    """The end of a path as a table writes it: ``./`` means nothing, ``../`` is from the table."""
    media = media.replace("\\", "/").strip()
    if ".." in media.split("/"):
        return _nfc((table.parent / media).resolve().as_posix())
    while media.startswith("./"):
        media = media.removeprefix("./")
    return media


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def require_media_extra() -> None:
    """Raise at once, not after an hour, if decoding is impossible.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtra("av", "media")
    os.environ.setdefault("AV_LOG_FORCE_NOCOLOR", "1")


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES


def _inner_folders(folder: Path) -> Iterator[str]:
    """Names of folders inside that hold recordings."""
    for inner in sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir()):
        try:
            if any(map(_is_media, inner.iterdir())):
                yield safe_name(inner.name)
        except PermissionError:
            continue  # nothing in it was asked for


def _nothing_in(folder: Path) -> InputError:
    if inner := listed([*_inner_folders(folder)], _MOST_NAMED):
        return InputError(
            Text(
                f"{folder}: no video or sound file directly in this folder, only in its "
                f"subfolders ({inner}); give {folder}/*/",
                f"{folder}: 이 폴더 바로 아래에는 영상이나 음성 파일이 없고 하위 폴더({inner})에 "
                f"있습니다. {folder}/*/ 를 주십시오",
            )
        )
    return InputError(
        Text(
            f"{folder}: no video or sound file in this folder",
            f"{folder}: 이 폴더에 영상이나 음성 파일이 없습니다",
        )
    )


# -- by content, where a name says nothing ---------------------------------------------------------

_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "mp4"), (4, b"moov", "mp4"), (4, b"mdat", "mp4"), (4, b"wide", "mp4"),
    (0, b"\x1aE\xdf\xa3", "mkv"), (8, b"AVI ", "avi"), (8, b"WAVE", "wav"), (8, b"AIFF", "aiff"),
    (8, b"AIFC", "aiff"), (0, b"ID3", "mp3"), (0, b"fLaC", "flac"), (0, b"OggS", "ogg"),
    (0, b"FLV\x01", "flv"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma"),
    (0, b"caff", "caf"), (0, b"#!AMR", "amr"), (0, b"\x00\x00\x01\xba", "mpg"),
    (0, b"\x00\x00\x01\xb3", "mpg"),
)  # fmt: skip
"""Offset, bytes and the ending it is stored with."""
_TRANSCRIPTS = ((b"WEBVTT", "vtt"), (b"{", "json"), (b"[", "json"), (b"<", "eaf"),
                (b"File type", "TextGrid"))  # fmt: skip
_OTHERS: tuple[tuple[bytes, Text], ...] = (
    (b"\xff\xd8\xff", Text("a JPEG picture", "JPEG 사진")),
    (b"\x89PNG", Text("a PNG picture", "PNG 사진")),
    (b"GIF8", Text("a GIF picture", "GIF 그림")),
    (b"BM", Text("a BMP picture", "BMP 그림")),
    (b"%PDF", Text("a PDF document", "PDF 문서")),
    (b"PK\x03\x04", Text("a zip archive or an office document", "압축 파일이나 오피스 문서")),
    (b"\x1f\x8b", Text("a gzip archive", "gzip 압축 파일")),
    (b"Rar!", Text("a RAR archive", "RAR 압축 파일")),
    (b"7z\xbc\xaf", Text("a 7-zip archive", "7-zip 압축 파일")),
    (b"\x7fELF", Text("a program", "실행 파일")),
    (b"MZ", Text("a program", "실행 파일")),
)


def media_ending(head: bytes) -> str | None:
    """The ending for a recording by its first 400 bytes or more; None if it is none."""
    for offset, mark, ending in _STARTS:
        if head[offset : offset + len(mark)] == mark:
            return "wav" if ending == "wav" and head[:4] in (b"RIFF", b"RF64") else ending
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "ts"
    if len(head) > 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08:
        return "aac" if not head[1] & 0x06 else "mp3"
    return None


def content_kind(head: bytes) -> Text:
    """What something that cannot be used is, in words."""
    known = (words for mark, words in _OTHERS if head.startswith(mark))
    return next(known, None) or (
        Text("text", "텍스트") if is_text(head) else Text("of an unknown kind", "알 수 없는 형식")
    )


def is_text(head: bytes) -> bool:
    """Whether this begins as text of a usual encoding."""
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    for encoding in ("utf-8", "cp949", "utf-16"):
        for cut in range(4):  # a character may be cut in two at the end
            try:
                head[: len(head) - cut].decode(encoding)
            except UnicodeDecodeError:
                continue
            return True
    return False


def transcript_ending(head: bytes) -> str:
    """The ending of a transcript, by its first bytes; what is none of these is a table."""
    head = head.lstrip(b"\xef\xbb\xbf").lstrip()
    known = (ending for mark, ending in _TRANSCRIPTS if head.startswith(mark))
    return next(known, "srt" if b"-->" in head else "csv")
