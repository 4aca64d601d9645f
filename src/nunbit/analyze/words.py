"""What was said: the transcript of a recording, and which classes its sentences are near to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunbit.encoders import Bundle
from nunbit.errors import MissingExtra
from nunbit.hangul.morphemes import analyser_missing
from nunbit.labels import LabelSet
from nunbit.measures.wording import Wording, read_wording
from nunbit.prompts import load_template_set
from nunbit.streams import Floats, MediaInfo, Singles, Transcript
from nunbit.transcript import read_transcript
from nunbit.zeroshot import ensemble_cosines, probabilities

Missing = dict[str, str]

TEXT_EMOTION = "text_emotion"
"""Key of ``bundle.json``: how texts are read, where the text tower was fitted to sentences."""


@dataclass(frozen=True, eq=False, slots=True)
class TextChances:
    """Class probabilities of sentences.

    Attributes:
        chances: (U, K) one row per utterance, NaN where it is left out, or None without words or a
            text tower for them.
        missing: What is not there and what installs it.
        reasons: (U,) why a row is left out, '' where it is not; () without ``chances``.
    """

    chances: Singles | None
    missing: tuple[Missing, ...] = ()
    reasons: tuple[str, ...] = ()


def read_words(path: Path | None, info: MediaInfo) -> Transcript | None:
    """The transcript of a recording, or None where none was given.

    Raises:
        InputError: It cannot be read, or is that of another recording.
    """
    return None if path is None else read_transcript(path, duration_s=info.duration_s)


def text_chances(bundle: Bundle, transcript: Transcript | None) -> TextChances:
    """Compare every utterance with the bundle's prompts.

    A text tower is trained on sentences about faces. What people say differs: only where the
    bundle states that it was fitted to and tested on such sentences, and for the languages it
    names, do words get probabilities. And it hears words, not what is said of them: an utterance
    whose class has the sign of words that are negated or wished for is left out (행복했던 적이
    없어요 is joy to it), as is everything Korean where there is no analyser to tell.
    """
    if transcript is None or not transcript.utterances:
        return TextChances(None)
    wordings = read_wording(transcript)
    unread = analyser_missing() if any(w.unscored == "no_analyser" for w in wordings) else None
    missing = () if unread is None else (_no_analyser(unread),)
    if not bundle.has_text_tower:
        return TextChances(None, (_NO_TOWER, *missing))
    fitted = bundle.document.get(TEXT_EMOTION) or {}
    texts = [u.text for u in transcript.utterances]
    if _language_of(texts) not in fitted.get("languages", ()):
        return TextChances(None, (_UNPROVEN, *missing))
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    vectors = bundle.embed_sentences([_shortened(text) for text in texts])
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
    chances = probabilities(cosines, float(fitted["logit_scale"]), float(fitted["temperature"]))
    reasons = reasons_left_out(wordings, np.asarray(chances, np.float64), bundle.label_set)
    kept = np.array([not reason for reason in reasons])[:, None]
    shown = np.where(kept, chances, np.nan)
    return TextChances(np.asarray(shown, np.float32), missing, reasons)


def reasons_left_out(
    wordings: Sequence[Wording], chances: Floats, label_set: LabelSet
) -> tuple[str, ...]:
    """Why the class probabilities of each utterance are not to be believed; '' where they may be.

    Args:
        wordings: U utterances.
        chances: (U, K) as the model gave them.
        label_set: Says which classes are positive and which negative.
    """
    signs = np.array([label.valence for label in label_set.labels], np.float64)
    first = signs[chances.argmax(axis=1)]
    valence = chances @ signs
    found = []
    for wording, sign, lean in zip(wordings, first.tolist(), valence.tolist(), strict=True):
        reason = wording.unscored
        if not reason and not wording.korean:
            reason = "not_scored"  # a language that the tower was not tested on
        if not reason and (sign > 0 or (wording.named and lean > 0)):
            reason = wording.positive
        if not reason and (sign < 0 or lean < 0):
            reason = wording.negative
        found.append(reason)
    return tuple(found)


def _no_analyser(missing: MissingExtra) -> Missing:
    return {
        "what": "analyser",
        "reason_en": missing.en.rpartition(": ")[0],
        "reason_ko": missing.ko.rpartition(": ")[0],
        "install": missing.en.rpartition(": ")[2],
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
    """The last part of a very long utterance: how it ends says more than how it begins."""
    return text[-_LONGEST:] or " "
