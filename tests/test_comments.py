"""Sentences with raters' emotions, and the map that is fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from development.comments import load_mapping, read_kote
from nunbit.core.messages import InputError
from nunbit.language.labels import load_label_set

FER7 = load_label_set("fer7")


def table(path: Path, *rows: str) -> Path:
    path.write_text("part,id,text,labels\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_mapping_knows_all_44_emotions_and_gives_each_at_most_one_class() -> None:
    for name in ("fer7", "aihub7"):
        labels = load_label_set(name)
        rows = load_mapping(labels)
        assert rows.shape == (44, 7)
        assert rows.sum(axis=1).max() == 1
        assert (rows.sum(axis=0) > 0).all()
    with pytest.raises(InputError, match="no mapping"):
        load_mapping(load_label_set("dep2"))


def test_shares_come_from_the_mapped_emotions_of_a_comment(tmp_path: Path) -> None:
    path = table(
        tmp_path / "k.csv",
        'val,1,좋아요,"28,42,5"',  # two of joy, one of sadness
        "val,2,깨달음만,29",  # an emotion that no class means
        "test,3,무서워,18",
    )
    found = read_kote(path, "val", FER7)
    assert found.texts == ("좋아요",)
    np.testing.assert_allclose(found.targets[0, FER7.index("joy")], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(found.targets[0, FER7.index("sadness")], 1 / 3, rtol=1e-6)
    assert found.truth.tolist() == [FER7.index("joy")]
    tie = read_kote(table(tmp_path / "t.csv", 'val,1,음,"5,42"'), "val", FER7)
    assert tie.truth.tolist() == [-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("part,id,text,labels\n", "no usable comment in part 'val'"),
        ("a,b\n1,2\n", "not a table"),
        ("part,id,text,labels\nval,1,x,99\n", "not a table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_kote(path, "val", FER7)


@pytest.mark.train
def test_the_map_brings_sentences_to_their_class_and_leaves_the_classes_alone() -> None:
    torch = pytest.importorskip("torch")
    from development.text_stage import SentenceSettings, fit_sentences
    from nunbit.model.zeroshot import normalise

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    classes = normalise(rng.normal(size=(3, 16)).astype(np.float32))
    own = rng.integers(0, 3, 600)
    # Sentences of a class gather elsewhere than its prompts do.
    centres = normalise(rng.normal(size=(3, 16)).astype(np.float32))
    vectors = normalise((centres[own] + 0.15 * rng.normal(size=(600, 16))).astype(np.float32))
    targets = np.eye(3, dtype=np.float32)[own]
    before = ((vectors @ classes.T).argmax(1) == own).mean()
    settings = SentenceSettings(steps=300, lr=1e-2)
    found = fit_sentences(vectors[:400], targets[:400], classes, settings)
    mapped = normalise(vectors[400:] @ found.weight.T + found.bias)
    after = ((mapped @ classes.T).argmax(1) == own[400:]).mean()
    assert before < 0.7
    assert after > 0.95
    assert 1 < found.logit_scale <= 100
