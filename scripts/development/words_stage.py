"""Fit the side for what people say: pieces of letters and the tower's layers to named emotions.

Ridge regression of all emotions that raters named at once, in its dual form (comments are fewer
than pieces), then a small logistic map from the emotions' scores to the classes of the bundle. The
map, its temperature and the calibration of each emotion are fitted to scores of comments that the
ridge had not seen (each left out in turn). M comments, E emotions, K classes, B buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.linear_model import LogisticRegression

from nunbit.model.said import WordsSide, count_pieces, numbers_of, weigh
from nunbit.statistics import fit_temperature

Floats = NDArray[np.float64]
FOLDS = 10


@dataclass(frozen=True, slots=True)
class WordsSettings:
    """How the side is fitted.

    Attributes:
        buckets: B, a power of two.
        ridge: Added to the diagonal of the comments' similarities.
        tower: Weight of the tower's similarities beside those of pieces (both have a mean of one
            on the diagonal).
        balance: Exponent of inverse class frequency in the map to classes.
        map_c: Inverse strength of that map's penalty.
        seed: Of the folds.
    """

    buckets: int = 1 << 16
    ridge: float = 4.0
    tower: float = 0.3
    balance: float = 0.7
    map_c: float = 0.03
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Views:
    """What the ridge sees of M comments.

    Attributes:
        pieces: (M, B) sparse, unit rows.
        idf: (B,).
        layers: (M, D) of the tower's L layers, less ``centre`` and times ``weight``, so that each
            layer and each of its numbers has the same part, and rows have a mean square length of
            one.
        centre: (D,).
        weight: (D,).
    """

    pieces: Any
    idf: NDArray[np.float32]
    layers: Floats
    centre: Floats
    weight: Floats

    def similarities(self, tower: float) -> Floats:
        """(M, M)."""
        own = (self.pieces @ self.pieces.T).toarray().astype(np.float64)
        return np.asarray(own + tower * (self.layers @ self.layers.T))


def views_of(texts: tuple[str, ...], layers: NDArray[np.float32], buckets: int) -> Views:
    """Count pieces, weigh them by how rare they are, and centre the tower's layers (M, L, H)."""
    counted = [count_pieces(text, buckets) for text in texts]
    seen = np.zeros(buckets, np.int64)
    for counts in counted:
        seen[list(counts)] += 1
    rare = np.where(seen >= 2, np.log((1 + len(texts)) / (1 + seen)) + 1.0, 0.0)
    idf = rare.astype(np.float16).astype(np.float32)  # as it is stored
    weighed = [weigh(counts, idf) for counts in counted]
    ends = np.cumsum([0, *(len(b) for b, _ in weighed)])
    pieces = sparse.csr_matrix(
        (np.concatenate([w for _, w in weighed]), np.concatenate([b for b, _ in weighed]), ends),
        shape=(len(texts), buckets),
    )
    flat = layers.reshape(len(texts), -1).astype(np.float64)
    centre, spread = flat.mean(axis=0), flat.std(axis=0)
    weight = 1.0 / np.maximum(spread, 1e-6) / np.sqrt(flat.shape[1])
    return Views(pieces, idf, (flat - centre) * weight, centre, weight)


def folds_of(count: int, seed: int) -> NDArray[np.int64]:
    """(M,) fold of each comment."""
    return np.random.default_rng(seed).permutation(count) % FOLDS


def dual(similar: Floats, ridge: float, named: Floats) -> Floats:
    """(M, E) coefficients of comments."""
    matrix = similar + ridge * np.eye(len(similar))
    return np.asarray(linalg.solve(matrix, named, assume_a="pos", check_finite=False))


def unseen_scores(similar: Floats, ridge: float, named: Floats) -> Floats:
    """(M, E) scores of every comment by a ridge fitted to all others.

    Leaving one out has a closed form: the residual is the coefficient over its own diagonal.
    """
    mean = named.mean(axis=0)
    factor = linalg.cho_factor(similar + ridge * np.eye(len(similar)), check_finite=False)
    inverse, _ = linalg.lapack.dpotri(factor[0], lower=factor[1])
    coefficients = linalg.cho_solve(factor, named - mean, check_finite=False)
    return np.asarray(named - coefficients / np.diag(inverse)[:, None])


def class_weights(truth: NDArray[np.int64], classes: int, balance: float) -> Floats:
    """(K,) weights with mean one over comments; all classes have to occur."""
    counts = np.bincount(truth, minlength=classes).astype(np.float64)
    weight = (1.0 / counts) ** balance
    return np.asarray(weight * counts.sum() / (weight * counts).sum())


