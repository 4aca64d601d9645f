"""Observed once, derived often: what a later run makes of what an earlier one kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")

from make_aligned import aligned_bundle
from make_media import Sound, clicks, write_media
from nunbit.core.messages import InputError
from nunbit.runtime.files import read_json
from nunbit.runtime.progress import set_lang
from nunbit.stories.analyze import AnalyzeSettings, analyze
from nunbit.stories.analyze.kept import OBSERVED_FILE, read_kept
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SETTINGS = AnalyzeSettings(single_speaker=True, workers=1)
TABLES = ("timeline.parquet", "frames.parquet", "words.parquet", "voice.parquet")
SCRIPT = """
duration_s = 8.0
width = 320
height = 240
fps = 25
person = 94
emotions = [{ at_s = 0.0 }, { at_s = 4.0, joy = 1.0 }, { at_s = 8.0, joy = 1.0 }]
sayings = [{ start_s = 1.0, text = "안녕하세요 반갑습니다" },
           { start_s = 5.0, text = "오늘은 정말 기분이 좋아요" }]
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a talking drawn face, with its transcript beside it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "talk.toml").write_text(SCRIPT, encoding="utf-8")
    render_video(folder / "talk.mp4", load_script(folder / "talk.toml"))
    return folder / "talk.mp4"


