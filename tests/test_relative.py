"""analyze --neutral and --prior: what is shown is derived, what was observed stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nunbit.core.messages import InputError, SettingsError
from nunbit.core.streams import FaceStream, FaceTrack, Interval
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.stories.analyze.answers import Scene
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.analyze.relative import shown_in
from test_predict import COLOUR, toy_bundle

SHARES = dict(zip(COLOUR, (0.26, 0.13, 0.09, 0.04, 0.03, 0.14, 0.31), strict=True))
SAD_AT_REST = np.array([0.02, 0.02, 0.02, 0.02, 0.02, 0.55, 0.35], np.float32)
SMILE = np.array([0.6, 0.05, 0.02, 0.02, 0.01, 0.2, 0.1], np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(toy_bundle(tmp_path_factory.mktemp("model") / "toy", class_shares=SHARES))


def track(track_id: int, probabilities: np.ndarray) -> FaceTrack:
    n = len(probabilities)
    none = np.full(n, np.nan, np.float32)
    return FaceTrack(
        track_id=track_id,
        times_s=np.arange(n) / 5.0,
        boxes_xyxy=np.tile(np.array([0, 0, 50, 50], np.float32), (n, 1)),
        det_score=np.ones(n, np.float32),
        sharpness=np.ones(n, np.float32),
        reasons=np.full(n, "", "<U16"),
        rotation=np.full((n, 3, 3), np.nan),
        pose_deg=np.full((n, 3), np.nan),
        landmarks=None,
        mouth_open=none,
        eye_aspect=none,
        probabilities=probabilities.astype(np.float32),
    )


def scene(rest: np.ndarray = SAD_AT_REST) -> Scene:
    """Ten seconds: two of a smile, then at rest; a second person smiles throughout."""
    own = np.concatenate([np.tile(SMILE, (10, 1)), np.tile(rest, (40, 1))])
    faces = FaceStream(
        rate_hz=5.0,
        sample_times_s=np.arange(50) / 5.0,
        n_faces=np.full(50, 2),
        tracks=(track(0, own), track(1, np.tile(SMILE, (50, 1)))),
        targets=(0,),
        labels=tuple(COLOUR),
    )
    windows = (Interval(0.0, 4.0),)
    return Scene(faces=faces, choice=None, turns=(), own=(), speech=(), windows=windows)


def test_nothing_asked_leaves_the_scene(bundle: Bundle) -> None:
    given = scene()
    shown = shown_in(given, bundle, AnalyzeSettings())
    assert shown.scene is given
    assert not shown.changed
    assert shown.facts == {"adapted": None, "prior": "train", "relative": False, "neutral": None}


def test_a_given_stretch_makes_the_person_relative_and_nobody_else(bundle: Bundle) -> None:
    given = scene()
    shown = shown_in(given, bundle, AnalyzeSettings(neutral="5-8"))
    assert given.faces is not None
    assert shown.scene.faces is not None
    own, other = shown.scene.faces.tracks
    assert own.probabilities is not None
    assert (
        own.probabilities[20, 5] < SAD_AT_REST[5]
    )  # half of what it has over neutral is taken off
    assert own.probabilities[20, 6] > SAD_AT_REST[6]
    assert own.probabilities[0].argmax() == 0
    assert other.probabilities == pytest.approx(given.faces.tracks[1].probabilities, abs=1e-6)
    assert shown.facts["relative"] is True
    assert shown.facts["neutral"] == {"start": 5.0, "end": 8.0, "found": False}
    assert any("0:05" in notice.en for notice in shown.notices)
    assert any("read as sadness" in notice.en for notice in shown.notices)
    assert given.faces.tracks[0].probabilities is not None
    assert given.faces.tracks[0].probabilities[20].argmax() == 5  # observed: as it was


def test_a_resting_face_is_found_and_said(bundle: Bundle) -> None:
    shown = shown_in(scene(), bundle, AnalyzeSettings(neutral="auto"))
    assert shown.facts["neutral"]["found"] is True
    assert shown.facts["neutral"]["start"] >= 2.0
    assert any("found in the recording at" in notice.en for notice in shown.notices)


def test_none_found_is_said_and_nothing_changed(bundle: Bundle) -> None:
    shown = shown_in(scene(SMILE), bundle, AnalyzeSettings(neutral="auto"))
    assert shown.facts["relative"] is False
    assert any("no neutral face was found" in notice.en for notice in shown.notices)


def test_a_bad_stretch_is_one_line(bundle: Bundle) -> None:
    joyful = np.array([0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01], np.float32)
    for settings, rest, words in (
        ("20-30", SAD_AT_REST, "0 readable frames"),
        ("5-8", joyful, "not a neutral face"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            shown_in(scene(rest), bundle, AnalyzeSettings(neutral=settings))
        assert "\n" not in caught.value.text.en
    with pytest.raises(SettingsError, match="START-END"):
        AnalyzeSettings(neutral="soon").neutral_interval()


def test_other_shares_act_on_every_face(bundle: Bundle) -> None:
    shown = shown_in(scene(), bundle, AnalyzeSettings(prior="balanced"))
    assert shown.scene.faces is not None
    for each, before in zip(
        shown.scene.faces.tracks,
        scene().faces.tracks,  # type: ignore[union-attr]
        strict=True,
    ):
        assert each.probabilities is not None
        assert before.probabilities is not None
        assert (each.probabilities[:, 4] > before.probabilities[:, 4]).all()  # disgust was rare


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_neutral_is_derived_without_the_recording_and_undone_again(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from nunbit.runtime.files import read_json
    from nunbit.stories.analyze import analyze
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video
    from test_derive import SCRIPT

    (tmp_path / "talk.toml").write_text(SCRIPT, encoding="utf-8")
    clip = tmp_path / "talk.mp4"
    render_video(clip, load_script(tmp_path / "talk.toml"))
    settings = AnalyzeSettings(
        single_speaker=True, workers=1, transcript=str(tmp_path / "talk.srt")
    )
    out = tmp_path / "out"
    analyze([clip], out, settings)
    folder = out / "talk"
    plain = pq.read_table(folder / "frames.parquet")
    clip.unlink()
    analyze([folder], out, replace(settings, neutral="0-2", transcript=""))
    relative = pq.read_table(folder / "frames.parquet")
    assert read_json(folder / "summary.json")["relative"] is True
    assert plain["p_neutral"] != relative["p_neutral"]
    analyze([folder], out, replace(settings, transcript=""))
    assert read_json(folder / "summary.json")["relative"] is False
    assert pq.read_table(folder / "frames.parquet") == plain
