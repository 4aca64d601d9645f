"""Read and write files safely, and keep finished parts of long work.

Nothing half-written stands under a final name, and every failure is one line. A given file may be
missing, a pipe or a device, damaged or hostile: reading reports it at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from nunbit.core.messages import InputError, Text
from nunbit.runtime.claims import LOCK, PART, is_left, partial_path

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_FULL = Text(
    "the disk is full; free space and run the same line again; finished work is kept",
    "디스크가 가득 찼습니다. 공간을 비우고 같은 명령을 다시 실행하십시오. 완료된 작업은 보존됩니다",
)
_FORBIDDEN = Text(
    "no permission to write here; choose another `out`",
    "쓰기 권한이 없습니다. 다른 `out`을 고르십시오",
)
_IN_THE_WAY = Text(
    "a file is in the place of a folder, or the reverse; choose another `out`",
    "폴더가 있어야 할 곳에 파일이 있거나 그 반대입니다. 다른 `out`을 고르십시오",
)
_REFUSALS: dict[int, Text] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _FORBIDDEN),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), _IN_THE_WAY),
}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` if the body succeeds.

    The parent folder is made. If the body raises, the temporary file is removed and ``path`` is
    as it was. A killed process can leave a ``.partial`` file, never a wrong final one.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    partial = partial_path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into one line that says what to do.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    try:
        yield
    except OSError as exc:
        raise write_error(path, exc) from exc


def write_error(path: Path, exc: OSError) -> InputError:
    """The message for an ``OSError`` met while writing below ``path``."""
    reason = exc.strerror or exc
    other = Text(f"cannot write: {reason}", f"쓸 수 없습니다: {reason}")
    return InputError(_REFUSALS.get(exc.errno or 0, other).under(path))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; half characters (lone surrogates) become U+FFFD."""
    with atomic_path(path) as partial:
        partial.write_text(whole_text(text), encoding="utf-8", newline="\n")


