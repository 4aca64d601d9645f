"""Reading media: exact times, offsets, gaps, turns, and files that are not what they should be."""

from __future__ import annotations

import csv
import gc
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

import av

from make_media import RATES, Film, Sound, clicks, film, number_of, numbered, write_media
from nunbit.core.messages import InputError, MediaError, MissingExtra, SettingsError, Text
from nunbit.core.streams import AudioChunk, Frame, Interval
from nunbit.core.timebase import nearest_within, sample_grid
from nunbit.recording.media import iter_audio, iter_frames, probe_media, read_media
from nunbit.recording.media.container import open_media
from nunbit.recording.media.frames import GridPicker
from nunbit.recording.media.sound import SampleClock

VARIABLE = (0, 40, 73, 150, 151, 190, 240, 400, 433, 700, 733, 766, 1000, 1017, 1034, 1500)
Items = tuple[list[Frame], list[AudioChunk]]


def read(path: Path, notices: list[tuple[str, str]] | None = None, **options: Any) -> Items:
    """Everything in a file; ``notices`` gets what is odd about its end and was not said yet."""
    frames: list[Frame] = []
    chunks: list[AudioChunk] = []
    for item in (items := read_media(path, **options)):
        if isinstance(item, Frame):
            frames.append(item)
        else:
            chunks.append(item)
    if notices is not None:
        pairs = [note.text for note in items.odd.ends]
        notices += [pair for pair in pairs if pair not in notices]
    return frames, chunks


def times_of(frames: list[Frame]) -> np.ndarray:
    return np.array([frame.time_s for frame in frames])


def numbers_of(frames: list[Frame]) -> list[int]:
    return [number_of(frame.pixels) for frame in frames]


def runs_of(chunks: list[AudioChunk]) -> list[tuple[float, np.ndarray]]:
    """Chunks that continue each other to the sample, joined."""
    runs: list[tuple[float, list[np.ndarray]]] = []
    for chunk in chunks:
        start, pieces = runs[-1] if runs else (0.0, [])
        end = start + sum(map(len, pieces)) / 16_000
        if runs and abs(chunk.start_s - end) < 1e-9:
            pieces.append(chunk.samples)
        else:
            runs.append((chunk.start_s, [chunk.samples]))
    return [(start, np.concatenate(pieces)) for start, pieces in runs]


