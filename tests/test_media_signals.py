"""What a recording is like, and that its reading says so: channels, clipping, headers, fields."""

from __future__ import annotations

import io
import struct
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

import av

from make_media import Film, Sound, film, write_media
from make_voice import talk
from nunbit.core.messages import MediaError
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Frame, Singles
from nunbit.core.timebase import place_text
from nunbit.recording.media import (
    SoundMeter,
    channel_notes,
    container,
    iter_audio,
    level_notes,
    probe_media,
    read_media,
    sample_sound,
)
from nunbit.recording.media.frames import is_combed
from nunbit.recording.media.levels import clipped_samples

RATE = 16_000


def speech(seconds: float = 4.0) -> Singles:
    return talk(seconds)[: round(seconds * RATE)]


def mono(path: Path) -> Singles:
    return np.concatenate([np.zeros(0, np.float32), *(c.samples for c in iter_audio(path))])


def notes_of(path: Path) -> dict[str, ReadingNote]:
    """All notes of probing and of a whole reading, by code; none twice."""
    for _ in (items := read_media(path)):
        pass
    found = (*items.odd.ends, *items.odd.signals)
    given = {note.code: note for note in found}
    return given | {note.code: note for note in probe_media(path).reading}


def sound_file(path: Path, *channels: Singles, codec: str = "pcm_s16le", rate: int = RATE) -> Path:
    return write_media(path, [], Sound(np.stack(channels).astype(np.float32), rate, codec=codec))


# Channels


@pytest.mark.parametrize(("codec", "suffix"), [("pcm_s16le", "wav"), ("aac", "m4a")])
def test_channels_that_cancel_give_the_louder_one(tmp_path: Path, codec: str, suffix: str) -> None:
    x = speech()
    path = sound_file(tmp_path / f"a.{suffix}", 0.8 * x, -x, codec=codec)
    got = mono(path)
    wanted = mono(sound_file(tmp_path / f"b.{suffix}", -x, codec=codec))
    n = min(len(got), len(wanted))
    assert np.corrcoef(got[:n], wanted[:n])[0, 1] > 0.95
    assert np.std(got) == pytest.approx(np.std(wanted), rel=0.15)
    note = notes_of(path)["channels_cancel"]
    assert note.treatment == "repaired"
    assert "channel 2 of 2" in note.text.en


def test_nearly_inverted_channels_cancel_too(tmp_path: Path) -> None:
    x, noise = speech(), np.random.default_rng(0).normal(size=4 * RATE).astype(np.float32)
    path = sound_file(tmp_path / "a.wav", x, -x + 0.02 * noise)
    assert -1 < (sample_sound(path).correlation or 0) < -0.8
    assert np.std(mono(path)) > 0.9 * np.std(x)
    assert "channels_cancel" in notes_of(path)


