"""Who speaks by the lips: the mouth that moves, somebody unseen, and when no name is used."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nunbit.core.streams import FaceStream, FaceTrack, Interval
from nunbit.measures.lips import (
    PERSON,
    UNSEEN,
    guess_speakers,
    lips_notice,
    names_missing,
)

RATE = 10.0


def track(number: int, spoken: list[tuple[float, float]], length_s: float, lips: float = 0.12):
    """A face whose mouth opens and closes in the stretches, and trembles a little elsewhere."""
    times = np.arange(0, length_s, 1 / RATE)
    rng = np.random.default_rng(number)
    mouth = 0.02 + 0.001 * rng.standard_normal(len(times))
    for start, end in spoken:
        inside = (times >= start) & (times < end)
        mouth[inside] += lips * rng.random(int(inside.sum()))
    n, nan = len(times), np.full(len(times), np.nan)
    return FaceTrack(
        number, times, np.zeros((n, 4), np.float32), np.ones(n, np.float32),
        np.ones(n, np.float32), np.full(n, ""), np.full((n, 3, 3), np.nan),
        np.full((n, 3), np.nan), None, mouth.astype(np.float32), nan.astype(np.float32),
    )  # fmt: skip


def stream(*tracks: FaceTrack, targets: tuple[int, ...] = (0,)) -> FaceStream:
    times = tracks[0].times_s
    return FaceStream(RATE, times, np.full(len(times), len(tracks)), tracks, targets)


ASKED, ANSWERED = [(1.0, 5.0), (12.0, 16.0)], [(6.0, 11.0), (17.0, 25.0)]
SPEECH = [Interval(a, b) for a, b in sorted(ASKED + ANSWERED)]


def test_somebody_unseen_asks_and_the_person_answers() -> None:
    guess = guess_speakers(stream(track(0, ANSWERED, 30)), SPEECH)
    assert guess.reason == ""
    assert [name for _, name in guess.stretches] == [UNSEEN, PERSON, UNSEEN, PERSON]
    assert [s for s, _ in guess.stretches] == SPEECH
    assert guess.trust > 0.9
    assert "person 13 s, unseen 8 s" in lips_notice(guess).en


def test_of_two_faces_the_one_whose_mouth_moves() -> None:
    faces = stream(track(0, ANSWERED, 30), track(3, ASKED, 30))
    guess = guess_speakers(faces, SPEECH)
    assert guess.reason == ""
    assert [name for _, name in guess.stretches] == ["face 3", PERSON, "face 3", PERSON]


def test_one_who_speaks_alone_gets_no_names() -> None:
    guess = guess_speakers(stream(track(0, ASKED + ANSWERED, 30)), SPEECH)
    assert guess.reason == "one_speaker"


def test_two_mouths_that_move_alike_are_not_told_apart() -> None:
    both = ASKED + ANSWERED
    guess = guess_speakers(stream(track(0, both, 30), track(1, both, 30)), SPEECH)
    assert guess.reason in ("low_conf", "one_speaker")
    assert guess.trust < 0.75


@pytest.mark.parametrize("lips", [0.0, 0.01])
def test_a_face_that_never_speaks_is_no_speaker(lips: float) -> None:
    guess = guess_speakers(stream(track(0, ANSWERED, 30, lips)), SPEECH)
    assert guess.reason == "one_speaker"
    assert {name for _, name in guess.stretches} == {UNSEEN}


def test_without_faces_or_with_little_speech_nothing_is_guessed() -> None:
    assert guess_speakers(None, SPEECH).reason == "no_face"
    short = guess_speakers(stream(track(0, ANSWERED, 30)), [Interval(6.0, 8.0)])
    assert short.reason == "too_few"
    none = guess_speakers(stream(track(0, ANSWERED, 30)), [])
    assert none.stretches == ()
    assert math.isnan(none.trust)
    gone = guess_speakers(stream(track(0, ANSWERED, 3)), SPEECH)  # left before they spoke
    assert {name for _, name in gone.stretches} == {UNSEEN}


def test_names_that_were_given_win() -> None:
    assert names_missing((), None)
    assert not names_missing([(SPEECH[0], "A")], None)