def peaks_s(start_s: float, samples: np.ndarray, level: float = 0.3) -> list[float]:
    """Times of the pulses of :func:`clicks`, between samples by a parabola through the logs."""
    found = []
    for at in np.flatnonzero(samples > level):
        a, b, c = samples[at - 1 : at + 2]
        if b >= a and b > c:
            a, b, c = np.log(np.maximum([a, b, c], 1e-6))
            found.append(start_s + (at + 0.5 * (a - c) / (a - 2 * b + c)) / 16_000)
    return found


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_times_are_exact_at_every_rate(tmp_path: Path, rate: str, suffix: str) -> None:
    truth = film(rate, 50)
    path = write_media(tmp_path / f"a.{suffix}", truth, Sound(clicks([1.0], 1.5)))
    frames, _ = read(path, rate_hz=None)
    assert numbers_of(frames) == list(range(50))
    # Matroska rounds to milliseconds; the others keep the exact fraction.
    np.testing.assert_allclose(
        times_of(frames), truth.times_s, rtol=0, atol=5.1e-4 if suffix == "mkv" else 1e-12
    )
    info = probe_media(path)
    assert info.video is not None
    if suffix != "mkv":
        assert Fraction(info.video.fps or 0) == RATES[rate]
    assert info.video.start_s == 0
    assert info.video.end_s == pytest.approx(50 / float(RATES[rate]), abs=2e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    truth = Film(VARIABLE, Fraction(1, 1000))
    path = write_media(tmp_path / f"a.{suffix}", truth)
    frames, _ = read(path, rate_hz=None)
    assert times_of(frames).tolist() == truth.times_s.tolist()
    sampled, _ = read(path, rate_hz=10)
    # Nothing within 50 ms of 0.3, 0.5, 0.6, 0.9 and of most after 1.0: left out, not moved.
    assert numbers_of(sampled) == [0, 2, 5, 7, 9, 11, 12, 15]
    expected = nearest_within(truth.times_s, sample_grid(0, 1.501, 10))
    assert numbers_of(sampled) == expected[expected >= 0].tolist()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("options", [{}, {"preset": "medium", "bf": "3", "b-pyramid": "normal"}])
def test_sampling_takes_the_nearest_picture(
    tmp_path: Path, rate: str, options: dict[str, str]
) -> None:
    """Also where the decoder is told to skip the pictures that nobody wants (B-frames)."""
    truth = film(rate, 100, options=options)
    path = write_media(tmp_path / "a.mp4", truth)
    frames, _ = read(path, rate_hz=10)
    grid = sample_grid(0, 100 / float(RATES[rate]), 10)
    expected = nearest_within(truth.times_s, grid)
    assert numbers_of(frames) == expected[expected >= 0].tolist()
    every, _ = read(path, rate_hz=None)
    for frame in frames:
        whole = every[number_of(frame.pixels)]
        assert frame.time_s == whole.time_s
        np.testing.assert_array_equal(frame.pixels, whole.pixels)
    threaded, _ = read(path, rate_hz=10, threads=2)
    assert numbers_of(threaded) == numbers_of(frames)


@pytest.mark.parametrize("seed", range(25))
def test_picking_one_by_one_is_picking_from_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.unique(rng.uniform(0, 5, rng.integers(1, 300)).round(3))
    rate = float(rng.choice([1, 5, 10, 12.5, 25, 60]))
    picker = GridPicker[int](rate)
    picked = [i for k, t in enumerate(times) for _, i in picker.offer(float(t), k)]
    picked += [i for _, i in picker.finish()]
    grid = sample_grid(0, 5 + 2 / rate, rate)
    expected = nearest_within(times, grid)
    assert picked == expected[expected >= 0].tolist()


def test_no_picture_stands_for_a_time_after_the_end(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", film("30", 60))  # the last is at 1.967 s, near 2.0
    assert len(read(path, rate_hz=10)[0]) == 20


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_and_mirrored_pictures_come_upright(tmp_path: Path, turn: int, mirror: bool) -> None:
    path = write_media(
        tmp_path / "a.mp4", film(n=4, rotation_deg=turn, mirror=mirror, size=(96, 64))
    )
    size = (64, 96) if turn % 180 else (96, 64)
    info = probe_media(path).video
    assert info is not None
    assert (info.width, info.height) == size
    if not mirror:
        assert info.rotation_deg == turn
    frames, _ = read(path, rate_hz=None)
    for k, frame in enumerate(frames):
        assert frame.pixels.flags.c_contiguous
        difference = frame.pixels.astype(int) - numbered(k, size)
        assert np.abs(difference).mean() < 8, k


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    wide = write_media(tmp_path / "a.mp4", film(n=3, pixel_aspect=Fraction(16, 11)))
    high = write_media(tmp_path / "b.mp4", film(n=3, pixel_aspect=Fraction(8, 9)))
    sizes = [read(path)[0][0].pixels.shape[:2] for path in (wide, high)]
    assert sizes == [(64, round(96 * 16 / 11)), (72, 96)]
    info = probe_media(wide).video
    assert info is not None
    assert (info.width, info.height) == (140, 64)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", film("30", 3, size=(3840, 2160)))
    info = probe_media(path).video
    assert info is not None
    assert (info.width, info.height) == (3840, 2160)
    frames, _ = read(path, rate_hz=None)
    assert {frame.pixels.shape for frame in frames} == {(720, 1280, 3)}
    assert numbers_of(frames) == [0, 1, 2]
    small, _ = read(path, rate_hz=None, max_side=200)
    assert small[0].pixels.shape == (112, 200, 3)
    assert numbers_of(small) == [0, 1, 2]


@pytest.mark.parametrize(("size", "space"), [((320, 240), 5), ((1280, 720), 1)])
def test_colours_of_untagged_pictures(tmp_path: Path, size: tuple[int, int], space: int) -> None:
    """Small pictures are BT.601 and large ones BT.709, as players take them."""
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    rgb[:] = (200, 60, 40)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=space)
        frame.colorspace = 2
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    pixels = read(tmp_path / "a.mp4")[0][0].pixels
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), (200, 60, 40), atol=4)


def test_no_decoded_picture_is_kept(tmp_path: Path) -> None:
    """Reading side data of every frame would keep each alive until the collector runs."""
    path = write_media(tmp_path / "a.mp4", film("30", 120))
    gc.collect()
    gc.disable()
    try:
        for _ in read_media(path, rate_hz=None):
            pass
        # `isinstance` would ask lazy objects of other packages for their class.
        alive = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 10


