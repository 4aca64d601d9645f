"""What the readers of transcripts have to say about a file: one code for one kind of trouble.

Every code stands in ``docs/reading.md`` with what is done about it; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nunbit.reading import ReadingNote, Treatment, place_text

Said = tuple[str, str]
"""The same in English and Korean."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of trouble; the texts have gaps for ``count``, ``first``, ``what`` and details."""

    treatment: Treatment
    en: str
    ko: str


CUES: Said = ("cue(s)", "자막")
LINES: Said = ("line(s)", "행")
ROWS: Said = ("row(s)", "행")
ENTRIES: Said = ("item(s)", "항목")

KINDS: dict[str, Kind] = {
    # ---- left out
    "time_not_a_number": Kind(
        "left_out",
        "{count} {what} whose time is not a number were left out (first at {first})",
        "시간 값이 수가 아닌 {what} {count}개를 제외했습니다 (처음: {first})",
    ),
    "no_times": Kind(
        "left_out",
        "{count} {what} without a time were left out (first at {first})",
        "시간이 없는 {what} {count}개를 제외했습니다 (처음: {first})",
    ),
    "not_a_timing_line": Kind(
        "left_out",
        "{count} cue(s) without a readable time were left out (first at {first}); write "
        "00:00:01,000 --> 00:00:02,000",
        "시간을 읽을 수 없는 자막 {count}개를 제외했습니다 (처음: {first}). "
        "00:00:01,000 --> 00:00:02,000처럼 적으십시오",
    ),
    "no_duration": Kind(
        "left_out",
        "{count} {what} that end before they start, or have no length, were left out "
        "(first at {first})",
        "끝이 시작보다 앞서거나 길이가 없는 {what} {count}개를 제외했습니다 (처음: {first})",
    ),
    "not_understood": Kind(
        "left_out",
        "{count} {what} that hold something else than text and times were left out "
        "(first at {first})",
        "글과 시간이 아닌 것이 든 {what} {count}개를 제외했습니다 (처음: {first})",
    ),
    "text_without_time": Kind(
        "left_out",
        "{count} line(s) of text above the first time were left out (first at {first})",
        "첫 시간 표시보다 위에 있는 글 {count}행을 제외했습니다 (처음: {first})",
    ),
    "tiers_not_speech": Kind(
        "left_out",
        "{count} tier(s) were taken for codings, not for speech, and left out: {names}; if they "
        "are speech, put 'utterances' into their names",
        "층 {count}개는 말이 아니라 부호화(코딩)로 보아 제외했습니다: {names}. 말이라면 층 이름에 "
        "'발화'를 넣으십시오",
    ),
    "other_recordings": Kind(
        "left_out",
        "{count} {what} of other recordings were left out; those of {name} were read "
        "(first at {first})",
        "다른 녹화의 {what} {count}개를 제외하고 {name}의 것만 읽었습니다 (처음: {first})",
    ),
    "other_documents": Kind(
        "left_out",
        "{count} further JSON value(s) behind the first were left out (first: {first}); give each "
        "transcript a file of its own",
        "첫째 뒤에 이어지는 JSON 값 {count}개를 제외했습니다(처음: {first}). 전사마다 파일을 "
        "따로 두십시오",
    ),
    "after_the_end": Kind(
        "left_out",
        "{beyond} cue(s) after the medium's end ({end_s:.2f} s) were left out, {clipped} clipped",
        "매체의 끝({end_s:.2f}초)을 넘는 자막 {beyond}개를 제외하고 {clipped}개를 잘랐습니다",
    ),
    "language_unknown": Kind(
        "left_out",
        "the file's language is no language code and was left out",
        "파일에 적힌 언어가 언어 코드가 아니어서 쓰지 않았습니다",
    ),
    "speaker_not_a_name": Kind(
        "left_out",
        "{count} speaker(s) that are no names or numbers were left out (first at {first})",
        "이름이나 번호가 아닌 화자 {count}개를 쓰지 않았습니다 (처음: {first})",
    ),
    "cut_off": Kind(
        "left_out",
        "the transcript ends in the middle of a character: the file is cut off; copy it again",
        "전사 파일이 글자 중간에서 끝납니다. 파일이 잘렸으니 다시 복사하십시오",
    ),
    # ---- repaired
    "timing_line_repaired": Kind(
        "repaired",
        "{count} timing line(s) are not written as the format wants (first at {first}); they were "
        "read all the same",
        "시간 표시 {count}행이 형식과 다르지만(처음: {first}) 그대로 읽었습니다",
    ),
    "word_time_unusable": Kind(
        "repaired",
        "the times of {count} word(s) are missing, reversed or not a number (first at {first}); "
        "they were estimated from the words around",
        "단어 {count}개의 시간이 없거나 거꾸로이거나 수가 아니어서(처음: {first}) 앞뒤 단어로 "
        "추정했습니다",
    ),
    "no_end": Kind(
        "repaired",
        "{count} {what} have no end (first at {first}); it was estimated from the length of the "
        "text",
        "끝 시간이 없는 {what} {count}개의 끝을(처음: {first}) 글의 길이로 추정했습니다",
    ),
    "cue_split": Kind(
        "repaired",
        "{count} cue(s) hold what several people say (first at {first}); their parts were told "
        "apart and their times estimated from the syllables",
        "여러 사람의 말이 든 자막 {count}개를(처음: {first}) 나누고 시간을 음절 수로 추정했습니다",
    ),
    "before_the_start": Kind(
        "repaired",
        "{count} {what} begin before the medium (first at {first}); they were taken from 0",
        "매체보다 먼저 시작하는 {what} {count}개를(처음: {first}) 0초부터로 보았습니다",
    ),
    "time_shifted": Kind(
        "repaired",
        "the ELAN file says the medium starts {shift_s:.3f} s earlier; its times were shifted",
        "ELAN 파일에 적힌 매체 시작 차이 {shift_s:.3f}초만큼 시간을 옮겼습니다",
    ),
    "time_origin_unreadable": Kind(
        "repaired",
        "TIME_ORIGIN of {first} is not a number; 0 was taken: compare the times with the recording",
        "{first}의 TIME_ORIGIN이 수가 아니어서 0으로 보았습니다. 시간을 녹화와 비교하십시오",
    ),
    "unreadable_characters": Kind(
        "repaired",
        "{count} text(s) hold half characters that cannot be written (first at {first}); they "
        "became \ufffd",
        "저장할 수 없는 반쪽 글자가 든 글 {count}개에서(처음: {first}) 그 글자를 \ufffd로 "
        "바꾸었습니다",
    ),
    "odd_bytes": Kind(
        "repaired",
        "bytes in {count} place(s) are no characters (first at {first}); they became \ufffd: "
        "correct them, or copy the file again",
        "글자가 아닌 바이트가 {count}곳에 있어(처음: {first}) \ufffd로 바꾸었습니다. 고치거나 "
        "파일을 다시 복사하십시오",
    ),
    "timestamp_map_applied": Kind(
        "repaired",
        "the file joins parts with clocks of their own (X-TIMESTAMP-MAP, {count} times, first at "
        "{first}); they were brought onto that of the first",
        "시계가 다른 부분이 이어진 파일이어서(X-TIMESTAMP-MAP {count}개, 처음: {first}) 첫 부분의 "
        "시계에 맞추었습니다",
    ),
    # ---- read, but the user should know
    "speakers_inferred": Kind(
        "read",
        "{count} speaker name(s) were taken from the beginning of the text: {names}",
        "글 앞부분에서 화자 이름 {count}개를 읽었습니다: {names}",
    ),
    "speaker_names_with_spaces": Kind(
        "read",
        "{count} line(s) have blanks in the recording's or the speaker's name (first at {first}); "
        "speakers: {names}",
        "녹화나 화자 이름에 빈칸이 있는 행이 {count}개 있습니다 (처음: {first}). 화자: {names}",
    ),
    "columns_guessed": Kind(
        "read",
        "the table has no header; its columns were taken for {order}",
        "표에 머리글이 없어 열을 {order} 순서로 보았습니다",
    ),
    "words_joined": Kind(
        "read",
        "{count} entries hold one word each; they were joined to utterances at gaps of 0.7 s",
        "단어 하나씩 든 항목 {count}개를 0.7초 이상 끊긴 곳에서 나누어 발화로 이었습니다",
    ),
    "service_layout": Kind(
        "read",
        "read as {service} JSON, a layout {unit}",
        "{service} JSON으로 읽었습니다. 시간 단위는 {unit_ko}입니다",
    ),
    "times_in_ms": Kind(
        "read",
        "the times were taken for milliseconds: as seconds a {what} would last {typical:.0f} s",
        "시간을 밀리초로 보았습니다. 초라면 {what} 하나가 {typical:.0f}초입니다",
    ),
    "timestamp_map": Kind(
        "read",
        "X-TIMESTAMP-MAP (first at {first}) sets {local_s:.3f} s to {clock_s:.3f} s of the "
        "stream's clock; the recording does not tell its own, so cue times were taken as seconds "
        "of the recording",
        "X-TIMESTAMP-MAP(처음: {first})은 {local_s:.3f}초를 스트림 시계의 {clock_s:.3f}초로 "
        "정하지만 녹화의 시계를 알 수 없어 자막 시간을 녹화의 초로 보았습니다",
    ),
    "medium_not_named": Kind(
        "read",
        "the file names {count} media, none of them {name}; the time origin of the first, {first}, "
        "was taken",
        "파일에 매체 {count}개가 적혀 있으나 {name}은(는) 없어 첫째({first})의 시작을 썼습니다",
    ),
    "read_as_cp949": Kind(
        "read",
        "the transcript is not UTF-8; it was read as CP949",
        "전사 파일이 UTF-8이 아니어서 CP949로 읽었습니다",
    ),
    "other_suffix": Kind(
        "read",
        "{first} is named {suffix} but holds {kind}; it was read as {kind}",
        "{first}의 확장자는 {suffix}이지만 내용은 {kind}이어서 {kind}로 읽었습니다",
    ),
}


