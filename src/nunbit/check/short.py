"""Every code of the reading protocol in a few words, for a table with a line for each file.

A test compares the list with the codes that readers, media, photos and stories give.
"""

from __future__ import annotations

from nunbit.errors import Lang

SHORT: dict[str, tuple[str, str]] = {
    # transcripts, diarisations
    "time_not_a_number": ("times that are no numbers", "숫자가 아닌 시각"),
    "no_times": ("entries without times", "시각 없는 항목"),
    "not_a_timing_line": ("unreadable timing lines", "읽을 수 없는 시각 줄"),
    "no_duration": ("no duration", "길이 없음"),
    "not_understood": ("entries not understood", "알 수 없는 항목"),
    "text_without_time": ("text without a time", "시각 없는 글"),
    "tiers_not_speech": ("tiers of codings", "코딩 층 제외"),
    "other_recordings": ("lines of other recordings", "다른 녹화의 행"),
    "other_documents": ("further JSON values", "이어지는 JSON 값"),
    "after_the_end": ("after the recording's end", "녹화 끝을 넘음"),
    "language_unknown": ("unknown language", "알 수 없는 언어"),
    "speaker_not_a_name": ("speakers that are no names", "이름이 아닌 화자"),
    "timing_line_repaired": ("timing lines repaired", "시각 줄 고침"),
    "word_time_unusable": ("word times estimated", "단어 시각 추정"),
    "no_end": ("ends estimated", "끝 시각 추정"),
    "cue_split": ("cues of several people", "여러 사람의 자막"),
    "before_the_start": ("before the start", "시작보다 앞섬"),
    "time_shifted": ("times shifted", "시각 옮김"),
    "time_origin_unreadable": ("unreadable time origin", "읽을 수 없는 시작 시각"),
    "unreadable_characters": ("unreadable characters", "읽을 수 없는 글자"),
    "odd_bytes": ("unreadable bytes", "읽을 수 없는 바이트"),
    "timestamp_map": ("clock of a stream", "스트림 시계"),
    "timestamp_map_applied": ("clocks joined", "시계 맞춤"),
    "speakers_inferred": ("speakers inferred", "화자 추정"),
    "speaker_names_with_spaces": ("names with spaces", "빈칸 있는 이름"),
    "columns_guessed": ("columns guessed", "열 추정"),
    "words_joined": ("words joined", "단어 이음"),
    "service_layout": ("layout of a service", "서비스 형식"),
    "times_in_ms": ("milliseconds", "밀리초"),
    "medium_not_named": ("recording not named", "녹화 이름 없음"),
    "read_as_cp949": ("CP949", "CP949"),
    "other_suffix": ("other format than named", "이름과 다른 형식"),
    "words_outside_speech": ("words outside speech", "말소리 밖 단어"),
    "no_matching_transcript": ("no transcript of this name", "같은 이름 전사 없음"),
    "no_matching_speakers": ("no RTTM of this name", "같은 이름 RTTM 없음"),
    # containers and sound
    "cut_off": ("cut off", "끝이 잘림"),
    "header_shorter_than_data": ("longer than its header", "헤더보다 김"),
    "damaged": ("damaged pieces", "손상된 부분"),
    "damaged_bytes": ("damaged bytes", "손상된 바이트"),
    "several_sound_streams": ("several sound streams", "소리 스트림 여럿"),
    "several_picture_streams": ("several picture streams", "영상 스트림 여럿"),
    "pictures_not_decoded": ("pictures unreadable", "영상 읽지 못함"),
    "sound_not_decoded": ("sound unreadable", "소리 읽지 못함"),
    "sample_rate_impossible": ("impossible sampling rate", "있을 수 없는 표본화율"),
    "sample_rate_low": ("low sampling rate", "낮은 표본화율"),
    "channels_cancel": ("channels cancel", "채널 상쇄"),
    "channel_empty": ("empty channel", "빈 채널"),
    "channels_differ": ("channels differ", "채널 크기 차이"),
    "silent": ("silent", "소리 없음"),
    "clipped": ("clipped", "소리 잘림"),
    "over_full_scale": ("over full scale", "최대 진폭 초과"),
    "no_speech": ("no speech", "말소리 없음"),
    # pictures, photos
    "interlaced": ("interlaced", "비월 주사"),
    "hdr": ("HDR", "HDR"),
    "people_changed_at_cut": ("people change at a cut", "장면에서 사람 바뀜"),
    "no_frame": ("no frame read", "장면 읽지 못함"),
    "no_face_seen": ("no face", "얼굴 없음"),
    "few_faces_seen": ("few faces", "얼굴 적음"),
    "several_faces": ("several faces", "여러 얼굴"),
    "small_faces": ("small faces", "작은 얼굴"),
    "first_frame": ("first picture of several", "여러 장 중 첫 장"),
    "reduced": ("decoded smaller", "줄여서 읽음"),
    "not_a_picture": ("no pictures", "사진 아님"),
}


def short_note(code: str, lang: Lang) -> str:
    """A code in a few words; codes that nobody named here stay readable."""
    known = SHORT.get(code)
    return code.replace("_", " ") if known is None else known[lang == "ko"]
