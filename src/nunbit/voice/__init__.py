"""The voice of a recording: speech activity, pitch, level and pauses on a 10 ms grid.

``VoiceReader`` takes the decoded sound and gives a ``VoiceStream``. Knows nothing of files, words
or measures.
"""

from nunbit.voice.activity import ActivitySettings, speech_probability
from nunbit.voice.level import level_track
from nunbit.voice.pitch import PitchSettings, f0_track, personal_range
from nunbit.voice.quality import VoiceQuality, read_quality, voice_quality
from nunbit.voice.reader import VoiceReader, VoiceSettings

__all__ = [
    "ActivitySettings",
    "PitchSettings",
    "VoiceQuality",
    "VoiceReader",
    "VoiceSettings",
    "f0_track",
    "level_track",
    "personal_range",
    "read_quality",
    "speech_probability",
    "voice_quality",
]
