"""Tokenise sentences with a bundle's ``tokenizer.json`` of kind Unigram.

Bundles from ``lite`` carry such a file. Reading it here, without the library that wrote it, saves
40 MB, most of it a client for a hub that inference never uses. If the file has a part that is not
known here, :func:`read_unigram` returns None, so that nothing is tokenised almost right. Knows
nothing of bundles or models. :func:`tokenise` makes arrays of what any tokenizer gives.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Text

_UNKNOWN_PENALTY = 10.0  # below the worst piece, as in sentencepiece and tokenizers
_WORD_START = "\u2581"
# Character classes mean the same to Python and to the library's regular expressions.
_CHARACTER_CLASS = re.compile(r"\[(?:[^\[\]\\&]|\\s)+\]\+?")
# Characters added after Unicode 9 that newer tables decompose, compose or reorder, up to Unicode
# 15.1 (Python 3.13). The library's normalisers know Unicode 9 and leave them alone.
_AFTER_UNICODE_9 = (
    "7FD 898-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1ACE 1DF6-1DFA 32FF A7F2-A7F4 "
    "A82C AB69 10781-10785 10787-107B0 107B2-107BA 10D24-10D27 10EAB-10EAC 10EFD-10EFF "
    "10F46-10F50 10F82-10F85 11070 1133B 1145E 11839-1183A 11930 11935 11938 1193D-1193E 11943 "
    "119E0 11A34 11A47 11A99 11D42 11D44-11D45 11D97 11F41-11F42 16FF0-16FF1 1E030-1E06D "
    "1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1F16C 1FBF0-1FBF9 "
)
_ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")

Rewrite = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text.

    Attributes:
        ids: Token ids, padded to the longest text of the batch.
        attention_mask: 1 for a token, 0 for padding.
    """

    ids: list[int]
    attention_mask: list[int]


@dataclass(frozen=True, eq=False, slots=True)
class UnigramTokenizer:
    """A Unigram model (Kudo 2018, "Subword Regularization", arXiv:1804.10959), best path only.

    Attributes:
        pieces: Id and log probability of each piece.
        longest: Characters of the longest piece.
        unknown: Id and log probability of a character without a piece.
        rewrites: What is done to a text first, in order.
        special: Pattern of the special tokens that a text may name; its ids are those of pieces.
        before: Ids put before every text.
        after: Ids put after it.
        padding: Id that fills up shorter texts.
    """

    pieces: Mapping[str, tuple[int, float]]
    longest: int
    unknown: tuple[int, float]
    rewrites: tuple[Rewrite, ...]
    special: re.Pattern[str]
    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: int

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokens of texts, padded on the right to the longest."""
        rows = [[*self.before, *self.tokens(text), *self.after] for text in texts]
        width = max(map(len, rows), default=0)
        return [
            Encoding(
                row + [self.padding] * (width - len(row)),
                [1] * len(row) + [0] * (width - len(row)),
            )
            for row in rows
        ]

    def tokens(self, text: str) -> list[int]:
        """Ids of one text, without what every text gets."""
        ids: list[int] = []
        for number, part in enumerate(self.special.split(text)):
            if number % 2:  # the separators
                ids.append(self.pieces[part][0])
            elif part:
                for rewrite in self.rewrites:
                    part = rewrite(part)
                for word in part.split():
                    ids += self._best_path(_WORD_START + word)
        return ids

    def _best_path(self, word: str) -> list[int]:
        """The segmentation of a word whose pieces are likeliest together."""
        n, (unknown, _) = len(word), self.unknown
        best = [0.0] * (n + 1)
        # Where the last piece of the best path to each place begins, and its id; ties keep the
        # path found first, that with the longer last piece.
        came: list[tuple[int, int] | None] = [None] * (n + 1)
        for start in range(n):
            stops = range(start + 1, min(n, start + self.longest) + 1)
            found = {s: self.pieces[word[start:s]] for s in stops if word[start:s] in self.pieces}
            found.setdefault(start + 1, self.unknown)
            for stop, (token, chance) in found.items():
                if came[stop] is None or best[start] + chance > best[stop]:
                    best[stop], came[stop] = best[start] + chance, (start, token)
        ids: list[int] = []
        place = n
        while place > 0:
            step = came[place]
            assert step is not None  # every place is reached, by unknown characters if need be
            place, token = step
            if not (token == unknown and ids and ids[-1] == unknown):
                ids.append(token)  # unknown characters in a row are one token
        return ids[::-1]


def read_unigram(document: Mapping[str, Any]) -> UnigramTokenizer | None:
    """Make a tokenizer of the content of a ``tokenizer.json``.

    Args:
        document: Its JSON.

    Returns:
        None where the file is of another kind or has a part that is not known here.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is no such file.
    """
    model = document["model"]
    rewrites = _rewrites(document.get("normalizer"))
    ends = _ends(document.get("post_processor"))
    padding = document.get("padding")
    added = document.get("added_tokens") or []
    known = (
        model.get("type") == "Unigram"
        and not model.get("byte_fallback")
        and rewrites is not None
        and _splits_at_blanks(document.get("pre_tokenizer"))
        and ends is not None
        and document.get("truncation") is None
        and padding is not None
        and (padding["strategy"], padding["direction"]) == ("BatchLongest", "Right")
        and padding["pad_to_multiple_of"] is None
        and all(token["special"] and not any(token[f] for f in _ADDED_FLAGS) for token in added)
    )
    if not known or rewrites is None or ends is None or padding is None:
        return None
    table = {piece: (number, float(score)) for number, (piece, score) in enumerate(model["vocab"])}
    for token in added:
        if table[token["content"]][0] != token["id"]:
            raise ValueError(f"token {token['content']!r} has two ids")
    unknown = int(model["unk_id"])
    if not all(math.isfinite(score) for _, score in table.values()):
        raise ValueError("a piece has no finite score")
    worst = min(score for _, score in table.values())
    names = sorted((token["content"] for token in added), key=len, reverse=True)
    return UnigramTokenizer(
        pieces=table,
        longest=max(map(len, table)),
        unknown=(unknown, worst - _UNKNOWN_PENALTY),
        rewrites=rewrites,
        special=re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else r"(?!)()"),
        before=ends[0],
        after=ends[1],
        padding=int(padding["pad_id"]),
    )


def _rewrites(normalizer: Mapping[str, Any] | None) -> tuple[Rewrite, ...] | None:
    """The steps of the ``normalizer``, None where one is not known."""
    if normalizer is None:
        return ()
    parts = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    steps = [_rewrite(part) for part in parts]
    return None if None in steps else tuple(step for step in steps if step is not None)


def _rewrite(part: Mapping[str, Any]) -> Rewrite | None:
    kind = part["type"]
    if kind in ("NFC", "NFD", "NFKC", "NFKD"):
        return lambda text: _normalised(kind, text)
    if kind == "Prepend":
        return lambda text: part["prepend"] + text if text else text
    if kind == "Replace":
        content, pattern = part["content"], part["pattern"]
        if "String" in pattern:
            return lambda text: text.replace(pattern["String"], content)
        if _CHARACTER_CLASS.fullmatch(pattern.get("Regex", "")):
            found = re.compile(pattern["Regex"])
            return lambda text: found.sub(lambda _: content, text)
    return None


def _normalised(kind: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """The text's normal form by Unicode 9, which does not depend on Python's version."""
    parts = _later().split(text)
    parts[::2] = [unicodedata.normalize(kind, part) for part in parts[::2]]
    return "".join(parts)


@lru_cache(maxsize=1)
def _later() -> re.Pattern[str]:
    spans = (span.split("-") for span in _AFTER_UNICODE_9.split())
    return re.compile(
        "([" + "".join(f"{chr(int(s[0], 16))}-{chr(int(s[-1], 16))}" for s in spans) + "]+)"
    )


def _splits_at_blanks(pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """Whether words are what stands between blanks, each with the sign of a word's start."""
    return pre_tokenizer == {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {
                "type": "Metaspace",
                "replacement": _WORD_START,
                "prepend_scheme": "always",
                "split": True,
            },
        ],
    }


