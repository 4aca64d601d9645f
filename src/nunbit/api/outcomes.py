"""What ``prepare``, ``train``, ``align``, ``study``, ``search`` return: results with a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.core.messages import InputError, Text
from nunbit.runtime.progress import spoken_lang
from nunbit.runtime.results import PathLike, Result, TemporaryFolder, as_path

if TYPE_CHECKING:
    import pyarrow as pa

    from nunbit.api.loaded import Model
    from nunbit.stories.search import Hit


@dataclass(frozen=True, eq=False, repr=False)
class _Written(Result):
    """A result that a story wrote into a folder, with its main document."""

    folder: Path
    document: Mapping[str, Any]

    def _plain_document(self) -> Any:
        return self.document


@dataclass(frozen=True, eq=False, repr=False)
class PrepareResult(_Written):
    """A prepared data set; ``train`` and ``evaluate`` take it as their data.

    Attributes:
        folder: ``DATA/``.
        document: ``dataset.json``; with ``part``, while others are missing, how far it is.
    """

    @property
    def finished(self) -> bool:
        """Whether all parts are there."""
        return bool(self.document["finished"])

    @property
    def counts(self) -> dict[str, int]:
        """Crops by split, and ``rejects``."""
        if not self.finished:
            return {}
        counts = self.document["counts"]
        return {**counts["by_split"], "rejects": sum(counts["rejects"].values())}

    def to_arrow(self) -> pa.Table:
        """The manifest: a row a crop.

        Raises:
            InputError: The data set is not finished or cannot be read.
        """
        from nunbit.datasets.shards import MANIFEST
        from nunbit.runtime.files import read_parquet

        return read_parquet(
            self.folder / MANIFEST,
            Text("cannot read the manifest: {reason}", "목록을 읽을 수 없습니다: {reason}"),
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{n} {name}" for name, n in self.counts.items()) or "unfinished"
        return f"<PrepareResult: {shown}; {self.folder}>"


@dataclass(frozen=True, eq=False, repr=False)
class TrainResult(_Written):
    """A finished run.

    Attributes:
        folder: ``RUN/``.
        document: Steps, scores on the selection split, parity, seconds.
    """

    @property
    def bundle(self) -> Path | None:
        """The bundle's folder; None for a baseline, which has predictions instead."""
        found = self.document.get("bundle")
        return None if found is None else Path(found)

    @property
    def validation(self) -> dict[str, float]:
        """Scores on the selection split: ``top1``, ``uar``, ``macro_f1``."""
        return dict(self.document["validation"])

    def model(self) -> Model:
        """The trained model.

        Raises:
            InputError: A baseline has none.
        """
        from nunbit.api.loaded import load

        if self.bundle is None:
            raise InputError(
                Text(
                    f"{self.folder}: a baseline has no model; `evaluate` takes its predictions",
                    f"{self.folder}: 비교 기준에는 모델이 없습니다. 그 예측은 `evaluate`에 "
                    "주십시오",
                )
            )
        return load(self.bundle)

    def to_arrow(self) -> pa.Table:
        """``metrics.jsonl``: a row a logged step."""
        import pyarrow as pa

        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return pa.Table.from_pylist([_flat(json.loads(line)) for line in lines if line.strip()])

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{name} {self.validation[name]:.3f}"
            for name in ("top1", "uar", "macro_f1")
            if name in self.validation
        )
        return f"<TrainResult: {scores} on the selection split; {self.folder}>"