def test_bare_stream_without_times(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.h264", film("25", 50))
    frames, _ = read(path, rate_hz=None)
    assert numbers_of(frames) == list(range(50))
    np.testing.assert_allclose(times_of(frames), np.arange(50) / 25, atol=1e-9)


# ---------------------------------------------------------------- sound


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_clicks_stay_where_they_are(tmp_path: Path, rate_hz: int) -> None:
    """The resampler's delay is taken out; polarity and level are kept."""
    truth = [0.25, 1.0, 1.777, 2.5]
    x = clicks(truth, 3.0, rate_hz=rate_hz, channels=2)
    path = write_media(tmp_path / "a.wav", [], Sound(x, rate_hz, codec="pcm_s16le"))
    _, chunks = read(path)
    [(start, samples)] = runs_of(chunks)
    assert (start, len(samples)) == (0.0, 48_000)
    np.testing.assert_allclose(peaks_s(start, samples), truth, atol=2e-5)
    assert samples.dtype == np.float32
    assert samples.max() == pytest.approx(0.8, abs=0.03)
    assert samples.min() > -0.1


@pytest.mark.parametrize(
    ("suffix", "codec", "tolerance_s"),
    [
        ("flac", "flac", 2e-5),
        ("m4a", "aac", 1e-3),
        ("mp3", "libmp3lame", 1e-3),
        ("ogg", "libopus", 1e-3),
        ("webm", "libopus", 2e-3),
        ("mkv", "pcm_s16le", 1e-3),
        ("mov", "pcm_s24le", 2e-5),
    ],
)
def test_sound_alone_in_every_coat(
    tmp_path: Path, suffix: str, codec: str, tolerance_s: float
) -> None:
    truth = [0.5, 1.5, 2.5]
    path = write_media(tmp_path / f"a.{suffix}", [], Sound(clicks(truth, 3.0), codec=codec))
    info = probe_media(path)
    assert info.video is None
    assert info.audio is not None
    assert (info.audio.rate_hz, info.audio.channels) == (48_000, 1)
    assert info.duration_s == pytest.approx(3.0, abs=0.01)
    frames, chunks = read(path)
    assert frames == []
    [(start, samples)] = runs_of(chunks)
    np.testing.assert_allclose(peaks_s(start, samples), truth, atol=tolerance_s)
    assert start + len(samples) / 16_000 == pytest.approx(info.duration_s, abs=0.01)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("pcm_u8", "wav"), ("pcm_s16le", "wav"), ("pcm_s32le", "wav"),
                          ("pcm_f32le", "wav"), ("pcm_f64le", "wav"), ("flac", "flac")]
)  # fmt: skip
def test_channels_are_averaged(tmp_path: Path, codec: str, suffix: str) -> None:
    t = np.arange(32_000) / 16_000
    tone = 0.6 * np.sin(2 * np.pi * 200 * t)
    x = np.stack([tone, 0.2 * np.sin(2 * np.pi * 90 * t)]).astype(np.float32)
    path = write_media(tmp_path / f"a.{suffix}", [], Sound(x, 16_000, codec=codec))
    [(_, samples)] = runs_of(read(path)[1])
    np.testing.assert_allclose(samples, x.mean(axis=0), atol=0.01 if codec == "pcm_u8" else 1e-4)


def test_offsets_of_both_streams(tmp_path: Path) -> None:
    """Zero is the earliest start of any stream, whichever are asked for."""
    late_sound = write_media(
        tmp_path / "a.mp4",
        film("25", 60),
        Sound(clicks([0.5], 1.5), start_s=0.7),
    )
    frames, chunks = read(late_sound, rate_hz=None)
    assert times_of(frames)[0] == 0
    assert peaks_s(*runs_of(chunks)[0]) == pytest.approx([1.2], abs=1e-3)
    info = probe_media(late_sound)
    assert info.audio is not None
    assert info.audio.start_s == pytest.approx(0.7, abs=0.03)  # the encoder's priming before it
    alone = list(iter_audio(late_sound))
    assert peaks_s(*runs_of(alone)[0]) == pytest.approx([1.2], abs=1e-3)

    late_film = write_media(
        tmp_path / "b.mkv",
        Film([1000 + 40 * k for k in range(30)], Fraction(1, 1000)),
        Sound(clicks([0.5], 1.5), start_s=0.6, codec="pcm_s16le"),
    )
    for options in ({}, {"want_audio": False}):
        frames, _ = read(late_film, rate_hz=None, **options)
        np.testing.assert_allclose(times_of(frames), 0.4 + np.arange(30) * 0.04, atol=1e-9)
    assert peaks_s(*runs_of(read(late_film)[1])[0]) == pytest.approx([0.5], abs=1e-3)


