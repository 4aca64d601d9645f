"""The one reader of text tables, and what prepare and align make of it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
from nunbit.datasets.sources import read_source
from nunbit.datasets.tabular import open_table
from nunbit.language.labels import load_label_set
from nunbit.recording.paths import persons_of
from nunbit.report.page import ReportTable, csv_text
from nunbit.runtime.textfile import delimiter_of, encoding_of, first_cells, read_rows, sep_line
from test_sources_folder_table import write_images


@pytest.mark.parametrize(
    ("line", "delimiter"),
    [
        ("a,b,c", ","),
        ("a;b;c", ";"),
        ("a\tb,c\td", "\t"),
        ("a|b|c", "|"),
        ("1,5;2,5;a, b", ";"),
        ("1,2,3", ","),
        ("path", "\t"),
    ],
)
def test_delimiters(line: str, delimiter: str) -> None:
    assert delimiter_of(line) == delimiter


def test_sep_lines() -> None:
    assert [sep_line(x) for x in ("sep=;", '"SEP=|"', "sep=\t", "sep=;;", "a;b")] == [
        ";", "|", "\t", None, None,
    ]  # fmt: skip


def test_rows_know_their_lines() -> None:
    text = '\nsep=;\na;b\n"x\ny";1\n\n2;3'
    assert read_rows(text) == [(3, ["a", "b"]), (5, ["x\ny", "1"]), (7, ["2", "3"])]
    assert first_cells(text) == ["a", "b"]
    assert first_cells("") == first_cells("sep=;") == []


def test_an_open_quote_names_its_row() -> None:
    with pytest.raises(csv.Error, match="row 3"):
        read_rows('a,b\n1,2\n3,"4')


HEADER = ("path", "label", "box", "subject")


def _tables() -> dict[str, bytes]:
    def text(mark: str, box: str = '"0 0 9,5 9"') -> str:
        return f"{mark.join(HEADER)}\r\n{mark.join(('a.jpg', '기쁨', box, '가'))}\r\n"

    return {
        "comma.csv": text(",").encode(),
        "semicolon.csv": text(";").encode("utf-8-sig"),
        "sep.csv": ("sep=;\r\n" + text(";")).encode(),
        "tab.txt": text("\t").encode("utf-16"),
        "unmarked.txt": text("\t").encode("utf-16-le"),
        "bar.csv": text("|").encode("cp949"),
        "break.csv": text(",").replace("가\r\n", '"가\n나"\r\n').encode(),
    }


@pytest.mark.parametrize("name", _tables())
def test_tables_of_images_in_every_spelling(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, "a.jpg")
    path = tmp_path / name
    path.write_bytes(_tables()[name])
    listing = read_source([path], None, load_label_set("aihub7"))  # as prepare finds it
    (record,) = listing.records
    assert record.uploader_label == "joy"
    assert record.box_xyxy == (0, 0, 9.5, 9)
    assert record.subject_id == ("가\n나" if name == "break.csv" else "가")


def test_people_in_every_spelling(tmp_path: Path) -> None:
    media = [tmp_path / "x" / "one.mp4", tmp_path / "y" / "two.mp4"]
    for k, data in enumerate(
        (
            b"media,person\none.mp4,A\ny/two.mp4,B\n",
            "sep=;\r\nMedia;Person\r\none.mp4;A\r\ntwo.mp4;B\r\n".encode("utf-16"),
            "media\tperson\none.mp4\tA\ntwo.mp4\tB\n".encode("cp949"),
        )
    ):
        table = tmp_path / f"people{k}.csv"
        table.write_bytes(data)
        assert persons_of(media, str(table)) == ("A", "B")
    table.write_text("media,who\none.mp4,A\n")
    with pytest.raises(InputError, match="columns media and person .no person"):
        persons_of(media, str(table))


def test_tables_that_are_none(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="a pipe or a device"):
        open_table(pipe)
    with pytest.raises(InputError, match="a folder, not a file"):
        open_table(tmp_path)
    binary = tmp_path / "b.csv"
    binary.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match="not a text file"):
        encoding_of(binary)


def test_cells_of_other_peoples_tables_stay_as_they_are() -> None:
    """Only the words table that nunbit wrote is known to have a mark before its formulas."""
    cells = ["'=1+1", "'-5", "'quoted'", "plain"]
    assert read_rows("a,b,c,d\n" + ",".join(cells))[1] == (2, cells)


def test_tables_of_an_evaluation_hold_no_formula() -> None:
    table = ReportTable("subgroups", ("=name", "n"), (("@place", -0.5), ("Seoul", None)))
    assert csv_text(table) == "'=name,n\n'@place,-0.5\nSeoul,\n"
