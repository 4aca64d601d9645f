"""Read a transcript file: format, speakers, order, word times, notices."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nunbit.core.messages import Text
from nunbit.core.streams import Interval, Transcript, Utterance, Word
from nunbit.core.timebase import place_text
from nunbit.language.spoken import is_filler, is_hangul_text, syllables_per_word
from nunbit.recording.transcript.cues import (
    CUES,
    Cue,
    Cues,
    Notes,
    RawWord,
    bad_file,
    read_text,
    spoken_tokens,
)
from nunbit.recording.transcript.service_json import read_json_transcript
from nunbit.recording.transcript.speaker_files import read_eaf
from nunbit.recording.transcript.speakers import with_speakers, without_sounds
from nunbit.recording.transcript.subtitles import (
    first_unreadable_time,
    has_timing_line,
    read_srt,
    read_vtt,
)
from nunbit.recording.transcript.tiers import read_textgrid
from nunbit.recording.transcript.untimed import (
    Script,
    has_script_table,
    is_document,
    looks_like_script,
    read_document,
    read_script,
)
from nunbit.recording.transcript.word_table import looks_like_table, read_table
from nunbit.runtime.files import whole_text

# --- assemble
# Assemble a transcript from cues: speakers, order, word times, syllables, fillers, notices.

_OVERRUN_S = 0.1  # a cue may end this much after the medium without a notice
_OVERLAP_S = 0.05
_MOST_S = 1e9  # 31 years: what is beyond is no time on a recording
_SHORTEST_S = 0.01  # recognisers give short words no length at all
_PIECES = Text(
    "Vosk writes Korean particles and endings as words of their own: counts of words are too high",
    "Vosk는 조사와 어미를 따로 적으므로 어절 수가 실제보다 많습니다",
)


# People say 네 and 'yeah' a thousand times in an interview.
_syllables = functools.lru_cache(maxsize=1 << 14)(syllables_per_word)


def assemble(path: Path, raw: Cues, duration_s: float | None = None) -> Transcript:
    """Make a transcript from the cues of a reader.

    Cues without speech ((웃음), [Music]) are left out. Cues beyond the medium's end are left out
    or clipped, overlapping ones kept, both with a notice. Words without a time share the time
    around them in proportion to their syllables and are marked ``estimated``.

    Args:
        path: For messages.
        raw: From one of the readers.
        duration_s: Length of the medium; None leaves the end unchecked.

    Raises:
        InputError: Most cues lie beyond the end: the transcript of another recording.
    """
    notes = Notes(CUES)
    notices = [*raw.notices, *(note.text for note in raw.reading)]
    sound = [_sound(cue, notes) for cue in raw.cues]
    cues = [_clean(cue) for cue in with_speakers([c for c in sound if c is not None], notes)]
    cues = list(_with_length((cue for cue in cues if cue.text), notes))
    if duration_s is not None:
        cues = _within(path, cues, duration_s, notes)
    notices += [note.text for note in notes.listed()]
    cues.sort(key=lambda cue: (cue.start_s, cue.end_s))
    _note_overlaps(cues, notices)
    language = raw.language
    if language is None and is_hangul_text(" ".join(cue.text for cue in cues)):
        language = "ko"
    utterances = tuple(u for cue in cues if (u := _utterance(cue, language, duration_s)))
    _note_words(utterances, notices)
    if raw.source == "vosk" and language == "ko" and utterances:
        notices.append(_PIECES)
    reading = (*raw.reading, *notes.listed())
    return Transcript(utterances, raw.source, language, tuple(notices), reading)


def _sound(cue: Cue, notes: Notes) -> Cue | None:
    """A cue with finite times and characters that can be written; None without a time.

    Readers check their own values; this check holds for all of them and for recognisers.
    """
    place = place_text(cue.start_s)
    # NaN fails the comparison, too.
    if not (abs(cue.start_s) < _MOST_S and abs(cue.end_s) < _MOST_S):
        notes.add("time_not_a_number", place)
        return None
    if cue.start_s < 0 < cue.end_s:
        notes.add("before_the_start", place)
    words = []
    for word in cue.words:
        span = word.span
        if span is not None and not (0 <= span[0] <= span[1] < _MOST_S):
            notes.add("word_time_unusable", place)
            span = None
        words.append(replace(word, text=whole_text(word.text), span=span))
    text, speaker = whole_text(cue.text), cue.speaker and whole_text(cue.speaker)
    if (text, speaker) != (cue.text, cue.speaker):
        notes.add("unreadable_characters", place)
    return replace(cue, text=text, speaker=speaker, words=tuple(words))


def _clean(cue: Cue) -> Cue:
    text = without_sounds(unicodedata.normalize("NFC", cue.text))
    words = tuple(
        replace(word, text=clean)
        for word in cue.words
        if (clean := without_sounds(unicodedata.normalize("NFC", word.text)))
    )
    speaker = unicodedata.normalize("NFC", cue.speaker).strip() if cue.speaker else None
    return replace(cue, text=text, words=words, speaker=speaker or None)


def _with_length(cues: Iterable[Cue], notes: Notes) -> Iterator[Cue]:
    """Cues that cover their words and last; the others are left out."""
    for cue in cues:
        spans = [w.span for w in cue.words if w.span is not None]
        start = max(0.0, min([cue.start_s, *(a for a, _ in spans)]))
        end = max([cue.end_s, *(b for _, b in spans)])
        if start < end:
            yield replace(cue, start_s=start, end_s=end)
        else:
            notes.add("no_duration", place_text(cue.start_s))


def _within(path: Path, cues: Sequence[Cue], duration_s: float, notes: Notes) -> list[Cue]:
    inside = [cue for cue in cues if cue.start_s < duration_s]
    beyond = len(cues) - len(inside)
    if beyond > len(inside):
        last = max(cue.end_s for cue in cues)
        raise bad_file(
            path,
            Text(
                f"{beyond} of {len(cues)} cues start after the medium's end (its end "
                f"{duration_s:.1f} s, theirs {last:.1f} s): it is the transcript of another "
                "recording, or its times are not seconds",
                f"자막 {len(cues)}개 중 {beyond}개가 매체의 끝 뒤에 시작합니다(녹화 "
                f"{duration_s:.1f}초, 자막 {last:.1f}초). 다른 녹화의 전사이거나 시간 단위가 초가 "
                "아닙니다",
            ),
        )
    over = [cue for cue in inside if cue.end_s > duration_s + _OVERRUN_S]
    if beyond or over:
        first = min(cue.start_s for cue in cues if cue.end_s > duration_s + _OVERRUN_S)
        notes.add(
            "after_the_end", place_text(first), beyond + len(over),
            beyond=beyond, clipped=len(over), end_s=duration_s,
        )  # fmt: skip
    return [replace(cue, end_s=duration_s) if cue.end_s > duration_s else cue for cue in inside]


def _note_overlaps(cues: Sequence[Cue], notices: list[Text]) -> None:
    pairs = zip(cues[1:], itertools.accumulate((cue.end_s for cue in cues), max), strict=False)
    if overlaps := sum(cue.start_s < end_s - _OVERLAP_S for cue, end_s in pairs):
        notices.append(
            Text(
                f"{overlaps} cue(s) begin before the previous one ends; they are kept",
                f"앞 자막이 끝나기 전에 시작하는 자막 {overlaps}개를 그대로 두었습니다",
            )
        )


def _utterance(cue: Cue, language: str | None, duration_s: float | None) -> Utterance | None:
    raw = cue.words or tuple(RawWord(token) for token in spoken_tokens(cue.text))
    if duration_s is not None:
        raw = tuple(w for w in raw if w.span is None or w.span[0] < duration_s)
    if not raw:
        return None
    counts = _syllables(tuple(word.text for word in raw), language)
    words = tuple(
        Word(interval, word.text, word.confidence, count, is_filler(word.text, language), estimated)
        for word, count, (interval, estimated) in zip(
            raw, counts, _times(raw, counts, cue, duration_s), strict=True
        )
    )
    known = [word.confidence for word in words if word.confidence is not None]
    confidence = sum(known) / len(known) if cue.confidence is None and known else cue.confidence
    return Utterance(Interval(cue.start_s, cue.end_s), cue.text, cue.speaker, confidence, words)


def _times(
    words: Sequence[RawWord], counts: Sequence[int], cue: Cue, duration_s: float | None
) -> list[tuple[Interval, bool]]:
    """Interval of each word and whether it was estimated."""
    times: list[tuple[Interval, bool]] = []
    position = 0
    while position < len(words):
        if (span := words[position].span) is not None:
            times.append((_lasting(*span, duration_s), False))
            position += 1
            continue
        stop = next((i for i in range(position, len(words)) if words[i].span), len(words))
        low = times[-1][0].end_s if times else cue.start_s
        after = words[stop].span if stop < len(words) else None
        high = after[0] if after else cue.end_s
        spread = _spread(low, max(high, low + _SHORTEST_S), counts[position:stop])
        times += [(_lasting(start, end, None), True) for start, end in spread]
        position = stop
    return times


def _lasting(start_s: float, end_s: float, duration_s: float | None) -> Interval:
    start = max(0.0, start_s)
    end = max(end_s, start + _SHORTEST_S)
    if duration_s is not None and start < duration_s:
        end = min(end, duration_s)
    return Interval(start, end)


def _spread(start_s: float, end_s: float, counts: Sequence[int]) -> list[tuple[float, float]]:
    """Cut a stretch in proportion to the syllables, at least one each."""
    shares = list(itertools.accumulate((max(1, count) for count in counts), initial=0))
    edges = [start_s + (end_s - start_s) * (share / shares[-1]) for share in shares]
    return list(itertools.pairwise(edges))


def _note_words(utterances: Sequence[Utterance], notices: list[Text]) -> None:
    words = [word for utterance in utterances for word in utterance.words]
    estimated = sum(word.estimated for word in words)
    if not words:
        notices.append(Text("the transcript has no words", "전사에 단어가 없습니다"))
    elif estimated:
        notices.append(
            Text(
                f"{estimated} of {len(words)} words have no time; it was estimated from the "
                "syllables of the cue",
                f"단어 {len(words)}개 중 {estimated}개는 시간이 없어 자막 안의 음절 수로 "
                "추정했습니다",
            )
        )


# --- recognise
# Find the format of a transcript file by its content; the suffix only breaks ties.

Reader = Callable[[Path, str, Notes, str | None], Cues]
"""The last is the medium's name, for formats that may speak of several recordings."""

