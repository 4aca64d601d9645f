"""The measures of apparent expression, voice and words, with their definitions.

``definitions`` says what each measure is, ``compute_measures`` computes all of them on windows,
turns, questions and the session. Pure: arrays in, blocks out; only the package's own definitions
and word lists are read. Nothing here diagnoses, and there is no composite score.
"""

from nunbit.measures.compute import MeasureInput, compute_measures, measure_notices, session_rows
from nunbit.measures.definitions import SUFFIXES, Definition, definition_of, definitions
from nunbit.measures.estimate import BaselineForm
from nunbit.measures.turns import TURN_BREAK_S, UNNAMED, question_segments, turns_from
from nunbit.statistics.series import FUNCTIONALS

__all__ = [
    "FUNCTIONALS",
    "SUFFIXES",
    "TURN_BREAK_S",
    "UNNAMED",
    "BaselineForm",
    "Definition",
    "MeasureInput",
    "compute_measures",
    "definition_of",
    "definitions",
    "measure_notices",
    "question_segments",
    "session_rows",
    "turns_from",
]
