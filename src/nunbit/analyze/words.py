"""What was said: the transcript of a recording, and which classes its sentences are near to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunbit.encoders import Bundle
from nunbit.prompts import load_template_set
from nunbit.streams import MediaInfo, Singles, Transcript
from nunbit.transcript import read_transcript
from nunbit.zeroshot import ensemble_cosines, probabilities

Missing = dict[str, str]

TEXT_EMOTION = "text_emotion"
"""Key of ``bundle.json``: how texts are read, where the text tower was fitted to sentences."""


@dataclass(frozen=True, eq=False, slots=True)
class TextChances:
    """Class probabilities of sentences.

    Attributes:
        chances: (U, K) one row per utterance, or None without words or text tower.
        validated: Whether the bundle was fitted to and tested on sentences.
        missing: What is not there and what installs it.
    """

    chances: Singles | None
    validated: bool
    missing: tuple[Missing, ...] = ()


def read_words(path: Path | None, info: MediaInfo) -> Transcript | None:
    """The transcript of a recording, or None where none was given.

    Raises:
        InputError: It cannot be read, or is that of another recording.
    """
    return None if path is None else read_transcript(path, duration_s=info.duration_s)


def text_chances(bundle: Bundle, transcript: Transcript | None) -> TextChances:
    """Compare every utterance with the bundle's prompts.

    A text tower is trained on sentences about faces. What people say differs: unless the bundle
    states a scale that was fitted to such sentences, the answer is unvalidated, and is shown but
    not fused.
    """
    fitted = bundle.document.get(TEXT_EMOTION) or {}
    validated = bool(fitted.get("validated"))
    if transcript is None or not transcript.utterances:
        return TextChances(None, validated)
    if not bundle.has_text_tower:
        return TextChances(
            None,
            validated,
            (
                {
                    "what": "text_tower",
                    "reason_en": "the bundle has no text tower, words have no class probabilities",
                    "reason_ko": "번들에 텍스트 인코더가 없어 말의 클래스 확률이 없습니다",
                    "install": "nunbit export RUN --out BUNDLE",
                },
            ),
        )
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    vectors = bundle.embed_texts([_shortened(u.text) for u in transcript.utterances])
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
    scale = float(fitted.get("logit_scale", bundle.logit_scale))
    chances = probabilities(cosines, scale, float(fitted.get("temperature", bundle.temperature)))
    return TextChances(np.asarray(chances, np.float32), validated)


_LONGEST = 200  # characters; the tower reads a limited number of tokens


def _shortened(text: str) -> str:
    """The last part of a very long utterance: how it ends says more than how it begins."""
    return text[-_LONGEST:] or " "
