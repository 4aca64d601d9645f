"""Guards of the design: rooms in one order, light imports, sizes, sorted public names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nunbit

ROOT = Path(nunbit.__file__).parent

# Imports point only to a room further up. Data flows the same way: what a recording or a photo
# gives is read, measured, fused, then written.
ROOMS = (
    "core",
    "runtime",
    "statistics",
    "language",
    "pictures",
    "model",
    "datasets",
    "recording",
    "measures",
    "space",
    "report",
    "live",
    "synth",
    "stories",
    "training",
    "api",
    "app",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, name in enumerate(ROOMS)}
OTHER_ENTRIES = {"__init__.py", "py.typed", "bundles"}
# A function is as long as its code: the docstring is not counted.
# 190 modules are the aim; this number only ever goes down until it is reached.
MOST_ENTRIES, MOST_MODULES, MOST_LINES, MOST_FUNCTION_LINES = 22, 295, 450, 60


def _modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "bundles" not in p.parts)


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[tuple[str, ...]]:
    """Modules of the package that a module imports, as their parts below ``nunbit``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nunbit":
            base = tuple((node.module or "").split(".")[1:])
            found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("nunbit.")
            }
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up_the_list(path: Path) -> None:
    own = _room(path)
    if own == "__init__":
        return  # names for type checkers only; test_importing_nunbit_is_light guards the rest
    for other in {parts[0] for parts in _imports(path)} - {own, "__version__"}:
        assert other in LEVEL, f"{other} has no place: say where it belongs"
        assert LEVEL[other] < LEVEL[own], f"{own} must not import {other}"


@pytest.mark.parametrize(
    "path",
    [p for p in _modules() if _room(p) == "stories"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_story_imports_another(path: Path) -> None:
    own = path.relative_to(ROOT / "stories").parts[0].removesuffix(".py")
    told = {parts[1] for parts in _imports(path) if parts[0] == "stories" and len(parts) > 1}
    assert told <= {own}, f"{path.name} tells another story: {told - {own}}"


def test_the_house_is_small() -> None:
    entries = {p.name for p in ROOT.iterdir() if p.name != "__pycache__"}
    rooms = {name.removesuffix(".py") for name in entries - OTHER_ENTRIES}
    assert rooms <= set(LEVEL), f"no place in the order: {rooms - set(LEVEL)}"
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
    assert len(_modules()) <= MOST_MODULES


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name}: {length} lines"


@pytest.mark.seconds
def test_only_training_touches_torch() -> None:
    for path in _modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "torch" not in named or _room(path) == "training", path


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(run.stdout)}


def test_importing_nunbit_is_light() -> None:
    heavy = {"torch", "numpy", "pyarrow", "onnxruntime", "matplotlib", "transformers", "PIL"}
    assert not _loaded("import nunbit") & heavy
    assert not _loaded("import nunbit.cli") & heavy


def test_inference_never_loads_torch() -> None:
    statement = (
        "import nunbit.model.encoders, nunbit.stories.predict, nunbit.stories.evaluate, "
        "nunbit.report, nunbit.api"
    )
    assert not _loaded(statement) & {"torch", "transformers"}


def test_public_names_are_sorted_and_exist() -> None:
    assert list(nunbit.__all__) == sorted(nunbit.__all__)
    for name in nunbit.__all__:
        assert getattr(nunbit, name) is not None
