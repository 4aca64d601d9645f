"""What the timeline report says of the fused index and of disagreement, and of older files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from make_timeline import make_timeline
from nunbit.core.messages import Lang
from nunbit.report.timeline_data import read_recording
from nunbit.report.timeline_tracks import payload
from nunbit.report.timeline_view import TimelineView


def rewritten(folder: Path, used: int | None, version: str) -> Path:
    """A made-up timeline whose fused rows have a version and say which sources they are of."""
    path = folder / "timeline.parquet"
    table = pq.read_table(path).to_pylist()
    extra = []
    for row in table:
        if row["modality"] != "fused":
            continue
        row["version"] = version
        if used is not None and row["measure"] == "p_joy":
            extra.append(row | {"measure": "modalities_used", "value": float(used), "unit": ""})
    pq.write_table(pa.Table.from_pylist(table + extra), path)
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[tuple[int | None, str], Path] = {}

    def view(used: int | None, version: str, lang: Lang) -> TimelineView:
        if (used, version) not in made:
            folder = make_timeline(tmp_path_factory.mktemp("pairs") / "talk")
            made[used, version] = rewritten(folder, used, version)
        return TimelineView(read_recording(made[used, version]), lang)

    return view


def method(view: TimelineView) -> str:
    return " ".join(view.method())


def test_the_page_says_what_the_index_is(pages: Any) -> None:
    en, ko = method(pages(7, "2", "en")), method(pages(7, "2", "ko"))
    assert "index, not a probability" in en
    assert "확률이 아니라 지수" in ko
    assert "minus what is usual for this person" in en
    assert "평소(중앙값)에서 벗어난" in ko
    titles = {t["id"]: t["title"] for t in payload(pages(7, "2", "en"))["tracks"]}
    assert titles["ribbon-fused"] == "Fused (index): classes"


def test_an_old_file_says_by_which_definition_it_was_made(pages: Any) -> None:
    for lang, wanted in (("en", "definition 1 (nunbit 0.1)"), ("ko", "정의 1(nunbit 0.1)")):
        text = method(pages(7, "1", lang))
        assert text.count(wanted) == 2  # the index and the disagreement
    assert "definition 1" not in method(pages(7, "2", "en"))


@pytest.mark.parametrize(("used", "name"), [(1, "Face"), (4, "Words")])
def test_an_index_of_one_source_is_not_drawn_but_named(pages: Any, used: int, name: str) -> None:
    view = pages(used, "2", "en")
    tracks = {t["id"]: t for t in payload(view)["tracks"]}
    assert "ribbon-fused" not in tracks
    assert "Fused (index)" not in [line["name"] for line in tracks["valence"]["lines"]]
    assert f"Only one source ({name})" in method(view)


def test_where_no_file_says_which_took_part_all_sources_count(pages: Any) -> None:
    assert "ribbon-fused" in {t["id"] for t in payload(pages(None, "2", "en"))["tracks"]}


def test_lines_are_named_by_whose_they_are(pages: Any) -> None:
    for lang, pair in (("en", "Face–Words"), ("ko", "얼굴–말")):
        tracks = {t["id"]: t for t in payload(pages(7, "2", lang))["tracks"]}
        assert [line["name"] for line in tracks["disagreement"]["lines"]] == [pair]
        assert all(line["name"] for line in tracks["valence"]["lines"])
    script = Path(__file__).parents[1] / "src/nunbit/report/templates/timeline.js"
    assert "`${line.name} ${value}`" in script.read_text(encoding="utf-8")


def test_the_scale_grows_where_the_disagreement_does(pages: Any) -> None:
    view = pages(7, "2", "en")
    series = next(s for k, s in view.r.series.items() if k[1] == "incongruence_face_text")
    top = float(np.nanmax(series.value))
    track = next(t for t in payload(view)["tracks"] if t["id"] == "disagreement")
    assert track["high"] == (1.0 if top <= 1 else 2.0)
