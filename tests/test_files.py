from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nunbit.errors import BundleError, InputError, MissingExtra
from nunbit.files import atomic_path, read_json, write_error, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    write_json(path, {"감정": 1})
    with pytest.raises(ValueError, match="halfway"), atomic_path(path) as partial:
        partial.write_text("half")
        raise ValueError("halfway")
    assert read_json(path) == {"감정": 1}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.ENOTDIR, "a file stands where"),
        (errno.EIO, "cannot write"),
    ],
)
def test_refusals_of_the_system(code: int, message: str) -> None:
    error = write_error(Path("out"), OSError(code, "words of the system"))
    assert message in error.en
    assert error.text("ko") != error.text("en")


def test_writing_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file stands where"):
        write_json(tmp_path / "file" / "x.json", {})


@pytest.mark.parametrize("content", ["{", "\udcff"])
def test_unreadable_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="cannot read this JSON"):
        read_json(path)


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (BundleError(en="a", ko="가"), MissingExtra("torch", "train")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.en, again.ko) == (type(error), error.en, error.ko)
