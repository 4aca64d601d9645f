"""The table that ``nunbit analyze`` prints: names, reasons and shares as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nunbit.core.messages import Lang
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.runtime.progress import width
from nunbit.stories.analyze.outcome import Outcome, outcomes_text


def _row(measure: str, modality: str, value: float | None, **rest: Any) -> dict[str, Any]:
    reason = "" if value is not None else "too_few"
    row = {"measure": measure, "modality": modality, "value": value, "unit": "0–1", "ci": None,
           "mask_reason": reason}  # fmt: skip
    return row | rest


ROWS = [
    _row("f0_sd_st", "voice", 2.345, unit="st", ci=[2.0, 2.7]),
    _row("expressivity", "face", 0.46, ci=[0.42, 0.5]),
    _row("depgroup_share", "face", 4.87e-05),
    _row("pause_mean", "voice", None, unit="s"),
    _row("expressivity", "face", 0.9, track=2),
]


def _lines(lang: Lang) -> list[str]:
    summary = {"measures": ROWS, "label_set": label_set_to_dict(load_label_set("fer7"))}
    outcome = Outcome("a", Path("out/a"), "done", summary, None)
    return outcomes_text([outcome], Path("out"), lang).splitlines()


def test_rows_are_said_in_words() -> None:
    text = "\n".join(_lines("en"))
    for wanted in ("46.0%  [42.0–50.0%]", "sum of sadness, fear", "too few samples",
                   "2.35 semitones  [2, 2.7]", "0.0%"):  # fmt: skip
        assert wanted in text
    for raw in ("too_few", "0–1", "e-05", "90"):
        assert raw not in text
    korean = "\n".join(_lines("ko"))
    assert "슬픔·공포 확률의 합" in korean
    assert "표본이 부족함" in korean


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_values_stand_in_one_column(lang: Lang) -> None:
    ends = {width(line.split("%")[0]) for line in _lines(lang) if "%" in line}
    assert len(ends) == 1
