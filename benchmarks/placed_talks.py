"""Texts without times, placed on recordings of which it is known when everything was said.

- talks: the fragments of every Korean TEDx talk in `$NUNBIT_DATA/speech`, joined with gaps (0.3 to
  3 s), and their transcripts as one text without times. Printed: how many words lie in their own
  fragment (the middle, within 0.15 s), which share of the letters was heard, and which share of the
  text of another talk (that is what the refusal rests on).
- GRID: the sentences of talker s1, whose words have times from the corpus, joined likewise, as one
  text. Printed: error of the words' starts (median, 90th percentile), for words heard and all,
  beside the baseline: words spread over the detected speech by their syllables, without listening.
  How much later boundaries are set (``whisper.EARLY_S``, ``asr._NOTICED_S``) was chosen on the
  clips whose name has an even sha256 (no other shared talker has words with times); the others
  are the test.

Needs `nunbit models get whisper-base`. About fifteen minutes on one thread.

    NUNBIT_DATA=... python benchmarks/placed_talks.py [--talks 34]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nunbit.core.messages import InputError, NunbitError
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Interval, Singles, Word
from nunbit.language.spoken import syllables_per_word
from nunbit.recording.media import iter_audio
from nunbit.recording.transcript import Recogniser, load_recogniser, placing
from nunbit.recording.transcript.untimed import Line, Script
from nunbit.recording.voice.voice_reader import VoiceReader

GAPS_S = (0.3, 0.5, 0.8, 1.5, 3.0)
BESIDE_S = 0.15


@dataclass(frozen=True)
class Joined:
    """Pieces joined with gaps: sound, start and end of each piece, what is said in it."""

    samples: Singles
    spans: tuple[tuple[float, float], ...]
    texts: tuple[str, ...]

    @property
    def script(self) -> Script:
        """The text alone."""
        return Script(tuple(Line(t, None, k) for k, t in enumerate(self.texts, start=1)), "txt")


def joined(pieces: Iterable[tuple[Singles, str]], seed: int) -> Joined:
    """Pieces one behind the other; gaps are silent."""
    rng = np.random.default_rng(seed)
    parts, spans, texts, at = [], [], [], 0
    for samples, text in pieces:
        gap = np.zeros(round(float(rng.choice(GAPS_S)) * RATE), np.float32)
        spans.append((at / RATE, (at + len(samples)) / RATE))
        texts.append(text)
        parts += [samples, gap]
        at += len(samples) + len(gap)
    return Joined(np.concatenate(parts), tuple(spans), tuple(texts))


@dataclass(frozen=True)
class Listened:
    """What was heard in a recording, and where somebody speaks."""

    words: tuple[Word, ...]
    speech: tuple[Interval, ...]


def listened(recogniser: Recogniser, samples: Singles, language: str) -> Listened:
    """As `analyze` does: only detected speech is recognised."""
    chunk = AudioChunk(0.0, samples)
    voice = VoiceReader()
    voice.add(chunk)
    speech = voice.finish(lambda: [chunk], len(samples) / RATE).segments
    found = recogniser.transcribe([chunk], language=language, speech=speech)
    return Listened(tuple(w for u in found.utterances for w in u.words), speech)


def talks(data: Path, recogniser: Recogniser, most: int) -> None:
    """Words in their own fragments, and the share of a foreign text that is heard."""
    with (data / "speech/pansori_tedxkr/transcripts.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    by_talk = defaultdict(list)
    for row in rows:
        sound, _ = soundfile.read(data / row["file"], dtype="float32")
        by_talk[row["talk"]].append((sound, row["text"]))
    made = [joined(pieces, k) for k, pieces in enumerate(list(by_talk.values())[:most])]
    heard = [listened(recogniser, each.samples, "ko") for each in made]
    inside = total = estimated = refused = 0
    own, foreign = [], []
    for k, (each, known) in enumerate(zip(made, heard, strict=True)):
        found = placing.place_script(
            each.script, known.words, known.speech, path=Path("talk"), language="ko"
        )
        own.append(found.heard)
        for utterance, (start, end) in zip(found.transcript.utterances, each.spans, strict=True):
            for word in utterance.words:
                middle = (word.interval.start_s + word.interval.end_s) / 2
                inside += start - BESIDE_S <= middle <= end + BESIDE_S
                total += 1
                estimated += word.estimated
        other = made[(k + 1) % len(made)].script
        try:
            strange = placing.place_script(
                other, known.words, known.speech, path=Path("talk"), language="ko"
            )
            foreign.append(strange.heard)
        except InputError:
            refused += 1
    print(
        f"talks: {inside / total:.3f} of {total} words in their own fragment ({len(made)} talks; "
        f"{estimated / total:.2f} estimated); heard {np.median(own):.2f} of the letters (least "
        f"{min(own):.2f}); the text of another talk was refused {refused} of {len(made)} times"
    )
    print(f"talks: shares of foreign texts that were not refused: {foreign}")


def grid(data: Path, recogniser: Recogniser) -> None:
    """Errors of word starts on GRID s1, against words spread over the speech."""
    with (data / "video/grid/words.csv").open(encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r["word"] not in ("sil", "sp")]
    by_clip = defaultdict(list)
    for row in rows:
        by_clip[row["file"]].append(row)
    pieces, offsets, chosen_on = [], [], []
    for file, own in by_clip.items():
        chosen_on += [int(hashlib.sha256(file.encode()).hexdigest(), 16) % 2 == 0] * len(own)
        chunks = list(iter_audio(data / file))
        sound = np.concatenate([chunk.samples for chunk in chunks])
        pieces.append((sound, " ".join(r["word"] for r in own)))
        offsets.append([float(r["start_s"]) - chunks[0].start_s for r in own])
    made = joined(pieces, 0)
    truth = np.concatenate(
        [start + np.array(own) for (start, _), own in zip(made.spans, offsets, strict=True)]
    )
    known = listened(recogniser, made.samples, "en")
    found = placing.place_script(
        made.script, known.words, known.speech, path=Path("grid"), language="en"
    )
    words = [w for u in found.transcript.utterances for w in u.words]
    starts = np.array([w.interval.start_s for w in words])
    sure = np.array([not w.estimated for w in words])
    errors, test = starts - truth, ~np.array(chosen_on)
    for name, some in (
        ("test clips", test),
        ("clips chosen on", ~test),
        ("all clips", test | ~test),
    ):
        tell(f"GRID, {name}, all words", np.abs(errors[some]))
        tell(f"GRID, {name}, words heard", np.abs(errors[some & sure]))
        print(f"  signed median {np.median(errors[some]) * 1e3:+.0f} ms")
        baseline = np.abs(spread(made, known.speech) - truth)[some]
        tell(f"GRID, {name}, baseline: spread by syllables", baseline)


def spread(made: Joined, speech: Sequence[Interval]) -> Singles:
    """Starts of all words when the text shares the detected speech by its syllables."""
    words = [word for text in made.texts for word in text.split()]
    counts = np.maximum(1, syllables_per_word(words, "en"))
    shares = np.concatenate([[0], np.cumsum(counts)[:-1]]) / counts.sum()
    lengths = np.array([s.duration_s for s in speech])
    ends = np.cumsum(lengths)
    at = shares * ends[-1]
    which = np.minimum(np.searchsorted(ends, at, side="right"), len(speech) - 1)
    begins = np.array([s.start_s for s in speech])
    return np.asarray(begins[which] + at - (ends - lengths)[which], np.float32)


def tell(name: str, errors: Singles) -> None:
    """Print median and 90th percentile."""
    median, high = np.percentile(errors, [50, 90])
    print(f"{name}: n={len(errors)}, error of the start {median * 1e3:.0f} ms median, "
          f"{high * 1e3:.0f} ms at the 90th percentile")  # fmt: skip


def main() -> int:
    """Listen, place, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--talks", type=int, default=1000)
    options = parser.parse_args()
    data = Path(os.environ.get("NUNBIT_DATA", ""))
    if not os.environ.get("NUNBIT_DATA") or not (data / "speech").is_dir():
        print("skipped: NUNBIT_DATA does not name the folder of real data")
        return 0
    try:
        recogniser = load_recogniser("auto")
    except NunbitError as exc:
        print(f"skipped: {exc.text.en}")
        return 0
    grid(data, recogniser)
    talks(data, recogniser, options.talks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
