"""The measures of apparent expression, voice and words, with their definitions.

``definitions`` says what each measure is, ``compute_measures`` computes all of them on windows,
turns, questions and the session. Pure: arrays in, blocks out; only the package's own definitions
and word lists are read. Nothing here diagnoses, and there is no composite score.
"""

from nunbit.measures.compute import (
    compute_measures,
    measure_notices,
    question_segments,
    session_rows,
)
from nunbit.measures.definitions import (
    FUNCTIONALS,
    SUFFIXES,
    Definition,
    definition_of,
    definitions,
)
from nunbit.measures.inputs import (
    BaselineForm,
    MeasureInput,
    VoiceQuality,
    quality_stretches,
)
from nunbit.measures.turns import TURN_BREAK_S, UNNAMED, turns_from

__all__ = [
    "FUNCTIONALS",
    "SUFFIXES",
    "TURN_BREAK_S",
    "UNNAMED",
    "BaselineForm",
    "Definition",
    "MeasureInput",
    "VoiceQuality",
    "compute_measures",
    "definition_of",
    "definitions",
    "measure_notices",
    "quality_stretches",
    "question_segments",
    "session_rows",
    "turns_from",
]
