from __future__ import annotations

from pathlib import Path

import pytest

from nunbit.core.messages import InputError, SettingsError
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import (
    load_template_set,
    prompts_for,
    template_set_names,
    with_particle,
)

PAPER = {
    "P1": "이 사람의 표정은 슬픔이다.",
    "P2": "이 사람은 슬픔 감정을 느끼는 것 같다.",
    "P3": "표정이 슬픔로 보인다.",
    "P4": "이 얼굴은 슬픔에 가깝다.",
    "P5": "이 사람은 지금 슬픔한 상태처럼 보인다.",
}


def test_paper_templates_are_word_for_word_even_where_the_korean_is_wrong() -> None:
    paper, labels = load_template_set("paper"), load_label_set("aihub7")
    column = labels.index("sadness")
    rows = prompts_for(paper, labels)
    assert {i: row[column] for i, row in zip(paper.ids, rows, strict=True)} == PAPER


def test_natural_templates_have_the_right_particles_and_adjectives() -> None:
    natural, labels = load_template_set("natural"), load_label_set("aihub7")
    texts = {p for row in prompts_for(natural, labels) for p in row}
    for expected in (
        "표정이 슬픔으로 보인다.",
        "표정이 분노로 보인다.",
        "표정이 당황으로 보인다.",
        "이 얼굴은 상처에 가깝다.",
        "이 얼굴은 중립에 가깝다.",
        "이 사람은 지금 상처받은 상태처럼 보인다.",
        "이 사람은 지금 무표정한 상태처럼 보인다.",
        "이 사람은 슬픈 것 같다.",
    ):
        assert expected in texts


@pytest.mark.parametrize("name", template_set_names())
@pytest.mark.parametrize("labels", ["aihub7", "fer7"])
def test_every_prompt_is_filled_and_distinct(name: str, labels: str) -> None:
    rows = prompts_for(load_template_set(name), load_label_set(labels))
    flat = [text for row in rows for text in row]
    assert len(set(flat)) == len(flat)
    assert not any("{" in text for text in flat)


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("슬픔", "로", "슬픔으로"),
        ("분노", "으로", "분노로"),
        ("서울", "로", "서울로"),
        ("불", "으로", "불로"),
        ("서울", "은", "서울은"),
        ("기쁨", "와", "기쁨과"),
        ("상처", "과", "상처와"),
        ("3", "로", "3으로"),
        ("7", "로", "7로"),
        ("1", "을", "1을"),
        ("2", "은", "2는"),
        ("10", "이", "10이"),
        ("2024", "가", "2024가"),
        ("1,000", "로", "1,000으로"),
        ("0", "로", "0으로"),
        ("email", "은", "email은"),
        ("AI", "은", "AI는"),
        ("PDF", "을", "PDF를"),
        ("XML", "로", "XML로"),
        ("joy", "는", "joy는"),
        ("calm", "로", "calm으로"),
        ("슬픔(sad)", "로", "슬픔(sad)로"),
        ("'기쁨'", "은", "'기쁨'은"),
        ("", "은", "는"),
    ],
)
def test_particles(word: str, particle: str, expected: str) -> None:
    assert with_particle(word, particle) == expected


def test_unknown_particle() -> None:
    with pytest.raises(SettingsError, match="unknown particle '에'"):
        with_particle("슬픔", "에")


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ("templates = []", "distinct ids"),
        ("templates = [{id='A', text='빈칸 없음'}]", "no gap"),
        ("templates = [{id='A', text='{기분}'}]", "unknown gap"),
        ("templates = [{id='A', text='{감정}'}, {id='A', text='{감정}!'}]", "distinct ids"),
        ("templates = 3", "not a template set"),
    ],
)
def test_bad_template_files(tmp_path: Path, templates: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"name = 'mine'\nlanguage = 'ko'\n{templates}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_template_set(str(path))


def test_missing_adjective_says_where_to_add_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.toml"
    path.write_text(
        "name='x'\nlabels=[{id='a',ko='가',en='a'},{id='b',ko='나',en='b'}]", encoding="utf-8"
    )
    with pytest.raises(InputError, match="N2 needs ko_adjective of label 'a'"):
        prompts_for(load_template_set("natural"), load_label_set(str(path)))
