"""Words and speakers of a recording: transcript files, diarisation files, speech recognisers.

One module a family of formats turns a file into plain cues (``cues``); ``assemble`` makes a
``Transcript`` of them: speakers, word times (estimated where there are none), syllables, fillers,
and notices about everything odd. ``recognise`` finds the format of a file by its content. Knows
nothing of media files, faces or measures.
"""

from nunbit.recording.transcript.asr import KeptBlocks, Recogniser, load_recogniser
from nunbit.recording.transcript.assemble import read_transcript, read_words
from nunbit.recording.transcript.placing import place_script, refine_cues
from nunbit.recording.transcript.speaker_files import Diarisation, read_rttm
from nunbit.recording.transcript.untimed import Script
from nunbit.recording.transcript.word_fit import WordFit, fit_notes, fit_words, said_intervals

__all__ = [
    "Diarisation",
    "KeptBlocks",
    "Recogniser",
    "Script",
    "WordFit",
    "fit_notes",
    "fit_words",
    "load_recogniser",
    "place_script",
    "read_rttm",
    "read_transcript",
    "read_words",
    "refine_cues",
    "said_intervals",
]
