"""How well the words of ``nunbit search`` are found: real Korean comments as simulated windows.

python benchmarks/search_quality.py DATA [--part test] [--limit 2000] [--bundle BUNDLE]

DATA holds text/kote.csv (comments with the emotions that raters found in them). Each comment stands
for the words of one window, the mean of all comments is taken out as in an alignment, and windows
are ranked by cosine as ``search`` does. Faces, voices and learned heads take no part: nothing real
was there to learn them from. Two tasks:

* emotion: two sentences for each of 14 emotions, written before any result was seen; relevant are
  the comments in which raters found that emotion. Mean average precision and precision at 10,
  intervals by emotion, against shuffled relevance and against TF-IDF of letters (1 to 3).
* known item: a comment without its spaces and with a word left out must find its own window.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import normalise
from nunbit.statistics.resampling import interval

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


def read(data: Path, part: str, limit: int) -> tuple[list[str], list[set[str]]]:
    """Comments of a part, drawn at random, and the names of their emotions."""
    mapping = resources.files("nunbit") / "data" / "mappings" / "kote.toml"
    names = tomllib.loads(mapping.read_text(encoding="utf-8"))["names"]
    with (data / "text" / "kote.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["part"] == part]
    labels = [{names[int(n)] for n in row["labels"].replace(",", " ").split()} for row in rows]
    picked = sorted(np.random.default_rng(0).permutation(len(rows))[:limit].tolist())
    return [rows[i]["text"] for i in picked], [labels[i] for i in picked]


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


def main() -> int:
    """Rank, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="test", choices=("val", "test"))
    parser.add_argument("--limit", type=int, default=2000, help="comments")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    given = parser.parse_args()
    from sklearn.feature_extraction.text import TfidfVectorizer

    bundle = load_bundle(given.bundle)
    texts, labels = read(given.data, given.part, given.limit)
    queries = [q for both in QUERIES.values() for q in both]
    own, changed = noisy(texts, 0)
    asked = queries + changed
    scores: dict[str, Array] = {}
    for name, embed in (
        ("text tower (what search takes)", bundle.embed_texts),
        ("text tower with the map fitted to comments", bundle.embed_sentences),
    ):
        windows = embedded(embed, texts)
        mean = windows.mean(axis=0)
        scores[name] = normalise(embedded(embed, asked) - mean) @ normalise(windows - mean).T
    letters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    table = letters.fit_transform(texts)
    scores["TF-IDF of letters"] = (letters.transform(asked) @ table.T).toarray()
    print(f"{len(texts)} comments of part {given.part}, {len(queries)} queries\n")
    print("| emotion | mAP % | precision at 10, % | shuffled mAP % |\n|---|---|---|---:|")
    rng = np.random.default_rng(0)
    for name, score in scores.items():
        found, null = [], []
        for number, emotion in enumerate(QUERIES):
            relevant = np.array([emotion in each for each in labels])
            own_two = [average_precision(score[2 * number + i], relevant) for i in (0, 1)]
            chance = [
                average_precision(score[2 * number + i], rng.permutation(relevant)) for i in (0, 1)
            ]
            found.append(np.mean(own_two, axis=0))
            null.append(np.mean(chance, axis=0))
        print(row(name, np.array(found), np.array(null)), flush=True)
    print(f"\n| known item, {len(own)} queries | first, % | among ten, % |\n|---|---:|---:|")
    for name, score in scores.items():
        places = ranks(score[len(queries) :], own)
        print(f"| {name} | {100 * (places == 1).mean():.1f} | {100 * (places <= TOP).mean():.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