def _ends(
    post_processor: Mapping[str, Any] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Ids before and after every text, None where they are given in another way."""
    if post_processor is None:
        return (), ()
    if post_processor["type"] != "TemplateProcessing":
        return None
    items, special = post_processor["single"], post_processor["special_tokens"]
    texts = [place for place, item in enumerate(items) if "Sequence" in item]
    if not texts:
        return None
    before, after = (
        [special[item["SpecialToken"]["id"]]["ids"] for item in part if "Sequence" not in item]
        for part in (items[: texts[0]], items[texts[0] :])
    )
    return tuple(chain(*before)), tuple(chain(*after))


class Tokenizer(Protocol):
    """What :func:`tokenise` needs of a tokenizer: padding on, no truncation."""

    def encode_batch(self, texts: Any) -> Sequence[Any]:
        """Objects with ``ids`` and ``attention_mask``, all of one length."""
        ...


def tokenise(
    tokenizer: Tokenizer, texts: list[str], max_tokens: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, padded to the longest text of the batch.

    Padding to the longest instead of to the tower's limit gives the same embeddings (the mask or
    the causal attention hides padding) for a fraction of the work.

    Args:
        tokenizer: With padding enabled, without truncation.
        texts: M texts, at least one.
        max_tokens: What the tower reads; None for no limit.

    Returns:
        Two (M, L) int64 arrays.

    Raises:
        InputError: A text is longer than ``max_tokens``, or holds what the tokenizer has no token
            for; or the tokenizer does not pad.
    """
    try:
        encodings = tokenizer.encode_batch(texts)
    except Exception as exc:  # the library raises no narrower class
        raise InputError(
            Text(
                f"text '{texts[0][:30]}…': the bundle's tokenizer cannot read it: {exc}",
                f"문장 '{texts[0][:30]}…': 번들의 토크나이저가 읽지 못합니다: {exc}",
            )
        ) from exc
    if len({len(e.ids) for e in encodings}) > 1:
        raise InputError(
            Text(
                "the bundle's tokenizer.json does not pad: texts of one batch get rows of "
                "different lengths; save it with padding enabled",
                "번들의 tokenizer.json에 패딩이 켜져 있지 않아 한 묶음의 문장 길이가 서로 "
                "다릅니다. 패딩을 켜고 다시 저장하십시오",
            )
        )
    ids = np.array([e.ids for e in encodings], np.int64)
    mask = np.array([e.attention_mask for e in encodings], np.int64)
    lengths = mask.sum(axis=1)
    if max_tokens is not None and lengths.max() > max_tokens:
        longest = int(lengths.argmax())
        start = texts[longest][:30]
        raise InputError(
            Text(
                f"text '{start}…' has {lengths[longest]} tokens, the text tower reads "
                f"{max_tokens}: shorten it",
                f"문장 '{start}…'은(는) {lengths[longest]}토큰인데 텍스트 인코더는 {max_tokens}토큰"
                "까지 읽습니다. 줄여 주십시오",
            )
        )
    return ids, mask
