"""Words that people read: one name for one thing, natural Korean, nothing written for nobody."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import nunbit
from nunbit.language.labels import label_set_from_dict, label_set_to_dict, load_label_set
from nunbit.language.prompts import load_template_set, prompts_for

ROOT = Path(nunbit.__file__).parent
REPORTS = ROOT / "report"
TEXTS = sorted(REPORTS.glob("*texts.toml"))
PROJECT = ROOT.parents[1]

# What was said once, and what says it now.
GONE = {
    "마세요": "마십시오",
    "주세요": "주십시오",
    "depgroup 비율": "슬픔·불안·상처 확률의 합",
    "epgroup share": "sum of sadness, anxiety, hurt",
    "논문 묶음의 비율": "슬픔·불안·상처 확률의 합",
    "여럿이라 가릴 수 없음": "구별할 수 없음",
    "겉보기 표정성": "표정의 강도",
    "양식 간": "모달리티 간",
    "군말": "간투사",
    "단정적 낱말": "절대적 표현",
    "물은 구간": "질의 창",
    "서로를 알아보는가": "서로 대응하는가",
    "기계 밖": "컴퓨터 밖",
    "얼굴 조각": "얼굴 영역",
    "설치하는 줄": "설치 명령",
    "emotional hurt": "hurt",
    "neutrality": "neutral",
    "a angry": "an angry",
    "chance 0.05": "the measured chance",
    "우연은 0.05": "시간을 섞으면",
    "재사상": "재배치",
    "능형": "릿지",
    "대조군": "대조",
    "값이(가)": "값이",
    "우연보다 높을 수 있는 상한": "우연을 넘는 몫의 상한",
}
# Examples of what people say, in docstrings; wordings that older models were trained with.
SAID = re.compile(r"행복하게 해 주세요|걱정 마세요")


@cache
def _read_by_people() -> dict[str, list[str]]:
    """Lines of every file whose words people read, by the file's name."""
    found = [p for kind in ("py", "toml", "jinja", "html", "js") for p in ROOT.rglob(f"*.{kind}")]
    kept = [p for p in found if not {"bundles", "older", "lexicons", "labels"} & set(p.parts)]
    kept += [*PROJECT.glob("README*.md"), *(PROJECT / "docs").glob("*.md")]
    return {str(p.relative_to(PROJECT)): p.read_text(encoding="utf-8").splitlines() for p in kept}


@pytest.mark.parametrize("word", GONE)
def test_a_word_that_was_mended_stays_away(word: str) -> None:
    found = [
        f"{name}:{number}"
        for name, lines in _read_by_people().items()
        for number, line in enumerate(lines, 1)
        if word in line and not SAID.search(line)
    ]
    assert not found, f"write '{GONE[word]}'"


@cache
def _asked() -> tuple[str, set[tuple[str, str]], set[tuple[str, str]]]:
    """All that can ask for a text: the code, every ``section.key`` in it, every beginning of one.

    f"reason.{code}" and "policy." ~ name ask for texts by a code of the data.
    """
    code = "\n".join(
        p.read_text(encoding="utf-8")
        for kind in ("py", "jinja", "html", "js", "md")
        for p in ROOT.rglob(f"*.{kind}")
    )
    begun = re.findall(r"\b(\w+)\.(\w*)(?:\{|[\"']\s*~)", code)
    return code, set(re.findall(r"\b(\w+)(?=\.(\w+)\b)", code)), set(begun)


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_every_text_is_used(path: Path) -> None:
    """A text nobody shows is one that two languages have to be kept right for in vain."""
    code, asked, begun = _asked()
    unused = [
        f"{section}.{key}"
        for section, texts in tomllib.loads(path.read_text(encoding="utf-8")).items()
        if f'section("{section}")' not in code
        and section != "plain"  # they stand for others: test_pages_words
        for key in texts
        if (section, key) not in asked
        if not any(section == s and key.startswith(start) for s, start in begun)
    ]
    assert not unused


def test_names_of_classes_are_those_of_their_ids() -> None:
    aihub7, fer7 = load_label_set("aihub7"), load_label_set("fer7")
    assert aihub7.names("en") == aihub7.ids
    assert fer7.names("en") == fer7.ids


def test_prompts_keep_the_nouns_that_models_were_trained_with() -> None:
    fer7 = load_label_set("fer7")
    rows = prompts_for(load_template_set("english"), fer7)
    assert rows[0][fer7.index("neutral")] == "The expression of this person is neutrality."
    assert rows[0][fer7.index("joy")] == "The expression of this person is happiness."
    assert fer7.find("happiness") == "joy"


def test_a_set_stored_by_version_0_1_gets_the_names_of_today() -> None:
    fer7 = load_label_set("fer7")
    stored = label_set_to_dict(fer7)
    for label in stored["labels"]:
        label["en"] = label.pop("en_noun") or label["en"]
    assert {label["en"] for label in stored["labels"]} >= {"happiness", "neutrality"}
    read = label_set_from_dict(stored, "bundle.json")
    assert read.names("en") == fer7.names("en")
    old, new = (prompts_for(load_template_set("english"), one) for one in (read, fer7))
    assert old == new