_READERS: dict[str, Reader] = {
    "WebVTT": lambda path, text, notes, _: read_vtt(path, text, notes),
    "SRT": lambda path, text, notes, _: read_srt(path, text, notes),
    "TextGrid": lambda path, text, notes, _: read_textgrid(path, text, notes),
    "JSON": lambda path, text, notes, _: read_json_transcript(path, text, notes),
    "ELAN": read_eaf,
    "CSV": read_table,
}
_SUFFIXES = {
    ".vtt": "WebVTT", ".srt": "SRT", ".textgrid": "TextGrid", ".eaf": "ELAN", ".json": "JSON",
    ".jsonl": "JSON", ".json3": "JSON", ".csv": "CSV", ".tsv": "CSV", ".sbv": "SRT",
}  # fmt: skip
# What other subtitle programs write: known by their beginning, so that the refusal names them.
_FOREIGN = (
    (re.compile(r"\[Script Info\]", re.IGNORECASE), "ASS/SSA"),
    (re.compile(r"<SAMI[\s>]", re.IGNORECASE), "SAMI (.smi)"),
    (re.compile(r"(?:\[[a-z]{2,8}:[^\]\n]{0,200}\]\s*)*\[\d{1,3}:\d{2}(?:[.:]\d{1,3})?\]"), "LRC"),
    (re.compile(r"\{\d{1,9}\}\{\d{0,9}\}"), "MicroDVD (.sub)"),
    (re.compile(r"(?:<\?xml[^>]{0,200}\?>\s*)?<(?:\w{1,9}:)?tt[\s>]"), "TTML (DFXP)"),
)
_SCRIPT = "script"  # no times
_RTTM = re.compile(r"^SPEAKER[ \t]+\S.{0,200}[ \t]\d", re.MULTILINE)


