"""The side for what people say: what it reads, what it keeps, and bundles that have none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nunbit.core.messages import BundleError
from nunbit.core.streams import Interval, Transcript, Utterance
from nunbit.language.morphemes import analyser_missing, function_counts, said_sentences
from nunbit.measures.class_probabilities import emotion_scores, text_chances
from nunbit.model.bundle import (
    BUNDLE_FILE,
    TEXT_FILE,
    WORDS_FILE,
    default_bundle_path,
    more_outputs,
)
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import load_bundle
from nunbit.model.said import (
    WordsSide,
    count_pieces,
    level,
    read_words_side,
    text_side,
    words_side_of,
    write_words_side,
)

TOWER = "8a0a73fa5f8f1053fd5f5ed50164ba31196b73ae59760fd7f0c7f6df8d6b3895"
PROMPTS = "477e120fa93d502d4fc9a6613ab1f2c5d7805d960f0619f791b5d31286769350"


def said(*texts: str) -> Transcript:
    return Transcript(
        tuple(Utterance(Interval(10.0 * i, 10.0 * i + 3.0), text) for i, text in enumerate(texts)),
        "srt",
        "ko",
    )


def small(rng: np.random.Generator, buckets: int = 64) -> WordsSide:
    e, k, d = 3, 2, 4
    return WordsSide(
        emotions=("기쁨", "슬픔", "없음"),
        none="없음",
        classes=("joy", "sadness"),
        layers=("a", "b"),
        idf=np.ones(buckets, np.float32),
        pieces=rng.integers(-127, 128, (buckets, e)).astype(np.int8),
        piece_scale=np.full(e, 0.01, np.float32),
        centre=np.zeros(d, np.float32),
        vectors=rng.standard_normal((d, e)).astype(np.float16).astype(np.float32),
        bias=np.zeros(e, np.float32),
        platt=np.array([[1, 1, 1], [0, 0, 0]], np.float32),
        members=np.array([[1, 0], [0, 1], [0, 0]], np.float32),
        mean=np.zeros(2 * k, np.float32),
        spread=np.ones(2 * k, np.float32),
        to_class=np.vstack([np.eye(k), np.zeros((k, k))]).astype(np.float32),
        class_bias=np.zeros(k, np.float32),
        temperature=1.0,
    )


@pytest.mark.parametrize(
    ("text", "levelled"),
    [
        ("많이 슬펐어요.", "많이 슬펐어."),
        ("슬펐습니다", "슬펐다"),
        ("감사합니다!!", "감사하다!!"),
        ("좋습니까?", "좋까?"),
        ("좋아요ㅎㅎ", "좋아ㅎㅎ"),
        ("필요 중요", "필요 중요"),
        ("요", "요"),
        ("그때 니가 왔다", "그때 니가 왔다"),
        ("I am fine 😀", "I am fine 😀"),
    ],
)
def test_politeness_is_taken_off(text: str, levelled: str) -> None:
    assert level(text) == levelled


def test_forms_of_a_word_share_their_pieces() -> None:
    both = set(count_pieces("기뻐", 1 << 16)) & set(count_pieces("기뻤", 1 << 16))
    other = set(count_pieces("기뻐", 1 << 16)) & set(count_pieces("슬퍼", 1 << 16))
    assert len(both) > 2 * len(other)
    assert count_pieces("기쁨 기쁨", 1 << 16) == {
        k: 2 * v for k, v in count_pieces("기쁨", 1 << 16).items()
    }
    assert count_pieces("😀", 64)  # beyond the basic plane
    assert not count_pieces("  ", 64)


def test_numbers_that_were_written_are_read(tmp_path: Path) -> None:
    side = small(np.random.default_rng(0))
    write_words_side(tmp_path / WORDS_FILE, side)
    again = read_words_side(tmp_path / WORDS_FILE, ("joy", "sadness"))
    layers = np.random.default_rng(1).standard_normal((2, 2, 2)).astype(np.float32)
    scores = side.scores(["기뻐", ""], layers)
    np.testing.assert_allclose(again.scores(["기뻐", ""], layers), scores, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(side.chances(scores).sum(axis=1), 1.0, rtol=1e-6)
    assert ((side.named(scores) > 0) & (side.named(scores) < 1)).all()
    np.testing.assert_array_equal(side.none_named(scores), side.named(scores)[:, 2])
    # More of an emotion is more of its class.
    more = side.chances(np.array([[3.0, 0, 0], [0, 3.0, 0]], np.float32))
    assert more[0, 0] > 0.5 > more[1, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("joy", "anger")},
        {"none": "무"},
        {"temperature": 0.0},
        {"spread": np.zeros(4, np.float32)},
        {"to_class": np.zeros((3, 2), np.float32)},
        {"bias": np.full(3, np.nan, np.float32)},
        {"pieces": np.zeros((60, 3), np.int8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_side_that_does_not_fit_is_a_damaged_bundle(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write_words_side(tmp_path / WORDS_FILE, replace(small(np.random.default_rng(0)), **change))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="damaged"):
        read_words_side(tmp_path / WORDS_FILE, ("joy", "sadness"))
    (tmp_path / WORDS_FILE).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(BundleError, match="damaged"):
        read_words_side(tmp_path / WORDS_FILE, ("joy", "sadness"))


@pytest.mark.slow
def test_tower_and_prompts_of_the_shipped_model_are_as_they_were() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    assert bundle.document.checksums[TEXT_FILE] == TOWER
    assert bundle.document.checksums["prompts.npz"] == PROMPTS
    texts = ["이 사람의 표정은 기쁨이다.", "우울해 보인다"]
    before = bundle.embed_texts(texts)
    side = words_side_of(bundle)
    assert side is not None
    layers = bundle.text_layers(texts, side.layers)
    assert layers.shape == (2, len(side.layers), 384)
    np.testing.assert_array_equal(bundle.embed_texts(texts), before)
    assert (bundle.path / WORDS_FILE).stat().st_size < 6_000_000


def test_an_unknown_layer_is_a_damaged_bundle() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    with pytest.raises(BundleError, match="damaged"):
        bundle.text_layers(["말"], ("no_such_tensor",))
    assert more_outputs(("a" * 200,))[:3] == b"\x3a\xce\x01"  # lengths beyond one byte


@pytest.mark.skipif(analyser_missing() is not None, reason="no Korean analyser")
def test_plain_sentences_get_their_class() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    found = text_chances(
        bundle, said("정말 행복해요", "너무 슬퍼서 울었어요", "짜증나고 화가 나요")
    )
    assert found.chances is not None
    assert found.none is not None
    best = [bundle.label_set.ids[i] for i in found.chances.argmax(axis=1)]
    assert best == ["joy", "sadness", "anger"]
    plain = text_chances(bundle, said("여기는 프랑스 남부에 있는 곳입니다", "정말 행복해요"))
    assert plain.none is not None
    assert plain.none[0] > 0.5 > plain.none[1]


@pytest.mark.skipif(analyser_missing() is not None, reason="no Korean analyser")
def test_what_is_left_out_leaves_no_scores() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    found = text_chances(bundle, said("죽고 싶어요", "행복했던 적이 없어요", "정말 행복해요"))
    assert found.scores is not None
    assert found.none is not None
    there = np.isfinite(found.scores).all(axis=1)
    assert not there[0]
    assert there[2]
    np.testing.assert_array_equal(there, np.isfinite(found.none))


@pytest.mark.skipif(analyser_missing() is not None, reason="no Korean analyser")
def test_a_long_answer_is_read_sentence_by_sentence() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    side = words_side_of(bundle)
    assert side is not None
    parts = ["오늘 회사에 갔어요", "그런데 부장님이 화를 냈어요"]
    assert said_sentences(" ".join(parts)) == tuple(parts)
    assert said_sentences("안녕하세요. ... 그래요?") == ("안녕하세요.", "그래요?")
    weight = np.array([[sum(c.isalnum() for c in level(part))] for part in parts])
    alone = emotion_scores(bundle, side, parts)
    whole = emotion_scores(bundle, side, [" ".join(parts)])[0]
    np.testing.assert_allclose(whole, (alone * weight).sum(axis=0) / weight.sum(), atol=1e-4)


@pytest.mark.skipif(analyser_missing() is not None, reason="no Korean analyser")
def test_a_bundle_from_before_reads_words_by_its_map(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(default_bundle_path(), folder)
    (folder / WORDS_FILE).unlink()
    document = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    del document["checksums"][WORDS_FILE]
    (folder / BUNDLE_FILE).write_text(json.dumps(sealed_document(document)), encoding="utf-8")
    old = load_bundle(folder, threads=1)
    assert words_side_of(old) is None
    assert text_side(old)["kind"] == "map"
    assert text_side(load_bundle(default_bundle_path()))["kind"] == "words"
    found = text_chances(old, said("정말 행복해요"))
    assert found.chances is not None
    assert found.scores is None
    assert found.chances[0].argmax() == 0


@pytest.mark.skipif(analyser_missing() is not None, reason="no Korean analyser")
def test_function_morphemes_of_each_word() -> None:
    counts = function_counts(["나는", "", "밥을", "먹었다."])
    assert counts == ((2, 2), (0, 0), (1, 2), (2, 3))  # 나 는 | 밥 을 | 먹 었 다
    assert function_counts([]) == ()
