from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
from nunbit.language.labels import (
    label_set_from_dict,
    label_set_names,
    label_set_to_dict,
    load_label_set,
    merge_labels,
)


def test_contract_order_and_names() -> None:
    aihub = load_label_set("aihub7")
    assert aihub.ids == ("joy", "flustered", "anger", "anxiety", "hurt", "sadness", "neutral")
    assert aihub.names("ko") == ("기쁨", "당황", "분노", "불안", "상처", "슬픔", "중립")
    assert aihub.groups["depression_related"].labels == ("sadness", "anxiety", "hurt")
    fer = load_label_set("fer7")
    assert fer.ids == ("joy", "surprise", "anger", "fear", "disgust", "sadness", "neutral")
    assert fer.groups["depression_related"].stand_in_for == ("sadness", "anxiety", "hurt")


@pytest.mark.parametrize(
    ("set_name", "spelling", "expected"),
    [
        ("aihub7", "슬픔", "sadness"),
        ("aihub7", unicodedata.normalize("NFD", "슬픔"), "sadness"),
        ("aihub7", "기쁨 ", "joy"),
        ("aihub7", "알수없음", None),
        ("fer7", "Angry", "anger"),
        ("fer7", "fear", "fear"),
        ("fer7", "happy", "joy"),
        ("fer7", "contempt", None),
    ],
)
def test_spellings(set_name: str, spelling: str, expected: str | None) -> None:
    assert load_label_set(set_name).find(spelling) == expected


def test_unknown_spelling_names_the_remedy() -> None:
    with pytest.raises(InputError, match="unknown label 'bored'.*aliases"):
        load_label_set("fer7").find("bored")


@pytest.mark.parametrize("name", label_set_names())
def test_plain_data_round_trip(name: str) -> None:
    label_set = load_label_set(name)
    assert label_set_from_dict(label_set_to_dict(label_set), name) == label_set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3", "not a label set"),
        ("name = 'x'\nlabels = []", "fewer than two"),
        ("name = ", "not valid TOML"),
        (
            "name='x'\nlabels=[{id='a',ko='가',en='a'},{id='a',ko='나',en='b'}]",
            "occurs twice",
        ),
        (
            "name='x'\nlabels=[{id='a',ko='가',en='a'},{id='b',ko='나',en='b'}]\n"
            "[groups.g]\nlabels=['c']",
            "do not exist: c",
        ),
        ("name='x'\nlabels=[{id='가',ko='가',en='a'},{id='b',ko='나',en='b'}]", "ASCII"),
        (
            "name='x'\nlabels=[{id='a',ko='가',en='a',valence=2},{id='b',ko='나',en='b'}]",
            "valence",
        ),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_label_set(str(path))


MERGES = "name='x'\nlabels=[{id='a',ko='가',en='a'},{id='b',ko='나',en='b'}]\n[merges.fine]\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("c = ['p']", "merges name labels that do not exist: c"),
        ("a = ['p', 'q']\nb = ['q']", "merges join a class twice: q"),
    ],
)
def test_merges_must_be_a_division(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MERGES + table, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_label_set(str(path))


@pytest.mark.parametrize(
    ("base", "inside", "stand_in_for"),
    [
        ("aihub7", {"sadness", "anxiety", "hurt"}, ()),
        ("fer7", {"sadness", "fear"}, ("sadness", "anxiety", "hurt")),
    ],
)
def test_dep2_joins_the_classes_of_the_package(
    base: str, inside: set[str], stand_in_for: tuple[str, ...]
) -> None:
    fine = load_label_set(base)
    merged, new_id = merge_labels(fine, load_label_set("dep2"))
    assert set(new_id) == set(fine.ids)
    assert {old for old, new in new_id.items() if new == "distress"} == inside
    assert set(fine.groups["depression_related"].labels) == inside
    assert merged.groups["depression_related"].stand_in_for == stand_in_for
    assert set(merged.merges) == {base}
    assert label_set_from_dict(label_set_to_dict(merged), "x") == merged


def test_dep2_names_no_illness() -> None:
    text = str(label_set_to_dict(load_label_set("dep2"))["labels"])
    for word in ("우울", "depress", "환자", "patient", "진단", "diagnos", "disorder", "장애"):
        assert word not in text


def test_dep2_reads_ai_hubs_spellings() -> None:
    dep2 = load_label_set("dep2")
    for label in load_label_set("aihub7").labels:
        inside = label.id in ("sadness", "anxiety", "hurt")
        for spelling in (label.id, label.name.ko, label.name.en):
            assert dep2.find(spelling) == ("distress" if inside else "other")
    assert dep2.find("알수없음") is None


def test_a_merge_that_leaves_a_class_over_names_it() -> None:
    with pytest.raises(InputError, match=r"dep2 does not define the new class of distress.*add"):
        merge_labels(
            label_set_from_dict(label_set_to_dict(load_label_set("dep2")) | {"name": "x"}, "x"),
            load_label_set("dep2"),
        )


def test_missing_file_names_the_sets() -> None:
    with pytest.raises(InputError, match="aihub7, dep2, fer7"):
        load_label_set("nowhere.toml")