def read_transcript(
    path: Path, *, duration_s: float | None = None, media: str | None = None
) -> Transcript:
    """Read a transcript with times, as :func:`read_words`.

    Raises:
        InputError: As there; or it has no times.
    """
    found = read_words(path, duration_s=duration_s, media=media)
    if isinstance(found, Script):
        raise bad_file(
            path,
            Text(
                "this transcript has no times: give it together with its recording, in whose sound "
                "the words are looked for",
                "시각이 없는 전사입니다. 소리에서 단어의 자리를 찾아야 하므로 녹화와 함께 주십시오",
            ),
        )
    return found


def read_words(
    path: Path, *, duration_s: float | None = None, media: str | None = None
) -> Transcript | Script:
    """Read a transcript in any of the known formats; one without times is a ``Script``.

    SRT, SBV, WebVTT, Praat TextGrid, ELAN, JSON of Whisper, WhisperX, Vosk and of the usual
    services, and tables with start, end and text. UTF-8, UTF-16 and CP949 are told apart.
    ``docs/reading.md`` lists what is read, repaired and left out.

    Args:
        path: The file.
        duration_s: Length of the medium, to notice the transcript of another recording.
        media: File name of the medium, for files that speak of several.

    Returns:
        The transcript with notes and notices about everything odd (every note is a notice, too);
        no utterances where the file is well formed but nobody speaks.

    Raises:
        InputError: The file is missing, empty, cut off, of an unknown format, in an unknown
            encoding, or belongs to another recording.
    """
    notes = Notes()
    if path.is_file() and (is_document(path) or path.suffix.lower() == ".docx"):
        return read_document(path)
    text = unicodedata.normalize("NFC", read_text(path, notes))  # names are compared below
    kind = _kind(path, text)
    if kind == _SCRIPT:
        return read_script(path, text, notes)
    if _SUFFIXES.get(path.suffix.lower()) not in (None, kind):
        notes.add("other_suffix", path.name, suffix=path.suffix, kind=kind)
    raw = _READERS[kind](path, text, notes, media)
    return assemble(path, replace(raw, reading=notes.listed()), duration_s)


