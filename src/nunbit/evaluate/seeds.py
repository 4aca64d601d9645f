"""Several seeds of one recipe: how much a rerun alone moves the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.errors import InputError
from nunbit.evaluate.board import HEADLINE, number
from nunbit.files import read_json

_SAME = ("labels", "policy", "split", "n", "prompts")


def seeds_section(document: dict[str, Any], folders: Sequence[str]) -> dict[str, Any] | None:
    """Mean, standard deviation and range of the headline scores over this run and others.

    The deviation (with n - 1) says how much the result depends on the seed. It is not the
    uncertainty about people, which the intervals give.

    Args:
        document: ``result.json`` of this run so far.
        folders: Evaluations of the same recipe with other seeds; none gives None.

    Raises:
        InputError: A folder is no evaluation, or of other images, classes, prompts or policy.
    """
    if not folders:
        return None
    runs = [("", document)]
    for folder in folders:
        path = Path(folder) / "result.json"
        other = read_json(path)
        differing = [key for key in _SAME if other.get(key) != document[key]]
        if differing:
            key = differing[0]
            raise InputError(
                en=f"{path}: {key} is {other.get(key)}, here {document[key]}; seeds are summarised "
                "only over evaluations of the same images in the same way",
                ko=f"{path}: {key} 값이 {other.get(key)}인데 여기서는 {document[key]}입니다. 같은 "
                "이미지를 같은 방법으로 평가한 결과끼리만 시드를 요약합니다",
            )
        runs.append((Path(folder).name, other))
    return {
        "n": len(runs),
        "runs": [{"name": name, **{key: run[key] for key in HEADLINE}} for name, run in runs],
        **{key: _spread([run[key] for _, run in runs]) for key in HEADLINE},
    }


def _spread(values: list[float | None]) -> dict[str, float | None]:
    known = np.array([np.nan if v is None else v for v in values])
    return {
        "mean": number(known.mean()),
        "sd": number(known.std(ddof=1)),
        "min": number(known.min()),
        "max": number(known.max()),
    }
