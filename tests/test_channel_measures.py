"""Measures of expression channels against sequences made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from make_measures import make_faces, make_input, make_track, pick, rotation, value
from nunbit.core.streams import FaceTrack, Interval, MeasureBlock
from nunbit.measures import compute_measures, definitions
from nunbit.measures.channel_measures import MEANS, NAMES
from nunbit.measures.fusion import causal_blocks
from nunbit.pictures.expression_channels import CHANNELS, KEPT_AT, KEPT_CHANNELS

N, RATE_HZ = 1200, 10.0
DURATION_S = N / RATE_HZ


def track_of(**channels: float | np.ndarray) -> FaceTrack:
    """Two minutes of one face; channels that are not named are 0."""
    times = np.arange(N) / RATE_HZ
    table = np.zeros((N, len(KEPT_CHANNELS)), np.float32)
    for name, level in channels.items():
        table[:, KEPT_CHANNELS.index(name)] = level
    straight = np.zeros(N)
    return make_track(times, rotation=rotation(straight), channels=table)


def blocks_of(track: FaceTrack) -> tuple[MeasureBlock, ...]:
    faces = make_faces([track], duration_s=DURATION_S)
    return compute_measures(make_input(DURATION_S, faces=faces))


def smiling(*stretches: tuple[float, float], level: float = 0.8) -> np.ndarray:
    times = np.arange(N) / RATE_HZ
    return level * sum((a - 1e-9 <= times) & (times < b - 1e-9) for a, b in stretches)


def test_kept_channels_are_named_as_the_network_gives_them() -> None:
    assert len(CHANNELS) == len(set(CHANNELS)) == 52
    assert tuple(CHANNELS[k] for k in KEPT_AT) == KEPT_CHANNELS
    assert {name for names in MEANS.values() for name in names} <= set(KEPT_CHANNELS)


def test_means_are_those_of_their_channels() -> None:
    blocks = blocks_of(track_of(mouthFrownLeft=0.2, mouthFrownRight=0.4, browInnerUp=0.9))
    assert value(blocks, "mouth_corners_down") == pytest.approx(0.3, abs=1e-6)
    assert value(blocks, "brow_raise") == pytest.approx(0.3, abs=1e-6)
    assert value(blocks, "jaw_open") == 0.0
    window = pick(blocks, "mouth_corners_down", "window").value
    np.testing.assert_allclose(window, 0.3, atol=1e-6)


def test_smiles_are_counted_and_timed() -> None:
    level = smiling((10, 12), (30, 31), (60, 60.3))  # the last is too short
    blocks = blocks_of(track_of(mouthSmileLeft=level, mouthSmileRight=level))
    assert value(blocks, "smile_rate") == pytest.approx(1.0)
    assert value(blocks, "smile_mean_s") == pytest.approx(1.5)
    assert value(blocks, "smile") == pytest.approx(0.8 * 33 / N, abs=1e-6)
    assert value(blocks, "smile_asymmetry") == pytest.approx(0.0, abs=1e-6)


def test_a_weak_smile_goes_on_until_it_is_gone() -> None:
    level = smiling((10, 12)) + smiling((12, 14), level=0.3) + smiling((20, 25), level=0.35)
    blocks = blocks_of(track_of(mouthSmileLeft=level, mouthSmileRight=level))
    assert value(blocks, "smile_rate") == pytest.approx(0.5)  # 0.35 alone begins none
    assert value(blocks, "smile_mean_s") == pytest.approx(4.0)


def test_asymmetry_is_that_of_smiling_frames() -> None:
    left, right = smiling((10, 20)), smiling((10, 20), level=0.6) + smiling((40, 50), level=0.2)
    blocks = blocks_of(track_of(mouthSmileLeft=left, mouthSmileRight=right))
    assert value(blocks, "smile_asymmetry") == pytest.approx(0.2, abs=1e-6)
    for short in (smiling((10, 10.5)), np.zeros(N)):  # half a second of a smile, and none
        few = blocks_of(track_of(mouthSmileLeft=short, mouthSmileRight=short))
        block = pick(few, "smile_asymmetry", "session")
        assert np.isnan(block.value[0])
        assert block.mask_reason[0] == "too_few"


def test_shut_lids_are_a_share_of_time() -> None:
    shut = smiling((0, 30))
    blocks = blocks_of(track_of(eyeBlinkLeft=shut, eyeBlinkRight=shut))
    assert value(blocks, "lids_shut_share") == pytest.approx(0.25)


def test_frames_without_a_mesh_take_no_part() -> None:
    track = track_of(jawOpen=0.5)
    assert track.channels is not None
    track.channels[:100] = np.nan
    blocks = blocks_of(track)
    block = pick(blocks, "jaw_open", "session")
    assert block.value[0] == pytest.approx(0.5)
    assert block.n_valid[0] == N - 100
    assert pick(blocks, "jaw_open", "window").mask_reason[0] == "no_landmarks"


def test_without_the_network_every_measure_says_so() -> None:
    times = np.arange(N) / RATE_HZ
    blocks = blocks_of(make_track(times, rotation=rotation(np.zeros(N))))
    for name in NAMES:
        assert pick(blocks, name, "session").mask_reason[0] == "no_landmarks"
    silent = compute_measures(make_input(DURATION_S))
    assert {str(pick(silent, name, "session").mask_reason[0]) for name in NAMES} == {"no_video"}


def test_a_window_is_final_at_its_end() -> None:
    level = np.random.default_rng(0).uniform(0, 1, N)
    track = track_of(mouthSmileLeft=level, mouthSmileRight=level, jawOpen=level, eyeBlinkLeft=level)
    whole = blocks_of(track)
    window = Interval(8.0, 12.0)
    rows = slice(80, 120)
    fields = {
        name: getattr(track, name)[rows]
        for name in ("rotation", "channels", "det_score", "sharpness", "reasons")
    }
    part = make_track(np.arange(80, 120) / RATE_HZ, **fields)
    faces = make_faces([part], duration_s=12.0, sample_times=np.arange(80, 120) / RATE_HZ)
    causal = {b.measure: b for b in causal_blocks(faces, window) if b.scope == "window"}
    for name in ("smile", "smile_asymmetry", "jaw_open", "lids_shut_share"):
        block = pick(whole, name, "window")
        at = int(np.flatnonzero(np.isclose(block.t_start, 8.0))[0])
        np.testing.assert_array_equal(causal[name].value[0], block.value[at])


def test_every_channel_measure_is_grade_c_and_no_action_unit() -> None:
    found = {d.id: d for d in definitions() if d.id in NAMES}
    assert set(found) == set(NAMES)
    assert {d.grade for d in found.values()} == {"C"}
    assert all("AU" not in d.name.en for d in found.values())
    assert all(d.noise_floor is not None for d in found.values() if d.id in MEANS)