def test_mpeg_streams_that_start_late(tmp_path: Path) -> None:
    """MPEG-TS and PS begin at some arbitrary time; it is not part of the clock."""
    for suffix, codec, voice in (("ts", "libx264", "aac"), ("mpg", "mpeg1video", "mp2")):
        path = write_media(
            tmp_path / f"a.{suffix}",
            film("25", 60, codec=codec),
            Sound(clicks([1.0], 2.0), codec=voice),
        )
        frames, chunks = read(path, rate_hz=None)
        assert min(frames[0].time_s, chunks[0].start_s) == 0
        assert np.diff(times_of(frames)) == pytest.approx(0.04, abs=1e-6)
        # Picture 25 is shown when the click is heard (mp2 is late by its filter bank, 10 ms).
        shown = times_of(frames)[numbers_of(frames).index(25)]
        assert peaks_s(*runs_of(chunks)[0])[0] == pytest.approx(shown, abs=0.012)


def test_gaps_begin_new_chunks(tmp_path: Path) -> None:
    gap = (45 * 1024 / 48_000, 90 * 1024 / 48_000)
    path = write_media(
        tmp_path / "a.mkv",
        film("25", 75),
        Sound(clicks([0.3, 2.5], 3.0), codec="pcm_s16le", gaps=[gap]),
    )
    first, second = runs_of(read(path)[1])
    assert first[0] == 0
    assert len(first[1]) / 16_000 == pytest.approx(gap[0], abs=1e-3)
    assert second[0] == pytest.approx(gap[1], abs=1e-3)
    assert peaks_s(*first) == pytest.approx([0.3], abs=1e-3)
    assert peaks_s(*second) == pytest.approx([2.5], abs=1e-3)


def _feed(clock: SampleClock, stamps: np.ndarray, length: int) -> list[AudioChunk]:
    rng = np.random.default_rng(0)
    chunks: list[AudioChunk] = []
    for stamp in stamps.tolist():
        piece = rng.standard_normal(length).astype(np.float32) * 0.1
        chunks += clock.add(stamp, piece, 16_000)
    return chunks + list(clock.finish())


def test_jitter_is_not_a_gap() -> None:
    rng = np.random.default_rng(1)
    true = np.arange(3000) * 0.02
    chunks = _feed(SampleClock(), true + rng.uniform(-0.009, 0.009, 3000), 320)
    [(start, samples)] = runs_of(chunks)
    assert abs(start) < 0.01
    assert len(samples) == pytest.approx(60 * 16_000, abs=160)


@pytest.mark.parametrize("ppm", [-400, -50, 80, 400])
def test_drift_is_followed_over_an_hour(ppm: int) -> None:
    """A sound card that runs fast or slow: no gap, and never more than 5 ms off."""
    stamps = np.arange(14_400) * 0.25 * (1 + ppm * 1e-6)
    clock = SampleClock()
    worst = 0.0
    n_runs, n_samples, end = 0, 0, None
    for stamp in stamps.tolist():
        if clock.next_s is not None:
            worst = max(worst, abs(clock.next_s - stamp))
        for chunk in clock.add(stamp, np.zeros(4000, np.float32), 16_000):
            n_runs += end is None or abs(chunk.start_s - end) > 1e-9
            end = chunk.start_s + len(chunk.samples) / 16_000
            n_samples += len(chunk.samples)
    assert n_runs == 1
    assert worst < 0.005
    assert n_samples / 16_000 == pytest.approx(3600 * (1 + ppm * 1e-6), abs=0.6)


def test_correction_takes_single_quiet_samples() -> None:
    t = np.arange(16_000 * 20) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 150 * t)).astype(np.float32)
    clock = SampleClock()
    out: list[AudioChunk] = []
    for k in range(200):
        out += clock.add(k * 0.1 * 1.0003, tone[k * 1600 : (k + 1) * 1600], 16_000)
    out += clock.finish()
    [(_, samples)] = runs_of(out)
    assert len(samples) > len(tone)
    assert np.abs(np.diff(samples)).max() < 0.045  # the tone's own steepest step is 0.029


def test_repeated_sound_is_left_out() -> None:
    clock = SampleClock()
    ramp = (np.arange(16_000) / 16_000).astype(np.float32)
    chunks = [*clock.add(0.0, ramp, 16_000), *clock.add(0.5, ramp, 16_000), *clock.finish()]
    [(start, samples)] = runs_of(chunks)
    assert (start, len(samples)) == (0.0, 24_000)
    assert samples[16_000] == pytest.approx(0.5, abs=1e-3)
    assert clock.dropped_s == pytest.approx(0.5)


