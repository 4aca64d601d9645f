"""What people say, read for the emotions that others would see in it: ``words.npz`` of a bundle.

The text tower knows sentences *about* faces. This side beside it was fitted to comments for which
raters had named emotions, several at once. It reads a sentence in two ways: pieces of one to six
letters of its words (a syllable counts as its consonants and vowel, so that 기뻐 and 기뻤 share
most of theirs), hashed into a fixed table, and what the tower knows of it at some of its layers.
Both together give a score for each of the E emotions that raters could name, and, calibrated, the
probability that they do. A small map makes the K classes of the bundle of how many emotions of each
are to be expected. Prompts, tower and faces are not touched. M texts, D numbers of the tower's
layers (L layers of H), B buckets.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Floats, Singles
from nunbit.model.bundle import SENTENCES_FILE, WORDS_FILE, damaged
from nunbit.model.encoders import Bundle
from nunbit.statistics.remapping import softmax

WORDS_FORMAT = "nunbit-words-1"

SHORTEST, LONGEST = 1, 6
"""Letters of a piece; a blank before and after a word counts as one."""

_YO = unicodedata.normalize("NFD", "요")
_NOUNS = ("필요", "중요", "주요", "수요", "소요", "강요", "동요", "민요", "개요", "월요", "목요")
_NO_ENDING = tuple(unicodedata.normalize("NFD", noun) for noun in _NOUNS)
_VOWEL, _FINAL_B = "[\u1161-\u1175]", "\u11b8"
_FORMAL = re.compile(
    unicodedata.normalize("NFD", f"(?:습|(?<={_VOWEL}){_FINAL_B})니(?=(?:다|까)$)")
)
"""-습니다, -ㅂ니다 and their questions, at the end of a word, letter by letter."""

_LEAST = 1e-4  # expected number of emotions below which a logarithm says no more


@dataclass(frozen=True, eq=False)
class WordsSide:
    """The fitted side for what people say.

    Attributes:
        emotions: Names of the E emotions that raters could choose from, as the corpus has them.
        none: The emotion that stands for 'no emotion'.
        classes: Ids of the K classes.
        layers: Names of the L tensors of the text tower that are read.
        idf: (B,) weight of each bucket of pieces; 0 where too rare.
        pieces: (B, E) int8, times ``piece_scale``.
        piece_scale: (E,).
        centre: (D,) taken off the layers' means.
        vectors: (D, E) of what is left.
        bias: (E,).
        platt: (2, E) slope and offset that make a score the logit of 'raters name this emotion'.
        members: (E, K) 1 where an emotion belongs to a class.
        mean, spread: (2K,) of the expected numbers of named emotions, and of their logarithms.
        to_class: (2K, K) and ``class_bias`` (K,): logits of the class that most named emotions
            belong to.
        temperature: Divisor of these logits.
    """

    emotions: tuple[str, ...]
    none: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    idf: Singles
    pieces: NDArray[np.int8]
    piece_scale: Singles
    centre: Singles
    vectors: Singles
    bias: Singles
    platt: Singles
    members: Singles
    mean: Singles
    spread: Singles
    to_class: Singles
    class_bias: Singles
    temperature: float

    def scores(self, texts: Sequence[str], layers: Singles) -> Singles:
        """(M, E) of texts and their (M, L, H) layers by the text tower; no probabilities."""
        found = (layers.reshape(len(texts), -1) - self.centre) @ self.vectors + self.bias
        for row, text in enumerate(texts):
            buckets, weights = self.weigh(text)
            found[row] += (weights @ self.pieces[buckets].astype(np.float32)) * self.piece_scale
        return np.asarray(found, np.float32)

    def weigh(self, text: str) -> tuple[NDArray[np.int64], Singles]:
        """Buckets of a text's pieces and their weights, of unit length together."""
        return weigh(count_pieces(text, len(self.idf)), self.idf)

    def named(self, scores: Singles) -> Floats:
        """(M, E) probability that a rater's list of a comment like this names each emotion.

        Calibrated on comments, one emotion at a time: rows do not sum to one.
        """
        return np.asarray(1.0 / (1.0 + np.exp(-self.logits(scores).astype(np.float64))))

    def logits(self, scores: Singles) -> Singles:
        """(M, E) logits of :meth:`named`."""
        slope, offset = self.platt
        return np.asarray(scores * slope + offset, np.float32)

    def none_named(self, scores: Singles) -> Floats:
        """(M,) probability that 'no emotion' is named."""
        return np.asarray(self.named(scores)[:, self.emotions.index(self.none)])

    def chances(self, scores: Singles) -> Singles:
        """(M, K) probabilities of the class most named, rows sum to one."""
        numbers = (numbers_of(self.named(scores), self.members) - self.mean) / self.spread
        logits = (numbers @ self.to_class + self.class_bias) / self.temperature
        return np.asarray(softmax(logits), np.float32)


def numbers_of(named: Floats, members: Singles) -> Floats:
    """(M, 2K) expected number of named emotions of each class, and its logarithm."""
    expected = named @ members.astype(np.float64)
    return np.concatenate([expected, np.log(np.maximum(expected, _LEAST))], axis=1)


def level(text: str) -> str:
    """A text without the endings of polite speech: 슬펐어요 and 슬펐습니다 as 슬펐어 and 슬펐다.

    Who writes politely in comments mostly writes kindly; who is interviewed speaks politely,
    whatever they feel. Left in, politeness is joy to whatever learns from comments.
    """
    return " ".join(_levelled(word) for word in text.split())


