"""From prompts and sentences to the vectors that faces are compared with.

T templates, K classes, M sentences, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.encoders import Bundle
from nunbit.errors import InputError, SettingsError
from nunbit.labels import LabelSet, load_label_set
from nunbit.predict.settings import PredictSettings
from nunbit.prompts import TemplateSet, load_template_set, prompts_for, template_set_names

_SENTENCES_CAP_BYTES = 1_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Texts:
    """What every face is compared with.

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


def embed_all_texts(bundle: Bundle, settings: PredictSettings) -> Texts:
    """Read and embed prompts and sentences.

    Raises:
        BundleError: The bundle serves these texts neither from its cache nor by a text tower.
        InputError: A file cannot be read, has no sentence, or a label lacks a form.
        SettingsError: A sentence is empty.
    """
    name, sentences = settings.prompts, list(settings.prompt)
    if name is not None and _is_sentence_file(name):
        sentences = [*_read_sentences(Path(name)), *sentences]
        name = None
    if any(not sentence.strip() for sentence in settings.prompt):
        raise SettingsError(en="--prompt is empty: give a sentence", ko="--prompt가 비어 있습니다")
    label_set = load_label_set(settings.label_set) if settings.label_set else bundle.label_set
    templates = load_template_set(name or bundle.default_template_set)
    distinct = tuple(dict.fromkeys(sentence.strip() for sentence in sentences))
    return Texts(
        label_set=label_set,
        templates=templates,
        prompts=prompts_for(templates, label_set),
        prompt_vectors=bundle.prompt_embeddings(templates, label_set),
        sentences=distinct,
        sentence_vectors=bundle.embed_texts(distinct)
        if distinct
        else np.empty((0, bundle.embedding_size), np.float32),
    )


def _is_sentence_file(name: str) -> bool:
    if name in template_set_names():
        return False
    return not name.lower().endswith(".toml") and Path(name).is_file()


def _read_sentences(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _SENTENCES_CAP_BYTES:
            raise InputError(
                en=f"{path}: not a list of sentences: larger than 1 MB",
                ko=f"{path}: 문장 목록이 아닙니다. 1 MB보다 큽니다",
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            en=f"{path}: cannot read sentences: {exc}; expected UTF-8, one sentence a line",
            ko=f"{path}: 문장을 읽을 수 없습니다: {exc}. UTF-8로 한 줄에 한 문장씩 적으십시오",
        ) from exc
    sentences = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not sentences:
        raise InputError(
            en=f"{path}: no sentence in this file; write one a line, or give a template set TOML",
            ko=f"{path}: 문장이 없습니다. 한 줄에 하나씩 적거나 프롬프트 집합 TOML을 주십시오",
        )
    return sentences
