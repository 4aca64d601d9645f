"""What every source hands to ``prepare``: records, rejects, counts and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nunbit.schema import FaceRecord, Reject


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """All records of a source, before any image has been opened.

    Attributes:
        kind: ``aihub``, ``folder`` or ``table``.
        records: In a fixed order; a sequence that makes records on access (see ``packed``).
        rejects: Inputs that give no record, with the reason.
        vote_names: Name of each position of ``FaceRecord.votes``; empty where the positions mean
            nobody in particular or there are no votes.
        raw_counts: Plain data: what was found, before any policy and any decoding.
        notes: Sentences, as (en, ko), about what was unusual, most serious first.
    """

    kind: str
    records: Sequence[FaceRecord]
    rejects: tuple[Reject, ...]
    vote_names: tuple[str, ...]
    raw_counts: dict[str, Any]
    notes: tuple[tuple[str, str], ...]