_BRACKETED = re.compile(r"\[[^\W\d_][^]\[{}\",]{0,30}\]")
"""A note such as [웃음] that a text begins with; no JSON does."""


def _kind(path: Path, text: str) -> str:
    head = text.lstrip()[:2000]
    by_suffix = _SUFFIXES.get(path.suffix.lower())
    if head.startswith("WEBVTT"):
        return "WebVTT"
    if re.match(r'File type\s*=\s*"ooTextFile|"?ooTextFile', head):
        return "TextGrid"
    if (foreign := next((name for mark, name in _FOREIGN if mark.match(head)), None)) is not None:
        raise bad_file(
            path,
            Text(
                f"{foreign}, which is not read; save it as SRT in a subtitle editor",
                f"{foreign} 형식은 읽지 않습니다. 자막 편집기에서 SRT로 저장하십시오",
            ),
        )
    if head.startswith(("<?xml", "<ANNOTATION_DOCUMENT")):
        return "ELAN"
    if head[:1] in "{[" and by_suffix != "SRT" and not _BRACKETED.match(head):
        return "JSON"
    if has_timing_line(text):
        return "SRT"
    if _RTTM.search(head):
        raise bad_file(
            path,
            Text(
                "this file has speakers (RTTM), no words; give it as `speakers`",
                "전사가 아니라 화자 구분 파일(RTTM)입니다. `speakers`로 주십시오",
            ),
        )
    if looks_like_table(text):
        return "CSV"
    if has_script_table(text):
        return _SCRIPT
    if by_suffix == "CSV":
        return by_suffix  # its reader says which columns are missing
    if (meant := first_unreadable_time(text)) is not None and by_suffix in (None, "SRT", "WebVTT"):
        raise bad_file(
            path,
            Text(
                f"no cue with a readable time (first: '{meant[:60]}'); write 00:00:01,000 --> "
                "00:00:02,000, with thousandths in place of frames",
                f"시간을 읽을 수 있는 자막이 없습니다(처음: '{meant[:60]}'). 프레임 번호 대신 "
                "1000분의 1초로 00:00:01,000 --> 00:00:02,000처럼 적으십시오",
            ),
        )
    if by_suffix is None and looks_like_script(text):
        return _SCRIPT
    raise bad_file(path, _unknown(path, by_suffix))


def _unknown(path: Path, by_suffix: str | None) -> Text:
    if by_suffix is not None:
        return Text(
            f"named {path.suffix} but it is not {by_suffix}; the file may be damaged",
            f"확장자는 {path.suffix}이지만 {by_suffix} 형식이 아닙니다. 파일이 손상되었을 수 "
            "있습니다",
        )
    return Text(
        "no known transcript format; give SRT, WebVTT, TextGrid, ELAN (.eaf), a recogniser's "
        "JSON, or CSV with start, end, text",
        "알 수 없는 전사 형식입니다. SRT, WebVTT, TextGrid, ELAN(.eaf), 음성 인식기의 JSON, "
        "start, end, text 열이 있는 CSV를 주십시오",
    )
