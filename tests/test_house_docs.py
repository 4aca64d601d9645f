"""The README's map and the settings reference are complete and not stale."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
