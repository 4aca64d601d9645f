"""Korean morphemes, by kiwipiepy: the one place that knows the analyser.

Chosen among the analysers that are kept up (looked at on 2026-11-29):

- kiwipiepy 0.24.1 (October 2026, Apache-2.0): wheels for Python 3.9 to 3.14 on Linux, macOS and
  Windows, 12 to 15 MB on Linux, and a model package of 88 MB (107 MB installed); no Java, no
  compiler. It splits what subtitles and recognisers write together (안좋아요, 행복했던적이없어요).
- python-mecab-ko 1.3.7 (July 2024, BSD) with python-mecab-ko-dic (December 2022, Apache-2.0,
  35 MB): smaller, but no wheel for Python 3.13, and it leans on the blanks being right.

The analyser is an option (extra ``asr``). It is loaded on first use, once a process, with one
thread and without its dictionary of titles and names, which would double its memory and serves
nothing here. Calls are locked. The same text gives the same morphemes.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from nunbit.errors import MissingExtra

PACKAGE = "kiwipiepy"
EXTRA = "asr"

_LOCK = threading.Lock()
_KEPT = 8192
"""Texts whose morphemes are kept: several hours of talk; measures and probabilities share them."""


@dataclass(frozen=True, slots=True)
class Morpheme:
    """One morpheme of a text.

    Attributes:
        form: As in a dictionary, without the ending of predicates: 안 좋았어요 is 안 좋 었 어요.
            Endings of one consonant are written with it alone: ㄴ, ㄹ.
        tag: Part of speech in the Sejong set, without the mark of irregular verbs: NNG noun, NP
            pronoun, VV verb, VA adjective, VX auxiliary, VCN 아니다, MAG adverb, JKS and others
            particles, EP and EC and EF and ETM and ETN endings, SF and SP punctuation.
        start: Place of its first character in the text.
        end: Place after its last character; morphemes may share one (했 is 하 and 었).
    """

    form: str
    tag: str
    start: int
    end: int


def analyser_missing() -> MissingExtra | None:
    """Why Korean words cannot be analysed here and what to install, or None if they can."""
    if all(_is_installed(name) for name in (PACKAGE, f"{PACKAGE}_model")):
        return None
    line = f"pip install 'nunbit[{EXTRA}]'"
    return MissingExtra(
        en="no Korean analyser: what is negated or wished for cannot be told from what is felt, so "
        f"word lists and class probabilities of Korean words are left out: {line}",
        ko="한국어 형태소 분석기가 없어 부정이나 바람을 구별할 수 없으므로 한국어 낱말 비율과 말의 "
        f"클래스 확률을 내지 않습니다: {line}",
    )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # somebody keeps it from being imported
        return False


@lru_cache(maxsize=_KEPT)
def morphemes(text: str) -> tuple[Morpheme, ...]:
    """The morphemes of a text, in order; of nothing but blanks there are none.

    Raises:
        MissingExtra: The analyser is not installed.
    """
    if not text.strip():
        return ()
    with _LOCK:
        tokens = _analyser().tokenize(_respelled(text), compatible_jamo=True)
    return tuple(
        Morpheme(t.form, t.tag.partition("-")[0], t.start, t.start + t.len) for t in tokens
    )


# As they sound in chats and in what recognisers write; the length stays, and so do all places.
_MISSPELLED = (
    (re.compile("[업읍]써"), "없어"), (re.compile("[업읍]썼"), "없었"),
    (re.compile("(?<=[가-힣])지안(?=[아았고은는네니습을])"), "지않"),
    (re.compile("지 안(?=[았은는네습을])"), "지 않"), (re.compile("지안아"), "지않아"),
    (re.compile("지 안아(?=[요서도])"), "지 않아"),
    (re.compile(r"(?<!\S)않 (?=[가-힣])(?![아았은는네습고])"), "안 "),
    (re.compile("(?<!지)(?<!지 )않(?=[좋돼되해했와])"), "안"),
    (re.compile("시퍼"), "싶어"), (re.compile("고십(?=[다어은네지])"), "고싶"),
    (re.compile("고 십(?=[다어은네지])"), "고 싶"),
)  # fmt: skip


def _respelled(text: str) -> str:
    """The text with common misspellings of negations and wishes put right."""
    for wrong, right in _MISSPELLED:
        text = wrong.sub(right, text)
    return text


@cache
def _analyser() -> Any:
    missing = analyser_missing()
    if missing is not None:
        raise missing
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1, load_multi_dict=False)
