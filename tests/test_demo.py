"""What ``nunbit demo`` says; the run itself takes minutes and is ``make demo``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nunbit.cli.demo import DemoResult
from nunbit.core.messages import Lang
from nunbit.runtime.results import EvalResult


@pytest.mark.parametrize(("lang", "says"), [("en", "NOT found"), ("ko", "찾지 못했습니다")])
def test_the_verdict_is_said_and_chance_is_the_measured_one(lang: Lang, says: str) -> None:
    found = {
        "people": 6, "windows": 200, "r1": 0.11, "null": 0.08, "code": "not_found",
        "verdict": "face and voice: NOT found, 11.0% against 8.0% by chance",
        "verdict_ko": "얼굴과 목소리: 찾지 못했습니다. 11.0%, 우연 8.0%",
    }  # fmt: skip
    result = EvalResult(
        labels=("joy", "neutral"), split="validation", policy="annot_a", n=2, n_skipped={},
        confusion=np.eye(2, dtype=np.int64), recall=np.ones(2), top1=1.0, macro_f1=1.0, uar=1.0,
        ci95={}, provenance={}, document={},
    )  # fmt: skip
    document = {"unseen_top1": 1.0, "seconds": 1.0, "alignment": found}
    demo = DemoResult(document, result, Path("e.html"), Path("t.html"), Path("a.html"))
    text = demo._media().pick(lang)
    assert says in text
    assert "8.0%" in text
    assert "0.05" not in text
