"""Template sets, Korean particles, descriptions: how a template and a label become a prompt."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Any

from nunbit.core.messages import InputError, Lang, SettingsError, Text
from nunbit.language.labels import Label, LabelSet
from nunbit.runtime.resources import Shelf

# --- particles
# Korean particles that depend on the last sound of the word before them.
#
# Written here because the maintained packages read Latin words wrongly (email는 for email은). Pure
# functions on strings.

# particle as people write it -> (after a consonant, after a vowel)
_PAIRS = {
    form: (after_consonant, after_vowel)
    for after_consonant, after_vowel in (
        ("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("으로", "로"), ("이나", "나"),
        ("이라", "라"), ("이랑", "랑"), ("이다", "다"), ("아", "야"),
    )
    for form in (after_consonant, after_vowel)
}  # fmt: skip

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3
_RIEUL = 8  # index of ㄹ among the 28 final sounds; 0 is none

# Final sound of 영 일 이 삼 사 오 육 칠 팔 구.
_DIGITS = dict(zip("0123456789", (21, 8, 0, 16, 0, 0, 1, 8, 8, 0), strict=True))
# A number that ends in zeros is read 십, 백, 천, 만, 억 …: final ㅂ, ㄱ, ㄴ, ㄴ, then ㄱ, ㄴ.
_ZEROS = {1: 17, 2: 1, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 1, 9: 1, 10: 1, 11: 1}
# Spelled-out letters: only L, M, N, R end in a consonant (엘, 엠, 엔, 알).
_LETTERS = {"L": 8, "M": 16, "N": 4, "R": 8}
# Words read as words: which written endings leave a final sound in Korean. The longest match wins.
_WORD_ENDINGS = {
    "ng": 21, "l": 8, "le": 8, "m": 16, "n": 4, "me": 16, "ne": 4,
    "b": 17, "p": 17, "k": 1, "c": 1, "ck": 1, "t": 19, "ook": 1,
    "e": 0, "te": 0, "ke": 0,
}  # fmt: skip


def final_sound(word: str) -> int:
    """Index (0 to 27) of the last syllable's final consonant; 0 means it ends in a vowel.

    Exact for Hangul. Numbers are read as Sino-Korean, Latin words in capitals letter by letter,
    other Latin words by their ending, which is a rule of thumb. Trailing punctuation is skipped.
    """
    stripped = word.rstrip(" \t\"'”’)]}>.,!?…")
    if not stripped:
        return 0
    last = stripped[-1]
    if _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        return (ord(last) - _HANGUL_FIRST) % 28
    if last in _DIGITS:
        return _number_final(stripped)
    return _latin_final(stripped) if last in string.ascii_letters else 0


def with_particle(word: str, particle: str) -> str:
    """The word with the right form of a particle: ``with_particle('슬픔', '로')`` is 슬픔으로.

    Args:
        word: Any text; its last sound decides.
        particle: Either form of the pair: 은/는, 이/가, 을/를, 과/와, 으로/로, 이나/나, 이라/라,
            이랑/랑, 이다/다, 아/야.

    Raises:
        SettingsError: The particle is not one of these.
    """
    if particle not in _PAIRS:
        known = ", ".join(sorted({f"{a}/{b}" for a, b in _PAIRS.values()}))
        raise SettingsError(
            Text(
                f"unknown particle '{particle}': use one of {known}",
                f"알 수 없는 조사 '{particle}': {known} 중에서 고르십시오",
            )
        )
    after_consonant, after_vowel = _PAIRS[particle]
    final = final_sound(word)
    # 로 after ㄹ: 서울로, 불로, although ㄹ is a consonant.
    takes_vowel_form = final == 0 or (after_vowel == "로" and final == _RIEUL)
    return word + (after_vowel if takes_vowel_form else after_consonant)


def _number_final(text: str) -> int:
    digits = text[len(text.rstrip("0123456789,")) :].replace(",", "")
    fraction = text[: len(text) - len(digits)].endswith(".")
    zeros = len(digits) - len(digits.rstrip("0"))
    round_number = 0 < zeros < len(digits) and not fraction
    return _ZEROS.get(zeros, 0) if round_number else _DIGITS[digits[-1]]


def _latin_final(text: str) -> int:
    word = text[len(text.rstrip(string.ascii_letters)) :]
    if len(word) == 1 or word.isupper():
        return _LETTERS.get(word[-1].upper(), 0)
    endings = (word[-length:].lower() for length in (3, 2, 1))
    return next((_WORD_ENDINGS[end] for end in endings if end in _WORD_ENDINGS), 0)


# --- prompts
# Template sets and how a template and a label become a prompt.
#
# A template is a text with gaps: ``{감정}`` or ``{emotion}`` takes the label's name as it is,
# ``{감정:으로}`` adds the right form of a Korean particle, ``{형용사}`` or ``{adjective}`` the
# adjective form. Sets are TOML; ``paper``, ``natural`` and ``english`` come with the package.

_SHELF = Shelf("language/data/prompts", Text("template set", "템플릿 집합"))
_OLDER = Shelf("language/data/prompts/older", Text("template set", "템플릿 집합"))
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
    language: Lang
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
    # A model is used with the sentences it was trained with, even if they were corrected since.
    shelf = _OLDER if name_or_path in _OLDER.names() else _SHELF
    return template_set_from_dict(*shelf.read(name_or_path))


def template_set_names() -> tuple[str, ...]:
    """Names of the template sets in the package, sorted, without superseded ones."""
    return _SHELF.names()


def older_template_sets(name: str) -> tuple[str, ...]:
    """Superseded wordings of a set of the package, newest first: ``natural-0.1`` of ``natural``."""
    return tuple(n for n in reversed(_OLDER.names()) if n.rpartition("-")[0] == name)


def template_set_from_dict(document: dict[str, Any], where: str) -> TemplateSet:
    """Read a template set from plain data, with the same checks as a file.

    Raises:
        InputError: ``where`` does not describe a template set.
    """
    template_set = _SHELF.convert(document, TemplateSet, where)
    if not template_set.templates or len(set(template_set.ids)) != len(template_set.ids):
        raise _SHELF.refused(
            where,
            Text("it needs templates with distinct ids", "서로 다른 id의 템플릿이 필요합니다"),
        )
    word = Text("x", "가")
    probe = Label("x", name=word, noun=word, adjective=word)
    for template in template_set.templates:
        if not _GAP.search(template.text):
            raise InputError(
                Text(
                    f"{where}: template {template.id} has no gap such as {{감정}} or {{emotion}}",
                    f"{where}: 템플릿 {template.id}에 {{감정}} 같은 빈칸이 없습니다",
                )
            )
        fill(template, probe, template_set.language)
    return template_set


def fill(template: Template, label: Label, language: Lang) -> str:
    """The prompt for one template and one label.

    Raises:
        InputError: The template asks for an adjective form that the label does not have, or has
            a gap of an unknown name.
    """

    def replace(match: re.Match[str]) -> str:
        name, particle = match.group(1).strip(), match.group(2)
        if name in _NOUN:
            word = label.noun.pick(language)
        elif name in _ADJECTIVE:
            word = label.adjective.pick(language)
        else:
            raise InputError(
                Text(
                    f"template {template.id}: unknown gap {{{name}}}; use {{감정}}, {{형용사}}, "
                    "{emotion} or {adjective}",
                    f"템플릿 {template.id}: 알 수 없는 빈칸 {{{name}}}. {{감정}}, {{형용사}}, "
                    "{emotion}, {adjective} 중에서 쓰십시오",
                )
            )
        if not word:
            raise InputError(
                Text(
                    f"template {template.id} needs {language}_adjective of label '{label.id}', "
                    "which the label set lacks: add it there or choose `prompts=paper`",
                    f"템플릿 {template.id}에는 레이블 '{label.id}'의 {language}_adjective가 "
                    "필요합니다. 레이블 집합에 적거나 `prompts=paper`를 고르십시오",
                )
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


# --- descriptions
# Sentences that describe the faces of a class and serve as captions in training.
#
# Templates differ from class to class in one word; descriptions differ in all. With them the text
# side learns what a face of a class looks like, in more words than the label's own. None of them is
# among the paraphrases that test the model.

_DESCRIPTIONS = Shelf("language/data/descriptions", Text("set of descriptions", "설명 문장"))


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    ko: tuple[str, ...] = ()
    en: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    labels: tuple[_Entry, ...]


def load_descriptions(name_or_path: str, label_set: LabelSet) -> tuple[tuple[str, ...], ...]:
    """Read the descriptions of a label set by name or from a TOML file.

    Returns:
        K rows of equally many texts, Korean first, in the label set's order.

    Raises:
        InputError: No such file, it is no table of descriptions, a class is missing, or the
            classes have different numbers of texts.
    """
    document, where = _DESCRIPTIONS.read(name_or_path)
    file = _DESCRIPTIONS.convert(document, _File, where)
    found = {entry.id: entry.ko + entry.en for entry in file.labels}
    if missing := [label for label in label_set.ids if not found.get(label)]:
        names = ", ".join(missing)
        raise InputError(
            Text(
                f"{name_or_path}: no descriptions of {names} in label set {label_set.name}",
                f"{name_or_path}: 레이블 집합 {label_set.name}의 {names} 묘사 문장이 없습니다",
            )
        )
    rows = tuple(found[label] for label in label_set.ids)
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(f"{k} {len(row)}" for k, row in zip(label_set.ids, rows, strict=True))
        raise InputError(
            Text(
                f"{name_or_path}: every class needs as many descriptions as the others: {counts}",
                f"{name_or_path}: 모든 클래스의 묘사 문장 수가 같아야 합니다: {counts}",
            )
        )
    return rows