def whole_text(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from names or damaged JSON, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold, Hangul readable; NaN refused, lone surrogates as JSON escapes."""
    text = json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(path: Path, document: Any) -> None:
    """Write JSON atomically: UTF-8, Hangul readable, NaN refused, one trailing newline."""
    write_text(path, json_text(document, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: The file is missing, unreadable, no regular file, not JSON, nested too deeply
            or with numbers of thousands of digits.
    """
    try:
        require_regular(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise InputError(
            Text(
                f"{path}: cannot read this JSON file: {reason}",
                f"{path}: JSON 파일을 읽을 수 없습니다: {reason}",
            )
        ) from exc


def read_parquet(
    path: Path,
    refusal: Text,
    *,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Collection[str]] | None = None,
    coded: Sequence[str] = (),
) -> pa.Table:
    """Read a Parquet table.

    Args:
        path: The file.
        refusal: What to say where it cannot be read, with a gap ``{reason}``.
        columns: Only these; None reads all.
        where: Only rows whose text in a column is one of these.
        coded: Text columns that are to be dictionary-encoded, whoever wrote the file.

    Raises:
        InputError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        # `pq.read_table` imports pandas where it is installed: half a second.
        with pq.ParquetFile(path, read_dictionary=list(coded)) as file:
            groups = [n for n in range(file.num_row_groups) if _may_hold(file, n, where or {})]
            read = None if columns is None else [*columns, *(where or {})]
            table = file.read_row_groups(groups, read)
        for name, wanted in (where or {}).items():
            texts = pa.array(sorted(wanted), pa.string())
            table = table.filter(pc.is_in(table[name].cast(pa.string()), texts))
        if columns is None:
            return table
        return table.select([name for name in columns if name in table.column_names])
    except (OSError, KeyError, pa.ArrowException) as exc:
        raise InputError(refusal.fill(reason=str(exc).splitlines()[0]).under(path)) from exc


def _may_hold(file: pq.ParquetFile, group: int, where: Mapping[str, Collection[str]]) -> bool:
    """Whether rows of a group can have these texts, by the least and the greatest in it."""
    about = file.metadata.row_group(group)
    for column in (about.column(n) for n in range(about.num_columns)):
        wanted, known = where.get(column.path_in_schema), column.statistics
        if wanted is None or known is None or not known.has_min_max:
            continue
        if not any(known.min <= text <= known.max for text in wanted):
            return False
    return True


_MOST_ARRAYS_BYTES, _MOST_ARRAYS_RATIO = 1 << 28, 50
"""Above this size, arrays that are announced to be so many times larger than their file are refused
unread: a file of zeros of 8 MB otherwise takes 8 GB."""

ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, ValueError, OverflowError, RuntimeError),  # names, versions, passwords
    *(lzma.LZMAError for lzma in [getattr(zipfile, "lzma", None)] if lzma),  # a Python may lack it
)
"""What zipfile raises for a damaged archive."""

_ARRAY_ERRORS = (*ZIP_ERRORS, KeyError, TypeError, AttributeError, MemoryError, SyntaxError)
"""What numpy raises for a damaged archive of arrays."""


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz``; nothing in it is executed, and no bomb is unpacked.

    Args:
        path: The file.
        names: Of the arrays; None reads all.

    Raises:
        ValueError: It is damaged, or lacks one.
        OSError: It cannot be read.
    """
    import numpy as np

    require_regular(path)
    try:
        with path.open("rb") as stream:
            with zipfile.ZipFile(stream) as archive:
                announced = sum(info.file_size for info in archive.infolist())
            most = max(_MOST_ARRAYS_BYTES, _MOST_ARRAYS_RATIO * path.stat().st_size)
            if announced > most:
                raise ValueError(f"unpacked it would take {announced / 1e9:.1f} GB")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in (names or arrays.files)}
    except OSError:
        raise
    except _ARRAY_ERRORS as exc:
        raise ValueError(str(exc).strip().splitlines()[0] if str(exc).strip() else "empty") from exc


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain data.

    Raises:
        tomllib.TOMLDecodeError: It is not TOML, nested too deeply, or holds a number of thousands
            of digits.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # which editors on Windows put in front
    except RecursionError as exc:
        raise tomllib.TOMLDecodeError("nested too deeply") from exc
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as exc:  # Python refuses whole numbers of more than 4,300 digits
        raise tomllib.TOMLDecodeError(str(exc)) from exc


def as_given(path: str | os.PathLike[str]) -> Path:
    """A path as people write it: ``~`` is their home; of somebody unknown it stays as written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (pathlib raises RuntimeError there)


def require_regular(path: Path) -> None:
    """Refuse anything but a regular file: opening a pipe or a device can block for ever.

    Raises:
        InputError: It is a pipe, a device or a socket (also behind a link).
        OSError: It is missing or cannot be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            Text(
                f"{path}: a pipe or a device, not a regular file; save it as a file first",
                f"{path}: 일반 파일이 아니라 파이프나 장치입니다. 먼저 파일로 저장하십시오",
            )
        )


