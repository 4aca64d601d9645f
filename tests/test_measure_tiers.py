"""Measures as tiers of the ELAN file, read back by pympi."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pympi = pytest.importorskip("pympi")

import nunbit
from command import run_command
from nunbit.core.messages import SettingsError
from nunbit.report.measure_tiers import parse_export
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video


def test_what_follows_eaf_and_is_no_format_is_a_measure() -> None:
    assert parse_export("eaf:valence,pitch") == (("eaf",), ("valence", "pitch"))
    assert parse_export("csv, eaf:face.p_joy ,textgrid,vtt") == (
        ("csv", "eaf", "textgrid", "vtt"), ("face.p_joy",))  # fmt: skip
    assert parse_export("eaf,csv") == (("eaf", "csv"), ())
    with pytest.raises(SettingsError, match="--export eaf:valance: no such measure; for example"):
        parse_export("eaf:valance")
    with pytest.raises(SettingsError, match="no such measure"):
        parse_export("eaf:nose.valence")


@pytest.mark.slow
def test_pympi_reads_the_tiers_back(tmp_path: Path) -> None:
    script = tmp_path / "talk.toml"
    script.write_text(
        "duration_s = 8.0\nwidth = 320\nheight = 240\nfps = 25\nperson = 94\n"
        'sayings = [{ start_s = 1.0, text = "안녕하세요 반갑습니다" }]\n',
        encoding="utf-8",
    )
    render_video(tmp_path / "talk.mp4", load_script(script))
    done = run_command("analyze", tmp_path / "talk.mp4", "--out", tmp_path / "out", "--export",
                       "eaf:face.p_joy,pitch,face.valence_sd")  # fmt: skip
    assert done.returncode == 0, done.stderr
    eaf = pympi.Elan.Eaf(str(tmp_path / "out" / "talk" / "talk.eaf"))
    assert eaf.adocument["FORMAT"] == "3.0"
    names = list(eaf.get_tier_names())
    tier = next(name for name in names if name.startswith("face.p_joy"))
    assert any(name.startswith("voice.f0_median [Hz]") for name in names)
    assert any("감정 emotion" in name for name in names)
    windows = nunbit.read_timeline(tmp_path / "out" / "talk").windows(wide=True)
    values = windows["face.p_joy"]
    read = eaf.get_annotation_data_for_tier(tier)
    assert len(read) == np.isfinite(values).sum() > 3
    assert [float(text) for _, _, text in read] == pytest.approx(
        values[np.isfinite(values)], rel=0.006
    )
    assert all(end > start for start, end, _ in read)
    assert all(a[1] <= b[0] for a, b in pairwise(read))
