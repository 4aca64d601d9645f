"""Search over windows: the right moment first, one line where nothing can be searched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from make_aligned import aligned_bundle
from nunbit.core.messages import BundleError, InputError
from nunbit.core.streams import Interval, Singles
from nunbit.measures.class_probabilities import emotion_scores
from nunbit.model.bundle import default_bundle_path
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import load_bundle
from nunbit.model.said import words_side_of
from nunbit.space.exact_words import ExactWords
from nunbit.space.windows import AlignedWindows, read_heads, write_windows
from nunbit.stories.search import (
    SearchSettings,
    hits_text,
    load_index,
    query_of,
    search,
    search_notices,
)

SENTENCE = "웃으면서 힘들다고 말한다"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aligned_bundle(tmp_path_factory.mktemp("b") / "aligned", ("face", "voice", "text"))


@pytest.fixture(scope="module")
def query(bundle: Path) -> Singles:
    loaded = load_bundle(bundle)
    heads = read_heads(loaded)
    assert heads is not None
    return query_of(loaded, heads, SENTENCE)


def _session(folder: Path, name: str, face: Singles, text: Singles, bundle_hash: str) -> None:
    n = len(face)
    folder = folder / name
    folder.mkdir(parents=True)
    windows = tuple(Interval(float(k), k + 4.0) for k in range(n))
    write_windows(
        folder,
        AlignedWindows(windows, {"face": face, "text": text}, {}, {},
                       tuple(f"{name} {k}" for k in range(n))),
        session=name,
        bundle_hash=bundle_hash,
    )  # fmt: skip


def _noise(rng: np.random.Generator, n: int) -> Singles:
    rows = rng.standard_normal((n, 128)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def timelines(tmp_path: Path, bundle: Path, query: Singles) -> Path:
    """Three sessions; window 30 of b is what is sought, its neighbours almost; words are rare."""
    rng = np.random.default_rng(0)
    digest = load_bundle(bundle).hash
    for name in "abc":
        face, text = _noise(rng, 60), np.full((60, 128), np.nan, np.float32)
        if name == "b":
            face[30], text[30] = query, query
            face[31] = query + 0.1 * face[31]
            face[31] /= np.linalg.norm(face[31])
        if name == "c":
            text[5] = query
        _session(tmp_path / "out", name, face, text, digest)
    return tmp_path / "out"


def test_the_planted_moment_is_first(timelines: Path, bundle: Path) -> None:
    index = load_index([timelines])
    assert len(index) == 180
    hits = search(index, load_bundle(bundle), SENTENCE)
    assert len(hits) == 10
    best = hits[0]
    assert (best.session, best.t_start, best.t_end) == ("b", 30.0, 34.0)
    assert best.similarity == pytest.approx(1.0, abs=0.01)
    assert best.modalities == ("face", "text")
    assert best.excerpt == "b 30"
    assert best.report is None
    # Its neighbour overlaps and is the same moment.
    assert all(h.t_start != 31.0 for h in hits if h.session == "b")
    scores = [h.similarity for h in hits]
    assert scores == sorted(scores, reverse=True)
    lines = hits_text(hits, "ko").splitlines()
    assert len(lines) == 10
    assert "0:30–0:34" in lines[0]
    assert hits[0].to_dict()["t_start"] == 30.0


def test_ranking_equals_the_naive_one(timelines: Path, bundle: Path, query: Singles) -> None:
    index = load_index([timelines])
    naive = []
    for row in range(len(index)):
        cosines = [float(index.embeddings[m][row].astype(np.float32) @ query / 32767)
                   for m in ("face", "text") if index.present[m][row]]  # fmt: skip
        naive.append(np.mean(cosines))
    found = index.similarity(query, ("face", "text"))
    np.testing.assert_allclose(found, naive, atol=1e-5)
    everything = index.ranked(found, 180, 0.0)
    assert everything == np.lexsort((np.arange(180), -found)).tolist()


@pytest.mark.slow
def test_one_modality_alone(timelines: Path, bundle: Path) -> None:
    index = load_index([timelines / "b", timelines / "c"])
    hits = search(index, load_bundle(bundle), SENTENCE, SearchSettings(modality="text"))
    assert {(h.session, h.t_start) for h in hits} == {("b", 30.0), ("c", 5.0)}
    with pytest.raises(InputError, match="no window has voice"):
        search(index, load_bundle(bundle), SENTENCE, SearchSettings(modality="voice"))


def test_a_search_says_what_the_alignment_is_worth(bundle: Path, tmp_path: Path) -> None:
    notices = search_notices(load_bundle(bundle), "all")
    assert "it has no such verdict" in notices[0].en
    assert "`modality=text`" in notices[-1].en
    assert len(notices) == 3  # face and words, voice and words, and what follows
    assert search_notices(load_bundle(bundle), "text") == []
    found = tmp_path / "found"
    shutil.copytree(bundle, found)
    document = json.loads((found / "bundle.json").read_text(encoding="utf-8"))
    verdict = {"code": "found", "r1": 0.6, "null": 0.05, "nuisance": 0.1, "left": 0.4,
               "left_null": 0.05, "n_people": 30}  # fmt: skip
    document["alignment"]["verdict"] = {"face-text": verdict, "voice-text": verdict}
    (found / "bundle.json").write_text(json.dumps(sealed_document(document)), encoding="utf-8")
    notices = search_notices(load_bundle(found), "face")
    assert len(notices) == 1
    assert "found" in notices[0].en
    assert "찾았습니다" in notices[0].ko


def test_what_cannot_be_searched(timelines: Path, bundle: Path, tmp_path: Path) -> None:
    index = load_index([timelines])
    with pytest.raises(InputError, match="give a sentence"):
        search(index, load_bundle(bundle), "  ")
    with pytest.raises(BundleError, match="not an aligned bundle"):
        search(index, load_bundle(default_bundle_path()), SENTENCE)
    wordless = aligned_bundle(tmp_path / "wordless", ("face", "voice"))
    with pytest.raises(BundleError, match="without words"):
        search(index, load_bundle(wordless), SENTENCE)
    with pytest.raises(InputError, match=r"no windows\.npz"):
        load_index([tmp_path / "nowhere"])
    _session(timelines, "d", _noise(np.random.default_rng(1), 9),
             np.full((9, 128), np.nan, np.float32), "another")  # fmt: skip
    with pytest.raises(InputError, match="different aligned bundles"):
        load_index([timelines])
    shutil.rmtree(timelines / "d")
    shutil.rmtree(timelines / "b")
    for name in "ac":
        shutil.rmtree(timelines / name)
    _session(timelines, "e", _noise(np.random.default_rng(1), 9),
             np.full((9, 128), np.nan, np.float32), "another")  # fmt: skip
    with pytest.raises(BundleError, match="another bundle"):
        search(load_index([timelines]), load_bundle(bundle), SENTENCE)


def test_exact_words_do_not_mind_blanks_endings_and_case() -> None:
    texts = ["어제 회의에서 크게 싸웠어요", "날씨가 참 좋네요", "", "Hello World 3"]
    words = ExactWords(texts)
    assert words.scores("어제회의에서크게싸웠어요").argmax() == 0
    assert words.scores("어제회의에서크게싸웠어요")[0] == pytest.approx(1.0)
    assert words.scores("회의에서 싸웠다")[0] > 0.4 > words.scores("회의에서 싸웠다")[1]
    assert words.scores("hello WORLD")[3] > 0.8
    assert not words.scores("?!").any()
    assert ExactWords([]).scores("말").shape == (0,)


@pytest.mark.slow
def test_exact_words_come_first_in_the_one_ranking(
    timelines: Path, bundle: Path, query: Singles
) -> None:
    index = load_index([timelines])
    hits = search(index, load_bundle(bundle), "a 17", SearchSettings(top=3))
    assert (hits[0].session, hits[0].t_start) == ("a", 17.0)
    assert hits[0].exact == pytest.approx(1.0)
    assert hits[0].score > hits[0].similarity


@pytest.mark.slow
def test_emotions_of_what_is_said_are_compared(tmp_path: Path, bundle: Path) -> None:
    loaded = load_bundle(bundle)
    side = words_side_of(loaded)
    assert side is not None
    said = emotion_scores(
        loaded, side, ["너무 슬퍼서 울었어요", "정말 기쁘고 행복해요", "회의는 세 시입니다"]
    )
    nothing = np.full((1, said.shape[1]), np.nan, np.float32)
    rng = np.random.default_rng(1)
    windows = tuple(Interval(10.0 * k, 10.0 * k + 4.0) for k in range(4))
    folder = tmp_path / "s"
    folder.mkdir()
    text = _noise(rng, 4)
    aligned = AlignedWindows(
        windows, {"text": text}, {}, {}, ("", "", "", ""), said=np.vstack([said, nothing])
    )
    write_windows(folder, aligned, session="s", bundle_hash=loaded.hash)
    index = load_index([folder])
    hits = search(index, loaded, "눈물이 나고 마음이 아프다", SearchSettings(top=4))
    by_time = {hit.t_start: hit.emotion for hit in hits}
    assert max(by_time, key=by_time.__getitem__) == 0.0
    assert by_time[30.0] == 0.0
