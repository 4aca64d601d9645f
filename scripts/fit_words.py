"""Fit the side for what people say to a bundle (``words.npz``), and measure it.

    python scripts/fit_words.py BUNDLE KOTE.csv --out BUNDLE2 --cache DIR [--choose] [--test]

KOTE (Jeon et al. 2022) as a table with the columns part, id, text, labels. Everything is fitted and
chosen on part `val`, each tenth of it held out in turn; `--choose` prints the settings that were
tried, `--test` opens part `test`, once per release. Printed beside it: TF-IDF with logistic
regression on the same comments (`fit_sentences.py` measures the map that bundles had before).
Prompts, tower and faces stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from development.comments import Comments, emotion_names, load_mapping, read_named, shares
from development.words_stage import (
    Corpus,
    Views,
    WordsSettings,
    fit_words,
    standard_numbers,
    unseen_logits,
    unseen_scores,
    views_of,
)
from fit_sentences import tfidf_f1
from nunbit.measures.class_probabilities import emotion_scores
from nunbit.model.bundle import BUNDLE_FILE, WORDS_FILE
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.said import level, write_words_side
from nunbit.runtime.files import sha256_file
from nunbit.statistics import confusion_matrix, macro_f1

Array = np.ndarray[Any, Any]
CHOSEN = WordsSettings()
NONE = "없음"
LAYERS = ("layer_norm_12", "layer_norm_18", "layer_norm_24")
"""After the sixth, ninth and last of the tower's twelve blocks."""

LONGEST = 200  # characters, as analyze reads them
DRAWS = 2000


def tower_layers(bundle: Bundle, texts: tuple[str, ...], cache: Path) -> Array:
    """(M, L, H), short texts together; kept in a file."""
    if cache.is_file():
        return np.asarray(np.load(cache))
    order = np.argsort([len(text) for text in texts], kind="stable")
    found = bundle.text_layers([texts[i] for i in order], LAYERS)
    rows = np.empty_like(found)
    rows[order] = found
    np.save(cache, rows)
    return rows


def truth_of(targets: Array) -> Array:
    """(M,) class with the largest share; -1 where two share it or no class is named."""
    found = Comments((), targets).truth
    return np.where(targets.sum(axis=1) > 0, found, -1)


def f1(guess: Array, truth: Array, classes: int) -> float:
    """Macro-F1 over comments with one main class."""
    kept = truth >= 0
    matrix = confusion_matrix(truth[kept], guess[kept].astype(np.int64), classes)
    return float(macro_f1(matrix))


def interval(guess: Array, truth: Array, classes: int) -> tuple[float, float]:
    """95% of macro-F1 over resampled comments."""
    rng, kept = np.random.default_rng(0), np.flatnonzero(truth >= 0)
    drawn = [rng.choice(kept, len(kept)) for _ in range(DRAWS)]
    found = np.quantile([f1(guess[d], truth[d], classes) for d in drawn], (0.025, 0.975))
    return round(float(found[0]), 4), round(float(found[1]), 4)


def grid() -> Iterator[WordsSettings]:
    """What was tried."""
    for tower in (0.0, 0.3, 0.6):
        for ridge in (2.0, 4.0, 6.0):
            yield replace(CHOSEN, tower=tower, ridge=ridge)


def choose(views: Views, named: Array, truth: Array, members: Array) -> None:
    """Print how each setting does on comments that it was not fitted to."""
    k, targets = members.shape[1], named.astype(np.float64)
    for s in grid():
        scores = unseen_scores(views.similarities(s.tower), s.ridge, targets)
        numbers = standard_numbers(scores, targets, members)[1]
        line = f"tower {s.tower} ridge {s.ridge}: mAP of 44 {precision(scores, named):.4f}; F1"
        for map_c in (0.03, 0.1, 0.3):
            for balance in (0.4, 0.5, 0.6, 0.7):
                one = replace(s, map_c=map_c, balance=balance)
                guess = unseen_logits(numbers, truth, k, one).argmax(axis=1)
                line += f" {f1(guess, truth, k):.3f}"
            line += " |"
        print(line, flush=True)


def precision(scores: Array, named: Array) -> float:
    """Mean average precision over the emotions."""
    rows = zip(scores.T, named.T, strict=True)
    return float(np.mean([average_precision_score(there, own) for own, there in rows]))


