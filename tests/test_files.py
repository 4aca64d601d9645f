from __future__ import annotations

import errno
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import nunbit
from nunbit.core.messages import BundleError, InputError, MissingExtra, NunbitError, Text
from nunbit.recording.paths import list_media
from nunbit.runtime.files import (
    as_given,
    atomic_path,
    from_spreadsheet_text,
    parse_toml,
    read_json,
    remove_folder,
    sha256_file,
    spreadsheet_text,
    write_error,
    write_json,
    write_text,
)


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
        (errno.ENOTDIR, "a file is in the place of a folder"),
        (errno.EIO, "cannot write"),
    ],
)
def test_refusals_of_the_system(code: int, message: str) -> None:
    error = write_error(Path("out"), OSError(code, "words of the system"))
    assert message in error.text.en
    assert error.text.line("ko") != error.text.line("en")


def test_writing_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file is in the place of a folder"):
        write_json(tmp_path / "file" / "x.json", {})


@pytest.mark.parametrize("content", ["{", "\udcff"])
def test_unreadable_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="cannot read this JSON"):
        read_json(path)


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (BundleError(Text("a", "가")), MissingExtra("torch", "train")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.text.en, again.text.ko) == (
            type(error),
            error.text.en,
            error.text.ko,
        )


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", "", "\ufeff{", "nul", "{]"],
)
def test_hostile_json_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="cannot read this JSON") as caught:
        read_json(path)
    assert "\n" not in caught.value.text.line("ko")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = ["])
def test_hostile_toml_is_toml_that_is_broken(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml(text)


@pytest.mark.parametrize("use", [read_json, sha256_file, lambda p: list_media([p])])
def test_a_pipe_or_a_device_is_refused_at_once(
    use: Callable[[Path], object], tmp_path: Path
) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link):
        with pytest.raises(InputError, match="a pipe or a device"):
            use(path)


@pytest.mark.parametrize(
    "text", ["=1+1", "+82 10", "-네", "@a", "\tx", "\r", "'", "'=x", "네", "", "a=b"]
)
def test_spreadsheets_take_text_for_text_and_it_comes_back(text: str) -> None:
    cell = spreadsheet_text(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell == text or cell == f"'{text}"
    if not text.startswith("'="):  # what nobody's quote is for
        assert from_spreadsheet_text(cell) == text


def test_half_characters_do_not_stop_a_file_from_being_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "가\ud800나")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "가\ufffd나"
    write_json(tmp_path / "a.json", {"name": "\udcff가"})
    assert read_json(tmp_path / "a.json") == {"name": "\udcff가"}  # as a JSON escape


def test_the_home_of_somebody_unknown_is_a_name_as_any_other() -> None:
    """pathlib raises a RuntimeError there, which ended in a traceback."""
    assert as_given("~nobody-of-this-name/b") == Path("~nobody-of-this-name/b")
    assert as_given("~") == Path.home()
    with pytest.raises(NunbitError, match="~nobody-of-this-name"):
        nunbit.load("~nobody-of-this-name/b")
    with pytest.raises(NunbitError, match="~nobody-of-this-name"):
        nunbit.predict(np.zeros((48, 48, 3), np.uint8), crops=True, prior="~nobody-of-this-name/b")


def test_headers_of_a_table_are_no_formulas(tmp_path: Path) -> None:
    import pyarrow as pa

    from nunbit.runtime.results import write_csv_table

    names = ["=HYPERLINK(1)", "@a", "person"]
    write_csv_table(tmp_path / "a.csv", pa.table([["1"], ["2"], ["3"]], names=names))
    head = (tmp_path / "a.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert head == '"\'=HYPERLINK(1)","\'@a","person"'


def test_a_folder_that_another_process_deletes_too_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parts"
    (folder / "inner").mkdir(parents=True)
    real = shutil.rmtree

    def racing(path: Path) -> None:
        real(path / "inner", ignore_errors=True)
        if not getattr(racing, "done", False):
            racing.done = True  # type: ignore[attr-defined]
            raise FileNotFoundError(2, "No such file or directory", str(path / "inner"))
        real(path)

    monkeypatch.setattr("nunbit.runtime.files.shutil.rmtree", racing)
    remove_folder(folder)
    assert not folder.exists()