def test_ordinary_channels_stay_a_mean_and_say_nothing(tmp_path: Path) -> None:
    x, y = speech(), talk(8.0, 200.0, 3)[-4 * RATE :]
    quiet = np.where(np.arange(len(x)) < len(x) // 2, 1, 0)
    for name, left, right in (
        ("same", x, x),
        ("other voices", x, y),
        ("turns", x * quiet, y * (1 - quiet)),
        ("softer", x, 0.3 * x),
    ):
        path = sound_file(tmp_path / f"{name}.wav", left, right)
        np.testing.assert_allclose(mono(path), (left + right) / 2, atol=1e-4)
        assert notes_of(path) == {}, name


def test_an_empty_channel_does_not_halve_the_other(tmp_path: Path) -> None:
    x = speech()
    path = sound_file(tmp_path / "a.wav", x, np.zeros_like(x))
    np.testing.assert_allclose(mono(path), x, atol=1e-4)
    assert notes_of(path)["channel_empty"].count == 1


def test_channels_of_very_different_level_are_told(tmp_path: Path) -> None:
    x = speech()
    path = sound_file(tmp_path / "a.wav", x, 0.02 * talk(8.0, 90.0, 5)[-len(x) :])
    assert set(notes_of(path)) == {"channels_differ"}


def test_channels_that_cancel_in_part_are_told(tmp_path: Path) -> None:
    x = speech(6.0)
    sign = np.where(np.arange(len(x)) < 2 * RATE, -1, 1).astype(np.float32)
    note = notes_of(sound_file(tmp_path / "a.wav", x, sign * x))["channels_cancel"]
    assert note.treatment == "read"


def test_every_pass_takes_the_same_channels(tmp_path: Path) -> None:
    """The sound is read again for pitch, quality and the voice tower."""
    x = speech()
    path = sound_file(tmp_path / "a.wav", x, -x)
    first = [item.samples for item in read_media(path) if not isinstance(item, Frame)]
    probe_media(path)
    np.testing.assert_array_equal(np.concatenate(first), mono(path))


def test_a_silent_stream_is_told(tmp_path: Path) -> None:
    hiss = 1e-4 * np.random.default_rng(0).normal(size=3 * RATE).astype(np.float32)
    assert set(notes_of(sound_file(tmp_path / "a.wav", hiss))) == {"silent"}
    assert "silent" in notes_of(sound_file(tmp_path / "b.wav", np.zeros_like(hiss)))
    soft = 0.005 * speech()
    assert notes_of(sound_file(tmp_path / "c.wav", soft)) == {}


def test_stretches_of_a_long_file_are_enough(tmp_path: Path) -> None:
    x = np.tile(speech(4.0), 75)  # five minutes
    path = sound_file(tmp_path / "a.flac", x, -x, codec="flac")
    facts = sample_sound(path)
    assert facts is not None
    assert 60 < facts.heard_s < 200
    assert facts.used == (0,)


# Clipping


@pytest.mark.parametrize("level", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "pcm_s24le"])
def test_clipping_is_found_at_any_level(tmp_path: Path, level: float, codec: str) -> None:
    x = speech()
    clipped = np.clip(4 * x, -1, 1) * level
    path = sound_file(tmp_path / "a.wav", clipped, codec=codec)
    note = notes_of(path)["clipped"]
    truth = np.count_nonzero(np.abs(4 * x) >= 1)
    assert 0.7 * truth <= note.count <= 1.05 * truth
    assert note.first == place_text(float(np.argmax(np.abs(4 * x) >= 1)) / RATE)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"])
def test_smooth_tops_are_not_clipped(tmp_path: Path, codec: str) -> None:
    """Few bits and low tones have flat tops of their own."""
    t = np.arange(3 * RATE) / RATE
    for name, x in (
        ("speech", speech(3.0)),
        ("low", 0.5 * np.sin(2 * np.pi * 60 * t)),
        ("loud", 0.9 * np.sin(2 * np.pi * 220 * t) * np.linspace(0.5, 1, len(t))),
    ):
        assert "clipped" not in notes_of(sound_file(tmp_path / f"{name}.wav", x, codec=codec)), name


def test_clipping_survives_a_lossy_codec_where_it_reached_full_scale(tmp_path: Path) -> None:
    x = np.clip(6 * speech(), -1, 1)
    assert "clipped" in notes_of(sound_file(tmp_path / "a.m4a", x, codec="aac", rate=48_000))
    assert notes_of(sound_file(tmp_path / "b.m4a", speech(), codec="aac", rate=48_000)) == {}


def test_float_sound_beyond_full_scale_is_kept(tmp_path: Path) -> None:
    x = speech()
    loud = sound_file(tmp_path / "a.wav", 6 * x, codec="pcm_f32le")
    np.testing.assert_allclose(mono(loud), 6 * x, rtol=1e-5, atol=1e-6)
    assert set(notes_of(loud)) == {"over_full_scale"}


def test_places_of_clipping_come_with_the_sound(tmp_path: Path) -> None:
    x = 0.5 * speech(4.0)
    x[2 * RATE : 3 * RATE] = np.clip(20 * x[2 * RATE : 3 * RATE], -0.9, 0.9)
    path = sound_file(tmp_path / "a.wav", x)
    places = [place for chunk in iter_audio(path) for place in chunk.clipped]
    assert places
    assert min(place.start_s for place in places) >= 1.99
    assert max(place.end_s for place in places) <= 3.01
    # The last half second is judged when nothing is left to give it with.
    x = np.concatenate([0.3 * speech(4.0), np.clip(20 * speech(0.5), -0.9, 0.9)])
    last = list(iter_audio(sound_file(tmp_path / "b.wav", x)))
    assert max(place.end_s for chunk in last for place in chunk.clipped) > 4.2


def test_runs_are_as_long_as_they_look() -> None:
    step = 1 / 32768
    x = np.array([0, 0.3, 0.5, 0.5, 0.5, 0.2, -0.1, -0.4, -0.5, -0.5, 0], np.float32)
    found = clipped_samples(x, 0.5, -0.5, step=step, lossy=False)
    assert np.flatnonzero(found).tolist() == [2, 3, 4]  # two in a row are no plateau
    assert not clipped_samples(x * 0.01, 0.005, -0.005, step=step, lossy=False).any()