def measured(bundle: Bundle, side: Any, path: Path, part: str, cache: Path) -> dict[str, Any]:
    """Figures of a part, as `analyze` would read its comments; and of the map before."""
    texts, named = read_named(path, part)
    texts = tuple(level(text[-LONGEST:]) for text in texts)
    truth, k = truth_of(shares(named, bundle.label_set)), len(bundle.label_set.labels)
    whole = side.scores(texts, tower_layers(bundle, texts, cache / f"{part}.npy"))
    parted = cache / f"{part}-sentences.npy"
    if not parted.is_file():
        np.save(parted, emotion_scores(bundle, side, texts))
    result: dict[str, Any] = {"comments": int((truth >= 0).sum())}
    for name, scores in (("by sentence (analyze)", np.load(parted)), ("whole comment", whole)):
        chances = side.chances(scores)
        guess = chances.argmax(axis=1)
        result[name] = {
            "macro_f1": f1(guess, truth, k), "ci95": interval(guess, truth, k),
            "per_class_f1": per_class(guess, truth, k),
            "accuracy": float((guess == truth)[truth >= 0].mean()),
            "ece_multi": calibration(side.named(scores), named),
            "f1_any": any_f1(side.named(scores), named, bundle),
            "map_44": precision(scores, named),
            "none_auc": none_auc(side.none_named(scores), named[:, side.emotions.index(NONE)]),
        }  # fmt: skip
    return result


def per_class(guess: Array, truth: Array, classes: int) -> list[float]:
    """F1 of each class."""
    found = []
    for c in range(classes):
        hit = float(((guess == c) & (truth == c)).sum())
        asked = float(((guess == c) & (truth >= 0)).sum() + (truth == c).sum())
        found.append(round(2 * hit / max(asked, 1.0), 3))
    return found


def calibration(chances: Array, named: Array) -> float:
    """Mean over emotions of the expected calibration error (ten bins of equal counts)."""
    found = []
    for p, there in zip(chances.T, named.T, strict=True):
        bins = np.array_split(np.argsort(p, kind="stable"), 10)
        found.append(sum(len(b) * abs(p[b].mean() - there[b].mean()) for b in bins) / len(p))
    return float(np.mean(found))


def any_f1(chances: Array, named: Array, bundle: Bundle) -> float:
    """Macro-F1 over classes of 'at least one emotion of the class is named', probability >= .5."""
    mapping = load_mapping(bundle.label_set) > 0
    found = []
    for members in mapping.T:
        there = named[:, members].any(axis=1)
        said = chances[:, members].max(axis=1) >= 0.5
        hit = float((there & said).sum())
        found.append(2 * hit / max(1.0, float(there.sum() + said.sum())))
    return float(np.mean(found))


def none_auc(chances: Array, there: Array) -> float:
    """Area under the curve of 'no emotion'."""
    order = np.argsort(np.argsort(chances)) + 1.0
    n, m = float(there.sum()), float(len(there) - there.sum())
    return float((order[there > 0].sum() - n * (n + 1) / 2) / (n * m))


def main() -> int:
    """Fit, measure, write BUNDLE2."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("kote", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--test", action="store_true")
    a = parser.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(a.bundle, threads=1)
    labels = bundle.label_set
    texts, named = read_named(a.kote, "val")
    texts = tuple(level(text[-LONGEST:]) for text in texts)
    targets = shares(named, labels)
    truth = truth_of(targets)
    views = views_of(texts, tower_layers(bundle, texts, a.cache / "val.npy"), CHOSEN.buckets)
    members = load_mapping(labels)
    if a.choose:
        choose(views, named, truth, members)
        return 0
    corpus = Corpus(emotion_names(), NONE, labels.ids, members, LAYERS)
    side = fit_words(views, named, truth, CHOSEN, corpus)
    unseen = unseen_scores(views.similarities(CHOSEN.tower), CHOSEN.ridge, named.astype(float))
    np.save(a.cache / "val-unseen.npy", unseen.astype(np.float32))
    numbers = standard_numbers(unseen, named.astype(float), members)[1]
    guess = unseen_logits(numbers, truth, len(labels.labels), CHOSEN).argmax(axis=1)
    result: dict[str, Any] = {
        "settings": asdict(CHOSEN),
        "val, each tenth held out": {
            "comments": int((truth >= 0).sum()),
            "macro_f1": f1(guess, truth, len(labels.labels)),
            "per_class_f1": per_class(guess, truth, len(labels.labels)),
            "map_44": precision(unseen, named),
        },
    }
    if a.test:
        own = truth >= 0
        said = tuple(t for t, k in zip(texts, own.tolist(), strict=True) if k)
        test_texts, test_named = read_named(a.kote, "test")
        test = Comments(tuple(t[-LONGEST:] for t in test_texts), shares(test_named, labels))
        kept = np.flatnonzero(truth_of(test.targets) >= 0)
        test = Comments(tuple(test.texts[i] for i in kept), test.targets[kept])
        result["test"] = measured(bundle, side, a.kote, "test", a.cache)
        result["test"]["TF-IDF + logistic regression"] = tfidf_f1(
            Comments(said, targets[own]), test
        )
    shutil.rmtree(a.out, ignore_errors=True)
    shutil.copytree(a.bundle, a.out)
    write_words_side(a.out / WORDS_FILE, side)
    document = json.loads((a.out / BUNDLE_FILE).read_text(encoding="utf-8"))
    document["checksums"][WORDS_FILE] = sha256_file(a.out / WORDS_FILE)
    document["text_emotion"] |= {"side": "words", "words": result}
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    (a.out / BUNDLE_FILE).write_text(text, encoding="utf-8")
    load_bundle(a.out, threads=1)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
