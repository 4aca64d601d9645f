"""How well the words of ``nunbit search`` are found: real Korean comments as simulated windows.

python benchmarks/search_quality.py DATA [--part test] [--limit 2000] [--bundle BUNDLE]
    [--unseen CACHE/val-unseen.npy] [--weights]

DATA holds text/kote.csv (comments with the emotions that raters found in them). Each comment stands
for the words of one window, the mean of all comments is taken out as in an alignment, and windows
are ranked by cosine as ``search`` does. Faces, voices and learned heads take no part: nothing real
was there to learn them from. Two tasks:

* emotion: two sentences for each of 14 emotions, written before any result was seen; relevant are
  the comments in which raters found that emotion. Mean average precision and precision at 10,
  intervals by emotion, against shuffled relevance and against TF-IDF of letters (1 to 3).
* known item: a comment without its spaces and with a word left out must find its own window.

The side for words was fitted to part val: there its scores have to be those of comments that it had
not seen, which `scripts/fit_words.py` writes (`--unseen`). `--weights` prints the grid from which
the weights of emotions and exact words were chosen, on part val; part test was opened once.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.measures.class_probabilities import emotion_scores
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.said import words_side_of
from nunbit.model.zeroshot import normalise
from nunbit.space.exact_words import ExactWords
from nunbit.statistics.resampling import interval
from nunbit.stories.search import combined

Array = np.ndarray[Any, Any]
QUERIES = {
    "기쁨": ("정말 기쁘고 좋다", "기분이 날아갈 것 같아요"),
    "고마움": ("도와주셔서 감사합니다", "고마운 마음을 전하고 싶다"),
    "감동/감탄": ("감동해서 눈물이 난다", "정말 대단하고 멋지다"),
    "슬픔": ("너무 슬프고 마음이 아프다", "눈물이 멈추지 않아요"),
    "힘듦/지침": ("하루하루가 힘들고 지친다", "더는 버틸 힘이 없어요"),
    "절망": ("희망이 없고 다 끝난 것 같다", "앞이 캄캄하고 절망스럽다"),
    "화남/분노": ("화가 나서 참을 수가 없다", "분노가 치밀어 오른다"),
    "짜증": ("짜증나고 귀찮게 한다", "보기만 해도 짜증이 난다"),
    "불안/걱정": ("앞으로 어떻게 될지 걱정된다", "불안해서 잠이 안 와요"),
    "공포/무서움": ("무서워서 소름이 돋는다", "겁이 나고 두렵다"),
    "역겨움/징그러움": ("역겹고 토할 것 같다", "징그러워서 못 보겠다"),
    "놀람": ("깜짝 놀랐다", "이럴 줄은 상상도 못 했다"),
    "죄책감": ("내 잘못인 것 같아 미안하다", "죄책감이 들어 괴롭다"),
    "불쌍함/연민": ("불쌍하고 안쓰럽다", "딱해서 마음이 쓰인다"),
}
DRAWS, KNOWN, TOP = 2000, 400, 10
MAPPING = Path(__file__).parents[1] / "scripts/development/data/mappings/kote.toml"


def read(data: Path, part: str, limit: int) -> tuple[list[str], list[set[str]], list[int]]:
    """Comments of a part, drawn at random, the names of their emotions, and their places."""
    names = tomllib.loads(MAPPING.read_text(encoding="utf-8"))["names"]
    with (data / "text" / "kote.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["part"] == part]
    labels = [{names[int(n)] for n in row["labels"].replace(",", " ").split()} for row in rows]
    picked = sorted(np.random.default_rng(0).permutation(len(rows))[:limit].tolist())
    return [rows[i]["text"] for i in picked], [labels[i] for i in picked], picked


def embedded(embed: Callable[[list[str]], Array], texts: list[str]) -> Array:
    """Vectors of texts; those of like length together: a batch is as long as its longest."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = embed([texts[i] for i in order])
    out = np.empty_like(vectors)
    out[order] = vectors
    return out


