"""Words: which sign do sentences get that say no, wish, or speak of wanting to die?

Every sentence of ``tests/sentences`` goes alone through the shipped model's text side and the word
lists, as ``nunbit analyze`` takes it. ``polarity.toml`` (185) and ``plain.toml`` (100) were written
before the code. Three lists of unseen sentences were each run once before anything was changed in
their light; what the first two showed was mended, the third was the figure for unseen sentences.
List 7 (``held_out_7.toml``) was split by ``read_half``, too, and mended since.
``second_eyes.toml`` (220) comes from somebody who had read no rule; half A was looked at, half B
run once at the end. Lists 4 to 6 are later ones of the same person. What they showed was mended, so
the figures here are those of sentences already seen; docs/results.md has those of the first run.

The baseline is commit eb7f1f9. Its figures below come from this script on the old code:
``git worktree add ../old eb7f1f9; PYTHONPATH=../old/src python benchmarks/honesty_words.py --old``.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from honesty import Row, print_rows
from nunbit.core.streams import Interval, Transcript, Utterance, Word
from nunbit.model.bundle import shipped_bundles
from nunbit.model.encoders import load_bundle

SENTENCES = Path(__file__).parent.parent / "tests" / "sentences"
WRONG_CLASS = {"positive": -1, "negative": 1, "wish": 1}
"""Sign of the class that is wrong for what a sentence says; for ``not_scored`` every class is."""

HELD_OUT = "held_out_3"
"""The first two lists of unseen sentences showed what to mend and are no longer unseen."""

SECOND = "second_eyes"
LATER = ("held_out_4", "held_out_5", "held_out_6")
SEVENTH = "held_out_7"
SEEDS = {SECOND: 14, SEVENTH: 20}
"""Split each kind of a list into halves."""

_SAYS = {"despair": "not_scored", "open": "wish"}

OLD = {
    "polarity": "55 of 94", "words": "48 of 185", "not_scored": "31 of 31", "masked": "0",
    "held": "18 of 24", "half": "30 of 41", "half_not_scored": "30 of 30", "later": "64 of 69",
    "later_not_scored": "64 of 64", "held_not_scored": "10 of 10", "signs": "18 of 160",
    "seventh": "–",
}  # fmt: skip
"""What the baseline gives (see above)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One sentence and what became of it."""

    text: str
    says: str
    plain: bool
    masked: str
    sign: int
    positive: int
    negative: int
    listed: int

    @property
    def wrong_class(self) -> bool:
        """Whether it has a class of the wrong sign, or any class where it should have none."""
        if self.masked:
            return False
        return self.says == "not_scored" or self.sign == WRONG_CLASS.get(self.says, 9)

    @property
    def wrong_word(self) -> bool:
        """Whether a word of the wrong sign is counted."""
        if self.says == "not_scored":
            return self.listed > 0
        if self.says in ("negative", "wish"):
            return self.positive > 0
        return self.says == "positive" and self.negative > 0


def read(name: str) -> list[tuple[str, str, bool]]:
    """Sentences of a list with what they say and whether they are plain."""
    document = tomllib.loads((SENTENCES / f"{name}.toml").read_text(encoding="utf-8"))
    if name == "plain":
        says = {"joy": "positive", "sadness": "negative", "anger": "negative"}
        return [(t, says.get(k, "neutral"), True) for k, ts in document.items() for t in ts]
    return [
        (text, _SAYS.get(says, says), says in ("plain", "scored") or bool(group.get("plain")))
        for group in document["group"]
        for text, says in group["sentences"]
    ]


def read_half(half: str, name: str = SECOND) -> list[tuple[str, str, bool]]:
    """Half ``A`` or ``B`` of a list; each kind is split at random."""
    groups = tomllib.loads((SENTENCES / f"{name}.toml").read_text(encoding="utf-8"))["group"]
    rng, every, at = random.Random(SEEDS[name]), read(name), 0
    chosen = []
    for group in groups:
        order = list(range(len(group["sentences"])))
        rng.shuffle(order)
        middle = len(order) // 2
        kept = sorted(order[:middle] if half == "A" else order[middle:])
        chosen += [every[at + i] for i in kept]
        at += len(order)
    return chosen


def transcript_of(texts: Sequence[str], *, apart_s: float = 10.0) -> Transcript:
    """One utterance a sentence, too far apart to be read together."""
    utterances = []
    for i, text in enumerate(texts):
        start = apart_s * i
        step = 3.0 / max(1, len(text.split()))
        words = tuple(
            Word(Interval(start + k * step, start + (k + 1) * step), word, syllables=len(word))
            for k, word in enumerate(text.split())
        )
        utterances.append(Utterance(Interval(start, start + 3.0), text, words=words))
    return Transcript(tuple(utterances), "srt", "ko")


def judge(sentences: Sequence[tuple[str, str, bool]], counts: Any) -> list[Judged]:
    """Class and counted words of every sentence.

    Args:
        sentences: Of :func:`read`.
        counts: Gives, for a transcript, per utterance the hits on (positive, negative, all lists).
    """
    from nunbit.measures.class_probabilities import text_chances

    bundle = load_bundle(shipped_bundles()[0].path, threads=1)
    transcript = transcript_of([text for text, _, _ in sentences])
    found = text_chances(bundle, transcript)
    assert found.chances is not None
    reasons = getattr(found, "reasons", ()) or ("",) * len(sentences)
    signs = np.array([label.valence for label in bundle.label_set.labels])
    judged = []
    for (text, says, plain), row, reason, hits in zip(
        sentences, found.chances, reasons, counts(transcript), strict=True
    ):
        sign = 0 if reason else int(signs[row.argmax()])
        judged.append(Judged(text, says, plain, reason, sign, *hits))
    return judged


def counts_now(transcript: Transcript) -> list[tuple[int, int, int]]:
    """Counted words of each utterance."""
    from nunbit.measures.wording import LISTED, read_wording

    rows = []
    for wording in read_wording(transcript):
        table = np.array([c for c in wording.counts if c], int).reshape(-1, len(LISTED))
        total = dict(zip(LISTED, table.sum(axis=0).tolist(), strict=True))
        rows.append((total["positive"], total["negative"], sum(total.values())))
    return rows


def counts_old(transcript: Transcript) -> list[tuple[int, int, int]]:
    """The same with the word lists of the baseline."""
    from nunbit.measures import wording as lexicon  # that of the baseline

    rows = []
    for u in transcript.utterances:
        tokens = lexicon.tokens_of(u.text)
        total = {
            name: int(lexicon.find_hits(lexicon.load_lexicon(name), tokens).sum())
            for name in lexicon.lexicon_names()
        }
        rows.append((total["positive"], total["negative"], sum(total.values())))
    return rows


def one_hour(words: int = 9_000) -> tuple[float, float, float]:
    """Seconds to load the analyser and to read an hour of talk, and the megabytes it takes."""
    from nunbit.language import morphemes as module
    from nunbit.measures.wording import read_wording

    names = ("plain", "polarity", "held_out", "held_out_2")
    texts = [text for name in names for text, _, _ in read(name)]
    said: list[str] = []
    while sum(len(t.split()) for t in said) < words:
        # No two alike, so that nothing is taken from what was read before.
        said += [f"{text} {len(said) + k}번" for k, text in enumerate(texts)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    module.morphemes.cache_clear()
    module._analyser.cache_clear()
    module.morphemes("처음")
    loaded = time.perf_counter()
    read_wording(transcript_of(said))
    ended = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return loaded - started, ended - loaded, (after - before) / 1024


def rows(quick: bool) -> list[Row]:
    """Rows of the table; ``quick`` leaves out the hour of talk."""
    hour = None if quick else one_hour()  # first: it asks how much memory grows
    return [*figures(counts_now), *([] if hour is None else [cost(hour)])]


def cost(hour: tuple[float, float, float]) -> Row:
    """What the analyser costs."""
    load, talk, size = hour
    return Row(
        "Korean analyser: load, one hour of talk (9,000 words), memory",
        "–",
        f"{load:.1f} s, {talk:.1f} s, {size:.0f} MB",
        "–",
        None,
    )


def figures(counts: Any, *, show: bool = False) -> list[Row]:
    """The figures of one version of the code."""
    polarity, plain = judge(read("polarity"), counts), judge(read("plain"), counts)
    held = judge(read(HELD_OUT), counts)
    half = judge(read_half("B"), counts)
    later = judge([said for name in LATER for said in read(name)], counts)
    seventh = judge(read(SEVENTH), counts)
    rows = []
    for key, what, some, bad, bar in (
        ("polarity", "negated, wished, double, idiom: class of the wrong sign",
         _turned(polarity), _wrong_class, 0),
        ("words", "the whole list: words of the wrong sign counted", polarity, _wrong_word, 0),
        ("not_scored", "wanting to die, self-harm: scored or counted", _despair(polarity),
         _wrong, 0),
        ("masked", "plain sentences of the list: masked", _plain(polarity), _masked, None),
        ("masked", "100 plain sentences: masked", plain, _masked, 5),
        ("held", "held out, negated and wished: wrong class or word", _turned(held), _wrong, None),
        ("held_not_scored", "held out, wanting to die, self-harm: scored", _despair(held), _wrong,
         None),
        ("masked", "held out, plain: masked", _plain(held), _masked, None),
        ("half", "second eyes, half B, negated and wished: wrong class or word", _turned(half),
         _wrong, None),
        ("half_not_scored", "second eyes, half B, wanting to die, self-harm: scored",
         _despair(half), _wrong, None),
        ("masked", "second eyes, half B, plain and figurative: masked", _plain(half), _masked,
         None),
        ("later", "lists 4 to 6, since mended, negated and wished: wrong class or word",
         _turned(later), _wrong, None),
        ("later_not_scored", "lists 4 to 6, since mended, wanting to die, self-harm: scored",
         _despair(later), _wrong, None),
        ("masked", "lists 4 to 6, plain and figurative: masked", _plain(later), _masked, None),
        ("seventh", "list 7, since mended, wanting to die, self-harm: scored", _despair(seventh),
         _wrong, None),
        ("signs", "plain sentences with a class of the wrong sign (the model's own errors)",
         [*_plain(polarity), *plain], _wrong_class, None),
    ):  # fmt: skip
        found = [j for j in some if bad(j)]
        if show:
            print(f"{what}:")
            for j in found:
                print(f"  {j.says}: {j.text} [{j.masked or j.sign}] +{j.positive} -{j.negative}")
        rows.append(
            Row(
                what,
                OLD[key],
                f"{len(found)} of {len(some)}",
                "–" if bar is None else str(bar) if not bar else f"≤ {bar}",
                None if bar is None else len(found) <= bar,
            )
        )
    return rows


def _turned(judged: Sequence[Judged]) -> list[Judged]:
    return [j for j in judged if not j.plain and j.says != "not_scored"]


def _despair(judged: Sequence[Judged]) -> list[Judged]:
    return [j for j in judged if j.says == "not_scored"]


def _plain(judged: Sequence[Judged]) -> list[Judged]:
    return [j for j in judged if j.plain]


def _wrong_class(j: Judged) -> bool:
    return j.wrong_class


def _wrong_word(j: Judged) -> bool:
    return j.wrong_word


def _wrong(j: Judged) -> bool:
    return j.wrong_class or j.wrong_word


def _masked(j: Judged) -> bool:
    return bool(j.masked)


def main() -> None:
    """Print the rows, of the old code with ``--old``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", action="store_true", help="the code on the path is eb7f1f9's")
    parser.add_argument("--show", action="store_true", help="also the sentences that go wrong")
    options = parser.parse_args()
    if options.old:
        print_rows(figures(counts_old, show=options.show))
    else:
        hour = one_hour()
        print_rows([*figures(counts_now, show=options.show), cost(hour)])


if __name__ == "__main__":
    main()
