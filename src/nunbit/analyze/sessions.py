"""One table over all recordings: the session rows of every timeline below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nunbit.errors import InputError
from nunbit.files import atomic_path

SESSIONS = "sessions.parquet"


def write_sessions(out: Path, folders: Sequence[Path]) -> Path:
    """Join the rows of scope ``session`` of several timelines.

    Args:
        out: Gets ``sessions.parquet``.
        folders: Of finished recordings.

    Raises:
        InputError: A timeline cannot be read or the table cannot be written.
    """
    tables = []
    for folder in folders:
        path = folder / "timeline.parquet"
        try:
            table = pq.read_table(path, filters=pc.field("scope") == "session")
        except (OSError, pa.ArrowInvalid) as exc:
            raise InputError(
                en=f"{path}: cannot read this timeline: {exc}; remove its folder and analyse again",
                ko=f"{path}: 타임라인을 읽을 수 없습니다: {exc}. 폴더를 지우고 다시 분석하십시오",
            ) from exc
        tables.append(table)
    joined = pa.concat_tables(tables, promote_options="permissive") if tables else None
    path = out / SESSIONS
    if joined is not None:
        with atomic_path(path) as partial:
            pq.write_table(joined, partial, compression="zstd")
    return path