def test_changing_rate_in_the_middle() -> None:
    clock = SampleClock()
    chunks = [*clock.add(0.0, np.zeros(48_000, np.float32), 48_000)]
    chunks += clock.add(1.0, np.zeros(22_050, np.float32), 22_050)
    chunks += clock.finish()
    [(_, samples)] = runs_of(chunks)
    assert len(samples) == 32_000


def test_changing_rate_never_goes_back() -> None:
    """As in damaged MP3 files, where a piece claims another rate and an earlier time."""
    clock = SampleClock()
    chunks = [*clock.add(0.0, np.zeros(48_017, np.float32), 48_000)]
    chunks += clock.add(0.9, np.zeros(22_050, np.float32), 22_050)
    chunks += clock.add(0.995, np.zeros(44_100, np.float32), 44_100)
    chunks += clock.finish()
    ends = [chunk.start_s + len(chunk.samples) / 16_000 for chunk in chunks]
    for end, after in zip(ends, chunks[1:], strict=False):
        assert after.start_s == pytest.approx(end, abs=1e-9)
    assert ends[-1] == pytest.approx(1.995, abs=1e-3)


def test_memory_of_sound_is_flat(tmp_path: Path) -> None:
    """Chunks are short, so nobody has to hold an hour of sound."""
    x = np.zeros((1, 60 * 16_000), np.float32)
    path = write_media(tmp_path / "a.wav", [], Sound(x, 16_000, codec="pcm_s16le"))
    assert max(len(chunk.samples) for chunk in iter_audio(path)) < 16_000


# ---------------------------------------------------------------- streams


def test_sound_stream_is_chosen_by_number(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv",
        film("25", 50),
        [
            Sound(clicks([0.5], 2.0), codec="pcm_s16le"),
            Sound(clicks([1.5], 2.0), 44_100, start_s=0.1, codec="pcm_s16le"),
        ],
    )
    first, second = (list(iter_audio(path, audio_stream=k)) for k in (0, 1))
    assert peaks_s(*runs_of(first)[0]) == pytest.approx([0.5], abs=1e-3)
    t = 1.5 * 48_000 / 44_100 + 0.1  # made for 48 kHz, played at 44.1
    assert peaks_s(*runs_of(second)[0]) == pytest.approx([t], abs=2e-3)
    found = probe_media(path, audio_stream=1)
    info = found.audio
    assert info is not None
    assert (info.stream, info.n_streams, info.rate_hz) == (1, 2, 44_100)
    # The one left out is not left out in silence.
    text = next(note.text for note in found.reading)
    assert "number 1 is read" in text.en
    assert "`audio_stream=0`" in text.en
    assert "`audio_stream=0`" in text.ko
    assert info.start_s == pytest.approx(0.1, abs=1e-3)
    with pytest.raises(InputError, match="2 sound streams"):
        probe_media(path, audio_stream=2)
    with pytest.raises(InputError, match="no number 5"):
        list(iter_audio(path, audio_stream=5))


def test_no_sound_and_no_picture(tmp_path: Path) -> None:
    silent = write_media(tmp_path / "a.mp4", film("25", 25))
    assert probe_media(silent).audio is None
    assert list(iter_audio(silent)) == []
    dark = write_media(tmp_path / "a.wav", [], Sound(clicks([0.5], 1.0), codec="pcm_s16le"))
    assert probe_media(dark).video is None
    assert list(iter_frames(dark, Interval(0, 1))) == []
    with pytest.raises(InputError):
        probe_media(silent, audio_stream=1)


@pytest.mark.parametrize(("suffix", "codec"), [("mp3", "libmp3lame"), ("mp4", "aac")])
def test_cover_pictures_are_no_film(tmp_path: Path, suffix: str, codec: str) -> None:
    sound = Sound(clicks([0.5], 1.0), codec=codec)
    path = write_media(tmp_path / f"a.{suffix}", [], sound, cover=True)
    assert probe_media(path).video is None
    frames, chunks = read(path)
    assert frames == []
    assert peaks_s(*runs_of(chunks)[0]) == pytest.approx([0.5], abs=1e-3)


