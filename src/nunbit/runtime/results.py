"""What the results of the Python library have in common: a table, a file, a notebook display.

A result says what its table is (:meth:`Result.to_arrow`) and, where it has one, its document. The
rest follows. Knows nothing of faces, recordings or models.
"""

from __future__ import annotations

import html
import math
import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.core.messages import InputError, MissingExtra, NunbitError, Text
from nunbit.runtime.files import as_given, atomic_path, spreadsheet_text, write_json
from nunbit.runtime.resources import Provenance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

PathLike = str | os.PathLike[str]
"""What every function takes for a file or a folder; ``~`` is the home folder."""

SUFFIXES = (".csv", ".parquet", ".json")

_SHOWN_ROWS = 10  # a notebook shows the head of a table, as pandas does
_BOM = "\ufeff"
"""Spreadsheets take UTF-8 for the system's own encoding unless the file begins with this."""


def as_path(value: Any, argument: str) -> Path:
    """A path from what the user gave, ``~`` replaced.

    Raises:
        TypeError: It is no path.
        InputError: It is empty: that would be the current folder.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes):
        raise TypeError(f"{argument}: expected a path (str or Path), got {type(value).__name__}")
    if not os.fspath(value):
        raise InputError(
            Text(
                f"`{argument}` is an empty text, no path; `.` is the current folder",
                f"`{argument}`이(가) 빈 글이라 경로가 아닙니다. 현재 폴더는 `.`입니다",
            )
        )
    return as_given(value)


def as_paths(value: Any, argument: str) -> list[Path]:
    """Paths from one path or a sequence of them.

    Raises:
        TypeError: Something in it is no path.
        InputError: It is empty.
    """
    if isinstance(value, str | os.PathLike):
        return [as_path(value, argument)]
    try:
        items = list(value)
    except TypeError:
        items = [value]  # as_path says what is wrong with it
    if not items:
        raise InputError(
            Text(
                f"`{argument}` is empty: give at least one path",
                f"`{argument}`이(가) 비어 있습니다. 경로를 하나 이상 주십시오",
            )
        )
    return [as_path(item, f"{argument}[{n}]") for n, item in enumerate(items)]


class TemporaryFolder:
    """A folder that lives as long as something refers to this object, or until Python ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="nunbit-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Result(ABC):
    """A result that becomes a table, is saved, and is shown in a notebook."""

    __slots__ = ()

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """The result as a pyarrow table."""

    def to_pandas(self) -> pd.DataFrame:
        """The result as a pandas table; texts are plain texts, missing numbers NaN.

        Raises:
            MissingExtra: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise MissingExtra("pandas", "pandas")
        return decoded(self.to_arrow()).to_pandas()

    def save(self, path: PathLike) -> Path:
        """Write the result to a file: ``.csv`` or ``.parquet`` (the table), or ``.json``.

        Args:
            path: Where; folders that are missing are made, an older file is replaced.

        Returns:
            The file's path.

        Raises:
            InputError: The name has another ending, or the file cannot be written.
        """
        import pyarrow.parquet as pq

        target = as_path(path, "path")
        kind = target.suffix.lower()
        if kind not in SUFFIXES:
            raise InputError(
                Text(
                    f"{target}: cannot save as '{target.suffix}'; end the name in "
                    f"{', '.join(SUFFIXES)}",
                    f"{target}: '{target.suffix}'(으)로는 저장할 수 없습니다. 이름을 "
                    f"{', '.join(SUFFIXES)} 중 하나로 끝내십시오",
                )
            )
        if kind == ".json":
            write_json(target, self._plain_document())
        else:
            with atomic_path(target) as partial:
                if kind == ".csv":
                    write_csv_table(partial, self.to_arrow())
                else:
                    pq.write_table(self.to_arrow(), partial, compression="zstd")
        return target

    def _plain_document(self) -> Any:
        """What ``save("….json")`` writes: the rows, unless a result has a document."""
        return [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in self.to_arrow().to_pylist()
        ]

    def _repr_html_(self) -> str:
        """The head of the table, for notebooks."""
        return f"<p>{html.escape(repr(self))}</p>{table_html(self.to_arrow())}"


@dataclass(frozen=True, eq=False, repr=False)
class Table(Result):
    """A table of a result: rows are dictionaries, ``table["name"]`` is a column.

    Attributes:
        name: What a row is.
        data: The table.
    """

    name: str
    data: pa.Table

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.data.column_names)

    def to_arrow(self) -> pa.Table:
        """The table itself."""
        return self.data

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __getitem__(self, key: str | int | slice) -> Any:
        """A column as a numpy array, a row as a dictionary, or a stretch of rows as a table."""
        if isinstance(key, str):
            if key not in self.columns:
                raise KeyError(f"no column '{key}'; there are: {', '.join(self.columns)}")
            return decoded(self.data.select([key]))[key].to_numpy()
        if isinstance(key, slice):
            return Table(self.name, self.data.take(list(range(*key.indices(len(self))))))
        if not -len(self) <= key < len(self):
            raise IndexError(f"row {key} of {len(self)}")
        row: Mapping[str, Any] = self.data.slice(key % len(self), 1).to_pylist()[0]
        return dict(row)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.data.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        shown = ", ".join(self.columns[:6]) + (", …" if len(self.columns) > 6 else "")
        return f"<{len(self)} {self.name}: {shown}>"


def decoded(table: pa.Table) -> pa.Table:
    """The table with dictionary-encoded texts as plain texts."""
    import pyarrow as pa

    fields = [
        pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields))


def write_csv_table(path: Path, table: pa.Table) -> None:
    """Write a table as CSV for spreadsheets and statistics programs.

    Missing numbers are empty cells, numbers have nine significant decimals, and a text that a
    spreadsheet would take for a formula gets ``'`` in front (``files.spreadsheet_text``).
    """
    import pyarrow.csv

    with path.open("wb") as stream:
        stream.write(_BOM.encode("utf-8"))
        pyarrow.csv.write_csv(spreadsheet_table(decoded(table)), stream)


def spreadsheet_table(table: pa.Table) -> pa.Table:
    """A table without NaN, every header and text safe for a spreadsheet, lists as texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(table.schema):
        column = table.column(index)
        if pa.types.is_floating(field.type):
            # Nine decimals are kept; 0.30000000000000004 helps nobody.
            column = pc.if_else(pc.is_nan(column), None, pc.round(column, 9))
        elif pa.types.is_list(field.type):
            column = pa.array(
                [None if v is None else " ".join(map(str, v)) for v in column.to_pylist()]
            )
        elif pa.types.is_string(field.type):
            # A column has few different texts.
            coded = column.combine_chunks().dictionary_encode()
            texts = [t and spreadsheet_text(t) for t in coded.dictionary.to_pylist()]
            safe = pa.DictionaryArray.from_arrays(coded.indices, pa.array(texts, pa.string()))
            column = safe.cast(pa.string())
        name = spreadsheet_text(field.name)
        table = table.set_column(index, pa.field(name, column.type), column)
    return table


