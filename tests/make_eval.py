"""A data set of coloured squares and a bundle that reads colours: evaluation in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")

import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from nunbit.datasets.shard_writer import TarWriter, encode_jpeg, shard_name
from nunbit.datasets.shards import DOCUMENT, FORMAT, MANIFEST, MANIFEST_SCHEMA, REJECTS
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.model.bundle import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    IMAGE_FILE,
    PROMPTS_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
)
from nunbit.runtime.files import sha256_file, write_json

SIDE, SIZE = 16, 4
# One direction of colour space per class: six along the axes, one grey.
DIRECTIONS = np.array(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [1, 1, 1]], np.float32
)
IDS = load_label_set("aihub7").ids


def make_colours(
    folder: Path,
    *,
    n: int = 70,
    splits: tuple[str, ...] = ("train", "validation", "test"),
    noise: float = 60.0,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    **document: Any,
) -> Path:
    """Write a data set whose colours tell the label, more or less.

    Args:
        folder: ``DATA/``.
        n: Images per split.
        splits: Which splits there are.
        noise: Of the colour, grey levels; large means hard.
        change: Makes another manifest row of each row.
        document: Further keys of ``dataset.json``.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    with (folder / shard_name(0)).open("wb") as stream:
        tar = TarWriter(stream)
        for split in splits:
            for i in range(n):
                k = i % 7
                colour = 127 + 90 * DIRECTIONS[k] + rng.normal(0, noise, 3)
                picture = np.clip(colour + rng.normal(0, 3, (SIDE, SIDE, 3)), 0, 255)
                jpeg = encode_jpeg(picture.astype(np.uint8))
                record = f"{split}{i:04d}"
                person = i // 7 % 10
                row = {
                    "record_id": record,
                    "shard": shard_name(0),
                    "split": split,
                    # Persons 0-2 of validation and test are in train as well.
                    "subject_id": f"p{person}" if person < 3 else f"{split}-p{person}",
                    "label": IDS[k],
                    "uploader_label": IDS[(k + (i % 5 == 0)) % 7],
                    "votes": [IDS[k], IDS[k], IDS[(k + i % 2) % 7]],
                    "gender": "남" if person % 2 else "여",
                    "age": str(10 * (person % 5 + 1)),
                    "place": "실내",
                    "source_path": f"{record}.jpg",
                    "offset": tar.add(f"{record}.jpg", jpeg),
                    "nbytes": len(jpeg),
                    "box_px": float(100 + i),
                    "blur": float(10 + i % 9),
                    "image_sha1": record,
                }
                rows.append(change(row))
        tar.finish()
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), folder / MANIFEST)
    (folder / REJECTS).write_text('{"file": "a.jpg", "reason": "truncated"}\n' * 2)
    contents = {
        "format": FORMAT,
        "label_set": label_set_to_dict(load_label_set("aihub7")),
        "policy": "annot_a",
        "vote_names": ["annot_a", "annot_b", "annot_c"],
        "source": "aihub",
        **document,
    }
    write_json(folder / DOCUMENT, contents)
    return folder


def make_bundle(
    folder: Path,
    *,
    text_tower: bool = True,
    sets: tuple[str, ...] = ("paper", "natural"),
    **document: Any,
) -> Path:
    """Write a bundle whose image tower is the mean colour and whose prompts are the directions.

    Args:
        folder: ``BUNDLE/``.
        text_tower: With a text tower, which knows nothing: the mean of random token vectors.
        sets: Cached template sets.
        document: Keys of ``bundle.json`` to replace.
    """
    folder.mkdir(parents=True)
    _save_image_graph(folder / IMAGE_FILE)
    files = [IMAGE_FILE, PROMPTS_FILE]
    if text_tower:
        _save_text_tower(folder)
        files += [TEXT_FILE, TOKENIZER_FILE]
    labels = load_label_set("aihub7")
    rng = np.random.default_rng(1)
    cached: dict[str, np.ndarray] = {}
    for name in sets:
        for row in prompts_for(load_template_set(name), labels):
            for k, text in enumerate(row):
                own = np.append(DIRECTIONS[k], 0.0) + rng.normal(0, 0.1, SIZE)
                cached.setdefault(text, own.astype(np.float32))
    np.savez(folder / PROMPTS_FILE, texts=list(cached), embeddings=np.stack(list(cached.values())))
    contents = {
        "format": BUNDLE_FORMAT,
        "name": "colours",
        "label_set": label_set_to_dict(labels),
        "template_sets": list(sets),
        "trained_prompts": [
            t for row in prompts_for(load_template_set("paper"), labels) for t in row
        ],
        "preprocessing": {
            "image_size": SIDE,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "resample": "bicubic",
        },
        "logit_scale": 8.0,
        "temperature": 1.5,
        "embedding_size": SIZE,
        "training_data": {"statement": "coloured squares"},
        "checksums": {name: sha256_file(folder / name) for name in files},
        **document,
    }
    (folder / BUNDLE_FILE).write_text(json.dumps(contents, ensure_ascii=False), encoding="utf-8")
    return folder


def _save_graph(path: Path, nodes: list[Any], inputs: list[Any], weights: dict[str, Any]) -> None:
    output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", SIZE])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "toy", inputs, [output], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )


def _save_image_graph(path: Path) -> None:
    """Mean colour, with a fourth number that is always zero."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["colour", "weight"], ["vectors"]),
    ]
    _save_graph(path, nodes, [pixels], {"weight": np.eye(3, SIZE, dtype=np.float32)})


def _save_text_tower(folder: Path) -> None:
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "l"]) for n in names]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["tokens", "wide"], ["visible"]),
        helper.make_node("ReduceSum", ["visible", "one"], ["vectors"], keepdims=0),
    ]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", *alphabet])}
    table = np.random.default_rng(2).normal(size=(len(vocabulary), SIZE)).astype(np.float32)
    weights = {"table": table, "last": np.array([2]), "one": np.array([1])}
    _save_graph(folder / TEXT_FILE, nodes, inputs, weights)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
    tokenizer.save(str(folder / TOKENIZER_FILE))
