"""One bilingual form: a ``Text`` has Korean beside English, and only the edges choose."""

from __future__ import annotations

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nunbit
from nunbit.core.messages import (
    LANGS,
    NO_TEXT,
    InputError,
    MissingExtra,
    NunbitError,
    Text,
    joined,
    text_of,
)
from nunbit.core.schema import Reject
from nunbit.language.labels import (
    label_set_from_dict,
    label_set_names,
    label_set_to_dict,
    load_label_set,
)
from nunbit.measures.definitions import definitions, definitions_document
from nunbit.pictures.photos import PhotoError
from nunbit.runtime.progress import Progress, say, set_lang, spoken_lang
from nunbit.runtime.workers import Tools, run_tasks

ROOT = Path(nunbit.__file__).parent
HANGUL = re.compile("[가-힣]")

EDGES = ("cli", "report")
"""Rooms that show texts to people, and so may choose a language."""

ORDINARY = frozenset(
    {
        *("the", "is", "are", "not", "no", "with", "without", "cannot", "missing", "expected"),
        *("shorter", "than", "says", "must", "holds", "have", "has", "this", "that", "these"),
        *("and", "or", "of", "for", "from", "found", "unknown", "rows", "numbers", "words"),
        *("damaged", "wrong", "give"),
    }
)
"""English words that no Korean sentence holds, whatever names and file formats it quotes."""

# What a text quotes as it stands in a file, a command or a table is in no language.
_QUOTED = re.compile(
    r"`[^`]*`|'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{\{?[^}]*\}\}?|--[\w-]+(?: \w+=\S+)?|\w*_\w*|알수없음"
)
_WORD = re.compile(r"[A-Za-z]+")


def _sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def _words(node: ast.expr) -> str | None:
    """The constant words of a string expression, a gap for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(p) or "{}" for p in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_words(node.left) or "{}") + (_words(node.right) or "{}")
    if isinstance(node, ast.IfExp):
        parts = [_words(node.body), _words(node.orelse)]
        return None if None in parts else " ".join(p or "" for p in parts)
    return None


def _texts() -> Iterator[tuple[str, str, str]]:
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Text":
                continue
            en, ko = map(_words, node.args)
            if en is not None and ko is not None:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", en, ko


def _problem(en: str, ko: str) -> str | None:
    """What is wrong with a pair of texts, or None."""
    plain_en, plain_ko = _QUOTED.sub(" ", en), _QUOTED.sub(" ", ko)
    if HANGUL.search(plain_en):
        return "Hangul in the English"
    words = [word for word in _WORD.findall(plain_en) if word.islower() and word in ORDINARY]
    if words and not HANGUL.search(ko):
        return "no Korean"
    english = sorted({w for w in _WORD.findall(plain_ko) if w in ORDINARY})
    return f"English in the Korean: {', '.join(english)}" if english else None


@pytest.mark.slow
def test_every_text_has_its_korean() -> None:
    texts = list(_texts())
    assert len(texts) > 500  # or they are written in a way this test does not see
    found = [f"{place}: {why}: {en!r} / {ko!r}" for place, en, ko in texts
             if (why := _problem(en, ko))]  # fmt: skip
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("en", "ko", "says"),
    [
        ("cannot be read", "cannot be read", "no Korean"),
        ("{}: shorter than it says", "{}: shorter than it says: 다시 복사하십시오", "English in"),
        ("no class named 기쁨", "기쁨이라는 클래스가 없습니다", "Hangul in"),
        ("`--lang ko` of 'the file'", "'the file'의 `--lang ko`", None),
        ("HDR", "HDR", None),
    ],
)
def test_the_rule_tells_right_from_wrong(en: str, ko: str, says: str | None) -> None:
    found = _problem(en, ko)
    assert found is None if says is None else found is not None and found.startswith(says)


def _of_language(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "spoken_lang"
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("lang", "_lang")


def _choices(tree: ast.AST) -> Iterator[ast.expr]:
    """Where code looks which language is wanted instead of handing on both texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(_of_language, (node.left, *node.comparators))):
            yield node
        if isinstance(node, ast.Subscript) and _of_language(node.slice):
            yield node


@pytest.mark.slow
def test_only_the_edges_choose_a_language() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in _sources()
        if _room(path) not in EDGES and path.relative_to(ROOT).as_posix() != "core/messages.py"
        for node in _choices(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)
    assert len(list(_choices(ast.parse("x if lang == 'ko' else y[self.lang]")))) == 2