def average_precision(score: Array, relevant: Array) -> tuple[float, float]:
    """Average precision and precision at 10 of one ranking."""
    hits = relevant[np.argsort(-score, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum()), float(hits[:TOP].mean())


def noisy(texts: list[str], seed: int) -> tuple[list[int], list[str]]:
    """Some comments of five words and more, one word left out and no spaces."""
    rng = np.random.default_rng(seed)
    long = [i for i, text in enumerate(texts) if len(text.split()) >= 5]
    chosen = sorted(rng.choice(long, min(KNOWN, len(long)), replace=False).tolist())
    changed = []
    for i in chosen:
        words = texts[i].split()
        del words[int(rng.integers(len(words)))]
        changed.append("".join(words))
    return chosen, changed


def ranks(score: Array, own: list[int]) -> Array:
    """(Q,) place of each query's own window, from 1."""
    mine = score[np.arange(len(own)), own]
    return 1 + (score > mine[:, None]).sum(axis=1)


def row(name: str, found: Array, null: Array) -> str:
    """One line of the table: mean over emotions with an interval by emotion."""
    picks = np.random.default_rng(0).integers(len(found), size=(DRAWS, len(found)))
    ends = [interval(found[:, c][picks].mean(axis=1)) or (0.0, 0.0) for c in (0, 1)]
    ap, at10 = 100 * found.mean(axis=0)
    return (
        f"| {name} | {ap:.1f} [{100 * ends[0][0]:.1f}, {100 * ends[0][1]:.1f}] "
        f"| {at10:.1f} [{100 * ends[1][0]:.1f}, {100 * ends[1][1]:.1f}] "
        f"| {100 * null[:, 0].mean():.1f} |"
    )


def parts_of(
    bundle: Bundle, texts: list[str], asked: list[str], unseen: Array | None
) -> tuple[Array, Array, Array]:
    """(Q, N) similarity by the tower, by emotions, and by exact words, as `search` has them."""
    windows = embedded(bundle.embed_texts, texts)
    mean = windows.mean(axis=0)
    similar = normalise(embedded(bundle.embed_texts, asked) - mean) @ normalise(windows - mean).T
    words = ExactWords(texts)
    exact = np.stack([words.scores(text) for text in asked])
    side = words_side_of(bundle)
    if side is None:
        return similar, np.zeros_like(similar), exact
    own = emotion_scores(bundle, side, texts) if unseen is None else unseen
    rows = side.logits(own.astype(np.float32))
    usual = rows.mean(axis=0)
    sought = side.logits(emotion_scores(bundle, side, asked))
    return similar, normalise(sought - usual) @ normalise(rows - usual).T, exact


def judged(
    score: Array, labels: list[set[str]], own: list[int], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Precision of the emotions, that of shuffled relevance, and the places of known items."""
    found, null = [], []
    for number, emotion in enumerate(QUERIES):
        relevant = np.array([emotion in each for each in labels])
        both = [score[2 * number + i] for i in (0, 1)]
        found.append(np.mean([average_precision(s, relevant) for s in both], axis=0))
        chance = [average_precision(s, rng.permutation(relevant)) for s in both]
        null.append(np.mean(chance, axis=0))
    return np.array(found), np.array(null), ranks(score[2 * len(QUERIES) :], own)


def main() -> int:
    """Rank, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="test", choices=("val", "test"))
    parser.add_argument("--limit", type=int, default=2000, help="comments")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--unseen", type=Path, help="scores of part val by a side without them")
    parser.add_argument("--weights", action="store_true")
    given = parser.parse_args()
    if given.part == "val" and given.unseen is None:
        parser.error("part val was fitted to: give --unseen")
    from sklearn.feature_extraction.text import TfidfVectorizer

    bundle = load_bundle(given.bundle)
    texts, labels, picked = read(given.data, given.part, given.limit)
    queries = [q for both in QUERIES.values() for q in both]
    own, changed = noisy(texts, 0)
    asked = queries + changed
    unseen = None if given.unseen is None else np.load(given.unseen)[picked]
    similar, emotion, exact = parts_of(bundle, texts, asked, unseen)
    letters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    table = letters.fit_transform(texts)
    scores: dict[str, Array] = {
        "**one ranking (what search takes)**": combined(similar, emotion, exact),
        "text tower (what search took before)": similar,
        "emotions alone": emotion,
        "exact words alone": exact,
        "TF-IDF of letters": (letters.transform(asked) @ table.T).toarray(),
    }
    if given.weights:
        for e in (0.25, 0.5, 1.0, 2.0, 4.0):
            for x in (1.0, 2.0, 4.0, 8.0):
                scores[f"emotions {e}, exact {x}"] = similar + e * emotion + x * exact**2
    print(f"{len(texts)} comments of part {given.part}, {len(queries)} queries\n")
    print("| | emotion: mAP % | precision at 10, % | shuffled mAP % | known item first, % | "
          f"among ten, % ({len(own)} queries) |\n|---|---|---|---:|---:|---:|")  # fmt: skip
    for name, score in scores.items():
        found, null, places = judged(score, labels, own, np.random.default_rng(0))
        first, ten = 100 * (places == 1).mean(), 100 * (places <= TOP).mean()
        print(f"{row(name, found, null)} {first:.1f} | {ten:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
