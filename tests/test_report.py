"""The report: whole, self-contained, escaped, in two languages; figures, tables, terminal text."""

from __future__ import annotations

import copy
import csv
import io
import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from make import make_world
from nunbit.core.messages import InputError, Lang
from nunbit.language.labels import label_set_from_dict
from nunbit.report import confusion_text, evaluation_text, render_evaluation
from nunbit.report.figures import write_figures
from nunbit.report.page import (
    csv_text,
    evaluation_html,
    evaluation_tables,
    latex_text,
    write_tables,
)
from nunbit.report.shapes import (
    percent,
    percent_interval,
    points,
    points_plot,
    share_plot,
    share_row,
)
from nunbit.report.view import View
from nunbit.runtime.files import write_json
from nunbit.runtime.progress import pad, set_lang, width
from nunbit.runtime.resources import provenance
from nunbit.runtime.results import EvalResult
from nunbit.stories.evaluate import EvaluateSettings
from nunbit.stories.evaluate.assess import assess

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.count: dict[str, int] = {}
        self.feed(html)
        self.close()
        assert self.open == [], f"unclosed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def make_document(n: int = 400, *, compare: str | None = "paper", **changes: Any) -> dict[str, Any]:
    world = make_world(n, **changes)
    settings = EvaluateSettings(compare=compare, n_resamples=100)
    document = assess(world.predictions, settings, evidence=world.evidence, n_rejected=3)
    return document | {
        "bundle": {
            "name": "tiny",
            "hash": "ab" * 32,
            "training_data": {"statement": "drawn faces"},
        },
        "dataset": {"name": "data", "label_set": "aihub7", "n": n, "synthetic": False},
        "provenance": provenance("evaluate", {"n_resamples": 100}, inputs={"bundle": "ab" * 32}),
    }


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_document()


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take a second; ``rendered`` draws them."""
    monkeypatch.setattr("nunbit.report.page.write_figures", lambda folder, view: None)


@pytest.fixture
def fresh(document: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(document)


@pytest.fixture(scope="module")
def rendered(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    write_json(folder / "result.json", document)
    render_evaluation(folder, lang="ko")
    return folder


def page_of(document: dict[str, Any], lang: Any = "en", **pictures: str) -> Page:
    return Page(evaluation_html(View(document, lang), pictures))


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_page_is_whole_and_says_the_headline(document: dict[str, Any], lang: Any) -> None:
    page = page_of(document, lang)
    anchors = {value for _, name, value in page.attributes if name == "id"}
    links = {value[1:] for _, name, value in page.attributes if name == "href"}
    assert links <= anchors
    assert len(links) == 12
    for key in ("top1", "macro_f1", "uar"):
        assert percent(document[key]) in page.text
        assert percent_interval(document["ci95"][key]) in page.text
    assert "annot_a" in page.text
    assert ("lang", lang) in {(name, value) for _, name, value in page.attributes}
    assert page.count["svg"] == 3
    assert "{" not in re.sub(r"\{감정\}", "", page.text)  # no gap of a sentence left open


@pytest.mark.parametrize(
    ("lang", "sentences"),
    [
        (
            "ko",
            (
                "비언어 신호 요약이며 진단이 아닙니다. 의학적 판단에 사용하지 마십시오.",
                "제로샷은 논문에서 쓴 뜻입니다",
                "실제로 느끼는 감정이 아닙니다",
                "109",
            ),
        ),
        ("en", ("not a diagnosis", "Zero-shot in the paper's sense", "not what the person feels")),
    ],
)
def test_page_says_what_it_is_not(
    document: dict[str, Any], lang: Any, sentences: tuple[str, ...]
) -> None:
    text = page_of(document, lang).text
    for sentence in sentences:
        assert sentence in text
    assert not {w for w in ("위험군", "양성", "screening", "at risk") if w in text}


def test_page_loads_nothing(rendered: Path) -> None:
    html = (rendered / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    for tag, name, value in page.attributes:
        if name in ("href", "src", "action", "data", "poster", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp", html)
    assert page.count.get("link", 0) == 0
    assert len(html.encode()) < 400_000


def test_every_warning_and_note_is_on_the_page(document: dict[str, Any]) -> None:
    assert {w["level"] for w in document["warnings"]} == {"warning"}
    note = {"id": "x", "level": "note", "en": "A limit of this.", "ko": "한계입니다."}
    fuller = document | {"warnings": [*document["warnings"], note]}
    for lang in ("ko", "en"):
        text = page_of(fuller, lang).text
        assert all(w[lang] in text for w in fuller["warnings"])


def test_synthetic_faces_are_said(fresh: dict[str, Any]) -> None:
    fresh["dataset"]["synthetic"] = True
    assert "nothing about human faces" in page_of(fresh).text


def test_hostile_names_are_text_and_never_markup(fresh: dict[str, Any]) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    fresh["label_set"]["labels"][0]["ko"] = evil
    fresh["confident_mistakes"][0]["record_id"] = evil
    fresh["subgroups"]["place"]["groups"][0]["value"] = evil
    fresh["bundle"]["name"] = evil
    fresh["per_template"]["P1"]["text"] = evil
    page = page_of(fresh, "ko")
    assert page.count["script"] == 1
    assert page.count.get("img", 0) == 0
    assert page.text.count(evil) >= 5
    tables = {t.name: latex_text(t) for t in evaluation_tables(View(fresh, "ko"))}
    assert "<script>" in tables["per_class"]  # harmless in LaTeX


def test_matrix_tells_every_cell_to_mouse_keyboard_and_reader(document: dict[str, Any]) -> None:
    page = page_of(document)
    texts = [value for tag, name, value in page.attributes if (tag, name) == ("g", "data-text")]
    assert len(texts) == 49
    focusable = [1 for tag, name, _ in page.attributes if (tag, name) == ("g", "tabindex")]
    assert len(focusable) == 49
    row = document["confusion"][1]
    column = [r[0] for r in document["confusion"]]
    expected = (
        f"flustered answered as joy: {row[0]} images, {percent(row[0] / sum(row))} of all "
        f"flustered images, {percent(row[0] / sum(column))} of all joy answers"
    )
    assert texts[7] == expected


def test_positions_are_inside_their_plots(document: dict[str, Any]) -> None:
    page = page_of(document)
    styles = [value for _, name, value in page.attributes if name == "style"]
    positions = [float(p) for s in styles for p in re.findall(r"(?:left|width):([-\d.]+)%", s)]
    assert len(positions) > 200
    assert min(positions) >= 0.0
    assert max(positions) <= 100.0


@pytest.mark.usefixtures("_no_figures")
def test_pictures_only_where_asked_for(fresh: dict[str, Any], tmp_path: Path) -> None:
    assert page_of(fresh).count.get("img", 0) == 0
    fresh["provenance"]["settings"]["with_images"] = True
    write_json(tmp_path / "result.json", fresh)
    record = fresh["confident_mistakes"][0]["record_id"]
    (tmp_path / "mistakes").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "mistakes" / f"{record}.jpg")
    page = Page(render_evaluation(tmp_path, lang="en").read_text(encoding="utf-8"))
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/jpeg;base64,")


@pytest.mark.usefixtures("_no_figures")
def test_record_id_cannot_reach_outside_the_folder(fresh: dict[str, Any], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jpg")
    (tmp_path / "e" / "mistakes").mkdir(parents=True)
    fresh["confident_mistakes"][0]["record_id"] = "../../secret"
    fresh["provenance"]["settings"]["with_images"] = True
    write_json(tmp_path / "e" / "result.json", fresh)
    page = Page(render_evaluation(tmp_path / "e", lang="en").read_text(encoding="utf-8"))
    assert page.count.get("img", 0) == 0


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_page_of_the_barest_result(lang: Any) -> None:
    """Two classes without groups, no prompts, persons, votes or attributes; three images."""
    two = {
        "name": "two",
        "groups": {},
        "labels": [{"id": "a", "ko": "가", "en": "a"}, {"id": "b", "ko": "나", "en": "b"}],
    }
    rng = np.random.default_rng(0)
    world = make_world(3)
    own = world.predictions
    fields = {
        "label_set": label_set_from_dict(two, "test"),
        "split": "test",
        "policy": "uploader",
        "record_id": own.record_id,
        "truth": np.array([0, 0, 0]),
        "probability": rng.dirichlet([1, 1], 3).astype(np.float32),
    }
    result = assess(type(own)(**fields), EvaluateSettings(n_resamples=100))
    result |= {"bundle": None, "dataset": None, "provenance": provenance("evaluate", {})}
    page = page_of(result, lang)
    assert page.count["svg"] == 3
    text = evaluation_text(EvalResult.from_document(result), Path("e"), lang)
    assert "!" in text


def test_comparison_with_an_evaluation_is_shown(fresh: dict[str, Any]) -> None:
    scores = {key: fresh[key] for key in ("labels", "top1", "macro_f1", "uar", "ci95", "per_class")}
    difference = {"top1": 0.012, "macro_f1": 0.0, "uar": -0.01}
    intervals = {key: [value - 0.02, value + 0.02] for key, value in difference.items()}
    fresh["comparison"] = {
        "kind": "evaluation",
        "name": {"en": "other", "ko": "다른 모델"},
        "other": scores,
        "findings": None,
        "notes": [],
        "paired": {
            "n": 400,
            "other": scores | {"n": 400},
            "difference": {**difference, "ci95": intervals},
            "mcnemar": {"only_first": 12, "only_second": 7, "p_value": 0.359},
        },
    }
    text = page_of(fresh).text
    assert "+1.2" in text
    assert "[−0.8, +3.2]" in text
    assert "p = 0.3590" in text
    fresh["comparison"] = None
    assert "Beside:" not in page_of(fresh).text


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_several_comparisons_and_seeds_are_one_table(
    fresh: dict[str, Any], lang: Any, tmp_path: Path
) -> None:
    own = {key: fresh[key] for key in ("top1", "macro_f1", "uar", "ci95")}
    paired = {
        "n": 400,
        "other": own | {"n": 400, "top1": 0.1234},  # on the common images, not its own result
        "difference": {"top1": 0.02, "ci95": {"top1": [0.01, 0.03]}},
        "mcnemar": {"only_first": 9, "only_second": 1, "p_value": 0.02},
    }
    other = {"name": {"en": "knn", "ko": "이웃"}, "paired": paired}
    fresh["further_comparisons"] = [fresh["comparison"] | other]
    spread = {"mean": 0.61, "sd": 0.0123, "min": 0.6, "max": 0.625}
    runs = [{"name": name, "top1": 0.6, "macro_f1": 0.5, "uar": 0.5} for name in ("", "s1")]
    fresh["seeds"] = {"n": 2, "runs": runs, **dict.fromkeys(("top1", "macro_f1", "uar"), spread)}
    text = page_of(fresh, lang).text
    assert ("All models on the same data" if lang == "en" else "같은 데이터의 모든 모델") in text
    assert ("knn" if lang == "en" else "이웃") in text
    assert "12.3%" in text
    assert "[+1.0, +3.0]" in text
    assert "61.0% ± 1.2 (60.0–62.5%)" in text
    write_tables(tmp_path, View(fresh, lang))
    assert len((tmp_path / "comparison.csv").read_text().splitlines()) == 4
    assert len((tmp_path / "seeds.csv").read_text().splitlines()) == 3


# Texts ----------------------------------------------------------------------------------------


def all_texts() -> list[tuple[str, dict[str, str]]]:
    source = resources.files("nunbit.report") / "texts.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    return [(f"{s}.{k}", texts) for s, table in tables.items() for k, texts in table.items()]


def test_every_text_is_there_in_both_languages_with_the_same_gaps() -> None:
    texts = all_texts()
    assert len(texts) > 150
    for key, pair in texts:
        assert set(pair) == {"en", "ko"}, key
        gaps = [{gap for _, gap, _, _ in Formatter().parse(t) if gap} for t in pair.values()]
        assert gaps[0] == gaps[1], key
        assert all(t.strip() for t in pair.values()), key


# Shapes ---------------------------------------------------------------------------------------


def test_numbers_as_people_read_them() -> None:
    assert percent(0.56281) == "56.3%"
    assert percent(None) == "–"
    assert percent_interval([0.5, 0.625]) == "50.0–62.5%"
    assert points(-0.0123) == "−1.2"
    assert points(0.5) == "+50.0"
    assert points(-0.0001) == points(0.0) == "0.0"


@pytest.mark.parametrize(
    "values", [(0.5,), (0.0, 1.0), (0.511, 0.512), (0.02, 0.03), (0.97, 1.0), (0.0,), (1.0,)]
)
def test_scale_holds_its_values_with_a_few_round_ticks(values: tuple[float, ...]) -> None:
    plot = share_plot(share_row("x", v, [max(0.0, v - 0.01), min(1.0, v + 0.01)]) for v in values)
    assert 0.0 <= plot.low < plot.high <= 1.0
    assert 2 <= len(plot.ticks) <= 12
    for v in values:
        assert plot.low <= v <= plot.high
    assert all(len(text) <= 6 for _, text in plot.ticks)


def test_scale_of_differences_holds_zero() -> None:
    row = share_row("x", 0.031, [0.02, 0.04])
    plot = points_plot([row])
    assert plot.low <= 0.0 <= plot.high
    assert "0" in {text for _, text in plot.ticks}
    assert points_plot([]).ticks


# Terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_terminal_matrix_is_aligned(document: dict[str, Any], lang: Any) -> None:
    result = EvalResult.from_document(document)
    note, header, *rows = confusion_text(result, lang).splitlines()
    assert note.startswith("(")
    assert len({width(line) for line in (header, *rows)}) == 1
    assert len(rows) == 7
    for row, counts in zip(rows, document["confusion"], strict=True):
        assert [int(c) for c in re.findall(r"(?<=  )\d+(?= )", row)] == counts


def test_width_counts_hangul_twice() -> None:
    assert width("기쁨 joy") == 8
    assert pad("슬픔", 6) == "  슬픔"
    assert pad("슬픔", 6, left=True) == "슬픔  "


def test_terminal_text_names_scores_warnings_and_report(document: dict[str, Any]) -> None:
    text = evaluation_text(EvalResult.from_document(document), Path("out"), "en")
    assert percent(document["uar"]) in text
    assert all(w["en"] in text for w in document["warnings"] if w["level"] == "warning")
    assert str(Path("out") / "report.html") in text


# Tables and figures ---------------------------------------------------------------------------


def test_tables_hold_the_figures(document: dict[str, Any], rendered: Path) -> None:
    names = {path.name for path in (rendered / "tables").iterdir()}
    kinds = ("confusion", "headline", "per_class", "policies", "templates", "ensembles")
    kinds += ("subgroups", "binary", "comparison")
    assert names == {f"{kind}.{suffix}" for kind in kinds for suffix in ("csv", "tex")}
    with (rendered / "tables" / "confusion.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    assert [[int(c) for c in row[1:]] for row in rows[1:]] == document["confusion"]
    # English in a Korean report: a script that reads it does not depend on the language.
    names = ["joy", "flustered", "anger", "anxiety", "hurt", "sadness", "neutral"]
    assert [row[0] for row in rows[1:]] == rows[0][1:] == names
    assert "기쁨" in (rendered / "tables" / "confusion.tex").read_text(encoding="utf-8")
    tables = {t.name: t for t in evaluation_tables(View(document, "en"))}
    first = next(csv.DictReader(io.StringIO(csv_text(tables["per_class"]))))
    assert float(first["Recall"]) == document["per_class"]["joy"]["recall"]
    assert float(first["Recall 97.5%"]) == document["per_class"]["joy"]["ci95"]["recall"][1]


def test_latex_tables_have_as_many_cells_as_columns(document: dict[str, Any]) -> None:
    for table in evaluation_tables(View(document, "en")):
        lines = latex_text(table).splitlines()
        columns = re.fullmatch(r"\\begin\{tabular\}\{(l r*)\}", lines[1].replace("{lr", "{l r"))
        assert columns
        n = len(columns.group(1).replace(" ", ""))
        body = [line for line in lines if line.endswith(r"\\")]
        assert len(body) == len(table.rows) + 1
        assert all(len(re.findall(r"(?<!\\)&", line)) == n - 1 for line in body)
        assert not any(re.search(r"(?<!\\)[%_#$]", line) for line in body)


def test_figures_are_there_and_readable(rendered: Path) -> None:
    figures = ["reliability", "risk_coverage", "subgroups"]
    stems = [rendered / "confusion", *(rendered / "figures" / name for name in figures)]
    for stem in stems:
        with Image.open(stem.with_suffix(".png")) as image:
            assert min(image.size) >= 600
            assert len(image.convert("L").getcolors(256) or []) > 20
        root = ElementTree.parse(stem.with_suffix(".svg")).getroot()
        assert root.tag.endswith("svg")
        # Letters of charts are outlines: they look the same without the font.
        has_text = bool(list(root.iter("{http://www.w3.org/2000/svg}text")))
        assert has_text == (stem.name == "confusion")


@pytest.mark.parametrize(("lang", "words"), [("en", "charts for papers"), ("ko", "논문용 그림")])
def test_without_matplotlib_the_matrix_is_drawn_and_one_line_says_the_rest(
    document: dict[str, Any],
    lang: Lang,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    set_lang(lang)
    write_figures(tmp_path, View(document, lang))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["confusion.png", "confusion.svg"]
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert "pip install 'nunbit[figures]'" in said[0]


def test_figures_do_not_change_from_one_run_to_the_next(
    fresh: dict[str, Any], rendered: Path, tmp_path: Path
) -> None:
    fresh["subgroups"] = {}
    write_figures(tmp_path, View(fresh, "ko"))
    again, before = tmp_path / "confusion.svg", rendered / "confusion.svg"
    assert again.read_bytes() == before.read_bytes()
    assert not (tmp_path / "figures" / "subgroups.svg").exists()


# Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no evaluation here"),
        ("{}", "evaluate again"),
        ("[1]", "evaluate again"),
        ("{", "JSON"),
    ],
)
def test_what_is_no_evaluation_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        render_evaluation(tmp_path, lang="en")
    assert caught.value.text.ko
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_results_of_older_versions_stay_readable(
    fresh: dict[str, Any], lang: Lang, tmp_path: Path
) -> None:
    """What version 0.1 wrote: a 'human ceiling', gaps without a test, no noise floor."""
    old = fresh
    ceiling = old.pop("annotators")
    ceiling.pop("pairwise")
    old["human_ceiling"] = ceiling
    old["ci_method"] = "percentile bootstrap, 2000 resamples by person"
    for key in [k for k in old["calibration"] if "floor" in k]:
        old["calibration"].pop(key)
    for section in old["subgroups"].values():
        for key in ("test", "p_value", "n_groups", "expected_if_alike"):
            (section["gap"] or {}).pop(key, None)
    for key in ("pairwise_agreement", "unanimous", "majority_exists"):
        old["comparison"]["findings"].pop(key)
    write_json(tmp_path / "result.json", old)
    render_evaluation(tmp_path, lang=lang)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert {"en": "Made by an older version", "ko": "이전 버전의 결과"}[lang] in text
    assert evaluation_text(EvalResult.from_document(old), tmp_path, lang)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_says_what_is_tested_and_what_chance_gives(
    document: dict[str, Any], lang: Lang
) -> None:
    text = page_of(document, lang).text
    for sentence in {
        "en": ("max-statistic", "equal groups", "Chance alone: a perfectly calibrated model"),
        "ko": ("최대 통계량", "집단이 모두 같아도", "우연의 몫: 완벽하게 보정된 모델이라도"),
    }[lang]:
        assert sentence in text
    assert {"en": "Two annotators: share of equal labels", "ko": "주석자 두 명 사이"}[lang] in text
    assert "62.9%" in text  # of the public counts, beside the paper's 56.28%
    assert not re.search({"en": "uman ceiling", "ko": "사람의 일치도"}[lang], text)
    few = make_document(300, persons=12, compare=None)
    assert {"en": "t intervals over 12 persons", "ko": "인물 12명의 잭나이프 t 구간"}[
        lang
    ] in page_of(few, lang).text


@pytest.mark.parametrize(
    ("source", "ko", "en"),
    [
        ("folder", "폴더 이름 (uploader)", "name of the class folder (uploader)"),
        ("table", "표의 레이블 (uploader)", "label in the table (uploader)"),
        ("aihub", "게시자 레이블 (uploader)", "uploader's label (uploader)"),
    ],
)
def test_a_label_is_called_what_it_is(fresh: dict[str, Any], source: str, ko: str, en: str) -> None:
    """Nobody uploaded the class folders of a researcher."""
    fresh["dataset"]["source"] = source
    assert View(fresh, "ko").policy("uploader") == ko
    assert View(fresh, "en").policy("uploader") == en