def test_stories_take_no_language() -> None:
    """It is the process's; only what makes text for a terminal or a page is told."""
    from nunbit.stories.align import align
    from nunbit.stories.analyze import analyze
    from nunbit.stories.check import check
    from nunbit.stories.evaluate import evaluate
    from nunbit.stories.predict import predict
    from nunbit.stories.prepare import prepare
    from nunbit.synth.aihub_tree import write_tree

    for story in (align, analyze, check, evaluate, predict, prepare, write_tree):
        code = story.__code__
        assert "lang" not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def test_there_and_back() -> None:
    text = Text("two faces", "얼굴 둘")
    assert text_of(json.loads(json.dumps(text.pair()))) == text
    assert text_of(json.loads(json.dumps(text.to_dict()))) == text
    assert text_of("CP949") == Text("CP949", "CP949")
    assert text_of({"en": "only English", "ko": None}).ko == "only English"
    assert len({text, Text("two faces", "얼굴 둘"), NO_TEXT}) == 2
    assert pickle.loads(pickle.dumps(text)) == text
    assert [text.pick(lang) for lang in LANGS] == text.pair()
    assert Text("{n} in {where}", "{where}에 {n}개").fill(n=2, where=text).ko == "얼굴 둘에 2개"
    assert joined(", ", [text, text]).en == "two faces, two faces"
    assert text.under("a.jpg").ko == "a.jpg: 얼굴 둘"
    assert Text("a\n b", "가").line("en") == "a b"


@pytest.mark.parametrize(
    "error",
    [
        InputError(Text("a", "가")),
        MissingExtra("torch", "train"),
        MissingExtra(Text("no torch", "torch 없음")),
        PhotoError(Text("cut off", "잘림"), "truncated"),
    ],
)
def test_errors_survive_the_way_between_processes(error: NunbitError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.text, str(again)) == (error.text, error.text.en)
    assert getattr(again, "reason", "") == getattr(error, "reason", "")


def _said(number: int, tools: Tools) -> str:
    return spoken_lang()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_speak_as_their_parent_does(workers: int) -> None:
    set_lang("ko")
    given = run_tasks(_said, range(2), num_workers=workers, advance=lambda units: None)
    assert list(given) == ["ko", "ko"]


def test_the_process_speaks_one_language(capsys: pytest.CaptureFixture[str]) -> None:
    set_lang("ko")
    say(Text("done", "완료"))
    with Progress(Text("reading", "읽기"), 2, "s") as bar:
        bar.advance(1)
    set_lang("en")
    say(Text("done", "완료"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "완료"
    assert lines[1].startswith("읽기: 1/2 s")
    assert "남은 시간" in lines[1]
    assert lines[-1] == "done"


@pytest.mark.parametrize("name", label_set_names())
def test_label_sets_keep_their_keys(name: str) -> None:
    label_set = load_label_set(name)
    stored = json.loads(json.dumps(label_set_to_dict(label_set)))
    assert label_set_from_dict(stored, "x") == label_set
    assert list(stored["labels"][0]) == [
        *("id", "ko", "en", "ko_adjective", "en_adjective", "valence", "aliases", "en_noun")
    ]
    nouns = {label["id"]: label["en_noun"] for label in stored["labels"]}
    assert nouns.get("neutral", "neutrality") == "neutrality"


def test_measures_keep_their_keys() -> None:
    row = definitions_document(definitions())[0]
    assert list(row)[:9] == [
        *("id", "number", "name_en", "name_ko", "formula", "unit"),
        *("valid_if_en", "valid_if_ko", "meaning_en"),
    ]
    assert HANGUL.search(row["name_ko"])
    assert not HANGUL.search(row["name_en"])


def test_rejects_hold_both_languages_whatever_is_spoken() -> None:
    reject = Reject("a.jpg", "no_record", Text("no entry", "항목 없음"))
    library = Reject("b.jpg", "broken_json", text_of("line 3: bad escape"))
    rows = []
    for lang in LANGS:
        set_lang(lang)
        rows.append((reject.to_row(), library.to_row()))
    assert rows[0] == rows[1]
    assert list(rows[0][0]) == ["file", "reason", "detail", "detail_ko"]
    assert rows[0][0]["detail_ko"] == "항목 없음"
    assert rows[0][1]["detail_ko"] == ""