def fit_map(numbers: Floats, truth: NDArray[np.int64], classes: int, s: WordsSettings) -> Any:
    """Logistic regression from standardised numbers to classes; truth -1 is left out."""
    kept = truth >= 0
    weight = class_weights(truth[kept], classes, s.balance)
    model = LogisticRegression(C=s.map_c, max_iter=2000, class_weight=dict(enumerate(weight)))
    return model.fit(numbers[kept], truth[kept])


def standard_numbers(scores: Floats, named: Floats, members: NDArray[np.float32]) -> Any:
    """Platt's lines (2, E), standardised numbers (M, 2K), their mean and spread."""
    platt = platt_of(scores, named)
    chances = 1.0 / (1.0 + np.exp(-(scores * platt[0] + platt[1])))
    numbers = numbers_of(chances, members)
    mean, spread = numbers.mean(axis=0), numbers.std(axis=0)
    return platt, (numbers - mean) / spread, mean, spread


def unseen_logits(
    numbers: Floats, truth: NDArray[np.int64], classes: int, s: WordsSettings
) -> Floats:
    """(M, K) logits of the map, each comment by a map fitted without its tenth."""
    found, fold = np.zeros((len(numbers), classes)), folds_of(len(numbers), s.seed)
    for k in range(FOLDS):
        model = fit_map(numbers[fold != k], truth[fold != k], classes, s)
        found[fold == k] = numbers[fold == k] @ model.coef_.T + model.intercept_
    return found


@dataclass(frozen=True, slots=True)
class Corpus:
    """What comments say of emotions and classes.

    Attributes:
        emotions: Names of the E emotions.
        none: The one that stands for no emotion.
        classes: Ids of the K classes.
        members: (E, K) 1 where an emotion belongs to a class.
        layers: Names of the tower's tensors.
    """

    emotions: tuple[str, ...]
    none: str
    classes: tuple[str, ...]
    members: NDArray[np.float32]
    layers: tuple[str, ...]


def fit_words(
    views: Views, named: NDArray[np.float32], truth: NDArray[np.int64], s: WordsSettings,
    corpus: Corpus,
) -> WordsSide:  # fmt: skip
    """Fit everything with settings that were chosen.

    Args:
        views: Of M comments.
        named: (M, E) 0 or 1.
        truth: (M,) class with most named emotions, -1 where two share it.
        s: Settings.
        corpus: Names, and which emotion belongs to which class.
    """
    targets, k = named.astype(np.float64), len(corpus.classes)
    similar = views.similarities(s.tower)
    scores = unseen_scores(similar, s.ridge, targets)
    platt, numbers, mean, spread = standard_numbers(scores, targets, corpus.members)
    model = fit_map(numbers, truth, k, s)
    logits = unseen_logits(numbers, truth, k, s)
    kept = truth >= 0
    # The temperature is that of a population with the map's class weights: comments drawn so.
    weight = class_weights(truth[kept], k, s.balance)[truth[kept]]
    drawn = np.random.default_rng(s.seed).choice(
        np.flatnonzero(kept), 20_000, p=weight / weight.sum()
    )
    coefficients = dual(similar, s.ridge, targets - targets.mean(axis=0))
    pieces = np.asarray(views.pieces.T @ coefficients)
    piece_scale = np.maximum(np.abs(pieces).max(axis=0), 1e-12) / 127
    vectors = views.weight[:, None] * (s.tower * views.layers.T @ coefficients)
    return WordsSide(
        emotions=corpus.emotions,
        none=corpus.none,
        classes=corpus.classes,
        layers=corpus.layers,
        idf=views.idf,
        pieces=np.rint(pieces / piece_scale).astype(np.int8),
        piece_scale=piece_scale.astype(np.float32),
        centre=views.centre.astype(np.float32),
        vectors=vectors.astype(np.float32),
        bias=targets.mean(axis=0).astype(np.float32),
        platt=platt.astype(np.float32),
        members=corpus.members,
        mean=mean.astype(np.float32),
        spread=spread.astype(np.float32),
        to_class=model.coef_.T.astype(np.float32),
        class_bias=model.intercept_.astype(np.float32),
        temperature=float(fit_temperature(logits[drawn], truth[drawn])),
    )


def platt_of(scores: Floats, named: Floats) -> Floats:
    """(2, E) slope and offset of each emotion's logit (Platt 1999)."""
    rows = []
    for own, there in zip(scores.T, named.T, strict=True):
        model = LogisticRegression(C=1e4, max_iter=1000).fit(own[:, None], there)
        rows.append((model.coef_[0, 0], model.intercept_[0]))
    return np.array(rows).T
