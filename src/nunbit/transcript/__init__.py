"""What was said and when: transcript files, diarisation files and speech recognisers.

One module per family of formats turns a file into plain cues (``cues``); ``assemble`` makes a
``Transcript`` of them: speakers, word times (estimated where there are none), syllables, fillers,
and notices about everything odd. ``recognise`` tells the formats apart by their content. Knows
nothing of media files, faces or measures.
"""

from nunbit.transcript.asr import Recogniser, load_recogniser, transcribe
from nunbit.transcript.fit import WordFit, fit_notes, fit_words, said_intervals
from nunbit.transcript.kept import KeptBlocks
from nunbit.transcript.recognise import read_transcript
from nunbit.transcript.rttm import Diarisation, read_rttm

__all__ = [
    "Diarisation",
    "KeptBlocks",
    "Recogniser",
    "WordFit",
    "fit_notes",
    "fit_words",
    "load_recogniser",
    "read_rttm",
    "read_transcript",
    "said_intervals",
    "transcribe",
]
