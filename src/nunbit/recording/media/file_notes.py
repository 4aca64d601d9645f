"""Notes and errors about media files: wrong headers, unreadable files, repairs."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nunbit.core.messages import MediaError, Text
from nunbit.core.schema import ReadingNote, Treatment
from nunbit.core.timebase import place_text

# The length in the header of a sound file, which FFmpeg believes. The sizes in a WAV file are 32
# bits long and wrap above 4 GiB; recorders that crash leave old ones. An editor may have left an
# old length in an MP3 file. Only the first bytes are read.

_UNKNOWN = (0, 0xFFFF_FFFF)  # recorders that write on the fly
_STRAY = 1024  # so many bytes at the end are no sound worth a word
_MP3_HEAD = 16_384
_MP3_RATES_HZ = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class WavData:
    """The sound in a WAV file.

    Attributes:
        said: Bytes of sound stated by the header.
        there: Bytes that are there.
    """

    said: int
    there: int

    @property
    def goes_on(self) -> bool:
        """Whether there is more sound than the header states."""
        return self.there > self.said + _STRAY


def wav_data(path: Path) -> WavData | None:
    """Length of the sound in a WAV file; None for other files, and if the length is left open."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None
        sounds = ((at, said) for name, at, said in _chunks(stream, 12) if name == b"data")
        at, said = next(sounds, (0, 0))
        if said in _UNKNOWN:
            return None
        if at + said >= size or _are_chunks(stream, at + said + said % 2, size):
            return WavData(said, min(said, size - at))
    return WavData(said, size - at)


