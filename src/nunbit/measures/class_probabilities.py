"""Class probabilities of utterances and of windows of the voice, by a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.core.messages import MissingExtra
from nunbit.core.spans import Stretches, rows_in, spans_of
from nunbit.core.streams import (
    AudioChunk,
    Flags,
    Floats,
    Interval,
    Singles,
    Transcript,
    VoiceStream,
)
from nunbit.language.labels import LabelSet
from nunbit.language.morphemes import analyser_missing, said_sentences
from nunbit.language.prompts import load_template_set
from nunbit.measures.wording import LISTED, Wording, read_wording
from nunbit.model.bundle import VoiceSection
from nunbit.model.encoders import Bundle
from nunbit.model.said import WordsSide, level, words_side_of
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.recording.voice.functionals import (
    FEATURE_FORMAT,
    FRAME,
    N_MELS,
    SILENT_MEL,
    Speech,
    describe,
    functional_names,
    log_mel,
    standardise_persons,
)
from nunbit.recording.voice.level import iter_blocks
from nunbit.recording.voice.pitch import cut_frames

Missing = dict[str, str]


@dataclass(frozen=True, eq=False, slots=True)
class TextChances:
    """Class probabilities of sentences.

    Attributes:
        chances: (U, K) one row per utterance, NaN where it is left out, or None without words or a
            text tower for them.
        missing: What is missing and what installs it.
        reasons: (U,) why a row is left out, '' where it is not; () without ``chances``.
        none: (U,) probability that readers would name no emotion at all, NaN where left out or
            where the bundle cannot tell; None without ``chances``.
        scores: (U, E) of the side for words, NaN where left out; None without that side.
    """

    chances: Singles | None
    missing: tuple[Missing, ...] = ()
    reasons: tuple[str, ...] = ()
    none: Singles | None = None
    scores: Singles | None = None


def text_chances(
    bundle: Bundle, transcript: Transcript | None, wordings: Sequence[Wording] | None = None
) -> TextChances:
    """Compare every utterance with the bundle's prompts.

    A text tower is trained on sentences about faces, and people talk differently. So words get
    probabilities only if the bundle states that it was fitted to and tested on what people say, and
    only in the languages it names. The tower ignores negation: to it 행복했던 적이 없어요 is joy.
    An utterance is therefore left out if its class has the sign of words that are negated or wished
    for, and so is all Korean without an analyser.
    """
    if transcript is None or not transcript.utterances:
        return TextChances(None)
    wordings = read_wording(transcript) if wordings is None else wordings
    unread = analyser_missing() if any(w.unscored == "no_analyser" for w in wordings) else None
    missing = () if unread is None else (_no_analyser(unread),)
    if not bundle.has_text_tower:
        return TextChances(None, (_NO_TOWER, *missing))
    fitted = bundle.document.text_emotion
    texts = [u.text for u in transcript.utterances]
    if fitted is None or _language_of(texts) not in fitted.languages:
        return TextChances(None, (_UNPROVEN, *missing))
    side, scores = words_side_of(bundle), None
    none = np.full(len(texts), np.nan, np.float32)
    if side is None:  # a bundle from before there was one
        vectors = bundle.embed_sentences([_shortened(text) for text in texts])
        chances = chances_of(bundle, vectors, fitted.logit_scale, fitted.temperature)
    else:
        scores = emotion_scores(bundle, side, texts)
        chances, none = side.chances(scores), side.none_named(scores).astype(np.float32)
    reasons = reasons_left_out(wordings, np.asarray(chances, np.float64), bundle.label_set)
    kept, nothing = np.array([not reason for reason in reasons]), np.float32(np.nan)
    return TextChances(
        np.where(kept[:, None], chances, nothing),
        missing,
        reasons,
        np.where(kept, none, nothing),
        None if scores is None else np.where(kept[:, None], scores, nothing),
    )


def emotion_scores(bundle: Bundle, side: WordsSide, texts: Sequence[str]) -> Singles:
    """(M, E) scores of utterances, each the mean of its sentences by their letters.

    The side was fitted to comments of a few sentences; a long answer read as one would be told by
    whatever feeling has most words for it.
    """
    known = analyser_missing() is None
    parts = [(said_sentences(text) if known else ()) or (text or " ",) for text in texts]
    flat = [level(_shortened(part)) or " " for own in parts for part in own]
    scores = side.scores(flat, bundle.text_layers(flat, side.layers))
    weight = np.array([max(1, sum(c.isalnum() for c in part)) for part in flat], np.float32)
    first = np.cumsum([0, *(len(own) for own in parts[:-1])])
    total = np.add.reduceat(scores * weight[:, None], first)
    return np.asarray(total / np.add.reduceat(weight, first)[:, None], np.float32)


def warm_words(bundle: Bundle) -> None:
    """Load the text tower, so that the first sentence of a live session does not wait for it."""
    if not bundle.has_text_tower:
        return
    if (side := words_side_of(bundle)) is None:
        bundle.embed_sentences(["말"])
    else:
        bundle.text_layers(["말"], side.layers)  # not the analyser: it takes seconds


def chances_of(bundle: Bundle, vectors: Singles, scale: float, temperature: float) -> Singles:
    """(N, K) of unit vectors, against the bundle's prompts."""
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
    return probabilities(cosines, scale, temperature)


