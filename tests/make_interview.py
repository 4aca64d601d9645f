"""Made interviews: two drawn faces, one of them larger and silent, and who says what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nunbit.synth.script import Dropout, EmotionKey, HeadKey, Saying, VideoScript, Visitor
from nunbit.synth.video import render_video

NAMES = ("면담자", "참여자")
LENGTH_S = 84.0
SMILE = (66.0, 71.0)
AWAY = (74.0, 78.0)
_WORD_S = 0.22  # a syllable, with its share of the pauses

_SAYINGS = (
    (1.0, 0, "안녕하세요 오늘은 어떻게 지내셨는지 들어 보겠습니다"),
    (7.0, 1, "네 안녕하세요 오늘은 집에서 오래 쉬었어요"),
    (13.0, 0, "요즘 잠은 잘 주무시나요"),
    (17.0, 1, "밤에는 자주 깨고 아침에는 늦게 일어나요"),
    (24.0, 0, "낮에는 주로 무엇을 하면서 보내세요"),
    (29.0, 1, "책을 읽거나 가까운 공원을 천천히 걸어요"),
    (36.0, 0, "걷고 나면 기분이 어떠세요"),
    (40.0, 1, "조금 가벼워지는 것 같기도 하고 잘 모르겠어요"),
    (47.0, 0, "가족과는 자주 이야기를 나누시나요"),
    (52.0, 1, "동생하고는 저녁마다 전화로 이야기해요"),
    (59.0, 0, "동생과 어떤 이야기를 하세요"),
    (64.5, 1, "어제는 동생이 와서 같이 웃고 정말 즐거웠어요"),
    (72.0, 0, "좋은 시간이었겠네요"),
    (79.0, 1, "네 오랜만에 많이 웃었어요"),
)


def script(length_s: float = LENGTH_S, **changes: object) -> VideoScript:
    """The interview: the participant on the left speaks and smiles, the larger face is silent."""
    given: dict[str, object] = {
        "duration_s": length_s, "width": 640, "height": 360, "fps": 10, "seed": 31, "person": 94,
        "scene": "room", "face_scale": 0.17, "sway_deg": 1.0, "hold_s": 0.1, "blinks_per_min": 12,
        "noise_dbfs": -64.0, "voice": "formant", "crf": 24, "audio_codec": "aac",
        "emotions": (
            EmotionKey(0.0), EmotionKey(SMILE[0] - 0.6), EmotionKey(SMILE[0], joy=1.0),
            EmotionKey(SMILE[1], joy=1.0), EmotionKey(SMILE[1] + 0.6),
        ),
        "head": (HeadKey(0.0, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, x=0.27, y=0.45),),
        "sayings": tuple(Saying(at, text) for at, _, text in _said(length_s)),
        "dropouts": (Dropout(AWAY[0], AWAY[1], "face"),) if length_s > AWAY[1] else (),
        "visitors": (Visitor(0.0, length_s, person=12, x=0.74, y=0.47, scale=0.21),),
    }  # fmt: skip
    return VideoScript(**(given | changes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Interview:
    """Files of a made interview.

    Attributes:
        video: MP4.
        words: SRT with names.
        other: SRT of another recording: its words lie where nobody speaks.
    """

    video: Path
    words: Path
    other: Path


def made_interview(
    folder: Path, name: str = "면담 1회", length_s: float = LENGTH_S, **changes: object
) -> Interview:
    """Draw and speak the interview, or its beginning, and write its transcripts."""
    video = folder / f"{name}.mp4"
    render_video(video, script(length_s, **changes))
    words, other = folder / f"{name}.srt", folder / "다른 사람.srt"
    words.write_text(_srt((s, e, f"{NAMES[n]}: {t}") for s, e, n, t in _lines(length_s)), "utf-8")
    silent = _silent_lines(length_s)
    other.write_text(_srt((s, e, f"{NAMES[n]}: {t}") for s, e, n, t in silent), "utf-8")
    return Interview(video, words, other)


Line = tuple[float, float, int, str]


def _said(length_s: float) -> list[tuple[float, int, str]]:
    return [each for each in _SAYINGS if each[0] + 4 <= length_s]


def _lines(length_s: float) -> list[Line]:
    """What is said: start, end, who, text."""
    return [(at, at + _WORD_S * _syllables(text), who, text) for at, who, text in _said(length_s)]


def _silent_lines(length_s: float) -> list[Line]:
    """Words where nobody speaks: before, between and after what is said."""
    ends = [0.0, *(end + 0.8 for _, end, _, _ in _lines(length_s))]
    starts = [*(start for start, *_ in _lines(length_s)), length_s]
    gaps = [(a, b - 0.3) for a, b in zip(ends, starts, strict=True) if b - 0.3 > a + 0.3]
    return [(a, b, n % 2, "이것은 전혀 다른 면담의 말입니다 그렇습니다")
            for n, (a, b) in enumerate(gaps)]  # fmt: skip


def _syllables(text: str) -> int:
    return sum("가" <= c <= "힣" for c in text)


def _srt(lines: Iterable[tuple[float, float, str]]) -> str:
    def clock(seconds: float) -> str:
        ms = round(1000 * seconds)
        return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    return "\n".join(
        f"{n}\n{clock(start)} --> {clock(end)}\n{text}\n"
        for n, (start, end, text) in enumerate(lines, start=1)
    )
