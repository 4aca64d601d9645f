"""The folder of an evaluation: what may be written there, and what an earlier one left in it.

Result, predictions and pictures belong together. So the earlier result is deleted before the
first new file is written: a run that ends in between leaves no pair of two evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Text
from nunbit.report.page import PICTURES
from nunbit.runtime.claims import require_own
from nunbit.runtime.files import read_json, sha256_file, writing
from nunbit.stories.evaluate.assess import RESULT_FORMAT, EvaluateSettings

RESULT = "result.json"
PREDICTIONS = "predictions.parquet"
_RUN = "run.json"  # a baseline's run has a predictions.parquet of its own


def require_place(out: Path) -> None:
    """Refuse a folder in which an evaluation would write over something else.

    Raises:
        InputError: It is the run of a training, or holds the result of another command.
    """
    if (out / _RUN).is_file():
        raise InputError(
            Text(
                f"{out}: is the run of a training, whose predictions would be lost; choose another "
                "`out`",
                f"{out}: 학습 실행 폴더여서 그 예측을 덮어쓰지 않습니다. 다른 `out`을 고르십시오",
            )
        )
    require_own(out / RESULT, {RESULT_FORMAT})


def digests_of_given(settings: EvaluateSettings) -> dict[str, str]:
    """The sha256 of every file that the settings name: the same name may hold something else."""
    found = {}
    for key in ("prompts", "label_set", "prior"):
        given = getattr(settings, key)
        if given is not None and Path(given).is_file():
            found[key] = sha256_file(Path(given))
    for key, folders in (("compare", settings.comparisons), ("seeds", settings.seeds)):
        for number, folder in enumerate(folders, start=1):
            if (path := Path(folder) / RESULT).is_file():
                found[f"{key} {number}"] = sha256_file(path)
    return found


def clear_place(out: Path) -> None:
    """Delete the result of an earlier evaluation and its pictures; whatever else is there stays.

    Raises:
        InputError: It cannot be deleted.
    """
    with writing(out):
        for path in _listed(out):
            path.unlink(missing_ok=True)
        folder = out / PICTURES
        if folder.is_dir() and not folder.is_symlink():
            with suppress(OSError):
                folder.rmdir()  # only an empty one can be removed
        (out / RESULT).unlink(missing_ok=True)


def write_pictures(
    out: Path, mistakes: Sequence[dict[str, Any]], jpeg: Callable[[str], bytes]
) -> None:
    """Write the crops of the listed mistakes beside the report.

    Args:
        out: Folder of the evaluation.
        mistakes: ``confident_mistakes`` of the result.
        jpeg: The crop of a record id.

    Raises:
        InputError: They cannot be written.
    """
    folder = out / PICTURES
    with writing(folder):
        if folder.is_symlink():
            folder.unlink()  # what it points at is somebody else's
        folder.mkdir(parents=True, exist_ok=True)
        for mistake in mistakes:
            record = mistake["record_id"]
            (folder / f"{record}.jpg").write_bytes(jpeg(record))


def _listed(out: Path) -> list[Path]:
    """The pictures that an earlier evaluation wrote into the folder."""
    folder = out / PICTURES
    if folder.is_symlink() or not folder.is_dir():
        return []
    with suppress(InputError, LookupError, TypeError, AttributeError):
        document = read_json(out / RESULT)
        if not document["provenance"]["settings"]["with_images"]:
            return []
        records = [mistake["record_id"] for mistake in document["confident_mistakes"]]
        paths = [folder / f"{record}.jpg" for record in records]
        # Ids of foreign prediction files may hold anything; a path may not.
        return [p for p, r in zip(paths, records, strict=True) if p.name == f"{r}.jpg"]
    return []
