"""What a reader of the first screen of a timeline's page must not be misled about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from make_timeline import Recipe, make_timeline
from nunbit.core.messages import LANGS, Lang
from nunbit.report.page import asset
from nunbit.report.shapes import percent_interval
from nunbit.report.timeline_data import read_recording
from nunbit.report.timeline_page import render_timeline, timeline_html
from nunbit.report.timeline_tables import class_shares, measure_tables
from nunbit.report.timeline_tracks import payload
from nunbit.report.timeline_view import TimelineView


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_timeline(tmp_path_factory.mktemp("out") / "talk", Recipe(duration_s=70.0))


def view_of(folder: Path, lang: Lang = "en") -> TimelineView:
    return TimelineView(read_recording(folder), lang)


def _note(code: str, en: str, ko: str = "") -> dict[str, object]:
    return {"code": code, "count": 1, "first": "0:00.0", "en": en, "ko": ko or en}


def test_what_is_odd_of_the_files_is_the_first_thing_said(folder: Path) -> None:
    view = view_of(folder)
    view.d["reading"] = {
        "read": [_note("video", "video: 640x480"), _note("words_outside_speech", "the words miss")],
        "repaired": [],
        "left_out": [_note("damaged", "2 pieces are damaged")],
    }
    view.d["notices"] = [["the words miss", "글이 안 맞음"], ["word lists are short", "짧음"]]
    assert view.findings() == ["The words miss.", "2 pieces are damaged."]
    assert view.notices().count("The words miss.") == 0  # said once
    html = timeline_html(view, None)
    box = html[html.index('id="notices"') : html.index('id="timeline"')]
    first = re.findall(r"<li[^>]*>([^<]*)</li>", box)[0]
    assert first == "The words miss."


def test_many_findings_are_counted_and_not_listed(folder: Path) -> None:
    view = view_of(folder)
    view.d["reading"] = {"left_out": [_note("x", f"thing {i}") for i in range(9)]}
    found = view.findings()
    assert len(found) == 5
    assert found[-1].startswith("5 more")


@pytest.mark.parametrize("lang", LANGS)
def test_the_index_is_never_in_per_cent_and_the_voice_is_called_experimental(
    folder: Path, lang: Lang
) -> None:
    view = view_of(folder, lang)
    shares = dict(class_shares(view))
    assert not any("%" in s.text for s in shares[view.t("modality.fused")])
    assert all("%" in s.text for s in shares[view.t("modality.face")])
    word = {"en": "experimental", "ko": "실험적"}[lang]
    assert sum(word in name for name in shares) == 1
    tracks = {t["id"]: t for t in payload(view)["tracks"]}
    assert word in tracks["ribbon-voice"]["title"]
    assert sum(word in line["name"] for line in tracks["valence"]["lines"]) == 1
    plain, _ = measure_tables(view)
    voice = [g for g in plain if g.title == view.t("modality.voice")]
    assert all(row.id != "valence" for group in voice for row in group.rows)


def test_the_script_writes_the_index_as_a_number() -> None:
    script = asset("timeline.js")
    assert 'ribbon.modality === "fused" ? p.toFixed(2) : percent(p)' in script
    assert "percent(p)}`" not in script  # every class share goes through the one function


def test_no_wall_of_missing_intervals_and_baselines(folder: Path) -> None:
    view = view_of(folder)
    for entry in view.d["measures"]:
        entry |= {"baseline": None, "z": None, "ci": None, "ci_reason": "too_few_independent"}
    html = timeline_html(view, None)
    html = html[html.index('id="measures"') : html.index('id="states"')]
    plain, experimental = measure_tables(view)
    assert view.t("measures.no_baseline") not in html
    assert f"<th>{view.t('measures.baseline')}</th>" not in html
    lines = sum(len(g.without) for g in (*plain, *experimental))
    assert 0 < lines <= len(plain) + len(experimental)
    assert html.count("too few independent stretches)") == lines
    names = " ".join(text for g in plain for text in g.without)
    assert all(row.name in names for g in plain for row in g.rows if row.value)


def test_spans_of_one_kind_that_overlap_have_lanes_of_their_own(folder: Path) -> None:
    view = view_of(folder)
    view.d["episodes"] = [
        {"kind": "incongruence", "start": a, "end": b, "peak": 0.5, "note": ""}
        for a, b in ((10, 20), (15, 25), (30, 40), (20, 28))
    ] + [{"kind": "joy", "start": 12, "end": 14, "peak": 0.9, "note": ""}]
    track = next(t for t in payload(view)["tracks"] if t["id"] == "episodes")
    assert track["colours"] == ["incongruence", "incongruence", "joy"]
    for i, (lane, start, end, *_) in enumerate(track["spans"]):
        for other, begin, stop, *_ in track["spans"][i + 1 :]:
            assert lane != other or end <= begin or stop <= start
    assert [span[0] for span in track["spans"]] == [0, 1, 0, 0, 2]


def test_expected_episodes_are_said_in_plain_words(folder: Path) -> None:
    view = view_of(folder)
    view.d["episodes"], view.d["episodes_expected"] = [], {"incongruence": 0.05}
    html = timeline_html(view, None)
    assert "0 found. In a recording without change chance alone gives at most 0.05" in html


def test_unnamed_speakers_are_said_once(folder: Path) -> None:
    view = view_of(folder)
    view.d["speech"] = {"assumed_single": True, "turns": 1, "target": ""}
    view.d["notices"], view.d["told"] = [["speakers are not named", "화자"]], ["assumed_single"]
    assert sum("diarisation" in text for text in view.notices()) == 0
    view.d["told"] = []
    assert sum("diarisation" in text for text in view.notices()) == 1


def test_page_is_rendered_from_disk(folder: Path) -> None:
    assert render_timeline(folder, lang="ko").is_file()


def test_an_interval_of_shares_stays_within_what_a_share_can_be() -> None:
    assert percent_interval((0.977, 1.006)) == "97.7–100.0%"
    assert percent_interval((-0.02, 0.1)) == "0.0–10.0%"
    assert percent_interval((0.42, 0.5)) == "42.0–50.0%"


def test_agreement_of_an_unproven_alignment_says_so_beside_its_curve(tmp_path: Path) -> None:
    view = view_of(make_timeline(tmp_path / "talk", Recipe(duration_s=70.0)))
    series = view.r.series["face", "valence_sd", ""]
    view.r.series["fused", "agreement_face_voice", ""] = series
    track = next(t for t in payload(view)["tracks"] if t["id"] == "likeness")
    assert "not found" not in track["note"]
    view.d["told"] = ["unproven_agreement"]
    track = next(t for t in payload(view)["tracks"] if t["id"] == "likeness")
    assert "alignment not confirmed" in track["note"]
