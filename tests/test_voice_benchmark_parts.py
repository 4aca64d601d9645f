"""Parts of the voice benchmarks whose figures would be wrong without anybody noticing."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from development.voice_tracks import f0_track
from make_voice import pulses, silence, talk

BENCHMARKS = str(Path(__file__).resolve().parents[1] / "benchmarks")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The comparison of trackers, with the peers of the development extra."""
    pytest.importorskip("opensmile")
    pytest.importorskip("parselmouth")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import pitch_peers

    yield pitch_peers
    sys.modules.pop("pitch_peers", None)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("parselmouth")
    pytest.importorskip("soundfile")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import joined_talks

    yield joined_talks
    sys.modules.pop("joined_talks", None)


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("soundfile")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import korean_asr

    yield korean_asr
    sys.modules.pop("korean_asr", None)


# ---------------------------------------------------------------- pitch


def test_smoothing_is_the_one_of_opensmile(peers: Any) -> None:
    """Its raw F0, smoothed here, is its smoothed F0: both on speech with unvoiced stretches."""
    with peers.OpenSmile() as smile:
        raw, smoothed = (
            smile.f0_st(talk(4.0), 390, column) for column in (peers.RAW, peers.SMOOTHED)
        )
    assert 50 < np.isfinite(raw).sum() < 390
    np.testing.assert_array_equal(np.isfinite(raw), np.isfinite(smoothed))
    # The last frame wanted has a neighbour that was not asked for.
    np.testing.assert_allclose(peers.sma3nz(raw)[:-1], smoothed[:-1], atol=1e-4)


def test_smoothing_leaves_unvoiced_frames_out(peers: Any) -> None:
    nan = np.nan
    got = peers.sma3nz(np.array([1.0, 3.0, nan, 5.0, nan, nan, 2.0, 4.0, 9.0]))
    np.testing.assert_allclose(got, [5 / 3, 2, nan, 5, nan, nan, 3, 5, 22 / 3])


@pytest.mark.slow
def test_opensmile_describes_the_middle_of_its_window(peers: Any) -> None:
    """The times compared follow from its framing; signals of known pitch bear it out."""
    with peers.OpenSmile() as smile:
        for column in (peers.RAW, peers.SMOOTHED):
            lead, bias = peers.lead_and_bias(lambda x, n, c=column: smile.f0_st(x, n, c))
            assert abs(lead) < 0.0005
            assert 0.01 < bias < 0.05  # it reads a little too high, here and on pulses
            found = smile.f0_st(pulses(120.0), 500, column)
            assert 0.005 < np.nanmedian(found) - peers.semitones(np.array(120.0)) < 0.03
        wrong, _ = peers.lead_and_bias(lambda x, n: smile.f0_st(x, n, peers.RAW, lead_s=0.015))
    assert wrong == pytest.approx(0.010, abs=0.0005)
    ours, bias = peers.lead_and_bias(lambda x, n: peers.semitones(f0_track(x)[0][:n]))
    assert abs(ours) < 0.0005
    assert abs(bias) < 0.005


def test_trackers_are_compared_where_all_are_voiced(peers: Any) -> None:
    nan = np.nan
    base = np.array([10.0, 11.0, 12.0, 13.0, nan])
    apart = np.array([[0, 0, 0, 0, 0], [0.1, 0, nan, 0, 0], [0.2, 12, 0, 0, 0]])
    raw = base + apart
    files = [peers.Tracks("a", raw, raw), peers.Tracks("b", raw[:, :1], raw[:, :1])]
    same = peers.Comparison.of(files, smoothed=False)
    assert {name: f0.shape for name, f0 in same.speakers.items()} == {"a": (3, 3), "b": (3, 1)}
    assert peers.median_apart(0, 1)(same.frames) == pytest.approx(0.05)
    assert peers.gross_share(0, 2)(same.frames) == pytest.approx(0.25)
    assert peers.gross_share(0, 1)(same.frames) == 0
    assert peers.gross_more(same.frames) == 0
    assert same.sides() == (1, 1.0, 0.0)  # Praat is with nunbit, not an octave above
    lower = same.without_bias(lambda f0: 0 * f0 + 0.5)
    np.testing.assert_allclose(lower.frames[2], same.frames[2] - 0.5)
    np.testing.assert_array_equal(lower.frames[:2], same.frames[:2])
    figure, low, high = same.with_interval(peers.gross_share(0, 2))
    assert low <= figure <= high
    assert low == 0  # speaker b alone


