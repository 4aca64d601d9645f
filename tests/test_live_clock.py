"""Frames and sound of a browser on one clock: jitter, drift, lost sound, leaps, other rates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nunbit.core.timebase import SessionClock
from nunbit.live.hearing import SoundLine
from nunbit.live.live_faces import _Persons

RATE = 16_000
STEP = 1_600  # samples of a message: 0.1 s
ZERO_MS = 40_000.0


def play(
    clock: SessionClock[int],
    seconds: float,
    *,
    start_s: float = 0.0,
    late_ms: np.ndarray | None = None,
    ppm: float = 0.0,
    away_s: float = 0.0,
) -> list[tuple[float, float, int]]:
    """Send sound; returns start, jump and number of every piece that was placed.

    Args:
        clock: Gets it.
        seconds: Of sound.
        start_s: Of its first sample, on the sample clock.
        late_ms: Delay of each stamp.
        ppm: How much faster the sender's clock goes.
        away_s: Seconds that the sender's clock is ahead of the samples.
    """
    placed = []
    for k in range(round(seconds * 10)):
        first = round(start_s * RATE) + k * STEP
        true_ms = ZERO_MS + 1000 * (first / RATE * (1 + ppm * 1e-6) + away_s)
        late = 0.0 if late_ms is None else float(late_ms[k % len(late_ms)])
        placed += clock.sound(first, STEP, RATE, true_ms + late, k)
    return [(each.start_s, each.jump_s, each.piece) for each in placed]


def test_late_stamps_do_not_move_frames() -> None:
    clock: SessionClock[int] = SessionClock()
    late = np.abs(np.random.default_rng(1).normal(0, 30, 400))
    late[::7] = 0.0
    placed = play(clock, 30, late_ms=late)
    assert [round(start, 6) for start, _, _ in placed] == [round(0.1 * k, 6) for k in range(300)]
    for at in (12.0, 20.5, 29.9):
        assert clock.frame_s(ZERO_MS + 1000 * at) == pytest.approx(at, abs=0.004)
    assert clock.error_ms is not None
    assert clock.error_ms < 10


@pytest.mark.parametrize("ppm", [-200.0, 150.0])
def test_slow_drift_is_followed(ppm: float) -> None:
    clock: SessionClock[int] = SessionClock()
    play(clock, 600, ppm=ppm)
    true_ms = ZERO_MS + 1000 * 599.9 * (1 + ppm * 1e-6)
    assert clock.frame_s(true_ms) == pytest.approx(599.9, abs=0.004)
    assert clock.drift_ppm == pytest.approx(ppm, abs=10)
    assert clock.leaps == 0


def test_sound_that_was_lost_leaves_a_gap() -> None:
    """The tab slept for 4 s: samples go on counting, the sender's clock went on running."""
    clock: SessionClock[int] = SessionClock()
    play(clock, 10)
    placed = play(clock, 5, start_s=10, away_s=4.0)
    assert placed[0][:2] == (pytest.approx(14.0, abs=1e-3), pytest.approx(4.0, abs=1e-3))
    assert all(jump == 0 for _, jump, _ in placed[1:])
    assert clock.frame_s(ZERO_MS + 1000 * 17.5) == pytest.approx(17.5, abs=0.002)
    assert clock.leaps == 0


def test_a_busy_page_is_no_lost_sound() -> None:
    """Five stamps come 0.6 s late and then catch up: nothing was lost."""
    clock: SessionClock[int] = SessionClock()
    play(clock, 5)
    late = np.array([600.0, 500.0, 400.0, 300.0, 200.0, 100.0, *np.zeros(44)])
    placed = play(clock, 5, start_s=5, late_ms=late)
    assert all(jump == 0 for _, jump, _ in placed)
    assert placed[0][0] == pytest.approx(5.0)
    assert len(placed) == 50


def test_a_gap_told_by_the_samples_is_a_gap() -> None:
    clock: SessionClock[int] = SessionClock()
    play(clock, 3)
    placed = play(clock, 3, start_s=8)
    assert placed[0][0] == pytest.approx(8.0)
    assert clock.frame_s(ZERO_MS + 10_000) == pytest.approx(10.0, abs=0.002)


def test_a_leap_back_places_frames_anew_and_sound_goes_on() -> None:
    clock: SessionClock[int] = SessionClock()
    play(clock, 5)
    placed = play(clock, 5, start_s=5, away_s=-30.0)
    assert [start for start, _, _ in placed] == pytest.approx([5 + 0.1 * k for k in range(50)])
    assert clock.leaps == 1
    assert clock.frame_s(ZERO_MS + 1000 * (9.0 - 30.0)) == pytest.approx(9.0, abs=0.002)


