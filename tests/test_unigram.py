"""The reader of tokenizer.json against the library that wrote it."""

from __future__ import annotations

import csv
import json
import random
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from nunbit.core.messages import BundleError, InputError, MissingExtra
from nunbit.language.tokenizer import UnigramTokenizer, _rewrite, read_unigram, tokenise
from nunbit.model.bundle import default_bundle_path, load_tokenizer

FILE = default_bundle_path() / "tokenizer.json"
CASES = (
    "",
    " ",
    "환하게 웃는 표정",
    "웃으면서 힘들다고 말한다...",
    "  앞뒤 \t 공백\n줄바꿈\r\n",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",  # 한글 in jamo
    "ㅠㅠ ㅋㅋㅋㅋ ㄱㅅ",
    "ABC ａｂｃ １２３ ① ㎏ ﬁ",
    "3.14% 2026-11-27, 010-1234-5678",
    "漢字かなカナ",
    "😀👨\u200d👩\u200d👧 끝",
    "～물결~ \u2581밑줄 \ufeff표시 \u200b폭없음 \ue000",
    "<s>안녕</s> <pad><unk> ＜s＞",
    "\x00\x07\x1c\x85\xa0",
    "가" * 600,
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def own(document: dict[str, Any]) -> UnigramTokenizer:
    found = read_unigram(document)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def library() -> Any:
    return Tokenizer.from_str(FILE.read_text(encoding="utf-8"))


def differing(own: UnigramTokenizer, library: Any, texts: list[str]) -> list[str]:
    pairs = zip(texts, own.encode_batch(texts), library.encode_batch(texts), strict=True)
    return [t for t, a, b in pairs if a.ids != b.ids or a.attention_mask != b.attention_mask]


def test_sentences_of_every_kind_become_the_same_tokens(
    own: UnigramTokenizer, library: Any
) -> None:
    assert differing(own, library, list(CASES)) == []
    for text in CASES:  # without the padding of a batch
        assert differing(own, library, [text]) == []


def test_random_text_becomes_the_same_tokens(own: UnigramTokenizer, library: Any) -> None:
    rng = random.Random(0)
    # Characters assigned in Unicode 3.2 or before: newer ones may be decomposed by one of the two
    # Unicode tables and not yet by the other.
    kinds = [(0x20, 0x7E), (0xA0, 0x17F), (0x1100, 0x11FF), (0x3130, 0x318E), (0xAC00, 0xD7A3),
             (0x2000, 0x206F), (0x3000, 0x30FF), (0x4E00, 0x9FA5), (0xFF01, 0xFF5E)]  # fmt: skip
    texts = []
    for _ in range(4000):
        picked = (rng.choice(kinds) for _ in range(rng.randint(0, 25)))
        texts.append("".join(chr(rng.randint(*kind)) for kind in picked))
    wrong = [t for at in range(0, 4000, 100) for t in differing(own, library, texts[at : at + 100])]
    assert wrong == []


@pytest.mark.slow
def test_real_comments_become_the_same_tokens(
    own: UnigramTokenizer, library: Any, real_data: Path
) -> None:
    texts = []
    for name in ("kote.csv", "chatbot.csv"):
        with (real_data / "text" / name).open(encoding="utf-8", newline="") as stream:
            texts += [value for row in csv.DictReader(stream) for value in row.values()]
    assert len(texts) > 20_000
    some = texts[::3]  # all of them take ten seconds, and are the same, too
    for at in range(0, len(some), 1000):
        assert differing(own, library, some[at : at + 1000]) == []


@pytest.mark.parametrize("kind", ["NFC", "NFD", "NFKC", "NFKD"])
def test_every_character_is_normalised_as_by_the_library(kind: str) -> None:
    """The library keeps to Unicode 9, Python's tables grow with its version."""
    step = _rewrite({"type": kind})
    assert step is not None
    theirs = getattr(normalizers, kind)().normalize_str
    for char in map(chr, (*range(0xD800), *range(0xE000, 0x110000))):
        # What no table touches is not asked about, it would take a minute.
        if unicodedata.combining(char) or not unicodedata.is_normalized("NFKD", char):
            for text in (char, f"a\u0301{char}\u0316\u0334"):
                assert step(text) == theirs(text), f"U+{ord(char):04X}"
    parts = "\U00011935\U00011930"  # composed by newer tables, though neither is moved alone
    assert step(parts) == theirs(parts)


def test_a_sentence_takes_less_than_a_millisecond(own: UnigramTokenizer) -> None:
    sentence = "오늘은 하루 종일 비가 와서 그런지 마음이 조금 가라앉는 것 같아요."
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(20):
            own.tokens(sentence)
        best = min(best, (time.perf_counter() - began) / 20)
    assert best < 1e-3


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Lowercase"}),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a|b)"}, "content": ""}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("pre_tokenizer", None),
        ("post_processor", {"type": "BertProcessing"}),
        ("padding", None),
        ("padding", {"strategy": {"Fixed": 7}, "direction": "Right", "pad_to_multiple_of": None}),
        ("truncation", {"max_length": 7}),
        ("added_tokens", [{"id": 0, "content": "<s>", "special": True, "normalized": True,
                           "single_word": False, "lstrip": False, "rstrip": False}]),
    ],
)  # fmt: skip
def test_a_part_that_is_not_known_is_left_to_the_library(
    document: dict[str, Any], part: str, value: Any
) -> None:
    assert read_unigram(document | {part: value}) is None


def test_another_kind_needs_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    other = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    path.write_text(other.to_str(), encoding="utf-8")
    assert load_tokenizer(path).encode_batch(["ab"])[0].ids == [0, 1]
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match="kind BPE.*pip install tokenizers"):
        load_tokenizer(path)
    assert isinstance(load_tokenizer(FILE), UnigramTokenizer)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": 3}', '{"model": {"type": "Unigram"}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="tokenizer.json"):
        load_tokenizer(path)


def test_a_text_without_a_token_is_one_line(tmp_path: Path) -> None:
    """The library raises a plain Exception where a vocabulary has no token for what is unknown."""
    path = tmp_path / "tokenizer.json"
    path.write_text(
        json.dumps({"version": "1.0", "model": {
            "type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}})
    )  # fmt: skip
    with pytest.raises(InputError, match="text '가나다…': the bundle's tokenizer cannot read it"):
        tokenise(load_tokenizer(path), ["가나다"], None)


def test_a_tokenizer_that_does_not_pad_is_one_line(tmp_path: Path) -> None:
    """Without padding, rows of different lengths make no array."""
    path = tmp_path / "tokenizer.json"
    path.write_text(
        json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": {
            "type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})
    )  # fmt: skip
    tokenizer = load_tokenizer(path)
    assert tokenise(tokenizer, ["a a"], None)[0].shape == (1, 2)
    with pytest.raises(InputError, match="tokenizer.json does not pad"):
        tokenise(tokenizer, ["a a", "a"], None)
