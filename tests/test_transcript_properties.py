"""Whatever happens to the lines of a transcript, times and names never become speech.

Lines are moved, lost and doubled by hypothesis (the same examples every time). A reader may refuse
the result, leave parts out or give them to the wrong speaker; what it says was said must be words
that were said.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nunbit.core.messages import InputError
from nunbit.core.streams import Interval
from nunbit.recording.transcript import read_rttm, read_transcript

SAID = (
    "오늘 기분은 어떠셨나요", "그냥 그랬어요 정말", "잠은 좀 주무셨어요", "어제는 조금 잤어요",
    "다음 주에 또 뵐게요", "네 감사합니다 선생님",
)  # fmt: skip
NAMES = (
    "상담자",
    "내담자",
    "Dr. Minsu Kim",
    "Jane Doe (she/her)",
    "SPEAKER 01",
    "Choi, Jiwoo - Ward",
)
WORDS = {word for text in SAID for word in text.split()}
STAMP = re.compile(r"\d{1,2}:\d{2}|\d[.,]\d{3}")


def clock(seconds: float, mark: str = ",") -> str:
    return f"00:00:{int(seconds):02d}{mark}{round(seconds % 1 * 1000):03d}"


def spans(k: int) -> tuple[float, float]:
    return 3.0 * k + 1.0, 3.0 * k + 2.5


def srt(arrow: str = "-->") -> list[str]:
    lines = []
    for k, text in enumerate(SAID):
        a, b = spans(k)
        lines += [str(k + 1), f"{clock(a)} {arrow} {clock(b)}", f"{NAMES[k]}: {text}", ""]
    return lines


def vtt() -> list[str]:
    lines = ["WEBVTT", "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000", ""]
    for k, text in enumerate(SAID):
        a, b = spans(k)
        first, *rest = text.split()
        words = first + "".join(
            f"<{clock(a + 0.3 * i, '.')}><c> {word}</c>" for i, word in enumerate(rest, 1)
        )
        lines += [
            f"{clock(a, '.')} --> {clock(b, '.')} align:start",
            f"<v {NAMES[k]}>{words}</v>",
            "",
        ]
    return lines


def textgrid() -> list[str]:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 20"]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    for number in range(2):
        own = [k for k in range(len(SAID)) if k % 2 == number]
        lines += [f"item [{number + 1}]:", 'class = "IntervalTier"', f'name = "{NAMES[number]}"']
        lines += ["xmin = 0", "xmax = 20", f"intervals: size = {len(own)}"]
        for i, k in enumerate(own, start=1):
            a, b = spans(k)
            lines += [f"intervals [{i}]:", f"xmin = {a}", f"xmax = {b}", f'text = "{SAID[k]}"']
    return lines


def eaf() -> list[str]:
    lines = [
        "<ANNOTATION_DOCUMENT>",
        '<HEADER TIME_UNITS="milliseconds">',
        "</HEADER>",
        "<TIME_ORDER>",
    ]
    for k in range(len(SAID)):
        for name, time in zip("ab", spans(k), strict=True):
            lines.append(f'<TIME_SLOT TIME_SLOT_ID="{name}{k}" TIME_VALUE="{int(1000 * time)}"/>')
    lines.append("</TIME_ORDER>")
    for number in range(2):
        lines.append(f'<TIER TIER_ID="{NAMES[number]}">')
        for k in range(number, len(SAID), 2):
            lines += [
                "<ANNOTATION>",
                f'<ALIGNABLE_ANNOTATION TIME_SLOT_REF1="a{k}" TIME_SLOT_REF2="b{k}">',
                f"<ANNOTATION_VALUE>{SAID[k]}</ANNOTATION_VALUE>",
                "</ALIGNABLE_ANNOTATION>",
                "</ANNOTATION>",
            ]
        lines.append("</TIER>")
    return [*lines, "</ANNOTATION_DOCUMENT>"]


def table(delimiter: str = ",") -> list[str]:
    lines = [delimiter.join(("start", "end", "speaker", "text"))]
    for k, text in enumerate(SAID):
        a, b = spans(k)
        lines.append(delimiter.join((clock(a, "."), str(b), f'"{NAMES[k].split()[0]}"', text)))
    return lines


def whisper() -> list[str]:
    segments = []
    for k, text in enumerate(SAID):
        a, b = spans(k)
        segments.append({"start": a, "end": b, "text": text, "speaker": NAMES[k]})
    return json.dumps({"segments": segments}, indent=0, ensure_ascii=False).split("\n")


FORMATS: dict[str, tuple[list[str], str]] = {
    "srt": (srt(), ".srt"),
    "srt with ->": (srt("->"), ".srt"),
    "srt with —>": (srt("—>"), ".srt"),
    "vtt": (vtt(), ".vtt"),
    "textgrid": (textgrid(), ".TextGrid"),
    "eaf": (eaf(), ".eaf"),
    "csv": (table(), ".csv"),
    "tsv": (table("\t"), ".tsv"),
    "json": (whisper(), ".json"),
}


def edited(lines: list[str], edits: list[tuple[str, int, int]]) -> list[str]:
    """Lines after some were moved, lost or doubled."""
    lines = list(lines)
    for act, a, b in edits:
        if not lines:
            break
        k, j = a % len(lines), b % len(lines)
        if act == "swap":
            lines[k], lines[j] = lines[j], lines[k]
        elif act == "move":
            lines.insert(j, lines.pop(k))
        elif act == "double":
            lines.insert(j, lines[k])
        else:
            del lines[k]
    return lines


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["swap", "move", "double", "lose"]),
        st.integers(0, 999),
        st.integers(0, 999),
    ),
    max_size=12,
)
# Any choice of lines in any order: permutations, losses and doubles at once.
CHOICES = st.lists(st.integers(0, 999), min_size=1, max_size=60)
SETTINGS = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        found = read_transcript(path)
    except InputError:
        return
    for utterance in found.utterances:
        for word in [*utterance.text.split(), *(w.text for w in utterance.words)]:
            assert not STAMP.search(word), (word, lines)
            # A cue's number may stand where text does: it is neither a time nor a name.
            assert word in WORDS or word.isdigit(), (word, lines)


@pytest.mark.parametrize("name", FORMATS)
@SETTINGS
@given(edits=EDITS)
def test_a_few_lines_moved_lost_or_doubled(
    tmp_path: Path, name: str, edits: list[tuple[str, int, int]]
) -> None:
    lines, suffix = FORMATS[name]
    check(tmp_path / f"a{suffix}", edited(lines, edits))


@pytest.mark.parametrize("name", FORMATS)
@SETTINGS
@given(choice=CHOICES)
def test_any_lines_in_any_order(tmp_path: Path, name: str, choice: list[int]) -> None:
    lines, suffix = FORMATS[name]
    check(tmp_path / f"a{suffix}", [lines[k % len(lines)] for k in choice])


@SETTINGS
@given(choice=CHOICES)
def test_lines_of_a_diarisation_in_any_order(tmp_path: Path, choice: list[int]) -> None:
    rows = []
    for k, name in enumerate(NAMES):
        a, b = spans(k)
        rows.append(f"SPEAKER my visit 1 {a:.3f} {b - a:.3f} <NA> <NA> {name} <NA> <NA>")
    rows += [";; made", "SPKR-INFO my visit 1 <NA> <NA> <NA> unknown 상담자 <NA> <NA>", ""]
    path = tmp_path / "a.rttm"
    path.write_text("\n".join(rows[k % len(rows)] for k in choice), encoding="utf-8")
    expected = {(Interval(*spans(k)), NAMES[k]) for k in range(len(NAMES))}
    try:
        found = read_rttm(path)
    except InputError:
        return
    got = {(Interval(round(i.start_s, 3), round(i.end_s, 3)), who) for i, who in found.stretches}
    assert got <= expected


def test_the_undisturbed_files_are_read_whole(tmp_path: Path) -> None:
    for name, (lines, suffix) in FORMATS.items():
        path = tmp_path / f"a{suffix}"
        path.write_text("\n".join(lines), encoding="utf-8")
        found = read_transcript(path)
        assert [u.text for u in found.utterances] == list(SAID), name
        starts = [u.interval.start_s for u in found.utterances]
        assert starts == pytest.approx([spans(k)[0] for k in range(len(SAID))], abs=1e-3), name
        assert all(u.speaker for u in found.utterances), name
