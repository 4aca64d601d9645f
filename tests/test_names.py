"""One word, one meaning: no two modules, and no two public functions or classes, share a name.

The allow lists hold today's clashes and shrink; a name that no longer clashes must leave them.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import nunbit

ROOT = Path(nunbit.__file__).parent

# Names that mean the same thing in every room (CONTRIBUTING, glossary).
CONVENTIONAL_MODULES = {"settings"}  # the settings dataclass of the story that it stands beside
# A command's function in `cli` parses for the story of the same name.
CONVENTIONAL_PLACE = "cli"

# Clashes to resolve; each is two meanings of one word.
MODULE_CLASHES: set[str] = set()
FUNCTION_CLASHES: set[str] = set()
CLASS_CLASHES: set[str] = set()


def _modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "bundles" not in p.parts)


def _module_names() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in _modules():
        name = path.parent.name if path.stem == "__init__" else path.stem
        if path.parent != ROOT or path.stem != "__init__":
            found[name].append(str(path.relative_to(ROOT)))
    return found


def _public_names(kinds: tuple[type, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in _modules():
        place = path.relative_to(ROOT)
        if place.parts[0] == CONVENTIONAL_PLACE or place.name == "__init__.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, kinds) and not node.name.startswith("_"):  # type: ignore[attr-defined]
                found[node.name].append(str(place))  # type: ignore[attr-defined]
    return found


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        pytest.param(_module_names(), MODULE_CLASHES | CONVENTIONAL_MODULES, id="modules"),
        pytest.param(_public_names(FUNCTIONS), FUNCTION_CLASHES, id="functions"),
        pytest.param(_public_names((ast.ClassDef,)), CLASS_CLASHES, id="classes"),
    ],
)
def test_a_name_means_one_thing(names: dict[str, list[str]], allowed: set[str]) -> None:
    clashes = {name: places for name, places in names.items() if len(places) > 1}
    new = {name: places for name, places in clashes.items() if name not in allowed}
    assert not new, f"one word for two things: {new}"
    assert allowed - CONVENTIONAL_MODULES <= set(clashes), "resolved: take these off the list"