@pytest.mark.parametrize(("version", "asked"), [("18.1.0", True), ("19.0.2", False)])
def test_every_pyav_is_asked_for_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, asked: bool
) -> None:
    """PyAV 19, which Python 3.12 and later get, no longer knows ``metadata_errors``."""
    seen: list[dict[str, Any]] = []
    path = write_media(tmp_path / "a.mp4", film(10, 5), Sound(clicks([0.2], 0.5)))

    real = av.open

    def opened(target: Any, **options: Any) -> Any:
        seen.append(dict(options))
        options.pop("metadata_errors", None)
        return real(target, **options)

    monkeypatch.setattr(av, "open", opened)
    monkeypatch.setattr(av, "__version__", version)
    assert probe_media(path).video is not None
    assert ["metadata_errors" in options for options in seen] == [asked] * len(seen)
    assert seen


def test_wrong_suffix_and_strange_names(tmp_path: Path) -> None:
    made = write_media(tmp_path / "a.mp4", film("25", 10))
    for name in ("a.wav", "면담 1차.txt", "concat:x.mp4", "frame%03d.png", "-i.mp4"):
        path = made.rename(tmp_path / name)
        assert len(read(path, rate_hz=None)[0]) == 10
        assert probe_media(path).name == name
        made = path


# ---------------------------------------------------------------- seeking


@pytest.mark.parametrize(
    ("suffix", "codec", "voice"),
    [
        ("mp4", "libx264", "aac"),
        ("mkv", "libx264", "libopus"),
        ("ts", "libx264", "aac"),
        ("mpg", "mpeg1video", "mp2"),
        ("avi", "mpeg4", "pcm_s16le"),
    ],
)
def test_a_stretch_is_the_same_as_in_the_whole(
    tmp_path: Path, suffix: str, codec: str, voice: str
) -> None:
    options = {"preset": "fast", "g": "90"} if codec == "libx264" else {}
    path = write_media(
        tmp_path / f"a.{suffix}",
        film("25", 300, codec=codec, options=options),
        Sound(clicks(np.arange(12) + 0.5, 12.0), codec=voice),
    )
    every, sound = read(path, rate_hz=None)
    for low, high in ((0.0, 0.5), (0.9, 1.3), (7.31, 8.05), (11.5, 30.0)):
        part = list(iter_frames(path, Interval(low, high)))
        inside = [frame for frame in every if low <= frame.time_s < high]
        assert times_of(part).tolist() == times_of(inside).tolist()
        assert numbers_of(part) == numbers_of(inside)
    sampled, resumed = read(path, rate_hz=10, start_s=7.95)
    whole, _ = read(path, rate_hz=10)
    rest = [frame.time_s for frame in whole if round(frame.time_s * 10) >= 80]
    assert times_of(sampled).tolist() == rest
    [(start, samples)] = runs_of(resumed)
    assert start == pytest.approx(7.95, abs=1 / 16_000)
    [whole_run] = runs_of(sound)
    heard = [t for t in peaks_s(*whole_run) if t > start]
    # Matroska's times are whole milliseconds, and each pass begins at another one.
    np.testing.assert_allclose(peaks_s(start, samples), heard, atol=1.1e-3)


def test_beyond_the_end_is_nothing(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", film("25", 50), Sound(clicks([0.5], 2.0)))
    assert list(iter_frames(path, Interval(10, 20))) == []
    assert list(read_media(path, start_s=50.0)) == []


# ---------------------------------------------------------------- bad files


def _cut(path: Path, share: float) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def _missing(folder: Path) -> Path:
    return folder / "none.mp4"


def _folder(folder: Path) -> Path:
    (folder / "sub.mp4").mkdir()
    return folder / "sub.mp4"


def _bytes(content: bytes, name: str = "a.mp4") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _photo(folder: Path) -> Path:
    Image.new("RGB", (64, 64), (90, 80, 70)).save(folder / "a.mp4", "JPEG")
    return folder / "a.mp4"


def _encrypted(folder: Path) -> Path:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16,
           "encryption_kid": "a7" * 16}  # fmt: skip
    return write_media(folder / "a.mp4", film("25", 25), Sound(clicks([0.5], 1.0)), options=key)


def _no_index(folder: Path) -> Path:
    return _cut(write_media(folder / "a.mp4", film("25", 100)), 0.5)


def _headers_only(folder: Path) -> Path:
    path = write_media(folder / "a.mp4", film("25", 100), options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"mdat") + 8])
    return path


