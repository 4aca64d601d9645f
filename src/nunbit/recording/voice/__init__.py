"""The voice of a recording: speech activity, pitch, level and pauses on a 10 ms grid.

``VoiceReader`` takes the decoded sound and gives a ``VoiceStream``. Knows nothing of files, words
or measures.
"""

from nunbit.recording.voice.pitch import PitchSettings, personal_range
from nunbit.recording.voice.quality import StretchQuality, read_quality, voice_quality
from nunbit.recording.voice.voice_reader import ActivitySettings, VoiceReader, VoiceSettings

__all__ = [
    "ActivitySettings",
    "PitchSettings",
    "StretchQuality",
    "VoiceReader",
    "VoiceSettings",
    "personal_range",
    "read_quality",
    "voice_quality",
]
