"""What faces are compared with: the settings, and prompts and sentences as vectors.

T templates, K classes, M sentences, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.language.labels import LabelSet, load_label_set
from nunbit.language.prompts import TemplateSet, load_template_set, prompts_for, template_set_names
from nunbit.model.encoders import Bundle
from nunbit.pictures.faces import DetectorSettings, MinScore, PassSizes
from nunbit.runtime.config import BatchSize, Threads

_SENTENCES_CAP_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """What faces are compared with, and how they are found.

    Attributes:
        prompts: Template set (``paper``, ``natural``, ``english`` or a TOML file), or a text file
            with one sentence a line, which adds to ``prompt``. None = the set the bundle was
            trained with.
        prompt: The user's own sentences; a face is compared with these instead of the classes.
        label_set: Name or TOML file of the classes; None = the bundle's own.
        ensemble: How the templates of a class are combined. ``vote`` is not offered, because it
            gives no cosine.
        crops: The pictures are face crops already: no face is searched for.
        prior: Class shares that the probabilities assume: ``train`` = as the bundle is,
            ``balanced`` = all classes alike, or a file with ``label,share``.
        sizes_px: Longer side of the picture in each pass of the detector. A face should be 20 px or
            more in one of them. Sizes more than twice the picture's own are left out.
        min_score: Faces with a lower detection score are dropped.
        tiny_px: Faces whose longer side is shorter are marked as tiny.
        batch_size: Faces embedded at once.
        threads: Threads of the model; None = one for every core.
    """

    prompts: str | None = None
    prompt: tuple[str, ...] = ()
    label_set: str | None = None
    ensemble: Literal["mean_embedding", "mean_similarity", "max"] = "mean_embedding"
    crops: bool = False
    prior: str = "train"
    sizes_px: PassSizes = DetectorSettings().sizes_px
    min_score: MinScore = DetectorSettings().min_score
    tiny_px: Annotated[int, Meta(ge=0, le=4000)] = 32
    batch_size: BatchSize = 64
    threads: Threads | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):  # one sentence, not its letters
            object.__setattr__(self, "prompt", (self.prompt,))


@dataclass(frozen=True, eq=False, slots=True)
class FaceTexts:
    """The texts that every face is compared with.

    Attributes:
        label_set: The K classes.
        templates: The T templates.
        prompts: T rows of K texts.
        prompt_vectors: (T, K, D) unit rows.
        sentences: M sentences of the user, an open set: they need not cover everything.
        sentence_vectors: (M, D) unit rows.
    """

    label_set: LabelSet
    templates: TemplateSet
    prompts: tuple[tuple[str, ...], ...]
    prompt_vectors: NDArray[np.float32]
    sentences: tuple[str, ...]
    sentence_vectors: NDArray[np.float32]


def embed_all_texts(bundle: Bundle, settings: PredictSettings) -> FaceTexts:
    """Read and embed prompts and sentences.

    Raises:
        BundleError: The bundle serves these texts neither from its cache nor by a text tower.
        InputError: A file cannot be read, has no sentence, or a label lacks a form.
        SettingsError: A sentence is empty.
    """
    name, sentences = settings.prompts, list(settings.prompt)
    if name is not None and is_sentence_file(name):
        sentences = [*_read_sentences(Path(name)), *sentences]
        name = None
    if any(not sentence.strip() for sentence in settings.prompt):
        raise SettingsError(
            Text("`prompt` is empty: give a sentence", "`prompt`가 비어 있습니다. 문장을 주십시오")
        )
    label_set = load_label_set(settings.label_set) if settings.label_set else bundle.label_set
    templates = load_template_set(name or bundle.default_template_set)
    distinct = tuple(dict.fromkeys(sentence.strip() for sentence in sentences))
    return FaceTexts(
        label_set=label_set,
        templates=templates,
        prompts=prompts_for(templates, label_set),
        prompt_vectors=bundle.prompt_embeddings(templates, label_set),
        sentences=distinct,
        sentence_vectors=bundle.embed_texts(distinct)
        if distinct
        else np.empty((0, bundle.embedding_size), np.float32),
    )


def is_sentence_file(name: str) -> bool:
    """Whether ``prompts`` names a file of sentences and not a template set."""
    named = name in template_set_names() or name.lower().endswith(".toml")
    return not named and Path(name).is_file()


def _read_sentences(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _SENTENCES_CAP_BYTES:
            raise InputError(
                Text(
                    f"{path}: not a list of sentences: larger than 1 MB",
                    f"{path}: 문장 목록이 아닙니다. 1 MB보다 큽니다",
                )
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            Text(
                f"{path}: cannot read sentences: {exc}; expected UTF-8, one sentence a line",
                f"{path}: 문장을 읽을 수 없습니다: {exc}. UTF-8로 한 줄에 한 문장씩 적으십시오",
            )
        ) from exc
    sentences = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not sentences:
        raise InputError(
            Text(
                f"{path}: no sentence in this file; write one a line, or give a template set TOML",
                f"{path}: 문장이 없습니다. 한 줄에 하나씩 적거나 템플릿 집합 TOML을 주십시오",
            )
        )
    return sentences
