"""Guards of the design: layers, light imports, sorted public names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nunbit

ROOT = Path(nunbit.__file__).parent

# Imports point only to an earlier layer, except inside one package (and, in `stories`, to each
# other: the demo calls the rest). `cli` reaches stories inside command bodies.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "columns",
        "language",
        "files",
        "fonts",
        "memory",
        "labels",
        "schema",
        "reading",
        "streams",
        "timebase",
        "config",
        "progress",
        "workers",
        "ahead",
        "textfile",
        "delimited",
    ),
    ("decode", "provenance", "detector_process"),
    (
        "particles",
        "prompts",
        "zeroshot",
        "metrics",
        "policies",
        "splits",
        "preset",
        "paraphrases",
        "descriptions",
        "comments",
        "hangul",
        "unigram",
        "headpose",
        "tracking",
        "sync",
        "measures",
        "fuse",
        "voice_features",
        "alignment",
    ),
    (
        "sources",
        "crops",
        "shards",
        "encoders",
        "faces",
        "photos",
        "annotate",
        "media",
        "landmarks",
        "voice",
        "transcript",
        "exports",
    ),
    (
        "recordings",
        "protocol",
        "check",
        "synth",
        "shard_writer",
        "merge",
        "prepare",
        "evaluate",
        "predict",
        "analyze",
        "align",
        "search",
        "report",
        "doctor",
    ),
    ("training",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
FREE_WITHIN = {0, 2, 4}  # layers whose modules may import each other
LAYER_OF = {name: level for level, names in enumerate(LAYERS) for name in names}


def _modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "bundles" not in p.parts)


def _top(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nunbit."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "nunbit":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("nunbit.")}
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = _top(path)
    if own == "__init__":
        return  # names for type checkers only; test_importing_nunbit_is_light guards the rest
    level = LAYER_OF[own]
    for other in _imports(path) - {own}:
        assert other in LAYER_OF, f"{other} has no layer: say where it belongs"
        allowed = LAYER_OF[other] < level or (LAYER_OF[other] == level and level in FREE_WITHIN)
        assert allowed, f"{own} must not import {other}"


def test_only_training_touches_torch() -> None:
    for path in _modules():
        text = path.read_text(encoding="utf-8")
        uses = any(
            (
                isinstance(node, ast.Import)
                and any(a.name.split(".")[0] == "torch" for a in node.names)
            )
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch")
            for node in ast.walk(ast.parse(text))
        )
        assert not uses or _top(path) == "training", path


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(run.stdout)}


def test_importing_nunbit_is_light() -> None:
    heavy = {"torch", "numpy", "pyarrow", "onnxruntime", "matplotlib", "transformers", "PIL"}
    assert not _loaded("import nunbit") & heavy
    assert not _loaded("import nunbit.cli") & heavy


def test_inference_never_loads_torch() -> None:
    statement = "import nunbit.encoders, nunbit.predict, nunbit.evaluate, nunbit.report"
    assert not _loaded(statement) & {"torch", "transformers"}


def test_public_names_are_sorted_and_exist() -> None:
    assert list(nunbit.__all__) == sorted(nunbit.__all__)
    for name in nunbit.__all__:
        assert getattr(nunbit, name) is not None
