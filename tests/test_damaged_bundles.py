"""Bundles of strangers and of bad disks: one line each, no bomb unpacked, nothing used unseen."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from command import run_command
from make_eval import make_bundle
from nunbit.core.messages import BundleError
from nunbit.language.labels import load_label_set
from nunbit.model.bundle import BUNDLE_FILE, PROMPTS_FILE
from nunbit.model.bundle_check import MOST_PIXELS, OWN_CHECKSUM, sealed_document
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.runtime.files import read_arrays, sha256_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "bundle")
    return tmp_path / "bundle"


def changed(folder: Path, change: Callable[[dict[str, Any]], object], seal: bool = True) -> Path:
    """A bundle whose document was changed by somebody who knows the checksums."""
    document = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    change(document)
    for name in document["checksums"]:
        document["checksums"][name] = sha256_file(folder / name)
    text = json.dumps(sealed_document(document) if seal else document)
    (folder / BUNDLE_FILE).write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as found:
        load_bundle(folder)
    line = str(found.value)
    assert "\n" not in line
    return line


NUMBERS = {
    "logit_scale": [float("nan"), float("inf"), 0, -1, 1e30],
    "temperature": [float("nan"), float("inf"), 0, -1],
    "embedding_size": [0, -1, 10**9],
    "max_tokens": [0, -3],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in NUMBERS.items() for v in vs])
def test_numbers_that_no_model_has_are_refused(bundle: Path, name: str, value: float) -> None:
    assert name in refused(changed(bundle, lambda d: d.update({name: value})))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 0),
        ("image_size", -224),
        ("image_size", 60_000),
        ("std", [0.5, 0, 0.5]),
        ("std", [0.5, float("nan"), 0.5]),
        ("mean", [0.5, float("inf"), 0.5]),
    ],
)
def test_preprocessing_that_no_model_has_is_refused(bundle: Path, name: str, value: Any) -> None:
    assert name in refused(changed(bundle, lambda d: d["preprocessing"].update({name: value})))


def test_the_largest_input_is_bounded_in_memory() -> None:
    assert 32 * 3 * 4 * MOST_PIXELS**2 < 500e6  # a batch of float32


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"format": ' + "9" * 5_000 + "}", "1e999", "null", "[]", '"', ""]
)
def test_json_of_any_shape_is_one_line(bundle: Path, text: str) -> None:
    (bundle / BUNDLE_FILE).write_text(text, encoding="utf-8")
    refused(bundle)


def test_huge_numbers_are_one_line(bundle: Path) -> None:
    raw = (bundle / BUNDLE_FILE).read_text(encoding="utf-8")
    document = json.loads(raw)
    document.pop(OWN_CHECKSUM, None)
    text = json.dumps(document | {"logit_scale": 0}).replace(
        '"logit_scale": 0', '"logit_scale": 1e9999'
    )
    (bundle / BUNDLE_FILE).write_text(text, encoding="utf-8")
    refused(bundle)
    (bundle / BUNDLE_FILE).write_text(text.replace("1e9999", "1" + "0" * 400), encoding="utf-8")
    refused(bundle)


def test_one_typo_in_the_document_is_noticed(bundle: Path) -> None:
    changed(bundle, lambda d: None)
    load_bundle(bundle)
    text = (bundle / BUNDLE_FILE).read_text(encoding="utf-8")
    document = json.loads(text)
    typed = text.replace(str(document["temperature"]), str(document["temperature"] * 1.5), 1)
    assert typed != text
    (bundle / BUNDLE_FILE).write_text(typed, encoding="utf-8")
    assert "its own checksum differs" in refused(bundle)
    # What only looks different says the same.
    (bundle / BUNDLE_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")
    load_bundle(bundle)


def test_export_seals_what_it_writes(bundle: Path) -> None:
    document = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    assert sealed_document(sealed_document(document)) == sealed_document(document)


def bomb(path: Path, announced: int) -> None:
    """An .npz of a few kilobytes whose only array is said to have so many bytes, all zero."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (announced,)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("texts.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(head.getvalue())
        for _ in range(announced >> 20):
            stream.write(bytes(1 << 20))


def test_a_bomb_of_arrays_is_not_unpacked(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.npz", 300 << 20)
    assert (tmp_path / "bomb.npz").stat().st_size < 400_000
    with pytest.raises(ValueError, match=r"unpacked it would take 0\.3 GB"):
        read_arrays(tmp_path / "bomb.npz")


def test_an_array_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)}
    np.lib.format.write_array_header_1_0(head, shape)
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("texts.npy", head.getvalue())
    with pytest.raises(ValueError, match="."):
        read_arrays(tmp_path / "liar.npz")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", b"junk" * 99]
)
def test_damaged_arrays_are_one_line_and_no_interrupt(bundle: Path, content: bytes) -> None:
    (bundle / PROMPTS_FILE).write_bytes(content)
    (bundle / "text.onnx").unlink(missing_ok=True)

    def without_text(document: dict[str, Any]) -> None:
        document["checksums"].pop("text.onnx", None)

    changed(bundle, without_text)
    picture = bundle / "face.png"
    from PIL import Image

    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(picture)
    done = run_command("predict", picture, "--crops", "--bundle", bundle)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.count("nunbit: error:") == 1
    assert PROMPTS_FILE in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pickle_is_not_executed(bundle: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {tmp_path / 'executed'}",))

    np.savez(bundle / PROMPTS_FILE, texts=np.array([Evil()], object), embeddings=np.zeros((1, 4)))
    opened = load_bundle(changed(bundle, lambda d: None))
    with pytest.raises(BundleError):
        _ = opened._cached_prompts
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives up root to be refused")
def test_an_unreadable_file_is_not_called_damaged(bundle: Path) -> None:
    changed(bundle, lambda d: None)
    bundle.parent.chmod(0o755)
    for folder in list(bundle.parents)[:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    (bundle / "image.onnx").chmod(0)
    code = (
        "import os; os.setuid(65534)\n"
        "from nunbit.model.encoders import load_bundle\n"
        f"try: load_bundle({str(bundle)!r})\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    if "ModuleNotFoundError" in run.stderr or "Permission" in run.stderr:
        pytest.skip("another user cannot read the package here")
    assert "Permission denied; check its permissions" in run.stdout, (run.stdout, run.stderr)
    assert "damaged" not in run.stdout


def test_a_model_that_gives_other_shapes_is_damaged(bundle: Path) -> None:
    opened = load_bundle(changed(bundle, lambda d: d.update(embedding_size=5)))
    with pytest.raises(BundleError, match=r"image\.onnx.*expected"):
        opened.embed_images(np.zeros((2, 16, 16, 3), np.uint8))


def test_the_shipped_bundle_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from nunbit.model.bundle import default_bundle_path

    opened = load_bundle(default_bundle_path())
    assert isinstance(opened, Bundle)
    assert opened.label_set.ids == load_label_set("fer7").ids