def spreadsheet_text(text: str) -> str:
    """Make a text cell safe: no spreadsheet takes it for a formula (OWASP, 'CSV Injection').

    A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets ``'`` in
    front. Only for text: numbers keep their sign. :func:`from_spreadsheet_text` undoes it.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def from_spreadsheet_text(text: str) -> str:
    """The text before :func:`spreadsheet_text`; anything else as it is."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA_STARTS) else text


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces.

    Raises:
        InputError: It is a pipe or a device, which may never end.
        OSError: It cannot be read.
    """
    require_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# -- finished parts of long work ------------------------------------------------------------------
# A part is a file of its own. It appears whole or not at all, and says by which key it was made: a
# part that is missing, damaged, cut off, of another key or of an older version counts as missing
# and is made anew. An interrupted run goes on from there.

_MARK = PART + b"1"  # goes up when the form of the file changes

T = TypeVar("T")


def packed(part: Any) -> bytes:
    """A dataclass of plain values and numpy arrays as bytes."""
    return msgspec.msgpack.encode(part, enc_hook=_plain)


def unpacked(body: bytes, kind: type[T]) -> T:
    """What :func:`packed` made of a ``kind``.

    Raises:
        ValueError: The bytes are of something else.
    """
    return msgspec.msgpack.decode(body, type=kind, dec_hook=_array)


class PartStore(Generic[T]):
    """The parts of one piece of work.

    Args:
        folder: Where the parts are; made with the first one.
        kind: Type of a part: a dataclass of plain values and numpy arrays.
        key: Everything that decides what the parts hold, as plain data.
    """

    def __init__(self, folder: Path, kind: type[T], key: Any) -> None:
        self.folder = folder
        self._kind = kind
        told = msgspec.json.encode(key, order="deterministic", enc_hook=str)
        self._head = b"%s %s" % (_MARK, hashlib.sha256(told).hexdigest().encode())

    def path(self, name: str) -> Path:
        """The file of a part."""
        return self.folder / f"{name}.part"

    def write(self, name: str, part: T) -> None:
        """Write a part, or replace it.

        Raises:
            InputError: The disk is full, the folder is not writable, or the like.
        """
        body = packed(part)
        head = b"%s %s\n" % (self._head, hashlib.sha256(body).hexdigest().encode())
        with atomic_path(self.path(name)) as partial, partial.open("wb") as stream:
            stream.write(head)
            stream.write(body)

    def read(self, name: str) -> T | None:
        """A finished part; None where it has to be made (anew)."""
        try:
            head, _, body = self.path(name).read_bytes().partition(b"\n")
            whole = head == b"%s %s" % (self._head, hashlib.sha256(body).hexdigest().encode())
            return unpacked(body, self._kind) if whole else None
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None

    def read_own(self, name: str) -> T:
        """A part that this very run has written.

        Raises:
            InputError: It was changed or deleted in the meantime.
        """
        part = self.read(name)
        if part is None:
            path = self.path(name)
            raise InputError(
                Text(
                    f"{path}: written by this run and unreadable now; run the same line again",
                    f"{path}: 이번 실행에서 쓴 파일을 다시 읽을 수 없습니다. 같은 명령을 다시 "
                    "실행하십시오",
                )
            )
        return part

    def names(self) -> Iterator[str]:
        """Names of the parts of this key, sorted; their contents are not looked at."""
        parts = sorted(self.folder.glob("*.part"))
        return (path.stem for path in parts if self._is_mine(path))

    def others(self) -> Iterator[Path]:
        """Files of parts of another key."""
        parts = sorted(self.folder.glob("*.part"))
        return (path for path in parts if not self._is_mine(path))

    def remove_stale(self) -> None:
        """Delete what other keys, older versions and killed runs left in the folder.

        Raises:
            InputError: It cannot be deleted.
        """
        with writing(self.folder):
            for path in self.folder.iterdir() if self.folder.is_dir() else ():
                living = path.suffix == ".partial" and not is_left(path)
                mine = path.suffix == ".part" and self._is_mine(path)
                if path.is_file() and not (mine or living or path.name.startswith(LOCK)):
                    path.unlink(missing_ok=True)

    def _is_mine(self, path: Path) -> bool:
        try:
            with path.open("rb") as stream:
                return stream.read(len(self._head)) == self._head
        except OSError:
            return False


def remove_folder(folder: Path) -> None:
    """Delete a folder of parts: the work is done, or was given up; nothing there is no error.

    Raises:
        InputError: It cannot be deleted.
    """
    with writing(folder):
        while folder.exists():
            with suppress(FileNotFoundError):  # another process is deleting it, too
                shutil.rmtree(folder)


def _plain(value: Any) -> Any:
    """An array or a number of numpy as plain data.

    Raises:
        NotImplementedError: Anything else, as msgspec asks of its ``enc_hook``.
    """
    import numpy as np  # only where there are arrays: commands without them start sooner

    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"a part cannot hold {type(value).__name__}")


def _array(kind: type, stored: Any) -> Any:
    import numpy as np

    dtype, shape, data = stored
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
