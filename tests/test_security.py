"""What docs/security.md promises and no other test proves; and that the tests it names exist."""

from __future__ import annotations

import ast
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import BundleError, InputError, NunbitError
from nunbit.datasets.shards import open_dataset
from nunbit.recording.transcript import read_transcript
from nunbit.runtime.files import atomic_path, write_json
from nunbit.stories.prepare import PrepareSettings, prepare

ROOT = Path(__file__).parents[1]
SETTINGS = PrepareSettings(label_set="fer7", size=32, num_workers=1)


@pytest.mark.parametrize("page", ["security.md", "security.ko.md"])
def test_every_test_that_the_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", text))
    assert len(named) > 30
    for file, name in sorted(named):
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        found = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert name in found, f"{file}::{name}"


def test_both_pages_name_the_same_tests() -> None:
    pages = [
        re.findall(r"`(test_\w+\.py::test_\w+)`", (ROOT / "docs" / p).read_text(encoding="utf-8"))
        for p in ("security.md", "security.ko.md")
    ]
    assert pages[0] == pages[1]


def photo(path: Path, seed: int = 0) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


def test_members_of_zips_cannot_name_another_place(tmp_path: Path) -> None:
    picture = photo(tmp_path / "one.png")
    (tmp_path / "src").mkdir()
    with zipfile.ZipFile(tmp_path / "src" / "a.zip", "w") as archive:
        for label in ("happy", "sad"):
            archive.writestr(f"{label}/good.png", picture)
        for name in ("../happy/up.png", "/happy/root.png", "happy/../../out.png", "C:/happy/c.png"):
            archive.writestr(name, picture)
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "data"
    prepare([tmp_path / "src"], out, SETTINGS)
    assert len(open_dataset(out)) == 2
    assert {p for p in tmp_path.rglob("*") if out not in p.parents and p != out} == before
    refused = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert sum(each["reason"] == "unsafe_path" for each in refused) == 4


def test_a_bundle_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from make_eval import make_bundle
    from nunbit.model.encoders import load_bundle
    from nunbit.runtime.files import sha256_file

    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "secret").write_text("secret")
    document = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    document["checksums"]["../secret"] = sha256_file(tmp_path / "secret")
    (bundle / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match="names a path outside"):
        load_bundle(bundle)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        photo(tmp_path / "src" / label / "a.png")
        (tmp_path / "src" / label / "loop").symlink_to(tmp_path / "src")
    (tmp_path / "src" / "happy" / "self.png").symlink_to("self.png")
    prepare([tmp_path / "src"], tmp_path / "data", SETTINGS)
    assert len(open_dataset(tmp_path / "data")) == 2


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_in_the_place_of_a_result_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("mine")
    (tmp_path / "result.json").symlink_to(other)
    write_json(tmp_path / "result.json", {"a": 1})
    assert other.read_text() == "mine"
    assert not (tmp_path / "result.json").is_symlink()
    with atomic_path(tmp_path / "result.json") as partial:
        partial.write_text("x")
    assert (tmp_path / "result.json").read_text() == "x"


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY file SYSTEM "{secret}">]>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"/><TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/>
</TIME_ORDER><TIER TIER_ID="A" LINGUISTIC_TYPE_REF="x"><ANNOTATION><ALIGNABLE_ANNOTATION
ANNOTATION_ID="a1" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>&file;&b;
</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("do not read me")
    path = tmp_path / "talk.eaf"
    path.write_text(BOMB.format(secret=tmp_path / "secret.txt"), encoding="utf-8")
    with pytest.raises(NunbitError) as found:
        read_transcript(path)
    assert isinstance(found.value, InputError)
    assert "do not read me" not in str(found.value)


def test_a_zip_whose_directory_points_before_it_is_a_reject(tmp_path: Path) -> None:
    picture = photo(tmp_path / "one.png")
    (tmp_path / "src").mkdir()
    for name in ("bad", "good"):
        with zipfile.ZipFile(tmp_path / "src" / f"{name}.zip", "w") as archive:
            for label in ("happy", "sad"):
                archive.writestr(f"{label}/{name}.png", picture)
    bad = bytearray((tmp_path / "src" / "bad.zip").read_bytes())
    offset = int.from_bytes(bad[-6:-2], "little") + 256  # of the directory, in the last record
    bad[-6:-2] = offset.to_bytes(4, "little")
    (tmp_path / "src" / "bad.zip").write_bytes(bad)
    prepare([tmp_path / "src"], tmp_path / "data", SETTINGS)
    assert len(open_dataset(tmp_path / "data")) == 2
    text = (tmp_path / "data" / "rejects.jsonl").read_text(encoding="utf-8")
    assert "broken_zip" in text


def test_a_sound_file_cut_off_in_its_tags_is_no_traceback(tmp_path: Path) -> None:
    from nunbit.recording.media.file_notes import check_file, is_cut_off, mp3_length_s

    path = tmp_path / "a.wav"
    frame = b"\xff\xfb\x90\x64"
    for data in (b"ID3\x04\0\0\0\0\0", b"ID3", frame + b"Xing", frame + b"\xffXing\0\0\0\1"):
        path.write_bytes(data)
        check_file(path)
        assert mp3_length_s(path) is None
        is_cut_off(path)