def table_html(table: pa.Table, rows: int = _SHOWN_ROWS) -> str:
    """The first rows of a table as HTML, with how many more there are."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.column_names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>"
        for row in table.slice(0, rows).to_pylist()
    )
    more = table.num_rows - rows
    note = f"<p>… {more:,} more rows</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(f"{value:.3f}" if isinstance(value, float) else str(value))


@contextmanager
def as_written(*paths: Path) -> Iterator[None]:
    """Report a result that is not as nunbit wrote it in one line, when the body meets it.

    Results are large documents that people copy, edit and merge. What they must hold is what the
    body takes from them: a key, a type or a number that does not fit is told in one line.

    Args:
        paths: The results that the body reads.

    Raises:
        InputError: A result is damaged or was changed.
    """
    try:
        yield
    except NunbitError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        reason = _first_line(exc)
        where = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
        raise InputError(
            Text(
                f"{where}: not as nunbit wrote it ({reason}); copy it again, or run the command "
                "that made it again",
                f"{where}: nunbit이 쓴 그대로가 아닙니다({reason}). 다시 복사하거나 만든 명령을 "
                "다시 실행하십시오",
            )
        ) from exc


def _first_line(exc: Exception) -> str:
    told = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {told[0][:200]}" if told else type(exc).__name__


Interval95 = tuple[float, float]
"""Lower and upper end of a 95% interval."""


@dataclass(frozen=True, eq=False, repr=False)
class EvalResult(Result):
    """Result of an evaluation; ``document`` is the whole ``result.json``.

    Attributes:
        labels: K label ids, the order of every array.
        split: Which split was evaluated.
        policy: Label policy that made the truth.
        n: Labelled images.
        n_skipped: Images left out, by reason.
        confusion: (K, K) int64, rows = truth.
        recall: (K,) float64, NaN for a class without images.
        top1: Accuracy.
        macro_f1: Mean F1 of the classes that are true or predicted somewhere.
        uar: Mean recall of the classes that have images, the headline.
        ci95: 95% intervals of ``top1``, ``macro_f1`` and ``uar``; None where there is none.
        provenance: How the result was made.
        document: ``result.json`` as plain data.
        folder: ``EVAL/`` with the report; None where only the document was read.
        owner: Keeps a temporary folder as long as this result lives; None for the user's own.
    """

    labels: tuple[str, ...]
    split: str
    policy: str
    n: int
    n_skipped: dict[str, int]
    confusion: NDArray[np.int64]
    recall: NDArray[np.float64]
    top1: float
    macro_f1: float
    uar: float
    ci95: dict[str, Interval95 | None]
    provenance: Provenance
    document: Mapping[str, Any]
    folder: Path | None = None
    owner: TemporaryFolder | None = None

    def __post_init__(self) -> None:
        k = len(self.labels)
        if self.confusion.shape != (k, k):
            raise ValueError(f"confusion: expected shape {(k, k)}, got {self.confusion.shape}")
        if self.recall.shape != (k,):
            raise ValueError(f"recall: expected shape {(k,)}, got {self.recall.shape}")
        if int(self.confusion.sum()) != self.n:
            raise ValueError(f"confusion: expected sum n = {self.n}, got {self.confusion.sum()}")

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EvalResult:
        """Read the typed part of a ``result.json`` document.

        Raises:
            KeyError: A key of the contract is missing.
            ValueError: A value does not fit.
        """
        import numpy as np

        labels = tuple(document["labels"])
        recalls = (document["per_class"][label]["recall"] for label in labels)
        return cls(
            labels=labels,
            split=document["split"],
            policy=document["policy"],
            n=document["n"],
            n_skipped=document["n_skipped"],
            confusion=np.array(document["confusion"], dtype=np.int64),
            recall=np.array([np.nan if r is None else r for r in recalls]),
            top1=document["top1"],
            macro_f1=document["macro_f1"],
            uar=document["uar"],
            ci95={k: None if v is None else (v[0], v[1]) for k, v in document["ci95"].items()},
            provenance=document["provenance"],
            document=document,
        )

    @property
    def report(self) -> Path | None:
        """The page for people, or None without a folder."""
        return None if self.folder is None else self.folder / "report.html"

    def to_arrow(self) -> pa.Table:
        """A row a class: label, precision, recall, f1 (NaN where undefined), support."""
        import pyarrow as pa

        scores = [self.document["per_class"][label] for label in self.labels]
        rates = {
            name: pa.array(
                [math.nan if s[name] is None else float(s[name]) for s in scores], pa.float64()
            )
            for name in ("precision", "recall", "f1")
        }
        support = [int(s["support"]) for s in scores]
        return pa.table({"label": list(self.labels), **rates, "support": support})

    def _plain_document(self) -> Any:
        return self.document

    def __repr__(self) -> str:
        interval = self.ci95.get("uar")
        shown = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
        return (
            f"<EvalResult: UAR {self.uar:.3f}{shown}, top-1 {self.top1:.3f}, "
            f"{self.n} images of split {self.split}>"
        )