def test_bias_is_read_off_sounds_of_known_pitch(peers: Any) -> None:
    tones = {100.0: np.full(3200, 1.0), 200.0: np.full(3200, 2.0)}  # say what is read too high

    def track(x: Any, n: int) -> Any:
        return np.full(n, peers.semitones(100.0 * x[0]) + 0.1 * x[0])

    bias = peers.bias_of(track, tones)
    assert bias(peers.semitones(100.0) + 0.1) == pytest.approx(0.1)
    assert bias(peers.semitones(200.0) + 0.2) == pytest.approx(0.2)
    assert bias(peers.semitones(50.0)) == pytest.approx(0.1)


# ---------------------------------------------------------------- joined talks


@pytest.mark.parametrize("silent", [True, False])
def test_gaps_lie_between_the_fragments(joined: Any, silent: bool) -> None:
    rest = silence(0.4)
    rng = np.random.default_rng(1)
    parts = [
        np.concatenate([rest, talk(1.2, seed=k), rest]) + rng.normal(size=32_000) * 1e-4
        for k in range(4)
    ]
    parts = [part.astype(np.float32) for part in parts]
    sound, known = joined.join("t", parts, ["가나 다", "라마", "바", "2명"], silent, seed=0)
    lengths = sorted(round(b - a, 3) for a, b in known.inserted)
    assert lengths == [0.3, 0.5, 0.8]
    assert len(sound) / 16_000 == pytest.approx(4 * 2.0 + sum(lengths), abs=0.001)
    for (start, end), (first, last) in zip(known.gaps, known.inserted, strict=True):
        piece = sound[round(first * 16_000) : round(last * 16_000)]
        assert (piece == 0).all() == silent
        assert np.sqrt(np.mean(piece**2)) < 2e-4
        # The fragments' own silences count.
        assert (start, end) == pytest.approx((first - 0.4, last + 0.4), abs=0.1)
    assert known.syllables is None  # a digit is spoken out
    assert joined.srt_of(known).startswith("1\n00:00:00,000 --> 00:00:02,000\n가나 다\n")


def test_breaks_below_a_quarter_second_are_no_pauses(joined: Any) -> None:
    spans = [(0.0, 1.0), (1.2, 2.0), (2.3, 3.0)]
    assert joined.pauses_between(spans) == [(2.0, 2.3)]
    assert joined.pauses_between(spans[:1]) == []


# ---------------------------------------------------------------- character error rate


@pytest.mark.parametrize(
    ("reference", "heard", "errors"),
    [
        ("", "", 0),
        ("가나다", "", 3),
        ("", "가나", 2),
        ("가나다", "가다", 1),
        ("가나다", "나다가", 2),
        ("abcdef", "azced", 3),
    ],
)
def test_edit_distance(asr: Any, reference: str, heard: str, errors: int) -> None:
    assert asr.edit_distance(reference, heard) == errors


def test_both_sides_are_spoken_out(asr: Any) -> None:
    assert asr.characters("2003년, AI!") == asr.characters("이천삼년 에이아이")


def test_groups_and_intervals_by_speaker(asr: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scored = []
    for speaker, errors in (("a", 1), ("b", 3)):
        for emotion in ("sad", "happy"):
            row = {"emotion": emotion, "script_set": "plain", "sex": "female"}
            item = asr.Item(Path("x"), "가" * 10, speaker, asr.groups_of_acted(row))
            scored.append(asr.Scored(item, "가", errors, 10, 0.9, 2.0, 1.0))
    rate, low, high = asr.interval(scored)
    assert (rate, low, high) == pytest.approx((0.2, 0.1, 0.3))  # by speaker, not by recording
    asr.report("set", scored, 0)
    printed = capsys.readouterr().out
    assert "set: CER 0.200 [0.100, 0.300] (n=4, 2 units" in printed
    for group in ("sad", "plain", "female", "plain, happy"):
        assert f"  {group}: 0.200 [0.100, 0.300]" in printed


@pytest.mark.data
def test_the_sets_are_whole(asr: Any, real_data: Path) -> None:
    for name, table in asr.SETS.items():
        with (real_data / "speech" / name / table).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        items = asr.items_of(real_data, name)
        assert len(items) == len(rows)
        assert all(item.text and item.unit and all(item.groups) for item in items)
        assert all(item.path.is_file() for item in items[:20])