@dataclass(slots=True)
class _Count:
    count: int
    first: str
    what: Said
    details: dict[str, object]


@dataclass(slots=True)
class Notes:
    """Collects notes while a file is read.

    Attributes:
        what: What the entries of this format are called.
    """

    what: Said = CUES
    _found: dict[str, _Count] = field(default_factory=dict)

    def add(
        self,
        code: str,
        first: str = "",
        count: int = 1,
        what: Said | None = None,
        **details: object,
    ) -> None:
        """Count one thing more; the first place and what it was called then are kept.

        Args:
            code: One of ``KINDS``.
            first: The place.
            count: How many.
            what: What they are called, where not as the entries of the format.
            details: For the gaps of the texts; the last ones are shown.
        """
        if code not in self._found:
            self._found[code] = _Count(0, first, what or self.what, {})
        found = self._found[code]
        found.count += count
        found.details |= details

    def __contains__(self, code: str) -> bool:
        return code in self._found

    def listed(self) -> tuple[ReadingNote, ...]:
        """What was found, in the order it was met."""
        return tuple(_note(code, found) for code, found in self._found.items())


def _note(code: str, found: _Count) -> ReadingNote:
    kind = KINDS[code]
    gaps = {"count": found.count, "first": found.first} | found.details
    en = kind.en.format(**({"what": found.what[0]} | gaps))
    gaps["first"] = place_text(found.first, "ko")
    ko = kind.ko.format(**({"what": found.what[1]} | gaps))
    return ReadingNote(kind.treatment, code, found.count, found.first, _line(en), _line(ko))


def _line(text: str) -> str:
    return " ".join(text.split())


def shown(names: Iterable[object], most: int = 12) -> str:
    """Names for a message: the first ones, each cut at 40 characters."""
    listed = [str(name)[:40] for name in names]
    more = f" … ({len(listed)})" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
