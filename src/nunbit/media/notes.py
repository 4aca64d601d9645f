"""The reading protocol of video and sound files: what was read otherwise than the file says."""

from __future__ import annotations

from nunbit.media.levels import time_text
from nunbit.reading import ReadingNote

_SHORTFALL_S = 1.0  # announced lengths are rounded; this much less than announced is damage


def cut_off_notes(
    read_to_s: float, announced_s: float | None, *, cut_off: bool
) -> tuple[ReadingNote, ...]:
    """What to say about a file that was read to ``read_to_s``; empty if all was well.

    Args:
        read_to_s: End of what could be read.
        announced_s: Where the header says that it ends, or None.
        cut_off: Whether it is known to be incomplete in another way.
    """
    announced = announced_s or 0.0
    short = announced - read_to_s > _SHORTFALL_S
    if not (short or cut_off):
        return ()
    said = f" of {announced:.0f} s" if short else ""
    said_ko = f"(표시된 길이 {announced:.0f}초)" if short else ""
    return (
        ReadingNote(
            "left_out", "cut_off", 1, time_text(read_to_s),
            f"readable only up to {read_to_s:.0f} s{said}; the file is cut off or damaged there, "
            "and what comes before is used",
            f"{read_to_s:.0f}초까지만 읽을 수 있습니다{said_ko}. 그 뒤는 잘렸거나 손상되었으며, "
            "앞부분만 사용합니다",
        ),
    )  # fmt: skip


def longer_notes(read_to_s: float, announced_s: float | None) -> tuple[ReadingNote, ...]:
    """What to say about a file that holds more than its header says; empty if it does not."""
    if announced_s is None or read_to_s - announced_s <= _SHORTFALL_S:
        return ()
    return (
        ReadingNote(
            "repaired", "header_shorter_than_data", 1, time_text(announced_s),
            f"the header says {announced_s:.1f} s, the file holds {read_to_s:.1f} s; all of it is "
            "read",
            f"헤더에는 {announced_s:.1f}초로 적혀 있지만 파일에는 {read_to_s:.1f}초가 들어 "
            "있습니다. 전부 읽었습니다",
        ),
    )  # fmt: skip


def damage_notes(pieces: int, first_s: float | None) -> tuple[ReadingNote, ...]:
    """What to say about pieces inside a file that could not be decoded; empty if none."""
    if not pieces:
        return ()
    at = "" if first_s is None else f", the first at {first_s:.1f} s"
    at_ko = "" if first_s is None else f"(처음: {first_s:.1f}초)"
    return (
        ReadingNote(
            "left_out", "damaged", pieces, time_text(first_s or 0.0),
            f"{pieces} damaged pieces were left out{at}",
            f"손상된 부분 {pieces}개를 건너뛰었습니다{at_ko}",
        ),
    )  # fmt: skip


def strange_bytes_notes(n_bytes: int, first_s: float) -> tuple[ReadingNote, ...]:
    """What to say about bytes of a bare sound stream that are no sound; empty if none."""
    if not n_bytes:
        return ()
    at = time_text(first_s)
    return (
        ReadingNote(
            "left_out", "damaged_bytes", n_bytes, at,
            f"{n_bytes} bytes at {at} are no sound and were left out; what follows is earlier than "
            "it was: use another copy if times matter",
            f"{at} 위치의 {n_bytes}바이트는 소리가 아니어서 건너뛰었습니다. 그 뒤의 시각이 "
            "실제보다 앞당겨졌으니 시각이 중요하면 다른 사본을 쓰십시오",
        ),
    )  # fmt: skip


def rate_notes(rate_hz: int, *, usable: bool) -> tuple[ReadingNote, ...]:
    """What to say about a sampling rate too low for speech, or that no sound has."""
    if not usable:
        return (
            ReadingNote(
                "left_out", "sample_rate_impossible", 1, "0:00.0",
                f"its header gives the sound {rate_hz} samples a second, which no recording has; "
                "the sound is left out: repair the header or export it again",
                f"헤더에 적힌 소리의 표본화율이 초당 {rate_hz}개로, 있을 수 없는 값입니다. 소리를 "
                "제외했습니다. 헤더를 고치거나 다시 내보내십시오",
            ),
        )  # fmt: skip
    return (
        ReadingNote(
            "read", "sample_rate_low", 1, "0:00.0",
            f"the sound has {rate_hz} samples a second; below 8000 speech is hardly told from "
            "other sound",
            f"소리의 표본화율이 초당 {rate_hz}개입니다. 8000보다 낮으면 말소리를 다른 소리와 "
            "가리기 어렵습니다",
        ),
    )  # fmt: skip


def hdr_note(kind: str) -> ReadingNote:
    """Pictures of high dynamic range, whose brightness is read as if they had the usual one."""
    return ReadingNote(
        "read", "hdr", 1, "0:00.0",
        f"the pictures have high dynamic range ({kind}) and are not tone-mapped: faces look flat "
        "and dark to the model; convert to SDR (BT.709) first",
        f"HDR({kind}) 영상이며 톤 매핑을 하지 않았습니다. 얼굴이 모델에게 흐리고 어둡게 보일 수 "
        "있으니 먼저 SDR(BT.709)로 변환하십시오",
    )  # fmt: skip


def interlaced_note(count: int, first_s: float) -> ReadingNote:
    """Pictures that interleave two moments, of which one was read."""
    at = time_text(first_s)
    return ReadingNote(
        "repaired", "interlaced", count, at,
        f"{count} pictures interleave two moments (interlaced video), the first at {at}; every "
        "other line of them is read",
        f"두 순간이 줄마다 섞인 화면(비월 주사)이 {count}장 있습니다. 처음: {at}. 이런 화면은 한 "
        "줄 걸러 읽었습니다",
    )  # fmt: skip


def unreadable_notes(*, pictures: bool, sound: bool) -> tuple[ReadingNote, ...]:
    """Streams that are there and cannot be decoded."""
    notes = []
    if pictures:
        notes.append(ReadingNote(
            "left_out", "pictures_not_decoded", 1, "0:00.0",
            "its pictures cannot be decoded; only the sound is used",
            "영상을 읽을 수 없어 소리만 사용합니다",
        ))  # fmt: skip
    if sound:
        notes.append(ReadingNote(
            "left_out", "sound_not_decoded", 1, "0:00.0",
            "its sound cannot be decoded; only the pictures are used",
            "소리를 읽을 수 없어 영상만 사용합니다",
        ))  # fmt: skip
    return tuple(notes)


def choice_notes(n_audio: int, taken: int, n_video: int) -> tuple[ReadingNote, ...]:
    """Streams that are left out because another was taken."""
    notes = []
    if n_audio > 1:
        others = ", ".join(f"--set audio_stream={k}" for k in range(n_audio) if k != taken)
        notes.append(ReadingNote(
            "left_out", "several_sound_streams", n_audio - 1, "0:00.0",
            f"has {n_audio} sound streams, counted from 0; number {taken} is read, another with "
            f"{others}",
            f"소리 스트림이 {n_audio}개이며(0부터 셉니다) {taken}번을 읽습니다. 다른 것을 "
            f"읽으려면 {others}",
        ))  # fmt: skip
    if n_video > 1:
        notes.append(ReadingNote(
            "left_out", "several_picture_streams", n_video - 1, "0:00.0",
            f"has {n_video} picture streams; only the one marked as default (else the first) is "
            "read",
            f"영상 스트림이 {n_video}개입니다. 기본으로 표시된 것(없으면 첫째)만 읽습니다",
        ))  # fmt: skip
    return tuple(notes)
