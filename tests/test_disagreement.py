"""Disagreement of two modalities: against what is usual for the person, in windows and episodes."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_measures import FER, chances, pick, reason, value
from nunbit.core.streams import Episode, Interval
from nunbit.measures.episodes import find_episodes
from nunbit.measures.fusion import fuse_windows
from nunbit.measures.modality_pairs import MIN_USUAL_S
from test_pooling import recording

EIGHT = "하나 둘 셋 넷 다섯 여섯 일곱 여덟"
NAME = "incongruence_face_text"


def leaning(valence: Any) -> np.ndarray:
    """Class probabilities with this valence."""
    v = np.asarray(valence, float)
    return chances(FER, joy=np.maximum(v, 0), sadness=np.maximum(-v, 0))


def told(face: Any, text: Any, duration_s: float = 80.0, **fields: Any) -> Any:
    """A face at 10 Hz, and a sentence of four seconds after another, with these valences."""
    n = round(duration_s / 4)
    said = np.resize(text, n)
    words = [(4.0 * i, EIGHT, leaning([said[i]])) for i in range(n)]
    return recording(leaning(np.resize(face, round(duration_s * 10))), words, duration_s, **fields)


@pytest.mark.parametrize(("face", "text"), [(-0.5, 0.4), (0.9, -0.6), (0.0, 0.0)])
def test_a_constant_bias_is_no_disagreement(face: float, text: float) -> None:
    blocks = fuse_windows(told(face, text))
    for scope in ("window", "turn", "session"):
        for name in ("incongruence", NAME, f"{NAME}_signed"):
            np.testing.assert_allclose(pick(blocks, name, scope).value, 0.0, atol=1e-6)


@pytest.mark.parametrize("bias", [0.0, -0.3])
def test_what_departs_from_the_usual_is(bias: float) -> None:
    face = np.where((np.arange(800) >= 400) & (np.arange(800) < 520), 0.6, 0.0) + bias
    signed = pick(fuse_windows(told(face, 0.0)), f"{NAME}_signed", "window")
    middle = (signed.t_start + signed.t_end) / 2
    inside, outside = (middle >= 42) & (middle <= 50), (middle <= 38) | (middle >= 54)
    np.testing.assert_allclose(signed.value[inside], 0.3, atol=1e-6)
    np.testing.assert_allclose(signed.value[outside], 0.0, atol=1e-6)
    assert signed.version == "2"


def test_opposites_that_take_turns_do_not_cancel_out() -> None:
    face = np.where(np.arange(800) % 400 < 200, 0.8, -0.8)
    text = np.where(np.arange(20) * 4 % 40 < 20, -0.8, 0.8)
    blocks = fuse_windows(told(face, text))
    assert value(blocks, NAME) > 0.6
    assert abs(value(blocks, f"{NAME}_signed")) < 0.1


def test_too_little_in_common_says_nothing_about_the_usual() -> None:
    short = fuse_windows(told(0.5, -0.5, MIN_USUAL_S - 4.0))
    for scope in ("window", "turn", "session"):
        for name in ("incongruence", NAME, f"{NAME}_signed"):
            found = pick(short, name, scope)
            assert np.isnan(found.value).all()
            assert set(found.mask_reason) == {"too_few"}
    assert np.isfinite(pick(short, "p_joy", "window", "fused").value).all()
    assert np.isfinite(pick(fuse_windows(told(0.5, -0.5, 40.0)), NAME, "window").value).all()


def test_one_modality_is_compared_with_nothing() -> None:
    blocks = fuse_windows(recording(leaning([0.3]), []))
    assert reason(blocks, "incongruence") == "no_transcript"
    assert reason(blocks, NAME) == "no_transcript"


def test_a_marked_baseline_says_what_is_usual() -> None:
    # Two thirds of the recording are incongruent: without a baseline that is what is usual.
    face = np.where(np.arange(1200) >= 400, 0.8, 0.0)
    plain = told(face, 0.0, 120.0)
    marked = dataclasses.replace(plain, baseline=Interval(0.0, 40.0))
    late = {name: pick(fuse_windows(made), f"{NAME}_signed", "window").value[60:]
            for name, made in (("plain", plain), ("marked", marked))}  # fmt: skip
    np.testing.assert_allclose(late["plain"], 0.0, atol=1e-6)
    np.testing.assert_allclose(late["marked"], 0.4, atol=1e-6)


# -- episodes -------------------------------------------------------------------------------------

PLANTED = Interval(240.0, 300.0)


def drifting(n: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    """A first-order autoregression of variance one; the memory is in steps."""
    phi = np.exp(-1.0 / memory)
    noise = rng.normal(0, np.sqrt(1 - phi**2), n)
    noise[0] = rng.normal()
    for i in range(1, n):
        noise[i] += phi * noise[i - 1]
    return noise


def talking(seed: int, *, planted: bool, duration_s: float = 900.0) -> Any:
    """A quarter of an hour of face and words that wander and lean apart, with or without a minute
    of smiles over words of despair.
    """
    rng = np.random.default_rng(seed)
    face = -0.2 + 0.25 * drifting(round(duration_s * 10), 20.0, rng)
    text = 0.2 + 0.25 * drifting(round(duration_s / 4), 0.5, rng)
    if planted:
        face[2400:3000] += 0.8
        text[60:75] -= 0.7
    return told(np.clip(face, -0.98, 0.98), np.clip(text, -0.98, 0.98), duration_s)


def episodes(given: Any) -> list[Episode]:
    found = find_episodes(given, fuse_windows(given))
    return [e for e in found if e.kind == "incongruence"]


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_incongruent_minute_is_found_and_named(seed: int) -> None:
    given = talking(seed, planted=True)
    found = episodes(given)
    assert found
    inside = 0.0
    for each in found:
        assert each.note.startswith("face+ text−: ")
        assert "셋 넷 다섯" in each.note
        assert each.interval.start_s >= PLANTED.start_s - 10
        assert each.interval.end_s <= PLANTED.end_s + 10
        assert each.peak > 0.5
        inside += min(each.interval.end_s, 300.0) - max(each.interval.start_s, 240.0)
    assert inside >= 30.0


@pytest.mark.parametrize("seed", range(3))
def test_a_lean_that_never_changes_is_no_episode(seed: int) -> None:
    assert episodes(talking(seed, planted=False)) == []


def test_the_mirror_image_is_named_the_other_way_round() -> None:
    given = talking(0, planted=True)
    assert given.faces is not None
    track = given.faces.tracks[0]
    swap = [FER.index("joy"), FER.index("sadness")]
    turned = track.probabilities.copy()
    turned[:, swap] = turned[:, swap[::-1]]
    faces = dataclasses.replace(
        given.faces, tracks=(dataclasses.replace(track, probabilities=turned),)
    )
    said = given.text_probabilities.copy()
    said[:, swap] = said[:, swap[::-1]]
    mirrored = dataclasses.replace(given, faces=faces, text_probabilities=said)
    assert {e.note.split(":")[0] for e in episodes(mirrored)} == {"text+ face−"}


@pytest.mark.parametrize("kind", ["constant", "short", "holes", "no words"])
def test_series_in_which_nothing_can_be_told_have_no_episode(kind: str) -> None:
    given = {
        "constant": told(0.9, -0.9, 200.0),
        "short": told(np.where(np.arange(200) < 100, 0.9, -0.9), 0.0, 20.0),
        "holes": told(0.9, -0.9, 200.0, keep=np.arange(2000) % 400 < 100),
        "no words": recording(leaning([0.3]), []),
    }[kind]
    assert episodes(given) == []


# -- a real voice that only reads commands --------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
def test_neutral_commands_have_no_disagreement(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36 s of GRID: version 0.1 found two episodes, made by the experimental voice."""
    benchmarks = Path(__file__).resolve().parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    monkeypatch.setenv("NUNBIT_DATA", str(real_data))
    part = importlib.import_module("honesty_fusion")
    monkeypatch.setattr(part, "DATA", real_data)
    asked = part.grid_rows()[0]
    assert asked.reached
    assert asked.value.startswith("0 (face–voice windows: unvalidated 33")