def _levelled(word: str) -> str:
    letters = unicodedata.normalize("NFD", word)
    end = len(letters)
    while end and not "\u1100" <= letters[end - 1] <= "\u11ff":  # marks, smileys
        end -= 1
    own = letters[:end]
    if own.endswith(_YO) and len(own) > len(_YO) and not own.endswith(_NO_ENDING):
        own = own[: -len(_YO)]
    own = _FORMAL.sub("", own)
    return unicodedata.normalize("NFC", own + letters[end:])


def count_pieces(text: str, buckets: int) -> dict[int, int]:
    """How often each bucket is met by the pieces of a text.

    Args:
        text: Any text.
        buckets: B, a power of two.
    """
    found: dict[int, int] = {}
    for word in text.lower().split():
        letters = f" {unicodedata.normalize('NFD', word)} "
        raw, count = letters.encode("utf-16-le"), len(letters)
        if len(raw) != 2 * count:  # beyond the basic plane: emoji
            letters = "".join(c if ord(c) < 0x10000 else "\ufffd" for c in letters)
            raw = letters.encode("utf-16-le", "replace")
        for length in range(SHORTEST, min(LONGEST, count) + 1):
            for start in range(count - length + 1):
                bucket = zlib.crc32(raw[2 * start : 2 * (start + length)]) & (buckets - 1)
                found[bucket] = found.get(bucket, 0) + 1
    return found


def weigh(counts: dict[int, int], idf: Singles) -> tuple[NDArray[np.int64], Singles]:
    """Buckets and weights (1 + tf damped by a logarithm, times idf), of unit length together."""
    buckets = np.fromiter(counts, np.int64, len(counts))
    weights = np.log1p(np.fromiter(counts.values(), np.float32, len(counts))) * idf[buckets]
    return buckets, np.asarray(weights / max(float(np.linalg.norm(weights)), 1e-9), np.float32)


_TEXTS = ("emotions", "classes", "layers")
_NUMBERS = ("idf", "piece_scale", "centre", "vectors", "bias", "platt", "members")
_MAP = ("mean", "spread", "to_class", "class_bias")
_HALVED = ("idf", "vectors")


def write_words_side(path: Path, side: WordsSide) -> None:
    """Write ``words.npz``; single precision is halved, which changes no answer that matters."""
    arrays: dict[str, Any] = {
        **{name: np.array(getattr(side, name)) for name in _TEXTS},
        **{
            name: getattr(side, name).astype(np.float16 if name in _HALVED else np.float32)
            for name in (*_NUMBERS, *_MAP)
        },
        "format": np.array(WORDS_FORMAT),
        "none": np.array(side.none),
        "pieces": side.pieces,
        "temperature": np.array(side.temperature),
    }
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_words_side(path: Path, classes: Iterable[str]) -> WordsSide:
    """Read ``words.npz``.

    Args:
        path: The file.
        classes: Ids of the bundle's classes, in order.

    Raises:
        BundleError: It is damaged, or made for other classes or another tower.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if str(arrays["format"]) != WORDS_FORMAT:
                raise ValueError(f"format '{arrays['format']}', expected '{WORDS_FORMAT}'")
            given: dict[str, Any] = {n: tuple(str(t) for t in arrays[n]) for n in _TEXTS} | {
                n: arrays[n].astype(np.float32) for n in (*_NUMBERS, *_MAP)
            }
            side = WordsSide(
                none=str(arrays["none"]),
                pieces=arrays["pieces"],
                temperature=float(arrays["temperature"]),
                **given,
            )
        _check(side, tuple(classes))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as exc:
        raise damaged(path, exc) from exc
    return side


def _check(side: WordsSide, classes: tuple[str, ...]) -> None:
    b, e, k, d = len(side.idf), len(side.emotions), len(classes), len(side.centre)
    if side.classes != classes:
        raise ValueError(f"classes {', '.join(side.classes)}, expected {', '.join(classes)}")
    if side.none not in side.emotions or b < 2 or b & (b - 1):
        raise ValueError(f"{b} buckets, 'none' = {side.none}")
    expected = {
        "pieces": (b, e), "piece_scale": (e,), "centre": (d,), "vectors": (d, e), "bias": (e,),
        "platt": (2, e), "members": (e, k), "mean": (2 * k,), "spread": (2 * k,),
        "to_class": (2 * k, k), "class_bias": (k,),
    }  # fmt: skip
    for name, shape in expected.items():
        found = getattr(side, name)
        if found.shape != shape or not np.isfinite(found).all():
            raise ValueError(f"{name}: shape {found.shape}, expected {shape}, finite")
    if side.pieces.dtype != np.int8 or not (side.spread > 0).all() or side.temperature <= 0:
        raise ValueError("pieces must be int8, spread and temperature above 0")


def words_side_of(bundle: Bundle) -> WordsSide | None:
    """The side for what people say; None where the bundle has none, as those before it.

    Raises:
        BundleError: It is damaged.
    """
    if WORDS_FILE not in bundle.document.checksums:
        return None
    return _kept(bundle.path / WORDS_FILE, bundle.hash, bundle.label_set.ids)


@lru_cache(maxsize=2)
def _kept(path: Path, _digest: str, classes: tuple[str, ...]) -> WordsSide:
    return read_words_side(path, classes)


def text_side(bundle: Bundle) -> dict[str, str]:
    """Which part of a bundle reads what people say, for provenance.

    ``kind`` is ``words``, the ``map`` of bundles from before, or ``none``; and the file with its
    sha256.
    """
    if bundle.document.text_emotion is not None and bundle.has_text_tower:
        for kind, name in (("words", WORDS_FILE), ("map", SENTENCES_FILE)):
            if name in bundle.document.checksums:
                return {"kind": kind, "file": name, "sha256": bundle.document.checksums[name]}
    return {"kind": "none"}
