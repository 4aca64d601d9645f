"""The examples, the notebook and the code of docs/python.md run as they stand."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nunbit.synth.actors import expression_of, sample_person
from nunbit.synth.drawn_photo import draw_photo, sample_photo

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = (ROOT / "docs" / "python.md", ROOT / "docs" / "python.ko.md")
NEEDS = {"experiment": ("torch", "onnx"), "recording_to_table": ("av",), "predict_photo": ()}


def test_there_are_three_examples_of_a_few_lines() -> None:
    assert {path.stem for path in EXAMPLES} == set(NEEDS)
    for path in EXAMPLES:
        main = next(
            node for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name == "main"
        )  # fmt: skip
        assert len(main.body) <= 16


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    for package in NEEDS[path.stem]:
        pytest.importorskip(package)
    run = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "out")],
        capture_output=True, text=True, cwd=tmp_path, timeout=400, check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    named = re.findall(r"(?:wrote|open) (.+)", run.stdout)
    assert named
    assert all(Path(name).is_file() for name in named)


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def test_both_languages_show_the_same_code() -> None:
    english, korean = (["".join(ast.unparse(ast.parse(b))) for b in blocks(p)] for p in PAGES)
    assert english == korean
    assert len(english) >= 6


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page's code reads: a photo, a recording with its subtitles, class folders."""
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    rng = np.random.default_rng(3)
    person = sample_person(rng)
    photo = draw_photo(sample_photo(person, expression_of("joy", rng), "room", 480, rng))
    photo.save(tmp_path / "photo.jpg", quality=95)
    saying = 'sayings=[{ start_s = 1.0, text = "안녕하세요 오늘은 기분이 좋아요" }]'
    script = ("duration_s=6.0", "width=320", "height=240", "emotions=[]", saying)
    render_video(tmp_path / "talk.mp4", load_script(None, overrides=script))
    for label in ("happy", "sad", "neutral", "angry", "fear", "disgust", "surprise"):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for n in range(10):
            pixels = rng.integers(0, 255, (48, 48, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / label / f"{n}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.train
def test_the_code_of_the_page_runs_from_top_to_bottom(inputs: Path) -> None:
    for package in ("av", "torch", "onnx", "pandas"):
        pytest.importorskip(package)
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks(PAGES[0]), start=1):
        exec(compile(block, f"{PAGES[0].name}, block {number}", "exec"), names)
    assert names["rows"].shape[0] == names["cosines"].shape[0] == 2
    assert len(names["frame"]) == names["table"].num_rows == 1
    assert (inputs / "sessions.csv").is_file()
    assert len(names["windows"]) > 0
    assert names["trained"].folder == Path("eval")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="notebooks need the extra dev")
    nbclient = pytest.importorskip("nbclient", reason="notebooks need the extra dev")
    pytest.importorskip("ipykernel", reason="notebooks need the extra dev")
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # results are made, not kept
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    done = client.execute()
    shown = [o for cell in done.cells for o in cell.get("outputs", ()) if "data" in o]
    pages = [o["data"]["text/html"] for o in shown if "text/html" in o["data"]]
    assert any("data:image/jpeg;base64," in page for page in pages)  # faces
    assert any("<svg" in page for page in pages)  # tracks