def _chunks(stream: BinaryIO, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and stated length of the chunks from a place on."""
    while True:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            return
        said = int.from_bytes(head[4:], "little")
        yield head[:4], at + 8, said
        at += 8 + said + said % 2


def _are_chunks(stream: BinaryIO, at: int, size: int) -> bool:
    """Whether what follows the sound are chunks again (names, marks) up to the end of the file."""
    for name, start, said in _chunks(stream, at):
        if not all(32 <= byte < 127 for byte in name):
            return False
        at = start + said + said % 2
    return at <= size + 1


def tag_bytes(head: bytes) -> int:
    """Length of the tags (ID3) before the sound of a bare stream, from its first ten bytes."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def mp3_length_s(path: Path) -> float | None:
    """Length that the note of the encoder in an MP3 file (Xing, Info, VBRI) gives, or None."""
    with path.open("rb") as stream:
        stream.seek(tag_bytes(stream.read(10)))
        data = stream.read(_MP3_HEAD)
    for mark in (b"Xing", b"Info", b"VBRI"):
        at = data.find(mark)
        frame = data.rfind(b"\xff", 0, max(at, 0))
        if (
            at < 0
            or frame < 0
            or not frame + 2 < at <= min(frame + 40, len(data) - 18)
            or data[frame + 1] & 0xE0 != 0xE0
        ):
            continue
        version, index = data[frame + 1] >> 3 & 3, data[frame + 2] >> 2 & 3
        if index == 3 or version == 1 or not (mark == b"VBRI" or data[at + 7] & 1):
            continue
        rate_hz = _MP3_RATES_HZ[index] // {3: 1, 2: 2, 0: 4}[version]
        count_at = at + (14 if mark == b"VBRI" else 8)
        frames = int.from_bytes(data[count_at : count_at + 4], "big")
        return frames * (1152 if version == 3 else 576) / rate_hz
    return None


# Files that cannot be read, or not to their end.

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")


def check_file(path: Path) -> None:
    """Raise MediaError unless the path is a non-empty file.

    Raises:
        MediaError: It is missing, a folder, not readable or empty.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise _unusable(
                path,
                "this is a folder; give a video or sound file",
                "폴더입니다. 영상이나 소리 파일을 지정하십시오",
            )
        with path.open("rb") as stream:
            head = stream.read(1)
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            raise _unusable(
                path,
                "there is no such file; check the path",
                "파일이 없습니다. 경로를 확인하십시오",
            ) from exc
        why = exc.strerror or exc
        raise _unusable(path, f"cannot be read: {why}", f"읽을 수 없습니다: {why}") from exc
    if not head:
        raise _unusable(
            path,
            "the file is empty (0 bytes); copy or record it again",
            "빈 파일(0바이트)입니다. 다시 복사하거나 녹화하십시오",
        )


def _unusable(path: Path, en: str, ko: str) -> MediaError:
    return MediaError(Text(f"{path}: {en}", f"{path}: {ko}"))


def is_cut_off(path: Path) -> bool:
    """Whether a WAV or AVI file is shorter than its header states; FFmpeg does not report it."""
    with path.open("rb") as stream:
        head = stream.read(8)
    said = int.from_bytes(head[4:8], "little")
    known = head[:4] == b"RIFF" and said not in _UNKNOWN
    return known and path.stat().st_size < said + 8 - _STRAY


def nothing_decoded(path: Path) -> MediaError:
    """The error for a file that opens but gives neither pictures nor sound."""
    return _unusable(
        path,
        "nothing in this file can be decoded: it is damaged, or only its beginning is left; copy "
        "it again, or convert it with a video program",
        "이 파일에서 읽을 수 있는 내용이 없습니다. 손상되었거나 앞부분만 남은 파일입니다. 다시 "
        "복사하거나 영상 프로그램으로 변환하십시오",
    )


def impossible_rate(path: Path, rate_hz: int) -> MediaError:
    """The error for sound with an impossible sampling rate in its header."""
    return _unusable(
        path,
        f"the header states {rate_hz} samples a second, which is impossible; repair the header or "
        "export it again",
        f"헤더에 적힌 소리의 표본화율이 초당 {rate_hz}개로, 있을 수 없는 값입니다. 헤더를 고치거나 "
        "다시 내보내십시오",
    )


def no_streams(path: Path) -> MediaError:
    """The error for a file without a stream that a decoder knows."""
    return _unusable(
        path,
        "has neither video nor sound that can be decoded; convert it to MP4 with H.264 and AAC",
        "이 프로그램이 읽을 수 있는 영상이나 소리가 없습니다. H.264와 AAC를 쓰는 MP4로 "
        "변환하십시오",
    )


def encrypted(path: Path) -> MediaError:
    """The error for an encrypted file."""
    return _unusable(
        path,
        "the file is encrypted (copy protection); use a copy without protection",
        "암호화(복제 방지)된 파일입니다. 보호되지 않은 사본을 사용하십시오",
    )


def not_opened(path: Path) -> MediaError:
    """The error for a file that FFmpeg does not open; names its kind if the first bytes show it."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[4:8] == b"ftyp":
        return _unusable(
            path,
            "the recording was cut off before its index was written (or is damaged); copy it "
            "again, or repair it with a tool such as untrunc",
            "색인을 쓰기 전에 녹화가 중단되었거나 손상된 파일입니다. 다시 복사하거나 untrunc 같은 "
            "도구로 복구하십시오",
        )
    if head.startswith(_PICTURES) or head[8:12] == b"WEBP":
        return _unusable(
            path,
            "this is a picture, not a video; `nunbit predict` reads pictures",
            "영상이 아니라 사진입니다. 사진은 `nunbit predict`로 읽으십시오",
        )
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f\x1b" for byte in head):
        return _unusable(
            path,
            "this is a text file, not a video or sound file",
            "영상이나 소리 파일이 아니라 텍스트 파일입니다",
        )
    return _unusable(
        path,
        "not a video or sound file of a known format, or its beginning is damaged or encrypted; "
        "convert it to MP4 or WAV",
        "알려진 영상이나 소리 파일이 아니거나, 앞부분이 손상되었거나 암호화되었습니다. MP4나 "
        "WAV로 변환하십시오",
    )


# Notes of the reading protocol about video and sound files.

_SHORTFALL_S = 1.0  # announced lengths are rounded; this much less than announced is damage


def media_note(
    treatment: Treatment, code: str, en: str, ko: str, *, count: int = 1, first_s: float = 0.0
) -> ReadingNote:
    """A note about a file; by default about one thing, from its beginning on."""
    return ReadingNote(treatment, code, count, place_text(first_s), Text(en, ko))


def end_notes(
    read_to_s: float, announced_s: float | None, *, cut_off: bool
) -> Iterator[ReadingNote]:
    """Notes about a file that was read to ``read_to_s``; empty if that is its end.

    Args:
        read_to_s: End of what could be read.
        announced_s: Where the header says that it ends, or None.
        cut_off: Whether it is known to be incomplete in another way.
    """
    beyond_s = 0.0 if announced_s is None else read_to_s - announced_s
    short = -beyond_s > _SHORTFALL_S
    if short or cut_off:
        said = f" of {announced_s:.0f} s" if short else ""
        said_ko = f"(표시된 길이 {announced_s:.0f}초)" if short else ""
        yield media_note(
            "left_out",
            "cut_off",
            f"readable only up to {read_to_s:.0f} s{said}; the file is cut off or damaged "
            "there, and only the part before is used",
            f"{read_to_s:.0f}초까지만 읽을 수 있습니다{said_ko}. 그 뒤는 잘렸거나 "
            "손상되었으며, 앞부분만 사용합니다",
            first_s=read_to_s,
        )
    if announced_s is not None and beyond_s > _SHORTFALL_S:
        yield media_note(
            "repaired",
            "header_shorter_than_data",
            f"the header says {announced_s:.1f} s, the file holds {read_to_s:.1f} s; all of "
            "it is read",
            f"헤더에는 {announced_s:.1f}초로 적혀 있지만 파일에는 {read_to_s:.1f}초가 들어 "
            "있습니다. 전부 읽었습니다",
            first_s=announced_s,
        )


def damage_notes(pieces: int, first_s: float | None) -> Iterator[ReadingNote]:
    """Notes about damaged pieces inside a file; empty if there are none."""
    at = "" if first_s is None else f", the first at {first_s:.1f} s"
    at_ko = "" if first_s is None else f"(처음: {first_s:.1f}초)"
    if pieces:
        yield media_note(
            "left_out",
            "damaged",
            f"{pieces} damaged pieces were left out{at}",
            f"손상된 부분 {pieces}개를 건너뛰었습니다{at_ko}",
            count=pieces,
            first_s=first_s or 0.0,
        )


def strange_bytes_notes(n_bytes: int, first_s: float) -> Iterator[ReadingNote]:
    """Notes about bytes of a bare sound stream that are no sound; empty if there are none."""
    at = place_text(first_s)
    if n_bytes:
        yield media_note(
            "left_out",
            "damaged_bytes",
            f"{n_bytes} bytes at {at} are no sound and were left out; later times are now too "
            "early: use another copy if times matter",
            f"{at} 위치의 {n_bytes}바이트는 소리가 아니어서 건너뛰었습니다. 그 뒤의 시각이 "
            "실제보다 앞당겨졌으니 시각이 중요하면 다른 사본을 쓰십시오",
            count=n_bytes,
            first_s=first_s,
        )


def impossible_rate_note(rate_hz: int) -> ReadingNote:
    """Note about sound that is left out because of an impossible sampling rate."""
    return media_note(
        "left_out",
        "sample_rate_impossible",
        f"the header states {rate_hz} samples a second, which is impossible; the sound is left "
        "out: repair the header or export it again",
        f"헤더에 적힌 소리의 표본화율이 초당 {rate_hz}개로, 있을 수 없는 값입니다. 소리를 "
        "제외했습니다. 헤더를 고치거나 다시 내보내십시오",
    )


def low_rate_note(rate_hz: int) -> ReadingNote:
    """Note about a sampling rate that is too low for speech."""
    return media_note(
        "read",
        "sample_rate_low",
        f"the sound has {rate_hz} samples a second; below 8000 speech is hard to separate from "
        "other sound",
        f"소리의 표본화율이 초당 {rate_hz}개입니다. 8000보다 낮으면 말소리를 다른 소리와 구별하기 "
        "어렵습니다",
    )


def hdr_note(kind: str) -> ReadingNote:
    """Note about pictures of high dynamic range, which are read as if they had the usual range."""
    return media_note(
        "read",
        "hdr",
        f"the pictures have high dynamic range ({kind}) and are not tone-mapped: faces look flat "
        "and dark to the model; convert to SDR (BT.709) first",
        f"HDR({kind}) 영상이며 톤 매핑을 하지 않았습니다. 얼굴이 모델에게 흐리고 어둡게 보일 수 "
        "있으니 먼저 SDR(BT.709)로 변환하십시오",
    )


def interlaced_note(count: int, first_s: float) -> ReadingNote:
    """Note about interlaced pictures, of which one moment was read."""
    at = place_text(first_s)
    return media_note(
        "repaired",
        "interlaced",
        f"{count} pictures are interlaced (two moments in one), the first at {at}; every other "
        "line of them is read",
        f"비월 주사 화면(두 순간이 줄마다 섞인 화면)이 {count}장 있습니다. 처음: {at}. 이런 화면은 "
        "한 줄 걸러 읽었습니다",
        count=count,
        first_s=first_s,
    )


UNREADABLE_PICTURES = media_note(
    "left_out",
    "pictures_not_decoded",
    "its pictures cannot be decoded; only the sound is used",
    "영상을 읽을 수 없어 소리만 사용합니다",
)
UNREADABLE_SOUND = media_note(
    "left_out",
    "sound_not_decoded",
    "its sound cannot be decoded; only the pictures are used",
    "소리를 읽을 수 없어 영상만 사용합니다",
)


def choice_notes(n_audio: int, taken: int, n_video: int) -> Iterator[ReadingNote]:
    """Notes about streams that are left out because another was chosen."""
    if n_audio > 1:
        others = ", ".join(f"`audio_stream={k}`" for k in range(n_audio) if k != taken)
        yield media_note(
            "left_out",
            "several_sound_streams",
            f"has {n_audio} sound streams, counted from 0; number {taken} is read, another "
            f"with {others}",
            f"소리 스트림이 {n_audio}개이며(0부터 셉니다) {taken}번을 읽습니다. 다른 것을 "
            f"읽으려면 {others}",
            count=n_audio - 1,
        )
    if n_video > 1:
        yield media_note(
            "left_out",
            "several_picture_streams",
            f"has {n_video} picture streams; only the default one (else the first) is read",
            f"영상 스트림이 {n_video}개입니다. 기본으로 표시된 것(없으면 첫째)만 읽습니다",
            count=n_video - 1,
        )
