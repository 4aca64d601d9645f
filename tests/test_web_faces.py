"""Web faces divided by person, and figures in which persons count alike: known answers."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script or benchmark by its path."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def loaded(path: str) -> Any:
        name = Path(path).stem
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


def test_persons_are_divided_by_their_rarest_class_and_always_alike(load: Any) -> None:
    table = load("scripts/faces_web_table.py")
    labels = {f"j{n}": {"joy"} for n in range(100)}
    labels |= {f"s{n}": {"joy", "sadness"} for n in range(40)}
    part = table.divided(labels, Counter(joy=500, sadness=60))
    for prefix, persons in (("j", 100), ("s", 40)):
        own = Counter(part[name] for name in labels if name.startswith(prefix))
        assert own["test"] == persons / 5
        assert own["validation"] == round(persons / 8)
    turned = dict(reversed(list(labels.items())))
    assert table.divided(turned, Counter(joy=500, sadness=60)) == part


def test_the_list_of_persons_names_codes_once_and_no_part_twice(load: Any) -> None:
    table = load("scripts/faces_web_table.py")
    lines = (ROOT / "benchmarks" / "faces_web_persons.csv").read_text(encoding="utf-8").split()
    part = table.read_parts()
    assert len(part) == len(lines) - 1
    assert set(part.values()) == {"test", "validation"}
    assert all(name.startswith("fw") and len(name) == 10 for name in part)


def test_a_label_is_eight_of_ten_votes(load: Any) -> None:
    votes_of = load("scripts/faces_web_table.py").votes_of
    anger, neutral = votes_of("anger"), votes_of("neutral")
    assert sum(map(int, anger.values())) == sum(map(int, neutral.values())) == 10
    assert (anger["votes_anger"], anger["votes_neutral"]) == ("8", "2")
    assert [neutral[f"votes_{n}"] for n in ("neutral", "joy", "sadness")] == ["8", "1", "1"]


def test_near_copies_of_other_persons_leave_the_earlier_part(load: Any) -> None:
    table = load("scripts/faces_web_table.py")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    brighter = np.clip(pictures[0].astype(int) + 5, 0, 255).astype(np.uint8)
    hashes = np.stack([table.difference_hash(p) for p in [*pictures, brighter, pictures[3]]])
    parts = ["test", "train", "train", "validation", "train", "validation"]
    persons = ["a", "b", "c", "d", "e", "f"]
    assert table.near_copies(hashes, parts, persons) == {4}  # d and f are in one part
    assert table.near_copies(hashes, parts, ["a", "b", "c", "d", "a", "f"]) == set()


def test_the_box_is_what_prepare_needs_to_frame_as_predict_does(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.pictures.crops import square_around
    from nunbit.pictures.faces import FaceDetection

    table = load("scripts/faces_web_table.py")
    found = FaceDetection((20.0, 10.0, 100.0, 110.0), 0.9)
    monkeypatch.setattr(table, "detect_faces", lambda pixels: (found,))
    box = table.framed_box(np.zeros((128, 128, 3), np.uint8))
    cut = square_around(box, 1 + 2 * table.MARGIN)
    assert cut == square_around(found.box_xyxy, table.FRAME_SCALE, table.FRAME_SHIFT)
    monkeypatch.setattr(table, "detect_faces", lambda pixels: ())
    assert table.framed_box(np.zeros((128, 128, 3), np.uint8)) is None


def test_persons_count_alike_in_recall(load: Any) -> None:
    wider = load("benchmarks/wider_faces.py")
    # Person 0 has nine pictures of class 0, all right; person 1 one, wrong; person 2 class 1.
    persons = np.array([0] * 9 + [1] + [2, 2])
    truth = np.array([0] * 10 + [1, 1])
    right = np.array([True] * 9 + [False] + [True, False])
    part = wider.Part(np.zeros((12, 1, 1, 3), np.uint8), truth, persons)
    table = wider.recalls(right, part, 3)
    np.testing.assert_array_equal(np.isnan(table[:, 2]), True)
    assert wider.mean_recall(table, [0, 1]) == pytest.approx((0.5 + 0.5) / 2)
    assert wider.mean_recall(table, [0]) == pytest.approx(0.5)  # by picture it is 0.9


def test_blur_is_two_pixels_of_a_face_of_48(load: Any) -> None:
    wider = load("benchmarks/wider_faces.py")
    for side in (48, 96):
        crop = np.zeros((1, side, side, 3), np.uint8)
        crop[:, side // 2, side // 2] = 255
        crop[:, :, side // 2] = 255  # a line: its profile is the kernel
        profile = wider.blurred(crop)[0, side // 4, :, 0].astype(float)
        place = np.arange(side)
        centre = (profile * place).sum() / profile.sum()
        spread = np.sqrt((profile * (place - centre) ** 2).sum() / profile.sum())
        assert spread == pytest.approx(2 * side / 48, rel=0.1)
