"""What a Korean text says is not so, or wishes were so: morphemes under a negation or a wish.

Rules over morphemes, no model; each rule gives :class:`Turn` objects. Tags such as 좋잖아요 are no
negation. What words cannot show (irony, tone, what was said long before) stays unseen.
"""

from __future__ import annotations

from collections.abc import Sequence

from nunbit.hangul.clauses import Turn
from nunbit.hangul.morphemes import Morpheme
from nunbit.hangul.negation import NEGATIONS
from nunbit.hangul.reservation import RESERVATIONS
from nunbit.hangul.unmet import UNMET
from nunbit.hangul.wishes import WISHES

__all__ = ["Turn", "find_turns"]


def find_turns(flow: Sequence[Morpheme]) -> tuple[Turn, ...]:
    """Negations and wishes of a text, by place.

    Args:
        flow: Morphemes of one or more sentences.
    """
    given = tuple(flow)
    rules = (*NEGATIONS, *RESERVATIONS, *UNMET, *WISHES)
    found = [turn for rule in rules for turn in rule(given)]
    return tuple(sorted(found, key=lambda turn: (turn.at, turn.kind)))
