"""The files of the live page, without a browser: texts, colours, policy, what was taken over."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nunbit
from nunbit.live.events import FaceState, NoteKind, VoiceState
from nunbit.report.timeline_meaning import MODALITY_COLOURS

PAGE = Path(nunbit.__file__).parent / "app" / "page"
TEMPLATES = Path(nunbit.__file__).parent / "report" / "templates"
SCRIPTS = sorted(PAGE.glob("*.js"))
HANGUL = re.compile("[가-힣]")


def _texts() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(PAGE.glob("texts*.js")):
        source = path.read_text(encoding="utf-8")
        rows = re.findall(r'^  "?([\w.]+)"?: (\[".*"\]),$', source, re.MULTILINE)
        assert len(rows) == sum(line.endswith("],") for line in source.splitlines())
        twice = [key for key, _ in rows if key in found]
        assert twice == [], f"{path.name}: said elsewhere, too: {twice}"
        found |= {key: tuple(json.loads(pair)) for key, pair in rows}
    return found


TEXTS = _texts()


def test_every_text_has_both_languages_and_the_same_gaps() -> None:
    for key, (ko, en) in TEXTS.items():
        assert bool(ko) == bool(en), key
        assert not HANGUL.search(en), key
        assert re.findall(r"\{\w+\}", ko) or not re.findall(r"\{\w+\}", en), key
        assert set(re.findall(r"\{(\w+)\}", ko)) == set(re.findall(r"\{(\w+)\}", en)), key


def test_every_text_that_is_asked_for_is_there() -> None:
    asked = set()
    for script in SCRIPTS:
        source = script.read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bt\("([\w.]+)"', source))
        asked |= set(re.findall(r'\b(?:t|label|placeholder): "([\w.]+)"', source))
        asked |= set(re.findall(r'setText\([\w.\[\]]+, "([\w.]+)"', source))
        asked |= set(re.findall(r'showProblem\("\w+", "([\w.]+)"', source))
    asked |= set(re.findall(r'data-t(?:-label)?="([\w.]+)"', (PAGE / "index.html").read_text()))
    assert len(asked) > 100
    assert asked - set(TEXTS) == set()


@pytest.mark.parametrize(
    ("prefix", "states"),
    [("state.face", FaceState), ("state.voice", VoiceState), ("note", NoteKind)],
)
def test_every_state_of_the_engine_has_words(prefix: str, states: object) -> None:
    assert {f"{prefix}.{name}" for name in states.__args__} <= set(TEXTS)  # type: ignore[attr-defined]


def test_reasons_are_worded_as_in_the_reports() -> None:
    """Every reason that a report can name, the live page can name, too."""
    reports = (TEMPLATES.parent / "timeline_texts.toml").read_text(encoding="utf-8")
    section = reports.split("\n[reason]\n")[1].split("\n[")[0]
    # Those of whole recordings cannot occur before the session has ended.
    later = {"other_speaker", "no_turns", "not_full_rate", "uncertain_speaker", "unvalidated",
             "too_few_independent", "below_noise", "not_a_mean"}  # fmt: skip
    known = set(re.findall(r"^(\w+) =", section, re.MULTILINE)) - later
    assert {name for name in known if f"reason.{name}" not in TEXTS} == set()


class _Index(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: dict[str, str] = {}
        self._key: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._key = dict(attrs).get("data-t")

    def handle_data(self, data: str) -> None:
        if self._key:
            self.said[self._key] = data
            self._key = None


def test_the_served_page_says_the_same_as_its_script() -> None:
    index = _Index()
    index.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    assert index.said == {key: TEXTS[key][0] for key in index.said}
    assert index.said["care.title"] == "비언어 신호 요약이며 진단이 아닙니다"
    assert ("a", {"href": "tel:109"}) in index.tags  # before any script runs


def test_no_script_or_style_is_inline_and_nothing_is_elsewhere() -> None:
    index = _Index()
    index.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    for tag, attrs in index.tags:
        assert tag != "style"
        assert "style" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        if tag == "script":
            assert attrs["src"]
    for path in [*SCRIPTS, PAGE / "style.css", PAGE / "index.html"]:
        source = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", source), path.name
        assert "innerHTML" not in source
        assert "eval(" not in source
        assert "document.cookie" not in source


def _tokens(source: str, *, dark: bool) -> dict[str, str]:
    """Colours of the page by name."""
    source = source.split("@media print")[0]
    blocks = re.findall(r"(@media[^{]*dark\)[^{]*\{\s*)?:root \{([^}]*)\}", source)
    found: dict[str, str] = {}
    for media, block in blocks:
        if bool(media) == dark:
            found |= dict(re.findall(r"--([\w-]+): (#\w+)", block))
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_those_of_the_reports(dark: bool) -> None:
    ours = _tokens((PAGE / "style.css").read_text(encoding="utf-8"), dark=dark)
    theirs = _tokens((TEMPLATES / "style.css").read_text(encoding="utf-8"), dark=dark)
    theirs |= _tokens((TEMPLATES / "timeline.css").read_text(encoding="utf-8"), dark=dark)
    shared = set(ours) & set(theirs)
    assert len(shared) >= 9
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    sources = {name: pair[int(dark)] for name, pair in MODALITY_COLOURS.items()}
    assert {name: ours[name] for name in sources} == sources


def test_colours_of_classes_come_from_the_server() -> None:
    """No script has a colour of a class of its own."""
    for script in SCRIPTS:
        found = re.findall(r"#[0-9a-fA-F]{6}\b", script.read_text(encoding="utf-8"))
        assert set(found) <= {"#ffffff", "#ffc46b"}, script.name  # the box over the picture


def test_uplot_is_the_published_file() -> None:
    """The two files of uPlot 1.6.32 as they are in its tarball, with its licence."""
    folder = PAGE / "vendor" / "uplot"
    digests = {
        name: base64.b64encode(hashlib.sha256((folder / name).read_bytes()).digest()).decode()
        for name in ("uPlot.esm.js", "uPlot.min.css")
    }
    assert digests == UPLOT
    assert "The MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "1.6.32" in (folder / "VERSION.md").read_text(encoding="utf-8")


UPLOT = {
    "uPlot.esm.js": "XdmzKBqmS0YbQtmUX2rbJknTRlArEigamuDUZZmoDro=",
    "uPlot.min.css": "32MMao1vjur/JktQ9zzlsRT2Rv/ZoLt08EmwoAE1+gQ=",
}


def test_scripts_stay_small() -> None:
    for script in SCRIPTS:
        lines = len(script.read_text(encoding="utf-8").splitlines())
        assert lines <= 550, f"{script.name}: {lines} lines"
