"""Which texts hold the words of a query, letter by letter: blanks, case and marks do not count.

Texts are compared by their pieces of two and three letters (a Hangul block is one), the rare ones
counting more, so that a word left out, another ending or other blanks cost little. Nothing is
learned. N texts, P pieces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from nunbit.core.streams import Floats, Ints, Singles

_BUCKETS = 1 << 20
_PRIMES = (1_000_003, 7_919, 104_729)


class ExactWords:
    """N texts, prepared once.

    Args:
        texts: Any; many may be alike.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        place: dict[str, int] = {}
        self._of = np.array([place.setdefault(text, len(place)) for text in texts], np.int64)
        owners, pieces = _pieces([_letters(text) for text in place])
        pairs = np.unique(owners * _BUCKETS + pieces)
        self._owner, self._piece = pairs // _BUCKETS, (pairs % _BUCKETS).astype(np.int32)
        self._count = max(1, len(place))
        there = np.bincount(self._piece, minlength=_BUCKETS)
        self._square = (np.log1p(self._count / np.maximum(there, 1)) ** 2).astype(np.float32)
        self._length = self._total(self._square[self._piece])

    def scores(self, query: str) -> Singles:
        """(N,) from 0 to 1: 1 for a text of the same letters, near 1 for one that holds them all.

        The mean of two shares by weight: of the query's pieces that the text has, and the cosine of
        both, which prefers texts with little else.
        """
        _, own = _pieces([_letters(query)])
        asked = np.zeros(_BUCKETS, np.float32)
        asked[own] = self._square[own]
        total = float(asked.sum())
        if total <= 0.0:
            return np.zeros(len(self._of), np.float32)
        common = self._total(asked[self._piece])
        cosine = common / np.sqrt(total * np.maximum(self._length, 1e-12))
        return np.asarray(((common / total + cosine) / 2.0)[self._of], np.float32)

    def _total(self, values: Singles) -> Floats:
        return np.asarray(np.bincount(self._owner, values, minlength=self._count), np.float64)


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFC", text).lower() if c.isalnum())


def _pieces(texts: Sequence[str]) -> tuple[Ints, Ints]:
    """Text and bucket of every piece; a single letter is a piece of its own."""
    codes = np.frombuffer("\0".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
    owner = np.cumsum(codes == 0)
    letter = codes > 0
    owners, pieces = [], []
    for length in (2, 3):
        starts = len(codes) - length + 1
        if starts <= 0:
            continue
        whole, mixed = np.ones(starts, bool), np.full(starts, length, np.int64)
        for k in range(length):
            part = slice(k, k + starts)
            whole &= letter[part]
            mixed = mixed * _PRIMES[0] + codes[part] * _PRIMES[1] + _PRIMES[2]
        owners.append(owner[:starts][whole])
        pieces.append((mixed[whole] >> 7) % _BUCKETS)
    single = [i for i, text in enumerate(texts) if len(text) == 1]
    owners.append(np.array(single, np.int64))
    pieces.append(np.array([ord(texts[i]) for i in single], np.int64) % _BUCKETS)
    return np.concatenate(owners), np.concatenate(pieces)
