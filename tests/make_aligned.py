"""An aligned bundle for tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from nunbit.model.bundle import default_bundle_path
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import load_bundle
from nunbit.runtime.files import sha256_file
from nunbit.space.cca import Head, Heads
from nunbit.space.vectors import PROSODY
from nunbit.space.windows import write_heads


def aligned_bundle(target: Path, modalities: tuple[str, ...]) -> Path:
    """The shipped bundle with heads that pass the first 128 numbers on."""
    shutil.copytree(default_bundle_path(), target)
    plain = load_bundle(target)
    sizes = {"face": plain.embedding_size, "voice": len(PROSODY), "text": plain.embedding_size}
    heads = {m: Head(np.zeros(sizes[m], np.float32), np.ones(sizes[m], np.float32),
                     np.eye(sizes[m], 128, dtype=np.float32)) for m in modalities}  # fmt: skip
    write_heads(target / "alignment.npz", Heads(heads, "cca"))
    document = json.loads((target / "bundle.json").read_text(encoding="utf-8"))
    document["checksums"]["alignment.npz"] = sha256_file(target / "alignment.npz")
    document["alignment"] = {"modalities": list(modalities), "method": "cca"}
    (target / "bundle.json").write_text(json.dumps(sealed_document(document)), encoding="utf-8")
    return target