RANDOM = np.random.default_rng(0).bytes(50_000)
PLAYLIST = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
)
BAD = {
    "missing": (_missing, "no such file", "없습니다"),
    "folder": (_folder, "folder", "폴더"),
    "empty": (_bytes(b""), "empty", "빈 파일"),
    "text": (_bytes(b"0.0 hello\n" * 300), "text file", "텍스트"),
    "text by name": (_bytes(b"hello\n" * 300, "a.txt"), "text file", "텍스트"),
    "korean text": (_bytes("안녕하세요 ".encode() * 300), "text file", "텍스트"),
    "playlist": (_bytes(PLAYLIST, "a.m3u8"), "text file", "텍스트"),
    "photo": (_photo, "picture", "사진"),
    "random": (_bytes(RANDOM), "not a video", "아니거나"),
    "encrypted": (_encrypted, "encrypted", "암호화"),
    "no index": (_no_index, "cut off before its index", "색인"),
    "headers only": (_headers_only, "nothing in this file", "읽을 수 있는 내용이 없습니다"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("reader", [probe_media, lambda path: list(read_media(path))])
def test_bad_files_in_one_line(
    tmp_path: Path, case: str, reader: Callable[[Path], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    make, english, korean = BAD[case]
    path = make(tmp_path)
    with pytest.raises(MediaError) as caught:
        reader(path)
    assert english in caught.value.text.line("en")
    assert korean in caught.value.text.line("ko")
    for text in (caught.value.text.en, caught.value.text.ko):
        assert str(path) in text
        assert "\n" not in text
    assert capfd.readouterr() == ("", "")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.mp4", film("25", 5))
    real = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MediaError, match="Permission denied"):
        probe_media(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "wav"])
def test_cut_off_files_are_read_to_where_they_end(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 480_000)).astype(np.float32)
    movie = [] if suffix == "wav" else [film("25", 250)]
    sound = Sound(noise, codec="aac" if suffix == "mp4" else "pcm_s16le")
    options = {"movflags": "faststart"} if suffix == "mp4" else None
    path = _cut(write_media(tmp_path / f"a.{suffix}", movie, sound, options=options), 0.6)
    told: list[Text] = []
    frames, chunks = read(path, rate_hz=None, notices=told)
    end = max(
        chunks[-1].start_s + len(chunks[-1].samples) / 16_000, frames[-1].time_s if frames else 0
    )
    assert 4 < end < 8
    assert len(told) >= 1
    en, ko = told[0].pair()
    assert "readable only up to" in en
    assert suffix == "wav" or "of 10 s" in en
    assert "까지만" in ko
    info = probe_media(path)
    probed = [note.text for note in info.reading]
    assert info.duration_s == pytest.approx(end, abs=0.15)
    assert "readable only up to" in probed[0].en
    before = len(probed)
    read(path, notices=probed)
    assert [said.en for said in probed[:before]].count(en) == 1
    assert sum("readable only" in each.en for each in probed) == 1  # not said twice
    assert capfd.readouterr() == ("", "")


def test_sound_files_read_whole_say_nothing(tmp_path: Path) -> None:
    """Bare streams only guess their length; a wrong guess is no damage."""
    for suffix, codec in (("aac", "aac"), ("mp3", "libmp3lame"), ("ogg", "libopus")):
        told: list[Text] = []
        sound = Sound(clicks([1.0], 5.0, channels=2), codec=codec)
        path = write_media(tmp_path / f"a.{suffix}", [], sound)
        _, chunks = read(path, notices=told)
        assert told == []
        assert probe_media(path).reading == ()
        assert sum(len(each.samples) for each in chunks) == pytest.approx(80_000, abs=600)


def test_damage_in_the_middle_is_stepped_over(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 480_000)).astype(np.float32)
    path = write_media(tmp_path / "a.mkv", film("25", 250), Sound(noise, codec="flac"))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    told: list[Text] = []
    frames, chunks = read(path, rate_hz=None, notices=told)
    assert frames[-1].time_s == pytest.approx(9.96, abs=0.05)
    assert len(frames) > 200
    assert np.all(np.diff(times_of(frames)) > 0)
    assert chunks[-1].start_s > 9
    assert all(said.en and said.ko for said in told)
    assert capfd.readouterr() == ("", "")