@pytest.fixture(scope="module")
def first(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its first analysis wrote."""
    out = tmp_path_factory.mktemp("first")
    analyze([clip], out, _with_words(clip))
    return out


def _with_words(clip: Path, **more: Any) -> AnalyzeSettings:
    return replace(SETTINGS, transcript=str(clip.with_suffix(".srt")), export=("eaf",), **more)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be read of the recording."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("the recording is read")

    for name in ("session.observe_recording", "answers.iter_audio", "answers.check_synchrony"):
        monkeypatch.setattr(f"nunbit.stories.analyze.{name}", fail)


def _same(first: Path, second: Path) -> None:
    for name in TABLES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"export": ("csv", "vtt")},
        {"baseline": "0-8"},
        {"subject": "P07", "seed": 5},
        {"fuse_voice": True},
        {"single_speaker": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_give_what_a_whole_analysis_gives(
    clip: Path, first: Path, tmp_path: Path, never: None, change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    shutil.copytree(first, out)
    settings = replace(_with_words(clip), **change)
    set_lang("ko")
    assert analyze([clip], out, settings)[0].state == "done"
    monkeypatch.undo()
    set_lang("ko")
    analyze([clip], tmp_path / "whole", settings)
    _same(out / "talk", tmp_path / "whole" / "talk")
    ours, theirs = (read_json(p / "talk" / "summary.json") for p in (out, tmp_path / "whole"))
    ignored = {"provenance", "files", "media"}
    assert {k: v for k, v in ours.items() if k not in ignored} == {
        k: v for k, v in theirs.items() if k not in ignored
    }
    assert ours["files"].keys() == theirs["files"].keys()


@pytest.mark.slow
def test_the_recording_may_be_gone(clip: Path, first: Path, tmp_path: Path, never: None) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(first, moved)
    outcome = analyze([moved / "talk"], moved, replace(SETTINGS, export=("vtt",)))[0]
    assert outcome.state == "done"
    _same(moved / "talk", first / "talk")  # its words and its speakers stay
    assert (moved / "talk" / "talk.vtt").is_file()
    assert not (moved / "talk" / "talk.eaf").exists()
    again = analyze([moved], moved, replace(SETTINGS, export=("vtt",)))[0]
    assert again.state == "kept"
    elsewhere = tmp_path / "elsewhere"
    analyze([moved / "talk"], elsewhere, replace(SETTINGS, seed=3))
    assert (elsewhere / "talk" / OBSERVED_FILE).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate_hz": 5.0}, "settings"),
        ({"hop_s": 2.0}, "needs? its sound"),
        ({"asr": "vosk"}, "."),
    ],
)
def test_what_needs_the_recording_says_so_where_it_is_gone(
    first: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    shutil.copytree(first, tmp_path / "out")
    with pytest.raises(InputError, match=said):
        analyze([tmp_path / "out" / "talk"], tmp_path / "out", replace(SETTINGS, **change))


@pytest.mark.slow
def test_other_windows_hear_the_sound_again_and_see_no_picture(
    clip: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(first, tmp_path / "out")
    settings = _with_words(clip, hop_s=2.0, window_s=3.0)
    monkeypatch.setattr("nunbit.stories.analyze.session.observe_recording", None)
    analyze([clip], tmp_path / "out", settings)
    monkeypatch.undo()
    analyze([clip], tmp_path / "whole", settings)
    _same(tmp_path / "out" / "talk", tmp_path / "whole" / "talk")


@pytest.mark.slow
def test_exports_that_somebody_changed_are_kept(
    clip: Path, first: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(first, tmp_path / "out")
    path = tmp_path / "out" / "talk" / "talk.eaf"
    path.write_text(path.read_text(encoding="utf-8") + "<!-- mine -->", encoding="utf-8")
    analyze([clip], tmp_path / "out", replace(_with_words(clip), export=()))
    assert "mine" in path.read_text(encoding="utf-8")
    assert "talk.eaf was not asked for this time" in capfd.readouterr().err


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of clicks."""
    path = tmp_path_factory.mktemp("quick") / "clicks.wav"
    return write_media(path, sounds=[Sound(clicks([0.5, 1.5], 2.0), codec="pcm_s16le")])


def _forget(folder: Path) -> None:
    (folder / OBSERVED_FILE).unlink()


def _cut(folder: Path) -> None:
    path = folder / OBSERVED_FILE
    path.write_bytes(path.read_bytes()[:-30])


def _another_voice(folder: Path) -> None:
    path = folder / "voice.parquet"
    table = pq.read_table(path)
    level = table["level_dbfs"].to_numpy() + np.float32(1)
    index = table.column_names.index("level_dbfs")
    pq.write_table(table.set_column(index, "level_dbfs", [level]), path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        _forget,
        pytest.param(_cut, marks=pytest.mark.slow),
        pytest.param(_another_voice, marks=pytest.mark.slow),
    ],
)
def test_what_is_not_whole_is_not_used(
    quick: Path, tmp_path: Path, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze([quick], tmp_path, SETTINGS)
    assert read_kept(tmp_path / "clicks") is not None
    harm(tmp_path / "clicks")
    assert read_kept(tmp_path / "clicks") is None
    whole = (tmp_path / "clicks" / "timeline.parquet").read_bytes()
    monkeypatch.setattr("nunbit.stories.analyze.answers.gone", None)
    analyze([quick], tmp_path, replace(SETTINGS, export=("csv",)))
    assert (tmp_path / "clicks" / "timeline.parquet").read_bytes() == whole
    assert read_kept(tmp_path / "clicks") is not None


@pytest.mark.slow
def test_forget_leaves_only_the_tables(quick: Path, tmp_path: Path) -> None:
    analyze([quick], tmp_path, replace(SETTINGS, forget=True))
    names = {path.name for path in (tmp_path / "clicks").iterdir()}
    assert names == {*TABLES, "summary.json", "report.html"}
    analyze([quick], tmp_path / "late", SETTINGS)
    assert (tmp_path / "late" / "clicks" / OBSERVED_FILE).is_file()
    state = analyze([quick], tmp_path / "late", replace(SETTINGS, forget=True))[0].state
    assert state == "kept"
    assert not (tmp_path / "late" / "clicks" / OBSERVED_FILE).exists()


@pytest.mark.slow
def test_nothing_that_is_kept_tells_who_it_is(quick: Path, tmp_path: Path) -> None:
    analyze([quick], tmp_path, SETTINGS)
    with np.load(tmp_path / "clicks" / OBSERVED_FILE) as stored:
        assert set(stored.files) <= {"head", "about", "clipped", "spoken", "text"} | {
            name for name in stored.files if name.startswith("quality_")
        }


@pytest.mark.slow
def test_a_killed_derivation_can_be_made_again(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze([quick], tmp_path, SETTINGS)
    settings = replace(SETTINGS, export=("csv",))

    def die(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("nunbit.stories.analyze.session.write_kept", die)
    with pytest.raises(KeyboardInterrupt):
        analyze([tmp_path / "clicks"], tmp_path, settings)
    monkeypatch.undo()
    quick_gone = analyze([tmp_path / "clicks"], tmp_path, settings)[0]
    assert quick_gone.state == "done"
    assert (tmp_path / "clicks" / "clicks.csv").is_file()


@pytest.mark.slow
def test_windows_of_an_aligned_bundle_are_kept_and_other_ones_read_again(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = aligned_bundle(tmp_path / "bundle", ("face", "voice", "text"))
    settings = _with_words(clip, hop_s=0.25, unproven_agreement=True)
    analyze([clip], tmp_path / "out", settings, bundle=bundle)
    windows = (tmp_path / "out" / "talk" / "windows.npz").read_bytes()
    derived = replace(settings, export=("vtt",))
    with monkeypatch.context() as patch:
        patch.setattr("nunbit.stories.analyze.session.observe_recording", None)
        analyze([clip], tmp_path / "out", derived, bundle=bundle)
    analyze([clip], tmp_path / "whole", derived, bundle=bundle)
    _same(tmp_path / "out" / "talk", tmp_path / "whole" / "talk")
    assert (tmp_path / "out" / "talk" / "windows.npz").read_bytes() == windows
    table = pq.read_table(tmp_path / "out" / "talk" / "timeline.parquet").to_pylist()
    shown = [r["value"] for r in table if r["measure"] == "agreement_face_voice"]
    assert np.isfinite(shown).any()
    # Vectors of faces are not kept: other windows need the whole recording, which may be gone.
    other = replace(settings, hop_s=0.5)
    analyze([clip], tmp_path / "out", other, bundle=bundle)
    analyze([clip], tmp_path / "whole", other, bundle=bundle)
    _same(tmp_path / "out" / "talk", tmp_path / "whole" / "talk")