_MOST_JOY = 0.25
"""Where what is glad is denied or wished for, words that still give joy so much were misread, even
if another class is first: 행복했던 적이 없어요 with a joy of .42."""


def reasons_left_out(
    wordings: Sequence[Wording], chances: Floats, label_set: LabelSet
) -> tuple[str, ...]:
    """Why the class probabilities of an utterance are not valid; '' if they are.

    Args:
        wordings: U utterances.
        chances: (U, K) as the model gave them.
        label_set: Says which classes are positive and which negative.
    """
    signs = np.array([label.valence for label in label_set.labels], np.float64)
    first = signs[chances.argmax(axis=1)]
    valence, glad = chances @ signs, chances[:, signs > 0].sum(axis=1)
    found = []
    for wording, sign, lean, joy in zip(
        wordings, first.tolist(), valence.tolist(), glad.tolist(), strict=True
    ):
        untested = "" if wording.korean else "not_scored"  # a language the tower does not know
        taken = sign > 0 or (wording.named and (lean > 0 or joy > _MOST_JOY))
        positive = wording.positive if taken else ""
        negative = wording.negative if sign < 0 or lean < 0 else ""
        unsure = "low_conf" if contradicted(wording, sign) else ""
        found.append(wording.unscored or untested or positive or negative or unsure)
    return tuple(found)


def contradicted(wording: Wording, sign: float) -> bool:
    """Whether listed words are neither denied nor wished for, and all of the other sign."""
    good, bad = (
        any(row[LISTED.index(name)] for row in wording.counts if row)
        for name in ("positive", "negative")
    )
    return (sign < 0 and good and not bad) or (sign > 0 and bad and not good)


def _no_analyser(missing: MissingExtra) -> Missing:
    return {
        "what": "analyser",
        "reason_en": missing.text.en.rpartition(": ")[0],
        "reason_ko": missing.text.ko.rpartition(": ")[0],
        "install": missing.text.en.rpartition(": ")[2],
    }


_NO_TOWER = {
    "what": "text_tower",
    "reason_en": "the bundle has no text tower: words have no class probabilities",
    "reason_ko": "번들에 텍스트 인코더가 없어 말에는 클래스 확률이 없습니다",
    "install": "nunbit export RUN --out BUNDLE",
}
_UNPROVEN = {
    "what": "text_emotion",
    "reason_en": "the bundle was not tested on sentences of this language: words have no class "
    "probabilities",
    "reason_ko": "번들이 이 언어의 문장으로 검증되지 않아 말에는 클래스 확률이 없습니다",
    "install": "",
}


def _language_of(texts: Sequence[str]) -> str:
    """``ko`` where most letters are Hangul, else ``other``."""
    letters = [c for text in texts for c in text if c.isalpha()]
    hangul = sum("가" <= c <= "힣" for c in letters)
    return "ko" if letters and hangul > len(letters) / 2 else "other"


_LONGEST = 200  # characters; the tower reads a limited number of tokens


def _shortened(text: str) -> str:
    """The last part of a very long utterance, because the end carries more than the beginning."""
    return text[-_LONGEST:] or " "


# Windows of the voice: the tower reads the distance from the mean of the person over the recording.
# The sound is read once: one window of bands is in memory, and the functionals of all windows.

Replay = Callable[[], Iterable[AudioChunk]]

MIN_PERSON_S = 10.0
"""With less speech in the recording the person's usual voice is unknown."""


