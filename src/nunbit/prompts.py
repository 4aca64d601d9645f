"""Template sets and how a template and a label become a prompt.

A template is a text with gaps: ``{감정}`` or ``{emotion}`` takes the label's name as it is,
``{감정:으로}`` adds the right form of a Korean particle, ``{형용사}`` or ``{adjective}`` takes the
adjective form. Sets are TOML; ``paper``, ``natural`` and ``english`` come with the package.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from nunbit.errors import InputError
from nunbit.files import parse_toml
from nunbit.labels import Label, LabelSet
from nunbit.particles import with_particle

_GAP = re.compile(r"\{([^{}:]+)(?::([^{}]+))?\}")
_NOUN = ("감정", "emotion", "label")
_ADJECTIVE = ("형용사", "adjective")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with one or more gaps, and the id that tables call it by."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """T templates in one language.

    Attributes:
        name: ``paper``, ``natural``, ``english`` or the user's own.
        language: Which of a label's names fills the gaps.
        templates: T templates.
    """

    name: str
    language: Literal["ko", "en"]
    templates: tuple[Template, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The T template ids."""
        return tuple(t.id for t in self.templates)


def load_template_set(name_or_path: str) -> TemplateSet:
    """Read a template set by name or from a TOML file.

    Raises:
        InputError: No such set or file, or the file does not describe a template set.
    """
    folder = resources.files("nunbit") / "data" / "prompts"
    # A model is read with the sentences it was trained with, even if they were mended since.
    for source in (folder / f"{name_or_path}.toml", folder / "older" / f"{name_or_path}.toml"):
        if "/" not in name_or_path and source.is_file():
            return _parse(source.read_text(encoding="utf-8"), f"{name_or_path}.toml")
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(template_set_names())
        raise InputError(
            en=f"template set '{name_or_path}' is neither one of {known} nor a TOML file",
            ko=f"프롬프트 집합 '{name_or_path}'은(는) {known} 중 하나도, TOML 파일도 아닙니다",
        )
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            en=f"{path}: cannot read the templates: {exc}",
            ko=f"{path}: 프롬프트를 읽을 수 없습니다: {exc}",
        ) from exc


def template_set_names() -> tuple[str, ...]:
    """Names of the template sets in the package, sorted, without superseded ones."""
    folder = resources.files("nunbit") / "data" / "prompts"
    names = (p.name for p in folder.iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def older_template_sets(name: str) -> tuple[str, ...]:
    """Superseded wordings of a set of the package, newest first: ``natural-0.1`` of ``natural``."""
    folder = resources.files("nunbit") / "data" / "prompts" / "older"
    names = (p.name.removesuffix(".toml") for p in folder.iterdir())
    return tuple(sorted((n for n in names if n.rpartition("-")[0] == name), reverse=True))


def template_set_from_dict(document: dict[str, Any], where: str) -> TemplateSet:
    """Read a template set from plain data, with the same checks as a file.

    Raises:
        InputError: ``where`` does not describe a template set.
    """
    try:
        template_set = msgspec.convert(document, TemplateSet)
    except msgspec.ValidationError as exc:
        raise InputError(
            en=f"{where}: not a template set: {exc}",
            ko=f"{where}: 프롬프트 집합이 아닙니다: {exc}",
        ) from exc
    if not template_set.templates or len(set(template_set.ids)) != len(template_set.ids):
        raise InputError(
            en=f"{where}: not a template set: it needs templates with distinct ids",
            ko=f"{where}: 프롬프트 집합이 아닙니다: 서로 다른 id의 템플릿이 필요합니다",
        )
    probe = Label(id="x", ko="가", en="x", ko_adjective="가", en_adjective="x")
    for template in template_set.templates:
        if not _GAP.search(template.text):
            raise InputError(
                en=f"{where}: template {template.id} has no gap such as {{감정}} or {{emotion}}",
                ko=f"{where}: 템플릿 {template.id}에 {{감정}} 같은 빈칸이 없습니다",
            )
        fill(template, probe, template_set.language)
    return template_set


def fill(template: Template, label: Label, language: str) -> str:
    """The prompt for one template and one label.

    Raises:
        InputError: The template asks for an adjective form that the label does not have, or has
            a gap of an unknown name.
    """

    def replace(match: re.Match[str]) -> str:
        name, particle = match.group(1).strip(), match.group(2)
        if name in _NOUN:
            word: str | None = label.noun(language)
        elif name in _ADJECTIVE:
            word = label.ko_adjective if language == "ko" else label.en_adjective
        else:
            raise InputError(
                en=f"template {template.id}: unknown gap {{{name}}}; use {{감정}}, {{형용사}}, "
                "{emotion} or {adjective}",
                ko=f"템플릿 {template.id}: 알 수 없는 빈칸 {{{name}}}. {{감정}}, {{형용사}}, "
                "{emotion}, {adjective} 중에서 쓰십시오",
            )
        if word is None:
            raise InputError(
                en=f"template {template.id} needs {language}_adjective of label '{label.id}', "
                "which the label set does not give: add it there or choose --prompts paper",
                ko=f"템플릿 {template.id}에는 레이블 '{label.id}'의 {language}_adjective가 "
                "필요합니다. 레이블 집합에 적거나 --prompts paper를 고르십시오",
            )
        return with_particle(word, particle.strip()) if particle else word

    return _GAP.sub(replace, template.text)


def prompts_for(template_set: TemplateSet, label_set: LabelSet) -> tuple[tuple[str, ...], ...]:
    """All prompts, T rows of K texts.

    Raises:
        InputError: A form that a template needs is missing from the label set.
    """
    return tuple(
        tuple(fill(template, label, template_set.language) for label in label_set.labels)
        for template in template_set.templates
    )


def _parse(text: str, where: str) -> TemplateSet:
    try:
        document = parse_toml(text)
    except tomllib.TOMLDecodeError as exc:
        raise InputError(
            en=f"{where}: not valid TOML: {exc}", ko=f"{where}: TOML 형식이 아닙니다: {exc}"
        ) from exc
    return template_set_from_dict(document, where)
