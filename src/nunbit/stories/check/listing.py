"""What ``nunbit check`` prints: the protocol of one file, or one line for each of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nunbit.core.messages import NO_TEXT, Lang, Text, text_of
from nunbit.core.schema import note_lines, problems
from nunbit.core.spans import lists_by_key
from nunbit.core.timebase import clock, frame_rate
from nunbit.runtime.files import whole_text
from nunbit.runtime.progress import listed, pad, width, wrapped
from nunbit.stories.check.look import Checked

SHORT: dict[str, Text] = {
    # transcripts, diarisations
    "time_not_a_number": Text("times that are no numbers", "숫자가 아닌 시각"),
    "no_times": Text("entries without times", "시각 없는 항목"),
    "clock_times_unused": Text("clock times unused", "쓰지 않은 시각"),
    "invented_text": Text("doubtful sentences", "미심쩍은 문장"),
    "repeated_text": Text("repeated sentences", "되풀이된 문장"),
    "not_a_timing_line": Text("unreadable timing lines", "읽을 수 없는 시각 줄"),
    "no_duration": Text("no duration", "길이 없음"),
    "not_understood": Text("entries not understood", "알 수 없는 항목"),
    "text_without_time": Text("text without a time", "시각 없는 글"),
    "tiers_not_speech": Text("tiers of codings", "코딩 층 제외"),
    "other_recordings": Text("lines of other recordings", "다른 녹화의 행"),
    "other_documents": Text("further JSON values", "이어지는 JSON 값"),
    "after_the_end": Text("after the recording's end", "녹화 끝을 넘음"),
    "language_unknown": Text("unknown language", "알 수 없는 언어"),
    "speaker_not_a_name": Text("speakers that are no names", "이름이 아닌 화자"),
    "timing_line_repaired": Text("timing lines repaired", "시각 줄 고침"),
    "word_time_unusable": Text("word times estimated", "단어 시각 추정"),
    "no_end": Text("ends estimated", "끝 시각 추정"),
    "cue_split": Text("cues of several people", "여러 사람의 자막"),
    "before_the_start": Text("before the start", "시작보다 앞섬"),
    "time_shifted": Text("times shifted", "시각 옮김"),
    "time_origin_unreadable": Text("unreadable time origin", "읽을 수 없는 시작 시각"),
    "unreadable_characters": Text("unreadable characters", "읽을 수 없는 글자"),
    "odd_bytes": Text("unreadable bytes", "읽을 수 없는 바이트"),
    "timestamp_map": Text("clock of a stream", "스트림 시계"),
    "timestamp_map_applied": Text("clocks joined", "시계 맞춤"),
    "speakers_inferred": Text("speakers inferred", "화자 추정"),
    "speaker_names_with_spaces": Text("names with spaces", "빈칸 있는 이름"),
    "columns_guessed": Text("columns guessed", "열 추정"),
    "words_joined": Text("words joined", "단어 이음"),
    "service_layout": Text("layout of a service", "서비스 형식"),
    "times_in_ms": Text("milliseconds", "밀리초"),
    "medium_not_named": Text("recording not named", "녹화 이름 없음"),
    "read_as_cp949": Text("CP949", "CP949"),
    "other_suffix": Text("other format than named", "이름과 다른 형식"),
    "words_outside_speech": Text("words outside speech", "말소리 밖 단어"),
    "no_matching_transcript": Text("no transcript of this name", "같은 이름 전사 없음"),
    "no_matching_speakers": Text("no RTTM of this name", "같은 이름 RTTM 없음"),
    # containers and sound
    "cut_off": Text("cut off", "끝이 잘림"),
    "header_shorter_than_data": Text("longer than its header", "헤더보다 김"),
    "damaged": Text("damaged pieces", "손상된 부분"),
    "damaged_bytes": Text("damaged bytes", "손상된 바이트"),
    "several_sound_streams": Text("several sound streams", "소리 스트림 여럿"),
    "several_picture_streams": Text("several picture streams", "영상 스트림 여럿"),
    "pictures_not_decoded": Text("pictures unreadable", "영상 읽지 못함"),
    "sound_not_decoded": Text("sound unreadable", "소리 읽지 못함"),
    "sample_rate_impossible": Text("impossible sampling rate", "있을 수 없는 표본화율"),
    "sample_rate_low": Text("low sampling rate", "낮은 표본화율"),
    "channels_cancel": Text("channels cancel", "채널 상쇄"),
    "channel_empty": Text("empty channel", "빈 채널"),
    "channels_differ": Text("channels differ", "채널 크기 차이"),
    "silent": Text("silent", "소리 없음"),
    "clipped": Text("clipped", "소리 잘림"),
    "over_full_scale": Text("over full scale", "최대 진폭 초과"),
    "no_speech": Text("no speech", "말소리 없음"),
    # pictures, photos
    "export_without_pictures": Text("export without pictures", "영상 없는 내보내기"),
    "interlaced": Text("interlaced", "비월 주사"),
    "hdr": Text("HDR", "HDR"),
    "people_changed_at_cut": Text("people change at a cut", "장면에서 사람 바뀜"),
    "no_frame": Text("no frame read", "장면 읽지 못함"),
    "no_face_seen": Text("no face", "얼굴 없음"),
    "few_faces_seen": Text("few faces", "얼굴 적음"),
    "several_faces": Text("several faces", "여러 얼굴"),
    "small_faces": Text("small faces", "작은 얼굴"),
    "first_frame": Text("first picture of several", "여러 장 중 첫 장"),
    "reduced": Text("decoded smaller", "줄여서 읽음"),
    "not_a_picture": Text("no pictures", "사진 아님"),
}


def short_note(code: str) -> Text:
    """A code in a few words; an unknown code stays readable."""
    return SHORT.get(code) or text_of(code.replace("_", " "))


_NAME_COLUMNS = 30
_LEAST_NAME_COLUMNS = 14  # narrower, names of one study look all alike
_NOTE_INDENT = 4
_MOST_SENTENCES = 3  # of a code with several: the first files are named
_GAP = "  "

_HEAD = (
    NO_TEXT,
    Text("name", "이름"),
    Text("length", "길이"),
    Text("picture", "영상"),
    Text("sound", "소리"),
    Text("speech", "말소리"),
    Text("faces", "얼굴"),
    Text("notes", "알릴 것"),
)
_RIGHT = (False, False, True, False, False, True, True, False)
_MARKS = {"ok": "", "noted": "!", "failed": "x"}
_FAILED = Text("cannot be used", "사용할 수 없음")
_KINDS = {
    "transcript": Text("transcript", "전사"),
    "speakers": Text("who speaks when", "화자 구분"),
    "photo": Text("photo", "사진"),
}
_CHANNELS = {1: Text("mono", "모노"), 2: Text("stereo", "스테레오")}


def check_text(
    results: Sequence[Checked],
    unread: Sequence[Text],
    lang: Lang,
    columns: int | None = None,
) -> str:
    """The protocol of one file, or a table of many with a sentence for each kind of note.

    Args:
        results: Of :func:`nunbit.stories.check.check`.
        unread: Likewise.
        lang: Of the text.
        columns: Of the terminal: notes that would not fit beside a row stand below it, and names
            are cut shorter; None for a file, whose lines may be of any length.
    """
    lines = _one(results[0], lang) if len(results) == 1 else _many(results, lang, columns)
    lines += [notice.pick(lang) for notice in unread]
    if any(result.kind == "recording" and result.error is None for result in results):
        lines += ["", _SAMPLED.pick(lang)]
    return "\n".join(lines)


def _one(result: Checked, lang: Lang) -> list[str]:
    name = Path(result.file).name
    if result.error is not None:
        return [f"{name}: {_FAILED.pick(lang)}"]
    lines = [name, *(f"  {line.pick(lang)}" for line in note_lines(result.notes))]
    cells = _cells(result, lang)
    facts = [f"{_HEAD[k].pick(lang)} {cells[k]}" for k in (4, 5, 6) if cells[k] not in ("", "–")]
    if result.heard is not None or result.seen is not None:
        lines.append("  " + " · ".join(facts))
    if result.fit is not None and result.fit.words:
        fit = result.fit
        lines.append(
            Text(
                f"  {fit.in_speech} of {fit.words} sampled words lie in speech",
                f"  살펴본 단어 {fit.words}개 중 {fit.in_speech}개가 말소리 안에 있습니다",
            ).pick(lang)
        )
    if not problems(result.notes):
        lines.append(Text("  nothing repaired or left out", "  고치거나 뺀 것 없음").pick(lang))
    return lines


def _many(results: Sequence[Checked], lang: Lang, columns: int | None) -> list[str]:
    rows = [tuple(head.pick(lang) for head in _HEAD), *(_cells(result, lang) for result in results)]
    used = [k for k in range(len(rows[0]) - 1) if k < 2 or any(row[k] for row in rows[1:])]
    room, gap = _NAME_COLUMNS, _GAP
    if columns is not None:
        others = sum(max(width(row[k]) for row in rows) for k in used if k != 1)
        if others + _NAME_COLUMNS + len(_GAP) * (len(used) - 1) > columns:
            gap = " "
            room = min(_NAME_COLUMNS, max(_LEAST_NAME_COLUMNS, columns - others - (len(used) - 1)))
    shown = [rows[0][1], *(_fitted(Path(result.file).name, room) for result in results)]
    rows = [(row[0], name, *row[2:]) for row, name in zip(rows, shown, strict=True)]
    sizes = {k: max(width(row[k]) for row in rows) for k in used}
    lines = []
    for place, row in enumerate(rows):
        cells = [pad(row[k], sizes[k], left=not _RIGHT[k]) for k in used]
        line = gap.join([*cells, row[-1]]).rstrip()
        if columns is None or width(line) <= columns:
            lines.append(line)
            continue
        lines.append(gap.join(cells).rstrip())
        if place:  # notes need no heading
            lines += wrapped(row[-1], columns, indent=_NOTE_INDENT)
    lines += ["", *_sentences(results, lang), _summary(results, lang)]
    return lines


def _sentences(results: Sequence[Checked], lang: Lang) -> list[str]:
    """One sentence for each code, with its files; then unusable files and the reasons."""
    found = lists_by_key(
        (note.code, (Path(result.file).name, note))
        for result in results
        for note in problems(result.notes)
    )
    lines = []
    for code, own in found.items():
        files = list(dict.fromkeys(name for name, _ in own))
        named = listed(files, _MOST_SENTENCES)
        count = Text(f"{len(files)}", f"{len(files)}개").pick(lang)
        whose = f"{files[0]}: " if len(files) > 1 else ""  # the sentence is that of the first one
        text = whole_text(own[0][1].text.pick(lang))
        lines.append(f"! {short_note(code).pick(lang)} ({count}: {named}): {whose}{text}")
    errors = [result.error.pick(lang) for result in results if result.error is not None]
    return [*lines, *(f"x {' '.join(error.split())}" for error in errors)]


def _summary(results: Sequence[Checked], lang: Lang) -> str:
    n = Counter(result.state for result in results)
    return Text(
        f"{len(results)} files: {n['ok']} without notes, {n['noted']} with notes, {n['failed']} "
        "cannot be used",
        f"파일 {len(results)}개: 이상 없음 {n['ok']}, 알림 있음 {n['noted']}, 사용할 수 없음 "
        f"{n['failed']}",
    ).pick(lang)


_SAMPLED = Text(
    "Only some frames and stretches of sound were read: numbers for speech and faces are "
    "estimates; nunbit analyze reads everything.",
    "일부 장면과 소리만 살펴보았으므로 말소리와 얼굴의 수치는 추정값입니다. 전부 읽으려면 nunbit "
    "analyze를 쓰십시오.",
)


def _cells(result: Checked, lang: Lang) -> tuple[str, ...]:
    """Mark, name, length, picture, sound, speech, faces, notes."""
    notes = [short_note(note.code).pick(lang) for note in problems(result.notes)]
    if result.error is not None:
        notes = [_FAILED.pick(lang)]
    media, heard, seen = result.media, result.heard, result.seen
    picture = _KINDS.get(result.kind, NO_TEXT).pick(lang)
    sound = speech = ""
    if media is not None:
        video, audio = media.video, media.audio
        picture = "–" if video is None else f"{video.width}×{video.height}"
        if video is not None and video.fps:
            picture += f" {frame_rate(video.fps)}"
        sound = "–" if audio is None else _sound(audio.rate_hz, audio.channels).pick(lang)
    if heard is not None:
        sound += f" {heard.level_dbfs:.0f} dB"
        speech = "–" if heard.speech_share is None else f"{100 * heard.speech_share:.0f}%"
    return (
        _MARKS[result.state],
        Path(result.file).name,
        "" if media is None else clock(media.duration_s),
        picture,
        sound,
        speech,
        "" if seen is None else f"{seen.with_face}/{seen.frames}",
        ", ".join(dict.fromkeys(notes)),
    )


def _sound(rate_hz: int, channels: int) -> Text:
    kinds = _CHANNELS.get(channels, Text(f"{channels} ch", f"{channels}채널"))
    return Text("{rate} kHz {kinds}", "{rate} kHz {kinds}").fill(
        rate=f"{rate_hz / 1000:g}", kinds=kinds
    )


def _fitted(name: str, room: int) -> str:
    """A name shortened in its middle, where names seldom differ."""
    name = whole_text("".join(c if c.isprintable() else "\ufffd" for c in name))
    if width(name) <= room:
        return name
    head, tail = "", ""
    for before, after in zip(name, reversed(name), strict=True):
        if width(head + tail) + width(before) + 1 > room:
            break
        head += before
        if width(head + tail) + width(after) + 1 > room:
            break
        tail = after + tail
    return f"{head}…{tail}"