def test_a_time_stamp_of_next_month_is_damage(tmp_path: Path) -> None:
    month = 30 * 86_400
    truth = Film([*range(0, 2000, 40), month * 1000, month * 1000 + 40], Fraction(1, 1000))
    path = write_media(tmp_path / "a.mkv", truth)
    told: list[Text] = []
    frames, _ = read(path, rate_hz=None, notices=told)
    assert numbers_of(frames) == list(range(50))
    assert any("damaged pieces" in said.en for said in told)
    assert probe_media(path).duration_s < 3


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_never_breaks_through(
    tmp_path: Path, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(seed)
    suffix = ("mp4", "mkv", "ts", "avi")[seed % 4]
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = write_media(
        tmp_path / f"a.{suffix}", film("25", 60, codec=codec), Sound(clicks([0.5, 1.5], 2.4))
    )
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, len(content), 20):
        content[at] = rng.integers(256)
    path.write_bytes(content)
    for reader in (probe_media, lambda p: list(read_media(p, rate_hz=None))):
        try:
            result = reader(path)
        except MediaError:
            continue
        if isinstance(result, list):
            times = [item.time_s for item in result if isinstance(item, Frame)]
            assert np.all(np.diff(times) > 0)
    assert capfd.readouterr() == ("", "")


def test_settings_are_checked(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", film("25", 5))
    for options in ({"rate_hz": 0}, {"rate_hz": float("nan")}, {"max_side": 0}):
        with pytest.raises(SettingsError):
            read_media(path, **options)


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.mp4", film("25", 5))
    monkeypatch.setitem(sys.modules, "av", None)
    for reader in (probe_media, read_media, lambda p: list(iter_audio(p))):
        with pytest.raises(MissingExtra, match=r"nunbit\[media\]"):
            reader(path)


def test_importing_loads_no_library() -> None:
    code = "import nunbit.recording.media, sys; print('av' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# ---------------------------------------------------------------- real clips


@pytest.mark.slow
@pytest.mark.data
def test_real_clips(real_data: Path) -> None:
    with (real_data / "video" / "clips.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    of_source: dict[str, int] = {}
    for row in rows:
        of_source[row["source"]] = of_source.get(row["source"], 0) + 1
        if of_source[row["source"]] > 2:
            continue
        path = real_data / row["file"]
        info = probe_media(path)
        told: list[Text] = []
        frames, chunks = read(path, rate_hz=10, max_side=320, notices=told)
        assert told == [], row["file"]
        assert info.video is not None
        assert (info.video.width, info.video.height) == (int(row["width"]), int(row["height"]))
        assert (info.audio is not None) == (row["has_audio"] == "1") == bool(chunks)
        expected = len(sample_grid(info.video.start_s, info.video.end_s, 10))
        assert len(frames) == pytest.approx(expected, abs=1), row["file"]
        assert np.abs(times_of(frames) * 10 - np.round(times_of(frames) * 10)).max() <= 0.5
        if chunks:
            assert len(runs_of(chunks)) == 1, row["file"]
            assert info.audio is not None
            end = chunks[-1].start_s + len(chunks[-1].samples) / 16_000
            assert end == pytest.approx(info.audio.end_s, abs=0.03)


@pytest.mark.data
def test_grid_runs_at_25_pictures_a_second(real_data: Path) -> None:
    for path in sorted((real_data / "video" / "grid").glob("s1_*.mpg"))[:4]:
        frames, _ = read(path, rate_hz=None)
        np.testing.assert_allclose(times_of(frames), np.arange(75) / 25, atol=1e-9)


@pytest.mark.data
def test_sound_that_begins_in_the_middle(real_data: Path) -> None:
    path = real_data / "video" / "pyfeat" / "face_noface.mov"
    info = probe_media(path)
    assert info.audio is not None
    assert info.video is not None
    assert info.video.start_s == 0
    assert info.audio.start_s == pytest.approx(107_164 / 44_100)
    assert next(iter_audio(path)).start_s == info.audio.start_s


def test_coded_wav_headers_name_no_length(tmp_path: Path) -> None:
    """The rate in an ADPCM header is often that of the plain sound: no ground to doubt it."""
    sound = Sound(clicks([1.0], 8.0, rate_hz=8000), 8000, codec="adpcm_ima_wav")
    path = write_media(tmp_path / "a.wav", sounds=sound)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"fmt "
    data[28:32] = (16_000).to_bytes(4, "little")  # bytes a second of 16-bit samples
    path.write_bytes(data)
    media = probe_media(path)
    assert media.duration_s > 7.5
    assert "header_shorter_than_data" not in {note.code for note in media.reading}


def test_the_time_of_a_packet_is_that_of_its_stream(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv", film("29.97", 40), Sound(clicks([0.5], 2.0), 48_000, start_s=0.4)
    )
    with open_media(path) as source:
        times = [
            (source.packet_time_s(packet), source.time_s(packet.pts, packet.time_base))
            for packet in source.packets()
            if packet.pts is not None
        ]
    assert len(times) > 60
    assert all(asked == own for asked, own in times)
