"""What is said, in one line, about files that cannot be read, or not to their end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from nunbit.errors import MediaError

Notices = list[tuple[str, str]]
"""What was odd and what was done about it, as (en, ko) pairs."""

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")


def check_file(path: Path) -> None:
    """Look whether this is a file with something in it.

    Raises:
        MediaError: It is missing, a folder, not readable or empty.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise MediaError(
                en=f"{path}: this is a folder; give a video or sound file",
                ko=f"{path}: 폴더입니다. 영상이나 소리 파일을 지정하십시오",
            )
        with path.open("rb") as stream:
            head = stream.read(1)
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            raise MediaError(
                en=f"{path}: there is no such file; check the path",
                ko=f"{path}: 파일이 없습니다. 경로를 확인하십시오",
            ) from exc
        raise MediaError(
            en=f"{path}: cannot be read: {exc.strerror or exc}",
            ko=f"{path}: 읽을 수 없습니다: {exc.strerror or exc}",
        ) from exc
    if not head:
        raise MediaError(
            en=f"{path}: the file is empty (0 bytes); copy or record it again",
            ko=f"{path}: 빈 파일(0바이트)입니다. 다시 복사하거나 녹화하십시오",
        )


def is_cut_off(path: Path) -> bool:
    """Whether a WAV or AVI file is shorter than its first line says; FFmpeg keeps that quiet."""
    with path.open("rb") as stream:
        head = stream.read(8)
    said = int.from_bytes(head[4:8], "little")
    # Recorders that write on the fly put 0 or the largest number there.
    known = head[:4] == b"RIFF" and 0 < said < 0xFFFF_FFFF
    return known and path.stat().st_size < said + 8 - 1024


def nothing_decoded(path: Path) -> MediaError:
    """The error for a file that opens and then gives neither a picture nor a sound."""
    return MediaError(
        en=f"{path}: nothing in this file can be decoded; it is damaged or cut off at the "
        "beginning: copy it again, or convert it with a video program",
        ko=f"{path}: 이 파일에서 읽을 수 있는 내용이 없습니다. 손상되었거나 앞부분만 "
        "남은 파일입니다. 다시 복사하거나 영상 프로그램으로 변환하십시오",
    )


def impossible_rate(path: Path, rate_hz: int) -> MediaError:
    """The error for sound whose header gives it a sampling rate that no recording has."""
    return MediaError(
        en=f"{path}: its header gives the sound {rate_hz} samples a second, which no recording "
        "has; repair the header or export it again",
        ko=f"{path}: 헤더에 적힌 소리의 표본화율이 초당 {rate_hz}개로, 있을 수 없는 값입니다. "
        "헤더를 고치거나 다시 내보내십시오",
    )


def encrypted(path: Path) -> MediaError:
    """The error for a file that only its key would open."""
    return MediaError(
        en=f"{path}: the file is encrypted (copy protection); use a copy without protection",
        ko=f"{path}: 암호화(복제 방지)된 파일입니다. 보호되지 않은 사본을 사용하십시오",
    )


def not_opened(path: Path) -> MediaError:
    """Say what a file is that FFmpeg does not take, as far as its first bytes tell."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[4:8] == b"ftyp":
        return MediaError(
            en=f"{path}: the recording was cut off before its index was written (or is damaged); "
            "copy it again, or repair it with a tool such as untrunc",
            ko=f"{path}: 색인이 기록되기 전에 녹화가 끊겼거나 손상된 파일입니다. 다시 "
            "복사하거나 untrunc 같은 도구로 복구하십시오",
        )
    if head.startswith(_PICTURES) or head[8:12] == b"WEBP":
        return MediaError(
            en=f"{path}: this is a picture, not a video; `nunbit predict` reads pictures",
            ko=f"{path}: 영상이 아니라 사진입니다. 사진은 `nunbit predict`로 읽으십시오",
        )
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f\x1b" for byte in head):
        return MediaError(
            en=f"{path}: this is a text file, not a video or sound file",
            ko=f"{path}: 영상이나 소리 파일이 아니라 텍스트 파일입니다",
        )
    return MediaError(
        en=f"{path}: not a video or sound file that this program knows, or its beginning is "
        "damaged or encrypted; convert it to MP4 or WAV",
        ko=f"{path}: 이 프로그램이 아는 영상이나 소리 파일이 아니거나, 앞부분이 손상 또는 "
        "암호화되었습니다. MP4나 WAV로 변환하십시오",
    )