@dataclass(frozen=True, eq=False, repr=False)
class AlignResult(_Written):
    """A learned alignment and what it is worth.

    Attributes:
        folder: ``RUN/``.
        document: ``result.json``.
    """

    @property
    def bundle(self) -> Path:
        """The aligned bundle, for ``analyze`` and ``search``."""
        return self.folder / "bundle"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.folder / "report.html"

    @property
    def verdicts(self) -> dict[str, str]:
        """Pair of modalities -> code: whether more than chance was found."""
        found = self.document["assessment"]["pairs"].items()
        return {name: pair["verdict"]["code"] for name, pair in found}

    def to_arrow(self) -> pa.Table:
        """A row a pair and step: R@1, its interval, and what chance gives (NaN where absent)."""
        import pyarrow as pa

        rows = [
            {"pair": name, "step": step, "r1": _number(found.get("r1")), "ci_low": low,
             "ci_high": high, "null": _number(found.get("null"))}
            for name, pair in self.document["assessment"]["pairs"].items()
            for step, found in pair["steps"].items()
            for low, high in [found.get("ci95") or _NO_INTERVAL]
        ]  # fmt: skip
        return pa.Table.from_pylist(rows)

    def __repr__(self) -> str:
        shown = ", ".join(f"{pair}: {code}" for pair, code in self.verdicts.items())
        return f"<AlignResult: {shown}; {self.folder}>"


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult(_Written):
    """Models and controls of a study; nothing about a single person.

    Attributes:
        folder: ``STUDY/``.
        document: ``result.json``; with ``plan_only`` the hash of the plan alone.
        owner: Keeps a temporary folder as long as this result lives; None for the user's own.
    """

    owner: TemporaryFolder | None = None

    @property
    def finished(self) -> bool:
        """Whether labels were read and judged; not with ``plan_only``."""
        return "verdict" in self.document

    @property
    def verdict(self) -> str:
        """Code: ``more_than_controls``, ``not_more_than_controls`` or ``too_few``; '' of a plan."""
        return str(self.document["verdict"]["code"]) if self.finished else ""

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.folder / "report.html"

    def to_arrow(self) -> pa.Table:
        """A row a model and control: score, interval, difference of the headline (NaN if none)."""
        import pyarrow as pa

        key = "uar" if self.document.get("kind") == "emotion" else "ccc"
        rows = [
            {"role": role.removesuffix("s"), "name": name, "metric": key,
             "score": _number(found.get(key)), "ci_low": low, "ci_high": high,
             "difference": _number(found.get("difference")), "difference_low": under,
             "difference_high": over, "p": _number(found.get("p"))}
            for role in ("models", "controls")
            for name, found in self.document.get(role, {}).items()
            for low, high in [found.get("ci95") or _NO_INTERVAL]
            for under, over in [found.get("difference_ci95") or _NO_INTERVAL]
        ]  # fmt: skip
        texts = ("role", "name", "metric")
        numbers = ("score", "ci_low", "ci_high", "difference", "difference_low",
                   "difference_high", "p")  # fmt: skip
        schema = pa.schema([(n, pa.string()) for n in texts] + [(n, pa.float64()) for n in numbers])
        return pa.Table.from_pylist(rows, schema)

    def __repr__(self) -> str:
        if not self.finished:
            return f"<StudyResult: plan {self.document['plan']['sha256'][:12]}; {self.folder}>"
        n = self.document["n_persons"]
        return f"<StudyResult: {self.verdict}, {n} persons; {self.folder}>"


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult(Result):
    """The windows nearest to a sentence, best first; ``result[0]`` is the nearest.

    Attributes:
        text: What was searched for.
        hits: The windows.
        notices: What the alignment is worth for this search.
    """

    text: str
    hits: tuple[Hit, ...]
    notices: tuple[Text, ...]

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, key: int) -> Hit:
        return self.hits[key]

    @property
    def document(self) -> dict[str, Any]:
        """The result as plain data for ``--json``."""
        return {
            "text": self.text,
            "hits": [hit.to_dict() for hit in self.hits],
            "notices": [notice.pair() for notice in self.notices],
        }

    def lines(self) -> str:
        """The notices and a line per window, for a terminal."""
        from nunbit.stories.search import hits_text

        said = [f"! {pair.pick(spoken_lang())}" for pair in self.notices]
        return "\n".join([*said, hits_text(self.hits, spoken_lang())])

    def to_arrow(self) -> pa.Table:
        """A row a window; ``modalities`` is a list."""
        import pyarrow as pa

        schema = pa.schema(
            [("session", pa.string()), ("t_start", pa.float64()), ("t_end", pa.float64()),
             ("score", pa.float64()), ("similarity", pa.float64()), ("exact", pa.float64()),
             ("emotion", pa.float64()), ("modalities", pa.list_(pa.string())),
             ("excerpt", pa.string()), ("report", pa.string())]
        )  # fmt: skip
        return pa.Table.from_pylist([hit.to_dict() for hit in self.hits], schema)

    def _plain_document(self) -> Any:
        return self.document

    def __repr__(self) -> str:
        return f"<SearchResult: {len(self)} windows nearest to '{self.text}'>"


_NO_INTERVAL = (math.nan, math.nan)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Entries of inner dictionaries as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        elif not isinstance(value, list):
            flat[key] = value
    return flat


def place_results(out: PathLike | None) -> tuple[Path, TemporaryFolder | None]:
    """The folder of a run; a temporary one, which the result keeps alive, where none is given."""
    if out is not None:
        return as_path(out, "out"), None
    owner = TemporaryFolder()
    return owner.path, owner
