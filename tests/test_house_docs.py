"""The README's map and the settings reference are complete and not stale."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import nunbit
from make_eval import make_bundle
from make_media import Sound, clicks, write_media
from nunbit.cli import cli

ROOT = Path(__file__).parent.parent


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_docs", ROOT / "scripts" / "house_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house_docs"] = module
    spec.loader.exec_module(module)
    return module


house_docs = _script()


def test_generated_pages_are_up_to_date() -> None:
    # In a process of its own: other tests leave their mark on what is loaded here.
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "house_docs.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_with_settings_is_in_the_reference() -> None:
    takes = set()
    for name, command in cli.commands.items():
        inner = getattr(command, "commands", {name: command})
        for sub, found in inner.items():
            if any(p.name == "overrides" for p in found.params):
                takes.add(name if sub == name else f"{name}-{sub}")
    assert takes == set(house_docs.COMMANDS)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_setting_has_a_meaning_type_and_default(lang: str) -> None:
    page = (ROOT / "docs" / ("settings.md" if lang == "en" else "settings.ko.md")).read_text(
        encoding="utf-8"
    )
    for kind in house_docs.COMMANDS.values():
        for key in house_docs.meanings(kind):
            row = re.search(rf"^\| `{key}` \|(.*)\|$", page, flags=re.MULTILINE)
            assert row, key
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", row[1])]
            assert cells[0], key  # type
            assert cells[1], key  # default
            assert cells[4], key  # meaning


def _package(tmp_path: Path) -> Path:
    package = tmp_path / "nunbit"
    (package / "core").mkdir(parents=True)
    (package / "core" / "__init__.py").write_text('"""What all rooms share.\n\nMore."""\n')
    (package / "core" / "clock.py").write_text('"""The clock."""\n')
    (package / "py.typed").touch()
    return package


TABLE = {
    "core/": {"ko": "함께 쓰는 것", "modules": {"clock.py": "시계"}},
    "py.typed": {"ko": "타입", "en": "Typed"},
}


def test_the_map_has_a_line_for_each_room_and_named_module(tmp_path: Path) -> None:
    package = _package(tmp_path)
    english = house_docs.package_map(package, TABLE, "en")
    assert english.split("\n") == [
        "- [`core/`](src/nunbit/core): What all rooms share",
        "  - [`clock.py`](src/nunbit/core/clock.py): The clock",
        "- [`py.typed`](src/nunbit/py.typed): Typed",
    ]
    assert "시계" in house_docs.package_map(package, TABLE, "ko")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t: (p / "attic").mkdir(), "no line for attic/"),
        (lambda p, t: t.update({"cellar/": {"ko": "x"}}), "cellar/ no longer exists"),
        (lambda p, t: t["core/"]["modules"].update({"x.py": "x"}), "core/x.py does not exist"),
        (lambda p, t: (p / "core" / "__init__.py").write_text(""), "no docstring"),
    ],
)
def test_a_room_without_a_line_or_a_line_without_a_room_is_refused(
    tmp_path: Path, change: object, message: str
) -> None:
    package = _package(tmp_path)
    table = {k: {**v, "modules": dict(v.get("modules", {}))} for k, v in TABLE.items()}
    change(package, table)  # type: ignore[operator]
    with pytest.raises(house_docs.StaleError, match=message):
        house_docs.package_map(package, table, "en")


def test_the_map_stands_between_its_markers() -> None:
    page = f"a\n{house_docs.BEGIN}\nold\n{house_docs.END}\nb\n"
    assert house_docs.with_map(page, "new") == page.replace("old", "new")
    with pytest.raises(house_docs.StaleError, match="no <!-- map"):
        house_docs.with_map("no markers", "new")


STORED = ("limits.md", "limits.ko.md", "privacy.md", "privacy.ko.md")


def _stored(page: str) -> dict[str, str]:
    """Command -> its row in the page's table of what is stored, which ends at its first blank."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = next(part for part in text.split("\n\n") if "| `prepare` |" in part)
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].strip("| "): line for line in rows[1:]}


@pytest.mark.parametrize("page", STORED)
def test_the_table_of_what_is_stored_names_the_files(page: str) -> None:
    rows = _stored(page)
    assert {f"`{name}`" for name in ("prepare", "train", "evaluate", "predict", "analyze", "align",
            "app")} <= set(rows)  # fmt: skip
    assert "`EVAL/data/shard-*.tar`" in rows["`evaluate`"]
    assert "`--csv`" in rows["`predict`"]
    assert "`--annotate`" in rows["`predict`"]
    analyze = " ".join(row for name, row in rows.items() if "analyze" in name)
    for word in ("--embed", "--forget", "--without-words", "`observed.npz`", "`words.parquet`",
                 "`report.html`", "`summary.json`"):  # fmt: skip
        assert word in analyze, word


def test_both_languages_have_the_same_rows_of_what_is_stored() -> None:
    for page in ("limits", "privacy"):
        english, korean = (_stored(page + end) for end in (".md", ".ko.md"))
        assert len(english) == len(korean)
        named = [{name for name in rows if name.startswith("`")} for rows in (english, korean)]
        assert {n for n in named[0] if n.endswith("`")} == {n for n in named[1] if n.endswith("`")}


@pytest.mark.slow
def test_what_forget_leaves_is_what_the_pages_name(tmp_path: Path) -> None:
    pytest.importorskip("av")
    media = write_media(tmp_path / "clicks.wav", sounds=[Sound(clicks([0.5], 2.0))])
    folder = tmp_path / "out" / "clicks"
    left = []
    for forget in (False, True):
        nunbit.analyze(media, tmp_path / "out", forget=forget, single_speaker=True, workers=1)
        left.append({path.name for path in folder.iterdir()})
    assert left[0] - left[1] == {"observed.npz"}
    for page in STORED:
        row = " ".join(row for name, row in _stored(page).items() if "analyze" in name)
        named = set(re.findall(r"`(\w+\.(?:parquet|html|json))`", row))
        assert named == {"words.parquet", "report.html", "summary.json"}, page
        assert named <= left[1], page


@pytest.mark.slow
def test_the_faces_that_an_evaluation_leaves_are_where_the_pages_say(tmp_path: Path) -> None:
    for label, colour in (("joy", (220, 30, 30)), ("sadness", (30, 30, 220)), ("hurt", (9, 9, 9))):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (48, 48), colour).save(tmp_path / "faces" / label / f"{n}.png")
    bundle = make_bundle(tmp_path / "bundle")
    nunbit.evaluate(tmp_path / "faces", tmp_path / "EVAL", model=bundle, n_resamples=100)
    for page in STORED:
        place = re.search(r"`(EVAL/data/[^`]+)`", _stored(page)["`evaluate`"])
        assert place is not None
        assert list(tmp_path.glob(place[1])), page