def test_pictures_alone_have_the_first_as_zero_and_survive_a_leap() -> None:
    clock: SessionClock[int] = SessionClock()
    assert clock.frame_s(5_000) == 0.0
    assert clock.frame_s(6_234.4) == 1.234
    assert clock.frame_s(2_000) == pytest.approx(1.234)  # the sender's clock began again
    assert clock.frame_s(2_100) == pytest.approx(1.334)
    assert clock.leaps == 1


def test_sound_that_begins_later_keeps_the_pictures_clock() -> None:
    clock: SessionClock[int] = SessionClock()
    clock.frame_s(ZERO_MS - 7_000)
    placed = play(clock, 2)
    assert placed[0][0] == pytest.approx(7.0)
    assert clock.frame_s(ZERO_MS + 1_000) == pytest.approx(8.0)


def test_frames_before_the_sound_are_before_the_session() -> None:
    clock: SessionClock[int] = SessionClock()
    play(clock, 1)
    assert clock.frame_s(ZERO_MS - 50) is None


def ramp(n: int) -> np.ndarray:
    return (np.arange(n) % 30_000).astype(np.int16)


def joined(pieces: list[tuple[int, np.ndarray]]) -> np.ndarray:
    return np.concatenate([samples for _, samples in pieces])


def test_short_gaps_are_filled_and_long_ones_stay() -> None:
    line = SoundLine()
    found = line.add(0.0, ramp(1600), RATE)
    found += line.add(0.110, ramp(1600), RATE)  # 10 ms are missing
    assert [(at, len(s)) for at, s in found] == [(0, 1600), (1600, 1760)]
    assert not joined(found)[1600:1760].any()
    later = line.add(0.75004, ramp(1600), RATE)
    assert later[0][0] == 12_016  # a whole millisecond, as the file has it
    assert len(later[0][1]) == 1600


def test_sound_that_comes_twice_is_taken_once() -> None:
    line = SoundLine()
    line.add(0.0, ramp(1600), RATE)
    again = line.add(0.05, ramp(1600), RATE)
    assert [(at, len(s)) for at, s in again] == [(1600, 800)]
    assert line.add(0.05, ramp(800), RATE) == []


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_become_sixteen_thousand(rate: int) -> None:
    times = np.arange(3 * rate) / rate
    wave = (12_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    line, found = SoundLine(), []
    for start in range(0, len(wave), rate // 10):
        found += line.add(2.0 + start / rate, wave[start : start + rate // 10], rate)
    found += line.finish()
    sound = joined(found)
    assert found[0][0] == 32_000
    assert len(sound) == pytest.approx(3 * RATE, abs=20)
    expected = 12_000 * np.sin(2 * np.pi * 440 * np.arange(len(sound)) / RATE)
    assert np.abs(sound - expected)[200:-200].max() < 250  # 2%


def test_a_gap_at_another_rate_begins_anew() -> None:
    line = SoundLine()
    found = line.add(0.0, ramp(4800), 48_000)
    found += line.add(1.0, ramp(4800), 48_000) + line.finish()
    starts = [at for at, _ in found]
    assert starts[0] == 0
    assert any(at == 16_000 for at in starts)
    assert sum(len(s) for _, s in found) == pytest.approx(3200, abs=4)


def test_who_is_analysed_is_chosen_as_in_a_file() -> None:
    """Somebody small comes first, somebody large later and longer; a cut parts tracks."""
    persons = _Persons()
    rng = np.random.default_rng(2)

    def see(track: int, start_s: float, n: int, size: float) -> None:
        for k in range(n):
            x, y = 100 * track + rng.normal(0, 1, 2)
            box = np.array([[x, y, x + size, y + size]], np.float32)
            persons.add(
                SimpleNamespace(
                    times_s=np.array([start_s + k / 10]), n_read=np.array([1]),
                    tracks=np.array([track]), faces={"boxes_xyxy": box}, changes=(),
                )  # type: ignore[arg-type]
            )  # fmt: skip
            quick = persons.choose([30.0])
            persons._knew = (-1, 0, 0)  # as if nothing was known from before
            whole = persons.choose([30.0])
            assert {(a, b) for a, b, _ in quick} == {(a, b) for a, b, _ in whole}

    assert persons.choose([30.0]) == ()
    see(0, 0.0, 15, 60.0)
    assert [track for track, _, _ in persons.choose([30.0])] == [0]
    see(1, 2.0, 30, 200.0)
    assert persons.choose([30.0]) == ((1, 2.0, np.inf),)
    see(2, 31.0, 20, 200.0)
    assert [track for track, _, _ in persons.choose([30.0])] == [1]
