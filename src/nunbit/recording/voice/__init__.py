"""The voice of a recording: speech activity, pitch, level and pauses on a 10 ms grid.

``VoiceReader`` takes the decoded sound and gives a ``VoiceStream``. Knows nothing of files, words
or measures.
"""