def test_meter_judges_pieces_as_it_judges_the_whole() -> None:
    x = np.stack([np.clip(4 * speech(), -1, 1), speech()])
    facts = []
    for size in (100, 1024, len(x[0])):
        meter = SoundMeter(step=1 / 32768)
        for at in range(0, x.shape[1], size):
            meter.add(at / RATE, x[:, at : at + size], RATE)
        facts.append(meter.facts())
    assert facts[0].clipped == pytest.approx(facts[2].clipped, rel=0.02)
    assert facts[0].level_dbfs == pytest.approx(facts[2].level_dbfs, abs=0.01)
    assert facts[1].peaks == facts[2].peaks


def test_sentences_are_in_both_languages() -> None:
    meter = SoundMeter(step=1 / 32768)
    meter.add(0.0, np.zeros((2, RATE), np.float32), RATE)
    for note in (*channel_notes(meter.facts()), *level_notes(meter.facts())):
        assert note.text.en
        assert any("가" <= letter <= "힣" for letter in note.text.ko)


# Headers


def wav_bytes(x: Singles, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((x * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def test_a_header_that_names_half_of_the_sound(tmp_path: Path) -> None:
    x = speech(6.0)
    data = bytearray(wav_bytes(x))
    said = struct.unpack("<I", data[40:44])[0] // 2
    data[40:44] = struct.pack("<I", said)
    data[4:8] = struct.pack("<I", said + 36)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    assert probe_media(path).duration_s == pytest.approx(6.0, abs=0.01)
    assert len(mono(path)) == len(x)
    note = notes_of(path)["header_shorter_than_data"]
    assert "3.0 s" in note.text.en
    assert "6.0 s" in note.text.en


def test_names_behind_the_sound_are_no_sound(tmp_path: Path) -> None:
    x = speech(2.0)
    tail = b"LIST" + struct.pack("<I", 3000) + b"INFO" + bytes(2996)
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(x) + tail)
    assert len(mono(path)) == len(x)
    assert notes_of(path) == {}


@pytest.mark.parametrize("said", [0, 0xFFFF_FFFF])
def test_a_length_left_open_is_no_damage(tmp_path: Path, said: int) -> None:
    data = bytearray(wav_bytes(speech(2.0)))
    data[40:44] = data[4:8] = struct.pack("<I", said)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    assert probe_media(path).duration_s == pytest.approx(2.0, abs=0.01)
    assert notes_of(path) == {}


@pytest.mark.parametrize("rate", [1, 200, 3_000_000])
def test_rates_that_no_sound_has(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(speech(2.0), rate))
    with pytest.raises(MediaError, match=f"{rate} samples a second"):
        probe_media(path)


def test_a_rate_too_low_for_speech_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(speech(2.0), 4000))
    assert set(notes_of(path)) == {"sample_rate_low"}


def test_an_impossible_rate_beside_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sound of a film whose header is damaged; the limits are moved, to have such a file."""
    monkeypatch.setattr(container, "_RATES_HZ", (20_000, 40_000))
    path = write_media(tmp_path / "a.mkv", film("25", 25), Sound(speech(1.0)[None], RATE))
    info = probe_media(path)
    assert info.audio is None
    assert info.video is not None
    assert [note.code for note in info.reading] == ["sample_rate_impossible"]
    assert mono(path).size == 0


def test_streams_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    """Their packets hold noise; what cannot be opened is beside the point."""
    path = write_media(tmp_path / "a.mkv", film("25", 50), Sound(speech(2.0)[None], RATE))
    noise = np.random.default_rng(0)
    for kind, code in (("video", "pictures_not_decoded"), ("audio", "sound_not_decoded")):
        spoilt = tmp_path / f"{kind}.mkv"
        with av.open(str(path)) as source, av.open(str(spoilt), "w") as target:
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if not packet.size:
                    continue
                bad = packet.stream.type == kind
                data = noise.integers(0, 255, packet.size).astype(np.uint8).tobytes()
                made = av.Packet(data if bad else bytes(packet))
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.stream = streams[packet.stream.index]
                target.mux(made)
        assert code in {note.code for note in probe_media(spoilt).reading}, kind


def test_second_picture_streams_are_told(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", [film("25", 25), film("25", 25, default=False)])
    assert set(notes_of(path)) == {"several_picture_streams"}


def mp3(path: Path, seconds: float = 6.0) -> bytes:
    return sound_file(path, speech(seconds), codec="libmp3lame").read_bytes()


def test_an_mp3_that_holds_half_of_what_it_promises(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = mp3(path)
    assert notes_of(path) == {}
    path.write_bytes(data[: len(data) // 2])
    note = notes_of(path)["cut_off"]
    assert "of 6 s" in note.text.en


def test_an_mp3_that_holds_more_than_it_promises(tmp_path: Path) -> None:
    path, other = tmp_path / "a.mp3", tmp_path / "b.mp3"
    path.write_bytes(mp3(path) + mp3(other))
    assert "header_shorter_than_data" in notes_of(path)


@pytest.mark.parametrize(("place", "code"), [(0, "damaged_bytes"), (1, "damaged"), (2, "damaged")])
def test_zeros_in_an_mp3_are_told(tmp_path: Path, place: int, code: str) -> None:
    """They shift everything behind them."""
    path = tmp_path / "a.mp3"
    data = bytearray(mp3(path))
    at = place * len(data) // 3
    data[at : at + 8192] = bytes(8192)
    path.write_bytes(data)
    note = notes_of(path)[code]
    assert place or 6000 <= note.count <= 9500


# Pictures


def hdr_film(path: Path, trc: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        stream.options = {"x265-params": f"log-level=none:transfer={trc}:colorprim=9:colormatrix=9"}
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(
                np.full((96, 128, 3), 60 + number, np.uint8), "rgb24"
            ).reformat(format="yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize(("trc", "name"), [(16, "PQ"), (18, "HLG"), (1, None)])
def test_high_dynamic_range_is_told(tmp_path: Path, trc: int, name: str | None) -> None:
    if "libx265" not in av.codecs_available:
        pytest.skip("this FFmpeg cannot write H.265")
    notes = notes_of(hdr_film(tmp_path / "a.mp4", trc))
    assert (name is None) == ("hdr" not in notes)
    assert name is None or name in notes["hdr"].text.en


def moving(number: int, field: int = 0) -> np.ndarray:
    """A bright square on grey that moves 24 pixels a picture."""
    picture = np.full((288, 384, 3), 90, np.uint8)
    x = 40 + 24 * number + 12 * field
    picture[80:208, x : x + 96] = (210, 180, 150)
    return picture


def interlaced(number: int) -> np.ndarray:
    picture = moving(number)
    picture[1::2] = moving(number, 1)[1::2]
    return picture


@pytest.mark.parametrize("flag", [False, True])
def test_two_moments_in_a_picture_become_one(tmp_path: Path, flag: bool) -> None:
    """Whatever the file says of itself."""
    options = {"x264-params": "tff=1"} if flag else {}
    pictures = Film(range(9), Fraction(1, 25), Fraction(25), size=(384, 288), draw=interlaced,
                    options=options | {"crf": "10"})  # fmt: skip
    path = write_media(tmp_path / "a.mp4", pictures)
    note = notes_of(path)["interlaced"]
    assert note.treatment == "repaired"
    assert note.count == len([f for f in read_media(path) if isinstance(f, Frame)])
    for number, frame in enumerate(read_media(path, rate_hz=None)):
        assert isinstance(frame, Frame)
        assert is_combed(interlaced(number)[:, ::8, 1].astype(np.int16))
        assert not is_combed(frame.pixels[:, ::8, 1].astype(np.int16))
        edges = frame.pixels[100:190].astype(int)  # inside the square lines differ in nothing
        assert np.abs(np.diff(edges, axis=0)).max() < 40
        assert np.abs(edges - moving(number)[100:190]).mean() < 4
        assert frame.pixels.shape == (288, 384, 3)


def test_still_and_progressive_pictures_stay_whole(tmp_path: Path) -> None:
    still = Film(range(9), Fraction(1, 25), Fraction(25), size=(384, 288),
                 draw=lambda _: moving(2), options={"x264-params": "tff=1"})  # fmt: skip
    assert notes_of(write_media(tmp_path / "a.mp4", still)) == {}
    move = Film(range(9), Fraction(1, 25), Fraction(25), size=(384, 288), draw=moving)
    assert notes_of(write_media(tmp_path / "b.mp4", move)) == {}
    noise = np.random.default_rng(0).integers(0, 255, (288, 384, 3)).astype(np.uint8)
    assert not is_combed(noise[:, ::8, 0].astype(np.int16))


def test_a_second_sound_stream_is_noted(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv",
        film("25", 25),
        [Sound(speech(1.0)[None], RATE), Sound(speech(1.0)[None], RATE)],
    )
    info = probe_media(path)
    assert [note.code for note in info.reading] == ["several_sound_streams"]
