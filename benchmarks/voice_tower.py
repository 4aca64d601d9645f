"""The voice tower against eGeMAPS + SVM by speaker, across corpora, and against faces and words.

    python benchmarks/voice_tower.py DATA BUNDLE --cache FOLDER [--faces PREPARED] [--only NAME …]

DATA holds speech/ravdess, speech/emodb and speech/korean_emotional. Settings are chosen by inner
folds over speakers, tower and baseline alike; emotional-to-emotional takes those of the first
RAVDESS fold, faces and words the ones that fit_voice.py uses. The lists of settings and the
normalisation were set after looking at speaker folds of the same corpora: the tower's figures are a
little too good for that. Each speaker's mean is that of all their utterances, without labels. Needs
the development extra (opensmile, scikit-learn). Prints Markdown; the exit code is 1 when a bar is
missed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from development.voice_data import Recordings, label_set_with_own, load_recordings
from development.voice_stage import (
    CHOSEN,
    FittedVoice,
    VoiceSettings,
    fit_voice,
    held_out,
)
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines, normalise, probabilities
from nunbit.recording.voice.functionals import standardise_persons
from nunbit.statistics import confusion_matrix, uar
from nunbit.statistics.resampling import confusion_cells, interval, resample

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]
DRAWS, BAR = 2000, -0.03
NO_ROWS = np.zeros(0, int)
TOWERS = [
    VoiceSettings(hidden=h, weight_decay=w, dropout=d)
    for h, w, d in ((0, 10.0, 0.3), (0, 10.0, 0.6), (32, 10.0, 0.5), (32, 40.0, 0.7))
]
SVMS = [(form, cost) for form in (0, 1) for cost in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)]
missed: list[str] = []


@dataclass(frozen=True, eq=False)
class Corpus:
    """All utterances as both methods see them.

    Attributes:
        info: Speakers, sentences and so on.
        tower: (N, F) functionals standardised by speaker.
        egemaps: (2, N, 88) with the same normalisation, and over each speaker's own spread.
        truth: (N,) classes.
        prompts: (T, K, D).
        labels: K ids, the label set's own first.
    """

    info: Recordings
    tower: Array
    egemaps: Array
    truth: Array
    prompts: Array
    labels: tuple[str, ...]


def egemaps_of(data: Path, files: Array, cache: Path) -> Array:
    """(N, 88) functionals of whole files by openSMILE."""
    path = cache / "egemaps.npz"
    if path.is_file():
        kept = np.load(path)
        at = {f: i for i, f in enumerate(kept["files"].tolist())}
        return kept["x"][[at[f] for f in files.tolist()]]
    import opensmile
    import soundfile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
    rows = []
    for file in files.tolist():
        sound, rate = soundfile.read(data / file, dtype="float32")
        rows.append(smile.process_signal(sound, rate).to_numpy()[0])
    x = np.array(rows, np.float32)
    np.savez(path, files=files, x=x)
    return x


def prepare(data: Path, bundle: Bundle, cache: Path) -> Corpus:
    """Read everything; utterances with less than a second of speech stay out of both methods."""
    info = load_recordings(data, cache / "functionals.npz")
    heard = np.isfinite(info.rows).any(axis=1)
    print(f"{(~heard).sum()} of {len(heard)} utterances have less than 1 s of speech: left out\n")
    egemaps = egemaps_of(data, info.file, cache)[heard]
    info = info.take(heard)
    labels, names = label_set_with_own(bundle.label_set)
    prompts = bundle.prompt_embeddings(load_template_set(bundle.default_template_set), labels)
    truth = np.array([labels.index(names[e]) for e in info.emotion])
    usual = replace(info, rows=egemaps).spread
    return Corpus(
        info,
        standardise_persons(info.rows, info.person, info.spread),
        np.stack(
            [standardise_persons(egemaps, info.person, usual, trust=t) for t in (np.inf, 0.0)]
        ),
        truth,
        prompts,
        labels.ids,
    )


def folds_of(speakers: Array, n: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """(train, test) masks; each speaker is tested once."""
    names = np.random.default_rng(seed).permutation(np.unique(speakers))
    for part in np.array_split(names, min(n, len(names))):
        test = np.isin(speakers, part)
        yield ~test, test


def score(truth: Array, guess: Array, k: int) -> float:
    """UAR."""
    return float(uar(confusion_matrix(truth, guess, k)))


def tower_answers(
    fitted: FittedVoice, corpus: Corpus, rows: Array, shown: Array
) -> tuple[Array, Array]:
    """(n,) nearest of the shown classes and (n, K) cosines."""
    vectors = fitted.embed(corpus.tower[rows])
    cosines = ensemble_cosines(vectors, corpus.prompts, "mean_embedding")
    return shown[cosines[:, shown].argmax(axis=1)], cosines


def fit_tower(corpus: Corpus, rows: Array, settings: VoiceSettings) -> FittedVoice:
    """Train on some utterances."""
    return fit_voice(corpus.tower[rows], corpus.truth[rows], corpus.prompts, settings)


def fit_svm(corpus: Corpus, rows: Array, option: tuple[int, float]) -> Any:
    """Linear SVM on eGeMAPS."""
    from sklearn.svm import LinearSVC

    form, cost = option
    # Solved in the primal: the same optimum, and fast with more rows than columns.
    model = LinearSVC(C=cost, class_weight="balanced", max_iter=20000, dual=False, random_state=0)
    return form, model.fit(corpus.egemaps[form, rows], corpus.truth[rows])


def svm_answers(fitted: Any, corpus: Corpus, rows: Array, shown: Array) -> Array:
    """(n,) best of the shown classes."""
    form, model = fitted
    values = model.decision_function(corpus.egemaps[form, rows])
    keep = np.isin(model.classes_, shown)
    return model.classes_[keep][values[:, keep].argmax(axis=1)]


def choose(
    corpus: Corpus,
    rows: Array,
    options: tuple[Any, ...] | list[Any],
    answer: Callable[[Array, Array, Any], Array],
) -> Any:
    """The option with the best UAR over three inner folds of speakers."""
    k = len(corpus.labels)
    totals = np.zeros(len(options))
    speakers = corpus.info.speaker[rows]
    for train, test in folds_of(speakers, 3, 1):
        for i, option in enumerate(options):
            guess = answer(rows[train], rows[test], option)
            totals[i] += score(corpus.truth[rows[test]], guess, k)
    return options[int(totals.argmax())]


def both(
    corpus: Corpus, train: Array, test: Array, chosen: tuple[Any, Any] | None, more: Array
) -> Any:
    """Answers of tower and SVM for test rows, settings chosen within train unless given.

    With ``more`` rows of other corpora each method may take them in, and five towers are averaged.
    """
    shown = np.unique(corpus.truth[test])
    shown = shown[np.isin(shown, corpus.truth[train])]

    def with_more(a: Array, add: bool) -> Array:
        return np.concatenate([a, more]) if add else a

    def by_tower(a: Array, b: Array, option: tuple[VoiceSettings, bool]) -> Array:
        settings, add = option
        fitted = fit_tower(corpus, with_more(a, add), settings)
        return tower_answers(fitted, corpus, b, shown)[0]

    def by_svm(a: Array, b: Array, option: tuple[Any, bool]) -> Array:
        cost, add = option
        fitted = fit_svm(corpus, with_more(a, add), cost)
        return svm_answers(fitted, corpus, b, shown)

    if chosen is None:
        adding = (False, True) if len(more) else (False,)
        chosen = (
            choose(corpus, train, list(product(TOWERS, adding)), by_tower),
            choose(corpus, train, list(product(SVMS, adding)), by_svm),
        )
    (settings, add), svm = chosen
    final = (replace(settings, members=5) if len(more) else settings, add)
    return by_tower(train, test, final), by_svm(train, test, svm), chosen


def compare(
    name: str,
    corpus: Corpus,
    folds: list[tuple[Array, Array]],
    chosen: Any = None,
    bar: bool = False,
    more: Array = NO_ROWS,
) -> Any:
    """One row of the table: UAR of both, majority, paired difference by speaker bootstrap."""
    k = len(corpus.labels)
    guesses = np.full((2, len(corpus.truth)), -1)
    picked = []
    for train, test in folds:
        a, b, used = both(corpus, np.flatnonzero(train), np.flatnonzero(test), chosen, more)
        guesses[0, test], guesses[1, test] = a, b
        picked.append(used)
    seen = np.any([test for _, test in folds], axis=0)
    truth, person = corpus.truth[seen], np.unique(corpus.info.speaker[seen], return_inverse=True)[1]
    sums = {n: confusion_cells(truth, g[seen], k) for n, g in zip("ab", guesses, strict=True)}
    draws = resample(sums, person, n_resamples=DRAWS, seed=0)
    scores = {n: uar(s.total().reshape(k, k)) for n, s in sums.items()}
    spread = {n: uar(d.reshape(-1, k, k)) for n, d in draws.items()}
    difference = interval(spread["a"] - spread["b"])
    n_classes = len(np.unique(truth))
    ok = difference is not None and difference[0] > BAR
    if bar and not ok:
        missed.append(name)
    print(
        f"| {name} | {n_classes} | {len(truth)} / {person.max() + 1} "
        f"| {percent(scores['a'], interval(spread['a']))} "
        f"| {percent(scores['b'], interval(spread['b']))} | {100 / n_classes:.1f} "
        f"| {100 * (scores['a'] - scores['b']):+.1f} [{100 * difference[0]:+.1f}, "
        f"{100 * difference[1]:+.1f}]{(' ok' if ok else ' MISS') if bar else ''} |",
        flush=True,
    )
    used = [(s.hidden, s.weight_decay, add, svm) for (s, add), svm in picked]
    print(f"  chosen: {used}", file=sys.stderr, flush=True)
    return picked


def percent(value: float, ends: tuple[float, float] | None) -> str:
    """Percent with its interval."""
    return f"{100 * value:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")


def within(corpus: Corpus) -> None:
    """Each corpus by itself, new speakers."""
    info = corpus.info
    print("| test | classes | utterances / speakers | tower UAR % | eGeMAPS + SVM | majority "
          "| difference |\n|---|---|---|---|---|---|---|")  # fmt: skip
    one = info.corpus == "ravdess"
    picked = compare("RAVDESS", corpus, inside(one, info.speaker, 5), bar=True)
    compare("EmoDB (cut)", corpus, inside(info.corpus == "emodb", info.speaker, 8))
    korean = info.corpus == "korean_emotional"
    compare("Korean plain-to-emotional", corpus, plain_folds(info), bar=True)
    acted = info.part == "emotional-to-emotional"
    speakers, sentences = folds_by(info.speaker, acted, 4), folds_by(info.sentence, acted, 5)
    folds = [(korean & ~s & ~t, acted & s & t) for s, t in product(speakers, sentences)]
    folds = [f for f in folds if f[1].any()]
    compare("Korean emotional-to-emotional, new speaker and sentence", corpus, folds, picked[0])


def plain_folds(info: Recordings) -> list[tuple[Array, Array]]:
    """Each speaker of the plain sentences against all other Korean speakers."""
    korean, plain = info.corpus == "korean_emotional", info.part == "plain-to-emotional"
    return [(korean & (info.speaker != s), plain & (info.speaker == s))
            for s in np.unique(info.speaker[plain])]  # fmt: skip


def pooled(corpus: Corpus) -> None:
    """Korean plain-to-emotional, where the inner folds may add the other corpora; 10 minutes."""
    others = np.flatnonzero(corpus.info.corpus != "korean_emotional")
    folds = plain_folds(corpus.info)
    compare("Korean plain-to-emotional, corpora may be pooled", corpus, folds, more=others)


def power(speakers: int = 4, utterances: int = 20, usual: float = 0.70) -> None:
    """How often a method reaches the bar beside one that is right in 70%, errors independent."""
    print("\n| share right, beside 70% | reaches the bar, % of 1,000 simulated tests |\n|---|---|")
    for right in (0.70, 0.75, 0.80, 0.85, 0.90):
        generator = np.random.default_rng(0)
        reached = 0
        for _ in range(1000):
            a, b = ((generator.random((speakers, utterances)) < p).mean(1) for p in (right, usual))
            picks = generator.integers(speakers, size=(1000, speakers))
            ends = interval((a - b)[picks].mean(axis=1))
            reached += ends is not None and ends[0] > BAR
        print(f"| {100 * right:.0f}% | {reached / 10:.0f} |", flush=True)


def inside(keep: Array, speakers: Array, n: int) -> list[tuple[Array, Array]]:
    """Speaker folds of one corpus as masks over everything."""
    return [(keep & ~np.isin(speakers, part), keep & np.isin(speakers, part))
            for part in np.array_split(np.random.default_rng(0).permutation(
                np.unique(speakers[keep])), n)]  # fmt: skip


def folds_by(values: Array, keep: Array, n: int) -> list[Array]:
    """Masks that share the values out."""
    names = np.random.default_rng(0).permutation(np.unique(values[keep]))
    return [np.isin(values, part) for part in np.array_split(names, n)]


def across(corpus: Corpus) -> None:
    """Train on two corpora, test on the third; answers among the classes both sides show."""
    info = corpus.info
    print("\n| test, trained on the other two | classes | utterances / speakers | tower UAR % "
          "| eGeMAPS + SVM | majority | difference |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name in np.unique(info.corpus):
        train = info.corpus != name
        test = (info.corpus == name) & np.isin(corpus.truth, corpus.truth[train])
        compare(str(name), corpus, [(train, test)])


def average_precision(similar: Array, relevant: Array) -> Array:
    """(Q,) average precision of ranked candidates; both (Q, C)."""
    order = np.argsort(-similar, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)


def retrieval(corpus: Corpus, bundle: Bundle, faces: Path, vectors: Array) -> None:
    """Voices ask for faces of the same emotion, which they were never paired with."""
    data = open_dataset(faces)
    rows = np.concatenate([data.split_rows("validation"), data.split_rows("test")])
    face_truth = truth_of(data, rows, "uploader")
    rows, face_truth = rows[face_truth >= 0], face_truth[face_truth >= 0]
    embedded = np.concatenate(
        [bundle.embed_images(np.stack([data.pixels(int(r)) for r in part]))
         for part in np.array_split(rows, max(1, len(rows) // 256))]
    )  # fmt: skip
    k = len(bundle.label_set.labels)
    asked = corpus.truth < k
    voices, truth, speaker = vectors[asked], corpus.truth[asked], corpus.info.speaker[asked]
    similar = normalise(voices) @ embedded.T
    generator = np.random.default_rng(0)
    found = {
        "voice → face": (similar, truth, face_truth, speaker),
        "face → voice": (similar.T, face_truth, truth, None),
    }
    print(f"\n{len(truth)} voices of {len(np.unique(speaker))} held-out speakers, {len(rows)} faces"
          "\n\n| query | emotion | queries | mAP % | shuffled null | difference |\n"
          "|---|---|---|---|---|---|")  # fmt: skip
    for name, (table, wanted, there, groups) in found.items():
        points = average_precision(table, wanted[:, None] == there[None, :])
        shuffled = generator.permutation(there)
        null = average_precision(table, wanted[:, None] == shuffled[None, :])
        person = (
            np.arange(len(wanted)) if groups is None else np.unique(groups, return_inverse=True)[1]
        )
        parts = {bundle.label_set.ids[c]: wanted == c for c in range(k)}
        for label, keep in parts.items():
            print_row(name, label, points, null, keep[:, None], person)
        print_row(name, "mean of emotions", points, null, np.stack(list(parts.values()), 1), person)


def print_row(
    name: str, label: str, points: Array, null: Array, keep: Array, person: Array
) -> None:
    """Mean over emotions (columns of ``keep``) of the mean over queries, by person bootstrap."""
    generator = np.random.default_rng(0)
    n = person.max() + 1

    def sums(values: Array) -> Array:
        return np.stack([np.bincount(person, values * c, n) for c in keep.T], 1)

    count, own, chance = sums(np.ones(len(points))), sums(points), sums(null)
    weights = generator.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.nanmean(weights @ (own - chance) / (weights @ count), axis=1)
    means = [(part.sum(0) / count.sum(0)).mean() for part in (own, chance)]
    ends = interval(draws)
    own, chance, low, high = (100 * v for v in (*means, *ends))
    print(f"| {name} | {label} | {int(count.sum())} | {own:.1f} | {chance:.1f} "
          f"| {own - chance:+.1f} [{low:+.1f}, {high:+.1f}] |")  # fmt: skip


def divergence(p: Array, q: Array) -> Array:
    """Jensen-Shannon divergence of rows, bits: 0 (the same) to 1."""
    middle = (p + q) / 2

    def part(x: Array) -> Array:
        return (x * np.log2(np.maximum(x, 1e-12) / np.maximum(middle, 1e-12))).sum(axis=-1)

    return (part(p) + part(q)) / 2


def mismatch(corpus: Corpus, bundle: Bundle, vectors: Array, scale: float) -> None:
    """The same plain sentences: do voice and words differ more when the voice is emotional?"""
    k = len(bundle.label_set.labels)
    plain = corpus.info.part == "plain-to-emotional"
    prompts = corpus.prompts[:, :k]
    sentences = bundle.embed_texts(corpus.info.sentence[plain].tolist())
    words, voices = (
        ensemble_cosines(v, prompts, "mean_embedding") for v in (sentences, vectors[plain])
    )
    reading = bundle.document.text_emotion or bundle
    p_words = probabilities(words, reading.logit_scale, reading.temperature)
    p_voice = probabilities(voices, scale)
    apart = divergence(p_words.astype(float), p_voice.astype(float))
    emotion, speaker = corpus.info.emotion[plain], corpus.info.speaker[plain]
    names = np.unique(speaker)
    neutral = np.array([apart[(speaker == s) & (emotion == "neutral")].mean() for s in names])
    print("\n| voice–text mismatch (bits) | neutral | emotional | paired difference | speakers up |"
          "\n|---|---|---|---|---|")  # fmt: skip
    for which in ("happy", "angry", "sad", "all three"):
        take = emotion != "neutral" if which == "all three" else emotion == which
        loud = np.array([apart[(speaker == s) & take].mean() for s in names])
        gap = loud - neutral
        picks = np.random.default_rng(0).integers(len(gap), size=(DRAWS, len(gap)))
        ends = interval(gap[picks].mean(axis=1))
        print(f"| {which} | {neutral.mean():.3f} | {loud.mean():.3f} | {gap.mean():+.3f} "
              f"[{ends[0]:+.3f}, {ends[1]:+.3f}] | {(gap > 0).sum()} of {len(gap)} |")  # fmt: skip


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--faces", type=Path)
    parser.add_argument(
        "--only", nargs="*", choices=("within", "across", "pooled", "faces", "words")
    )
    a = parser.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    wanted = set(a.only or ("within", "across", "faces", "words"))
    bundle = load_bundle(a.bundle, threads=1)
    corpus = prepare(a.data, bundle, a.cache)
    if "within" in wanted:
        within(corpus)
    if "across" in wanted:
        across(corpus)
    if "pooled" in wanted:
        pooled(corpus)
        power()
    if wanted & {"faces", "words"}:
        c = corpus
        vectors, scale = held_out(c.tower, c.truth, c.prompts, c.info.speaker, CHOSEN)
        if "faces" in wanted and a.faces:
            retrieval(corpus, bundle, a.faces, vectors)
        if "words" in wanted:
            mismatch(corpus, bundle, vectors, scale)
    if missed:
        print(f"\nbelow the bar: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
