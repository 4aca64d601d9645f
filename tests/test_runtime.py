"""Kept parts, packaged data, processor and memory: what every room runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.pictures.crops import square_around
from nunbit.runtime.files import PartStore, remove_folder
from nunbit.runtime.resources import Shelf, packaged_table
from nunbit.runtime.workers import available_cores


@dataclass(frozen=True, eq=False)
class Rows:
    name: str
    values: NDArray[np.float32]
    more: dict[str, NDArray[Any]]
    pairs: tuple[tuple[str, str], ...] = ()


ROWS = Rows(
    "한 부분",
    np.array([[0.1, np.nan], [np.inf, -0.0]], np.float32),
    {"flags": np.array([True, False]), "names": np.array(["a", "가나"]), "none": np.zeros((0, 4))},
    (("a", "b"),),
)


def store(folder: Path, key: Any = ("settings", 1)) -> PartStore[Rows]:
    return PartStore(folder, Rows, key)


def test_a_part_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    store(tmp_path / "new").write("one", ROWS)
    found = store(tmp_path / "new").read("one")
    assert found is not None
    assert (found.name, found.pairs) == (ROWS.name, ROWS.pairs)
    for a, b in ((found.values, ROWS.values), *zip(found.more.values(), ROWS.more.values())):  # noqa: B905
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        a[:] = a  # nobody has to know that it came from disk
    assert list(found.more) == list(ROWS.more)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.part"]


def test_every_single_changed_or_missing_byte_makes_a_part_missing(tmp_path: Path) -> None:
    parts = store(tmp_path)
    parts.write("one", ROWS)
    whole = parts.path("one").read_bytes()
    for at in range(len(whole)):
        parts.path("one").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert parts.read("one") is None, at
        parts.path("one").write_bytes(whole[:at])
        assert parts.read("one") is None, at
    with pytest.raises(InputError, match="run the same line again"):
        parts.read_own("one")
    parts.path("one").write_bytes(whole)
    assert parts.read_own("one").name == ROWS.name


def test_parts_of_other_keys_kinds_and_versions_are_stale(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Other:
        count: int

    parts = store(tmp_path, {"a": 1, "b": Path("x")})
    parts.write("mine", ROWS)
    store(tmp_path, {"a": 2, "b": Path("x")}).write("theirs", ROWS)
    (tmp_path / "faces-00000.npz").write_bytes(b"of version 0.1")
    (tmp_path / ".mine.part.77.partial").write_bytes(b"of a killed run")
    assert parts.read("theirs") is None
    assert parts.read("nobody's") is None
    assert PartStore(tmp_path, Other, {"a": 1, "b": Path("x")}).read("mine") is None
    same = store(tmp_path, {"b": Path("x"), "a": 1})  # a key is no text: order does not count
    assert list(same.names()) == ["mine"]
    same.remove_stale()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.part"]


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file is in the place of a folder"):
        store(tmp_path / "file").write("one", ROWS)
    store(tmp_path / "none").remove_stale()  # nothing there: nothing to do
    remove_folder(tmp_path / "none")


def test_objects_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    bad = Rows("x", ROWS.values, {"objects": np.array([object()])})
    with pytest.raises(NotImplementedError):
        store(tmp_path).write("one", bad)
    assert not list(tmp_path.iterdir())


LABELS = Shelf("language/data/labels", Text("label set", "레이블 집합"), SettingsError)


def test_a_shelf_reads_by_name_or_path_and_lists_what_there_is(tmp_path: Path) -> None:
    assert "fer7" in LABELS.names()
    named, where = LABELS.read("fer7")
    assert Path(where) == LABELS.find("fer7")
    named.clear()  # the caller's own
    assert LABELS.read("fer7")[0]
    own = tmp_path / "own.toml"
    own.write_text('name = "own"', encoding="utf-8")
    assert LABELS.read(str(own)) == ({"name": "own"}, str(own))
    for name in ("fer8", "../labels/fer7", "", "fer7.toml"):
        with pytest.raises(SettingsError, match="neither one of aihub7, dep2, fer7 nor"):
            LABELS.read(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"name = ", "not valid TOML"), (b"\xff\xfe", "cannot read the label set")],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    own = tmp_path / "own.toml"
    own.write_bytes(content)
    with pytest.raises(InputError, match=message):
        LABELS.read(str(own))


def test_a_packaged_table_is_read_once() -> None:
    assert packaged_table("language/data/labels/fer7.toml") is packaged_table(
        "language/data/labels/fer7.toml"
    )


def test_crops_lie_where_the_two_older_formulas_put_them() -> None:
    """The formulas of training crops and of prediction, as they stood apart, on 2,000 boxes."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        x0, y0, w, h = rng.uniform(-200, 4000, 2).tolist() + rng.uniform(0.1, 2500, 2).tolist()
        box = (x0, y0, x0 + w, y0 + h)
        if rng.random() < 0.5:  # half pixels: where rounding goes either way
            box = tuple(round(2 * v) / 2 for v in box)
        margin, shift = float(rng.choice([0.0, 0.1, 0.25, rng.uniform(0, 2)])), rng.normal(0, 0.1)
        side = max(1, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
        left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
        found = square_around(box, 1 + 2 * margin)
        assert found == (left, top, left + side, top + side)
        scale = 1 + 2 * margin
        width, height = (box[2] - box[0]) * scale, (box[3] - box[1]) * scale
        centre_x = (box[0] + box[2]) / 2
        centre_y = (box[1] + box[3]) / 2 + shift * (box[3] - box[1])
        columns = max(1, round(max(width, height)))
        left, top = round(centre_x - columns / 2), round(centre_y - columns / 2)
        assert square_around(box, scale, shift) == (left, top, left + columns, top + columns)


def test_available_cores_are_those_this_process_may_use() -> None:
    import os

    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(before)})
            assert available_cores() == 1
        finally:
            os.sched_setaffinity(0, before)
