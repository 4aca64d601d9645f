from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import LANGS, InputError, NunbitError, SettingsError, Text
from nunbit.core.schema import FaceRecord, ImageRef, Reject
from nunbit.datasets import shard_writer
from nunbit.datasets.scan import Listing
from nunbit.datasets.shards import DOCUMENT, MANIFEST, REJECTS, open_dataset
from nunbit.language.labels import load_label_set
from nunbit.runtime.config import parse_part
from nunbit.runtime.progress import set_lang
from nunbit.stories import prepare as story
from nunbit.stories.prepare import PrepareSettings, make_plan, prepare

SMALL = PrepareSettings(size=32, num_workers=1, kind="folder")
LABELS = ("joy", "anger", "neutral")


def photo(seed: int, size: tuple[int, int] = (96, 72), kind: str = "JPEG", **options: Any) -> bytes:
    grain = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3))
    image = Image.fromarray(grain.astype(np.uint8)).resize(size)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def folder_source(root: Path, per_class: int = 6) -> Path:
    """Class folders below train and validation."""
    seed = 0
    for split, count in (("train", per_class), ("validation", max(1, per_class // 3))):
        for label in LABELS:
            where = root / split / label
            where.mkdir(parents=True)
            for number in range(count):
                seed += 1
                (where / f"{label}_{number:04d}.jpg").write_bytes(photo(seed))
    return root


def contents(data: Path) -> dict[str, bytes]:
    """The files of a data set whose bytes must not depend on how it was made."""
    names = [MANIFEST, REJECTS, *(path.name for path in data.glob("shard-*.tar"))]
    return {name: (data / name).read_bytes() for name in names}


def left_over(data: Path) -> list[str]:
    return sorted(path.name for path in data.rglob("*") if path.name.startswith("."))


def face_record(root: Path, name: str, data: bytes, **fields: Any) -> FaceRecord:
    (root / name).write_bytes(data)
    image = ImageRef(str(root / name), None, name)
    base = FaceRecord(
        record_id=name.replace(".", "_"), image=image, split="train", uploader_label="joy"
    )
    return replace(base, **fields)


def listing_of(records: list[FaceRecord], **fields: Any) -> Listing:
    base = Listing("aihub", tuple(records), (), ("annot_a", "annot_b", "annot_c"), {}, ())
    return replace(base, **fields)


@pytest.fixture
def use_listing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Listing], None]:
    def use(listing: Listing) -> None:
        monkeypatch.setattr(story, "read_source", lambda *_, **__: listing)

    return use


def test_the_data_set_keeps_the_contract(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "src")
    document = prepare([source], tmp_path / "data", SMALL)
    data = open_dataset(tmp_path / "data")
    assert json.loads((tmp_path / "data" / DOCUMENT).read_text()) == document
    assert len(data) == 24
    assert data.policy == "uploader"
    assert data.label_set == load_label_set("aihub7")
    assert document["counts"]["by_policy"]["uploader"]["train"]["joy"] == 6
    assert document["counts"]["by_policy"]["majority"]["train"]["unlabelled"] == 18
    assert document["counts"]["records"] == 24
    assert {row["split"] for row in data.manifest.to_pylist()} == {"train", "validation"}
    assert len(data.split_rows("train")) == 18
    assert left_over(tmp_path / "data") == []
    seen = set()
    for path in sorted((tmp_path / "data").glob("shard-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                seen.add((path.name, member.name.removesuffix(".jpg")))
                assert member.name.endswith(".jpg")
                stream = tar.extractfile(member)
                assert stream is not None
                with Image.open(stream) as image:
                    assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "JPEG")
    rows = data.manifest.to_pylist()
    assert seen == {(row["shard"], row["record_id"]) for row in rows}
    assert all(row["label"] == row["uploader_label"] for row in rows)
    first = rows[0]
    assert first["source_path"].startswith(f"{first['split']}/{first['label']}/")
    assert (first["box_xyxy"], first["box_index"], first["orientation"]) == (None, None, None)
    assert first["box_px"] == 96
    # Shuffled inside a split: classes alternate.
    train = [row["label"] for row in rows if row["split"] == "train"]
    assert train != sorted(train)


def test_manifest_rows_carry_what_the_source_says(
    tmp_path: Path, use_listing: Callable[[Listing], None]
) -> None:
    nan = float("nan")
    exif = Image.Exif()
    exif[0x0112] = 6
    person = "ab" * 32
    records = [
        face_record(
            tmp_path,
            "얼굴 1.jpg",
            photo(1, exif=exif),
            record_id="얼굴 1",
            votes=("joy", "joy", None),
            subject_id=person,
            box_xyxy=(-5.0, 10.5, 60.25, 90.0),
            gender="여",
            age="20",
            place="도심",
        ),
        face_record(
            tmp_path,
            "b.jpg",
            photo(2),
            votes=(None, "anger", "anger"),
            box_xyxy=(nan, 0.0, 1.0, 1.0),
            fallback_boxes=((3.0, 3.0, 3.0, 3.0), (10.0, 10.0, 50.0, 60.0)),
            split="validation",
            subject_id=person,
        ),
        face_record(
            tmp_path, "c.jpg", photo(1, exif=exif), split="validation", subject_id="cd" * 32
        ),
        face_record(tmp_path, "bad.jpg", photo(3), box_xyxy=(5.0, 5.0, 5.0, 5.0)),
        face_record(tmp_path, "cut.jpg", photo(4)[:-300]),
        face_record(tmp_path, "text.jpg", b"<html>"),
        face_record(tmp_path, "gone.jpg", photo(5)),
    ]
    (tmp_path / "gone.jpg").unlink()
    use_listing(listing_of(records, rejects=(Reject("x.jpg", "no_record", Text("d", "d")),)))
    document = prepare([tmp_path / "src"], tmp_path / "data", SMALL)
    data = open_dataset(tmp_path / "data")
    rows = {row["source_path"]: row for row in data.manifest.to_pylist()}
    one, two = rows["얼굴 1.jpg"], rows["b.jpg"]
    expected = {
        "record_id": "얼굴 1",
        "split": "train",
        "subject_id": person,
        "label": "joy",  # annot_a, the default for aihub
        "uploader_label": "joy",
        "votes": ["joy", "joy", None],
        "gender": "여",
        "age": "20",
        "place": "도심",
        "box_xyxy": [0.0, 10.5, 60.25, 90.0],  # clamped in the 72 x 96 upright frame
        "orientation": 6,
        "box_index": 0,
        "box_px": 79.5,
    }
    assert {key: one[key] for key in expected} == expected
    assert (two["label"], two["box_index"], two["box_xyxy"]) == (None, 2, [10.0, 10.0, 50.0, 60.0])
    assert data.vote_names == ("annot_a", "annot_b", "annot_c")
    rejects = [json.loads(line) for line in (tmp_path / "data" / REJECTS).read_text().splitlines()]
    assert {(r["file"], r["reason"]) for r in rejects} == {
        ("x.jpg", "no_record"),
        ("bad.jpg", "bad_box"),
        ("cut.jpg", "truncated"),
        ("text.jpg", "not_an_image"),
        ("gone.jpg", "missing_file"),
    }
    counts = document["counts"]
    assert counts["rejects"] == {
        "bad_box": 1,
        "missing_file": 1,
        "no_record": 1,
        "not_an_image": 1,
        "truncated": 1,
    }
    assert counts["by_policy"]["majority"]["train"]["joy"] == 1
    assert counts["by_policy"]["unanimous"]["train"]["unlabelled"] == 1
    assert counts["fallback_boxes"] == 1
    assert counts["subjects"]["shared"] == {"train+validation": 1}
    assert counts["subjects"]["unseen"]["validation"] == {"subjects": 1, "records": 1}
    assert counts["identical_photos"]["across_splits"] == {"train+validation": 1}
    assert any("byte-identical" in en for en, _ in document["notes"])
    assert document["known_counts"] == {"compared": [], "differences": []}


def test_blur_column_tells_sharp_from_blurred(
    tmp_path: Path, use_listing: Callable[[Listing], None]
) -> None:
    sharp = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    smooth = Image.fromarray(sharp).reduce(8).resize((64, 64), Image.Resampling.BICUBIC)
    records = []
    for name, image in (("sharp.png", Image.fromarray(sharp)), ("smooth.png", smooth)):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        records.append(face_record(tmp_path, name, stream.getvalue(), votes=("joy",)))
    use_listing(listing_of(records))
    prepare([tmp_path / "src"], tmp_path / "data", replace(SMALL, size=64))
    rows = open_dataset(tmp_path / "data").manifest.to_pylist()
    blur = {row["source_path"]: row["blur"] for row in rows}
    assert blur["sharp.png"] > 20 * blur["smooth.png"]


def test_workers_and_their_number_do_not_change_a_byte(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "src", 9)
    settings = replace(SMALL, shard_size=10)
    prepare([source], tmp_path / "one", settings)
    prepare([source], tmp_path / "two", replace(settings, num_workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    prepare([source], tmp_path / "other", replace(settings, seed=1))
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_parts_merge_to_what_one_run_gives(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "src", 12)
    (source / "train" / "joy" / "broken.jpg").write_bytes(b"no image")
    settings = replace(SMALL, shard_size=8)
    prepare([source], tmp_path / "whole", settings)
    parts = tmp_path / "parts"
    answers = [
        prepare([source], parts, replace(settings, part=part)) for part in ("3/3", "1/3", "2/3")
    ]
    assert [answer["finished"] for answer in answers] == [False, False, True]
    assert answers[0]["shards_finished"] < answers[1]["shards_finished"] < answers[1]["shards"]
    assert contents(parts) == contents(tmp_path / "whole")
    assert left_over(parts) == []
    # Whoever comes late finds it finished.
    assert prepare([source], parts, replace(settings, part="1/3")) == answers[2]


def test_a_finished_data_set_is_not_made_again(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "src")
    prepare([source], tmp_path / "data", SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    prepare([source], tmp_path / "data", SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}


@pytest.mark.parametrize("harm", ["lost", "cut", "lost and no rejects", "manifest"])
def test_a_harmed_data_set_is_made_whole_by_the_same_line(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, data = folder_source(tmp_path / "src"), tmp_path / "data"
    prepare([source], data, SMALL)
    before = contents(data)
    shards = sorted(data.glob("shard-*.tar"))
    if harm == "manifest":
        (data / "manifest.parquet").unlink()
    elif harm == "cut":
        shards[1].write_bytes(shards[1].read_bytes()[:2000])
    else:
        shards[1].unlink()
    if harm == "lost and no rejects":
        (data / "rejects.jsonl").unlink()
    intact = shards[0].stat().st_mtime_ns
    capsys.readouterr()
    prepare([source], data, SMALL)
    assert contents(data) == before
    if harm in ("lost", "cut"):  # what is whole stays
        assert shards[0].stat().st_mtime_ns == intact
        assert f"1 of {len(shards)} shards are made anew" in capsys.readouterr().err


# A shell starts background jobs with interrupts ignored, and so does whatever these start.
PROGRAM = """
import signal
import sys
from pathlib import Path
from nunbit.stories.prepare import PrepareSettings, prepare
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = PrepareSettings(size=64, shard_size=6, num_workers=2)
    prepare([Path(sys.argv[1])], Path(sys.argv[2]), settings)
"""


def started(tmp_path: Path, source: Path, out: Path) -> subprocess.Popen[str]:
    """A prepare in a process of its own, with at least two shards finished and not all."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.Popen(
        [sys.executable, str(program), str(source), str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob(".parts/part-*.part"))) < 2:
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return run


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    pictures = [photo(seed, (1200, 900)) for seed in range(6)]
    for label in LABELS:
        (root / "train" / label).mkdir(parents=True)
        for number in range(60):  # enough to be still at work when the signal comes
            picture = pictures[number % len(pictures)]
            (root / "train" / label / f"{label}_{number}.jpg").write_bytes(picture)
    return root


def uninterrupted(tmp_path: Path, source: Path) -> dict[str, bytes]:
    settings = PrepareSettings(size=64, shard_size=6, num_workers=2)
    prepare([source], tmp_path / "whole", settings)
    return contents(tmp_path / "whole")


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same(tmp_path: Path, many_photos: Path) -> None:
    out = tmp_path / "data"
    run = started(tmp_path, many_photos, out)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    time.sleep(0.7)  # the workers notice and leave; one may still finish its photo
    finished = [path.stem.removeprefix("part-") for path in out.glob(".parts/part-*.part")]
    shards = {out / f"shard-{number}.tar" for number in finished}
    times = {path: path.stat().st_mtime_ns for path in shards}
    assert finished
    assert not (out / DOCUMENT).exists()
    with pytest.raises(InputError, match="not a complete data set"):
        open_dataset(out)
    (out / ".shard-00017.tar.999999.partial").write_bytes(b"half")
    settings = PrepareSettings(size=64, shard_size=6, num_workers=2)
    prepare([many_photos], out, settings)
    assert {path: path.stat().st_mtime_ns for path in shards} == times  # not made again
    assert contents(out) == uninterrupted(tmp_path, many_photos)
    assert left_over(out) == []


def test_ctrl_c_stops_soon_and_keeps_finished_shards(tmp_path: Path, many_photos: Path) -> None:
    out = tmp_path / "data"
    run = started(tmp_path, many_photos, out)
    begin = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert run.returncode != 0
    assert stderr.count("Traceback") == 1  # the parent's KeyboardInterrupt, none of a worker
    assert "KeyboardInterrupt" in stderr
    assert not list(out.rglob(".*.partial"))
    assert len(list(out.glob(".parts/part-*.part"))) >= 2
    assert not (out / DOCUMENT).exists()


def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = shard_writer.TarWriter.add, []

    def add(self: shard_writer.TarWriter, name: str, data: bytes) -> int:
        calls.append(name)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, name, data)

    monkeypatch.setattr(shard_writer.TarWriter, "add", add)


def test_a_full_disk_keeps_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_source(tmp_path / "src")
    settings = replace(SMALL, shard_size=5)
    prepare([source], tmp_path / "whole", settings)
    with monkeypatch.context() as broken:
        full_disk(tmp_path, broken)
        with pytest.raises(InputError, match="disk is full"):
            prepare([source], tmp_path / "data", settings)
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == [".parts", "shard-00000.tar"]
    prepare([source], tmp_path / "data", settings)
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_a_part_with_one_wrong_digit_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_source(tmp_path / "src")
    settings = replace(SMALL, shard_size=5)
    prepare([source], tmp_path / "whole", settings)
    with monkeypatch.context() as broken:
        full_disk(tmp_path, broken)
        with pytest.raises(InputError, match="disk is full"):
            prepare([source], tmp_path / "data", settings)
    [part] = (tmp_path / "data" / ".parts").glob("part-*")
    data = bytearray(part.read_bytes())
    at = max(k for k, byte in enumerate(data) if chr(byte).isdigit())
    data[at] ^= 1  # another digit: of a photo's hash
    part.write_bytes(data)
    prepare([source], tmp_path / "data", settings)
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_a_vanished_source_is_an_error_and_not_rejects(
    tmp_path: Path, use_listing: Callable[[Listing], None]
) -> None:
    (tmp_path / "disk").mkdir()
    record = face_record(tmp_path / "disk", "a.jpg", photo(1), votes=("joy",))
    use_listing(listing_of([record]))
    (tmp_path / "disk" / "a.jpg").unlink()
    (tmp_path / "disk").rmdir()
    with pytest.raises(InputError, match="the source is gone"):
        prepare([tmp_path / "disk"], tmp_path / "data", SMALL)


def refuse_other_settings(source: Path, tmp: Path) -> None:
    prepare([source], tmp / "data", SMALL)
    prepare([source], tmp / "data", replace(SMALL, size=48))


def refuse_other_source(source: Path, tmp: Path) -> None:
    prepare([source], tmp / "data", SMALL)
    (source / "train" / "joy" / "new.jpg").write_bytes(photo(99))
    prepare([source], tmp / "data", SMALL)


def refuse_other_unfinished(source: Path, tmp: Path) -> None:
    settings = replace(SMALL, shard_size=5, part="1/2")
    prepare([source], tmp / "data", settings)
    prepare([source], tmp / "data", replace(settings, margin=0.3))


def refuse_file_as_out(source: Path, tmp: Path) -> None:
    (tmp / "file").write_text("x")
    prepare([source], tmp / "file", SMALL)


def refuse_all_broken(source: Path, tmp: Path) -> None:
    for path in source.rglob("*.jpg"):
        path.write_bytes(b"broken")
    prepare([source], tmp / "data", SMALL)


def refuse_nameless_annotator_a(source: Path, tmp: Path) -> None:
    photo = next(source.rglob("*.jpg"))
    (tmp / "counts.csv").write_text(f"path,votes_joy,votes_anger\n{photo},1,2\n")
    prepare([tmp / "counts.csv"], tmp / "data", replace(SMALL, policy="annot_a", kind="table"))


REFUSALS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "other settings": (refuse_other_settings, r"settings differ: size 32 -> 48"),
    "other source": (refuse_other_source, r"another data set \(SRC or label set differs\)"),
    "other unfinished": (refuse_other_unfinished, r"settings differ: margin 0.1 -> 0.3"),
    "out is a file": (refuse_file_as_out, r"file"),
    "out in source": (lambda s, t: prepare([s], s / "x", SMALL), r"inside SRC"),
    "all broken": (refuse_all_broken, r"not_an_image 24.*the first: "),
    "no votes": (
        lambda s, t: prepare([s], t / "data", replace(SMALL, policy="majority")),
        r"no record has a label under 'majority'.*`policy`",
    ),
    "nameless annotator A": (refuse_nameless_annotator_a, r"no annotator A; choose `policy` maj"),
    "unknown label set": (
        lambda s, t: prepare([s], t / "data", replace(SMALL, label_set="x")),
        r"label set 'x'",
    ),
    "part": (
        lambda s, t: prepare([s], t / "data", replace(SMALL, part="3/2")),
        r"i/n",
    ),
    "no such source": (lambda s, t: prepare([t / "no"], t / "data", SMALL), r"no"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_what_and_leave_nothing_half_written(name: str, tmp_path: Path) -> None:
    act, message = REFUSALS[name]
    source = folder_source(tmp_path / "src")
    with pytest.raises(NunbitError, match=message) as caught:
        act(source, tmp_path)
    assert "\n" not in caught.value.text.line("en")
    assert caught.value.text.line("ko") != caught.value.text.line("en")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_disk_that_is_obviously_too_small_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_source(tmp_path / "src")

    class Usage:
        free = 1000

    monkeypatch.setattr(story.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match="24 crops of 32 px need at least"):
        prepare([source], tmp_path / "data", SMALL)
    assert not list((tmp_path / "data").glob("*.tar"))


@pytest.mark.parametrize(
    ("text", "parsed"), [(None, (1, 1)), ("1/1", (1, 1)), (" 2 / 8 ", (2, 8)), ("8/8", (8, 8))]
)
def test_parse_part(text: str | None, parsed: tuple[int, int]) -> None:
    assert parse_part(text) == parsed


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_parse_part_refuses(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_part(text)


def plan_of(counts: dict[str, int], **settings: Any) -> story.Plan:
    records = [
        FaceRecord(f"{split}{i}", ImageRef("/x", None, f"{split}{i}"), split, "joy")  # type: ignore[arg-type]
        for split, count in counts.items()
        for i in range(count)
    ]
    listing = listing_of(records, kind="folder", vote_names=())
    return make_plan(listing, replace(SMALL, **settings), load_label_set("aihub7"), "src")


def test_every_record_lies_in_exactly_one_shard_of_its_split() -> None:
    counts = {"train": 2500, "validation": 300, "test": 10}
    plan = plan_of(counts, shard_size=1000)
    rows = np.sort(np.concatenate([rows for _, rows in plan.shards]))
    assert np.array_equal(rows, np.arange(2810))
    sizes: dict[str, list[int]] = {}
    for split, own in plan.shards:
        sizes.setdefault(split, []).append(len(own))
        start = {"train": 0, "validation": 2500, "test": 2800}[split]
        assert own.min() >= start
        assert own.max() < start + counts[split]
    assert max(map(max, sizes.values())) <= 1000
    assert len(sizes["train"]) == 8
    assert len(sizes["validation"]) == 4
    assert sizes["test"] == [10]


def test_the_fingerprint_knows_what_shapes_the_result_and_nothing_else() -> None:
    base = plan_of({"train": 20}).fingerprint
    assert plan_of({"train": 20}, num_workers=5, part="1/2").fingerprint == base
    changes: list[dict[str, Any]] = [{"size": 33}, {"margin": 0.2}, {"crop": "box"}, {"seed": 1}]
    changed = {plan_of({"train": 20}, **change).fingerprint for change in changes}
    assert len(changed | {base, plan_of({"train": 21}).fingerprint}) == 6


def test_a_drawn_tree_is_said_to_be_synthetic(tmp_path: Path) -> None:
    from nunbit.synth.aihub_tree import SynthSettings, write_tree

    settings = SynthSettings(per_class=1, per_class_validation=1, photo_width=200, oddities=False)
    write_tree(tmp_path / "drawn", settings)
    inside = next(p for p in (tmp_path / "drawn").iterdir() if p.is_dir() and "092" not in p.name)
    for number, source in enumerate((tmp_path / "drawn", inside)):
        document = prepare([source], tmp_path / str(number), PrepareSettings(size=32))
        assert document["synthetic"] is True


def test_one_part_of_several_says_what_is_done(tmp_path: Path) -> None:
    """``--part`` leaves a data set unfinished: no counts yet, and no traceback for it."""
    from click.testing import CliRunner

    from nunbit.cli import cli

    source = folder_source(tmp_path / "src")
    line = ["prepare", str(source), "--label-set", "fer7", "--size", "32", "--part", "1/2"]
    more = ["--set", "num_workers=1", "--set", "shard_size=4"]
    for lang, says in (("en", "shards are done"), ("ko", "완료")):
        result = CliRunner().invoke(
            cli, [*line, *more, "--out", str(tmp_path / lang), "--lang", lang]
        )
        assert result.exit_code == 0, result.exception
        assert says in result.stdout
    result = CliRunner().invoke(cli, [*line, *more, "--out", str(tmp_path / "en"), "--json"])
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document["finished"] is False
    assert 0 < document["shards_finished"] < document["shards"]


def test_the_files_are_the_same_whatever_the_language(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "src")
    (source / "train" / "joy" / "cut.jpg").write_bytes(photo(77)[:300])
    (source / "loose.jpg").write_bytes(photo(78))
    (source / "broken.zip").write_bytes(b"no zip")
    made = {}
    for lang in LANGS:
        set_lang(lang)
        made[lang] = prepare([source], tmp_path / lang, SMALL)
    assert contents(tmp_path / "en") == contents(tmp_path / "ko")
    timeless = [{k: v for k, v in made[lang].items() if k != "provenance"} for lang in made]
    assert timeless[0] == timeless[1]
    assert all(len(pair) == 2 and pair[0] != pair[1] for pair in made["ko"]["notes"])
    rejects = [json.loads(line) for line in (tmp_path / "ko" / REJECTS).read_text().splitlines()]
    details = {reject["reason"]: reject for reject in rejects}
    assert details["no_class_folder"]["detail"] == "not in a class folder"
    assert details["no_class_folder"]["detail_ko"] == "클래스 폴더 안에 있지 않음"


def _crops_are_current(source: Path, data: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    prepare([source], fresh, replace(SMALL, shard_size=4))
    assert contents(data) == contents(fresh)


def test_a_photo_changed_between_the_parts_of_a_job_is_cropped_anew(tmp_path: Path) -> None:
    source, data = folder_source(tmp_path / "src"), tmp_path / "data"
    prepare([source], data, replace(SMALL, shard_size=4, part="1/2"))
    for path in sorted(source.rglob("joy_*.jpg")):
        path.write_bytes(photo(1000 + len(path.name)))
    ended = prepare([source], data, replace(SMALL, shard_size=4, part="2/2"))
    if not ended["finished"]:  # the changed shards of the first part are to be made again
        prepare([source], data, replace(SMALL, shard_size=4, part="1/2"))
    _crops_are_current(source, data, tmp_path)


@pytest.mark.parametrize("killed", [False, True])
def test_photos_changed_while_a_shard_was_broken_are_cropped_anew(
    tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = folder_source(tmp_path / "src"), tmp_path / "data"
    settings = replace(SMALL, shard_size=4)
    prepare([source], data, settings)
    for path in sorted(source.rglob("joy_*.jpg")):
        path.write_bytes(photo(1000 + len(path.name)))
    shard = sorted(data.glob("shard-*.tar"))[-1]
    shard.write_bytes(shard.read_bytes()[:100])
    if killed:  # when the shards were opened again, before the folder was marked as unfinished
        with monkeypatch.context() as dying:
            dying.setattr(story, "keep_unchanged", lambda *_: (_ for _ in ()).throw(KeyError))
            with pytest.raises(KeyError):
                prepare([source], data, settings)
    prepare([source], data, settings)
    _crops_are_current(source, data, tmp_path)
