from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nunbit.core.messages import InputError, MediaError
from nunbit.datasets import shards
from nunbit.datasets.shard_writer import TarWriter
from nunbit.datasets.shards import DOCUMENT, MANIFEST, MANIFEST_SCHEMA, DataSet, open_dataset
from nunbit.language.labels import load_label_set
from nunbit.stories.prepare import PrepareSettings, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty flat pictures whose grey level is their number, in shards of ten."""
    root = tmp_path_factory.mktemp("shards")
    for number in range(40):
        where = (
            root / "src" / ("test" if number % 4 == 0 else "train") / ("joy", "anger")[number % 2]
        )
        where.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), number * 5).save(where / f"n{number:02d}.png")
    settings = PrepareSettings(size=24, shard_size=10, num_workers=1)
    prepare([root / "src"], root / "data", settings)
    return root / "data"


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def levels(data: DataSet, rows: list[int]) -> list[int]:
    return [round(float(data.pixels(row).mean()) / 5) for row in rows]


def test_any_row_is_read_by_its_position(prepared: Path) -> None:
    data = open_dataset(prepared)
    expected = [int(record[1:3]) for record in data.column("record_id")]
    assert len(data) == len(expected) == 40
    order = np.random.default_rng(0).permutation(40).tolist()
    assert levels(data, order) == [expected[row] for row in order]
    pixels = data.pixels(0)
    assert (pixels.shape, pixels.dtype) == ((24, 24, 3), np.uint8)
    assert data.vote_names == ()
    assert len(data.split_rows("test")) == 10
    assert len(data.split_rows("validation")) == 0
    assert {data.column("split")[row] for row in data.split_rows("train")} == {"train"}


def test_positions_agree_with_the_tar(prepared: Path) -> None:
    data = open_dataset(prepared)
    by_key = {}
    for path in prepared.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                by_key[path.name, member.name] = stream.read()
    for row, entry in enumerate(data.manifest.to_pylist()):
        assert by_key[entry["shard"], f"{entry['record_id']}.jpg"] == data.jpeg(row)


def test_it_survives_pickling_forking_and_threads(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_OPEN_SHARDS", 1)  # files are closed while others read
    data = open_dataset(prepared)
    rows = list(range(40)) * 3
    expected = levels(data, rows)
    assert levels(pickle.loads(pickle.dumps(data)), rows) == expected
    assert len(pickle.dumps(data)) < 1000
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda row: levels(data, [row])[0], rows))
    assert parts == expected


def _child(prepared: Path, send: multiprocessing.connection.Connection) -> None:
    send.send(levels(open_dataset(prepared), [3, 1]))


def test_a_spawned_process_reads_the_same(prepared: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(prepared, there))
    child.start()
    assert here.recv() == levels(open_dataset(prepared), [3, 1])
    child.join()


def no_document(data: Path) -> None:
    (data / DOCUMENT).unlink()


def no_manifest(data: Path) -> None:
    (data / MANIFEST).unlink()


def other_format(data: Path) -> None:
    document = json.loads((data / DOCUMENT).read_text()) | {"format": "other/9"}
    (data / DOCUMENT).write_text(json.dumps(document))


def broken_document(data: Path) -> None:
    (data / DOCUMENT).write_text("{")


def no_label_set(data: Path) -> None:
    document = json.loads((data / DOCUMENT).read_text())
    del document["label_set"]
    (data / DOCUMENT).write_text(json.dumps(document))


def broken_manifest(data: Path) -> None:
    (data / MANIFEST).write_bytes((data / MANIFEST).read_bytes()[:-50])


def missing_column(data: Path) -> None:
    table = pq.read_table(data / MANIFEST)
    pq.write_table(table.drop_columns(["votes"]), data / MANIFEST)


def missing_shard(data: Path) -> None:
    (data / "shard-00001.tar").unlink()


def short_shard(data: Path) -> None:
    (data / "shard-00001.tar").write_bytes((data / "shard-00001.tar").read_bytes()[:2000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_document, "not a complete data set"),
        (no_manifest, "not a complete data set"),
        (other_format, "format is 'other/9'"),
        (broken_document, "dataset.json: cannot read this JSON"),
        (no_label_set, "not a label set"),
        (broken_manifest, "cannot read the manifest"),
        (missing_column, "columns missing: votes"),
        (missing_shard, "shard-00001.tar: cannot read this shard: missing"),
        (short_shard, "shard-00001.tar: cannot read this shard: shorter"),
    ],
)
def test_what_is_not_whole_is_refused(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    open_dataset(copy)
    damage(copy)
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(copy)
    assert str(copy) in caught.value.text.en
    assert "\n" not in caught.value.text.line("ko")


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it with `prepare`"):
        open_dataset(tmp_path / "nowhere")


def test_damage_found_later_is_named(copy: Path) -> None:
    data = open_dataset(copy)
    row = data.column("shard").index("shard-00001.tar")
    shard = copy / "shard-00001.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(MediaError, match=f"crop {data.column('record_id')[row]} is damaged"):
        data.pixels(row)
    shard.write_bytes(b"")
    with pytest.raises(InputError, match=r"shorter than manifest\.parquet says"):
        data.jpeg(row)


def test_an_empty_manifest_opens(copy: Path) -> None:
    pq.write_table(MANIFEST_SCHEMA.empty_table(), copy / MANIFEST)
    data = open_dataset(copy)
    assert len(data) == 0
    assert len(data.split_rows("train")) == 0


@pytest.mark.parametrize(
    "name", ["a.jpg", "얼굴_여_20_기쁨.jpg", "x" * 250 + ".jpg", "가" * 66 + ".jpg"]
)
def test_tars_are_standard_and_deterministic(name: str) -> None:
    contents = {name: b"1234", "b.jpg": b"", "c.jpg": bytes(512), "d.jpg": bytes(range(256)) * 41}
    stream = io.BytesIO()
    writer = TarWriter(stream)
    offsets = {key: writer.add(key, data) for key, data in contents.items()}
    assert writer.finish() == len(stream.getvalue())
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as tar:
        assert {m.name: m.offset_data for m in tar} == offsets
        assert {m.name: tar.extractfile(m).read() for m in tar} == contents  # type: ignore[union-attr]
        assert {m.mtime for m in tar} == {0}


# Merged label sets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "votes", "uploader", "label"),
    [
        ("uploader", [], "hurt", "distress"),
        ("uploader", ["joy"], None, None),
        ("annot_a", ["sadness", "joy", "joy"], "joy", "distress"),
        ("annot_a", [None, "joy", "joy"], "joy", None),
        # Three sad expressions are no majority of seven classes, but they are one of two.
        ("majority", ["sadness", "anxiety", "hurt"], "joy", "distress"),
        ("unanimous", ["sadness", "anxiety", "hurt"], "joy", "distress"),
        ("majority", ["sadness", "joy"], "joy", None),
        ("votes", ["sadness", "joy", "joy", "hurt", "anxiety"], "joy", "distress"),
    ],
)
def test_merging_decides_the_label_anew(
    policy: str, votes: list[str | None], uploader: str | None, label: str | None, copy: Path
) -> None:
    rows = pq.read_table(copy / MANIFEST).to_pylist()
    for row in rows:
        row |= {"uploader_label": uploader, "votes": votes, "label": None}
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), copy / MANIFEST)
    document = json.loads((copy / DOCUMENT).read_text())
    (copy / DOCUMENT).write_text(json.dumps(document | {"policy": policy}))
    data = open_dataset(copy, load_label_set("dep2"))
    assert data.label_set.ids == ("distress", "other")
    assert set(data.column("label")) == {label}
    assert data.settings["merged_from"] == "aihub7"
    assert data.manifest.schema.equals(MANIFEST_SCHEMA)


def test_merged_data_keep_their_pixels_and_travel_to_workers(prepared: Path) -> None:
    plain, merged = open_dataset(prepared), open_dataset(prepared, load_label_set("dep2"))
    again = pickle.loads(pickle.dumps(merged))
    assert again.label_set == merged.label_set
    assert again.column("label") == merged.column("label") == ["other"] * 40
    assert plain.jpeg(7) == again.jpeg(7)
    same = open_dataset(prepared, load_label_set("aihub7"))
    assert same.column("label") == plain.column("label")


def test_a_label_set_without_a_merge_is_refused(prepared: Path) -> None:
    with pytest.raises(InputError, match=r"fer7 does not define the new class of .*merges.aihub7"):
        open_dataset(prepared, load_label_set("fer7"))
