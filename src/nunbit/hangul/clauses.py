"""Clauses of a Korean sentence, as morphemes: where they begin and end, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass

from nunbit.hangul.morphemes import Morpheme

Flow = tuple[Morpheme, ...]
Reach = range


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that turns or takes back what is said.

    Attributes:
        kind: ``not`` grammatical negation; ``lack`` a word of loss or less (사라지다, 덜); ``hard``
            what turns good words only (웃기가 힘들다, 행복이 뭔지 모르겠다); ``wish``; ``doubt`` a
            wish in the form of a question or condition (행복할 수 있을까요).
        at: Place of the morpheme that shows it.
        reach: Places of the morphemes it is about.
    """

    kind: str
    at: int
    reach: Reach


OPEN = frozenset(
    {"게", "면서", "으면서", "도록", "다고", "라고", "으라고", "는다고", "ㄴ다고", "자고"}
    | {"냐고", "으냐고", "느냐고", "냐", "느냐"}
)
"""Endings that lead into what follows: manner and quotation belong to the clause after them."""

OPEN_TO_WISH = OPEN | {"고", "며", "으며"}
_JOINED_BY = {
    "고": frozenset({"싶", "있", "계시", "말"}),
    "어": None,
    "아": None,
    "어야": frozenset({"하", "되", "겠"}),
    "으려고": frozenset({"하", "들", "그러"}),
    "려고": frozenset({"하", "들", "그러"}),
}
"""Endings that a following auxiliary joins to one predicate; None is any auxiliary."""


def is_boundary(flow: Flow, i: int, opened: frozenset[str]) -> bool:
    """Whether a clause ends at place i."""
    m = flow[i]
    if m.tag in ("EF", "SF", "SP", "SE"):
        return True
    if m.tag == "EC":
        if m.form in ("지", "질", "진") or m.form.endswith(
            ("ㄴ지", "은지", "는지", "ㄹ지", "을지")
        ):
            return False
        after = flow[i + 1] if i + 1 < len(flow) else None
        if after is not None and after.tag == "VX" and _JOINED_BY.get(m.form, ()) is None:
            return False
        if after is not None and after.form in (_JOINED_BY.get(m.form) or ()):
            return False
        # 좋은 기억이라고는: a quotation, whatever comes before it.
        past = i > 0 and flow[i - 1].tag == "EP" and flow[i - 1].form in ("었", "겠")
        return not (m.form in opened and not (past and m.form in ("고", "며", "으며", "면서")))
    return False


def clause_start(flow: Flow, at: int, opened: frozenset[str] = OPEN) -> int:
    """First place of the clause that ``at`` stands in."""
    for i in range(at - 1, -1, -1):
        if is_boundary(flow, i, opened):
            # 요 and particles behind an ending belong to the clause before.
            while i + 1 < at and flow[i + 1].tag in ("JX", "SF", "SP", "SE"):
                i += 1
            return i + 1
    return 0


def clause_end(flow: Flow, at: int) -> int:
    """Place after the last of the clause that ``at`` stands in."""
    return next((i for i in range(at, len(flow)) if is_boundary(flow, i, OPEN)), len(flow))


def is_form(flow: Flow, i: int, forms: str, tags: str = "") -> bool:
    """Whether there is a morpheme at place i with one of the forms, and a tag that begins so."""
    if not 0 <= i < len(flow) or flow[i].form not in forms.split():
        return False
    return flow[i].tag.startswith(tuple(tags.split()) if tags else "")


def before(flow: Flow, i: int, skip: tuple[str, ...] = ("J",)) -> int:
    """Last place before i whose tag is none of those to skip; -1 if there is none."""
    i -= 1
    while i >= 0 and flow[i].tag.startswith(skip):
        i -= 1
    return i


_PREDICATE = ("VV", "VA", "XSV", "XSA", "VCP")


def next_predicate(flow: Flow, at: int) -> int | None:
    """Place of the first predicate after place ``at`` in its clause; None without one."""
    end = clause_end(flow, at)
    return next((i for i in range(at + 1, end) if flow[i].tag in _PREDICATE), None)