def voice_chances(
    bundle: Bundle,
    replay: Replay,
    windows: Sequence[Interval],
    voice: VoiceStream,
    own: Sequence[Interval] | None = None,
) -> Singles | None:
    """Compare the voice of each window with the bundle's prompts.

    Args:
        bundle: With or without a voice tower.
        replay: Replays the sound that ``voice`` was read from.
        windows: W windows by start.
        voice: Speech, pitch and level.
        own: Stretches of the person analysed; None takes all speech as theirs.

    Returns:
        (W, K) rows sum to one, NaN with less than a second of the person's speech or where the
        voice is clipped, everywhere with less than 10 s in the recording; None without a voice
        tower for these functionals.
    """
    section = voice_section(bundle)
    if section is None:
        return None
    rows, vectors = embed_windows(bundle, replay, windows, voice, own)
    chances = np.full((len(windows), len(bundle.label_set.labels)), np.nan, np.float32)
    if len(rows):
        chances[rows] = chances_of(bundle, vectors, section.logit_scale, section.temperature)
        edges = np.array([(each.start_s, each.end_s) for each in windows], np.float64)
        chances[voice.are_clipped(edges[:, 0], edges[:, 1])] = np.nan
    return chances


def voice_section(bundle: Bundle) -> VoiceSection | None:
    """The voice section of the bundle; None without a tower for this version of the functionals."""
    section = bundle.voice
    if section is None or section.format != FEATURE_FORMAT:
        return None
    return section if len(section.spread) == len(functional_names()) else None


def embed_windows(
    bundle: Bundle,
    replay: Replay,
    windows: Sequence[Interval],
    voice: VoiceStream,
    own: Sequence[Interval] | None = None,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Singles]:
    """Embeddings of the windows that have enough speech.

    Returns:
        (V,) positions of these windows and (V, D) unit rows.
    """
    section = bundle.voice
    speech = own_speech(voice, own)
    nothing = np.zeros(0, np.int64), np.zeros((0, bundle.embedding_size), np.float32)
    if section is None or np.count_nonzero(speech) * 0.01 < MIN_PERSON_S:
        return nothing
    raw = describe_windows(replay, windows, voice, speech)
    known = np.flatnonzero(np.isfinite(raw).any(axis=1))
    if not len(known):
        return nothing
    rows = standardise_persons(raw[known], np.zeros(len(known), np.int64), section.spread)
    return known, bundle.embed_voice(rows)


def own_speech(voice: VoiceStream, own: Sequence[Interval] | None) -> Flags:
    """(M,) where the person analysed speaks."""
    speech: Flags = voice.speech & voice.present
    return speech if own is None else np.asarray(speech & Stretches.of(own).at(voice.times_s))


def describe_windows(
    replay: Replay, windows: Sequence[Interval], voice: VoiceStream, speech: Flags
) -> Singles:
    """(W, F) functionals of each window, NaN rows without enough speech; windows by start."""
    spans = rows_in(voice.times_s, spans_of(windows))
    rows = np.full((len(windows), len(functional_names())), np.nan, np.float32)
    done = 0
    held, held_from = np.zeros((0, N_MELS), np.float32), 0

    def finish(reached: int) -> None:
        nonlocal done
        while done < len(spans) and spans[done, 1] <= reached:
            start, stop = spans[done].tolist()
            part = slice(start - held_from, stop - held_from)
            rows[done] = describe(
                Speech(
                    held[part],
                    voice.f0_hz[start:stop],
                    voice.level_dbfs[start:stop],
                    speech[start:stop],
                )
            )
            done += 1

    for block in iter_blocks(replay()):
        first = max(block.frames.start, held_from)
        mel = log_mel(cut_frames(block, FRAME // 2))[first - block.frames.start :]
        held = np.concatenate([held, _silence(first - held_from - len(held)), mel])
        finish(min(held_from + len(held), len(voice.times_s)))
        needed = int(spans[done:, 0].min()) if done < len(spans) else held_from + len(held)
        drop = min(max(0, needed - held_from), len(held))
        held, held_from = held[drop:], held_from + drop
    held = np.concatenate([held, _silence(len(voice.times_s) - held_from - len(held))])
    finish(len(voice.times_s))
    return rows


def _silence(frames: int) -> Singles:
    """The (n, 40) bands of frames without sound; none for a negative number."""
    return np.full((max(0, frames), N_MELS), SILENT_MEL, np.float32)
