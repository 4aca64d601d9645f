"""Sentences that people wrote, with the emotions that raters saw in them, as soft targets.

The mapping from a corpus's emotions to a label set lies beside this module. Reads the corpus from
where the user has it; nothing of it is kept here.
"""

from __future__ import annotations

import csv
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Text
from nunbit.language.labels import LabelSet

_MAPPING = Path(__file__).parent / "data" / "mappings" / "kote.toml"


@dataclass(frozen=True, eq=False)
class Comments:
    """M sentences of one part of a corpus.

    Attributes:
        texts: NFC.
        targets: (M, K) float32 shares of the classes, rows sum to one.
    """

    texts: tuple[str, ...]
    targets: NDArray[np.float32]

    @property
    def truth(self) -> NDArray[np.int64]:
        """(M,) the class with the largest share, -1 where two share it."""
        best = self.targets.argmax(axis=1)
        ties = (self.targets >= self.targets.max(axis=1, keepdims=True) - 1e-6).sum(axis=1) > 1
        return np.where(ties, -1, best)


def load_mapping(label_set: LabelSet) -> NDArray[np.float32]:
    """KOTE's emotions in the classes of a label set: (44, K), a row is a class or empty.

    Raises:
        InputError: There is no mapping to this label set.
    """
    table = tomllib.loads(_MAPPING.read_text(encoding="utf-8"))
    if label_set.name not in table:
        raise InputError(
            Text(
                f"no mapping of KOTE's emotions to label set {label_set.name}",
                f"KOTE 감정을 레이블 집합 {label_set.name}에 대응시킨 표가 없습니다",
            )
        )
    names = table["names"]
    rows = np.zeros((len(names), len(label_set.labels)), np.float32)
    for label, members in table[label_set.name].items():
        for member in members:
            rows[names.index(member), label_set.index(label)] = 1.0
    return rows


def read_kote(path: Path, part: str, label_set: LabelSet) -> Comments:
    """One part of KOTE as a CSV table with the columns part, id, text, labels.

    Comments none of whose emotions is in the label set are left out.

    Raises:
        InputError: The table cannot be read, or the part is empty.
    """
    mapping = load_mapping(label_set)
    texts, rows = [], []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["part"] != part:
                    continue
                numbers = [int(n) for n in row["labels"].split(",") if n.strip()]
                counts = mapping[numbers].sum(axis=0)
                if counts.sum() > 0:
                    texts.append(unicodedata.normalize("NFC", row["text"]))
                    rows.append(counts / counts.sum())
    except (OSError, UnicodeDecodeError, KeyError, ValueError, IndexError, TypeError) as exc:
        raise InputError(_no_table(path, exc)) from exc
    if not texts:
        raise InputError(
            Text(
                f"{path}: no usable comment in part '{part}'",
                f"{path}: '{part}' 부분에 쓸 수 있는 댓글이 없습니다",
            )
        )
    return Comments(tuple(texts), np.stack(rows).astype(np.float32))


def read_named(path: Path, part: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Every comment of a part, NFC, and (M, 44) which emotions raters named.

    Raises:
        InputError: The table cannot be read, or the part is empty.
    """
    texts, rows = [], []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["part"] == part:
                    named = np.zeros(44, np.float32)
                    named[[int(n) for n in row["labels"].split(",") if n.strip()]] = 1.0
                    texts.append(unicodedata.normalize("NFC", row["text"]))
                    rows.append(named)
    except (OSError, UnicodeDecodeError, KeyError, ValueError, IndexError, TypeError) as exc:
        raise InputError(_no_table(path, exc)) from exc
    if not texts:
        raise InputError(
            Text(f"{path}: no comment in part '{part}'", f"{path}: '{part}' 부분이 없습니다")
        )
    return tuple(texts), np.stack(rows)


def emotion_names() -> tuple[str, ...]:
    """KOTE's 44 emotions, in the order of their numbers."""
    return tuple(tomllib.loads(_MAPPING.read_text(encoding="utf-8"))["names"])


def shares(named: NDArray[np.float32], label_set: LabelSet) -> NDArray[np.float32]:
    """(M, K) shares of the classes among the mapped emotions; rows of zeros where there is none."""
    counts = named @ load_mapping(label_set)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9), np.float32)


def _no_table(path: Path, exc: Exception) -> Text:
    return Text(
        f"{path}: not a table with the columns part, id, text, labels: {exc!r}",
        f"{path}: part, id, text, labels 열이 있는 표가 아닙니다: {exc!r}",
    )
