"""Small prepared data sets with patterns that a network can learn, and a small CLIP folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.datasets.shard_writer import TarWriter, encode_jpeg, shard_name
from nunbit.datasets.shards import DOCUMENT, FORMAT, MANIFEST, MANIFEST_SCHEMA
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.runtime.config import read_settings
from nunbit.runtime.files import write_json
from nunbit.training.settings import TrainSettings

SIDE = 16


# 42 training images, 7 steps an epoch; evaluations (and checkpoints) fall inside epochs.
SMALL: dict[str, Any] = {
    "init": "tiny",
    "image_size": SIDE,
    "epochs": 3,
    "batch_size": 6,
    "eval_every": 4,
    "log_every": 3,
    "threads": 1,
}


def training_settings(**changes: Any) -> TrainSettings:
    """Of a run that takes a second, with some replaced."""
    return read_settings(TrainSettings, options=SMALL | changes)


def make_data(
    folder: Path,
    *,
    per_class: int = 6,
    splits: Sequence[str] = ("train", "validation", "test"),
    label_set: str = "aihub7",
    seed: int = 0,
    shuffle: bool = False,
    skip: Sequence[tuple[str, str]] = (),
    votes: bool = False,
    unlabelled: int = 0,
) -> Path:
    """Write a data set of striped pictures whose direction tells the label.

    Args:
        folder: ``DATA/`` to write.
        per_class: Pictures of each class in each split.
        splits: Which splits there are.
        label_set: By name.
        seed: Of pictures and persons.
        shuffle: Give labels that have nothing to do with the pictures.
        skip: (split, label) pairs without pictures.
        votes: Give each record three votes, the second for the next class.
        unlabelled: Records of train without a label.
    """
    labels = load_label_set(label_set)
    rng = np.random.default_rng(seed)
    pictures, rows = [], []
    for split in splits:
        for k, label in enumerate(labels.ids):
            for n in range(0 if (split, label) in skip else per_class):
                pictures.append(stripes(k / len(labels.ids), rng))
                rows.append(
                    {
                        "record_id": f"{split}{label}{n}",
                        "split": split,
                        "label": None if split == "train" and k == 0 and n < unlabelled else label,
                        "subject_id": f"{split}{n}",
                        "votes": [label, labels.ids[k - 1], label] if votes else [],
                    }
                )
    if shuffle:
        mixed = rng.permutation([row["label"] for row in rows])
        for row, label in zip(rows, mixed, strict=True):
            row["label"] = str(label)
    order = rng.permutation(len(rows))
    _write(folder, [pictures[i] for i in order], [rows[i] for i in order], label_set)
    return folder


def stripes(share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) stripes in the direction ``share`` of half a turn, with noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    angle, phase = np.pi * share, rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * 2.5 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    noise = rng.normal(0, 10, (SIDE, SIDE, 3))
    return np.clip(127 + 90 * wave[..., None] + noise, 0, 255).astype(np.uint8)


def _write(
    folder: Path, pictures: list[NDArray[np.uint8]], rows: list[dict[str, Any]], label_set: str
) -> None:
    folder.mkdir(parents=True)
    with (folder / shard_name(0)).open("wb") as stream:
        tar = TarWriter(stream)
        for picture, row in zip(pictures, rows, strict=True):
            jpeg = encode_jpeg(picture)
            row |= {
                "shard": shard_name(0),
                "uploader_label": row["label"],
                "source_path": f"{row['record_id']}.jpg",
                "offset": tar.add(f"{row['record_id']}.jpg", jpeg),
                "nbytes": len(jpeg),
                "box_px": float(SIDE),
                "blur": 1.0,
                "image_sha1": "",
            }
        tar.finish()
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), folder / MANIFEST)
    document = {
        "format": FORMAT,
        "label_set": label_set_to_dict(load_label_set(label_set)),
        "policy": "uploader",
        "source": "folder",
        "crop": {"kind": "square", "margin": 0.1, "size": SIDE},
    }
    write_json(folder / DOCUMENT, document)


def tiny_clip(folder: Path) -> Path:
    """A Hugging Face CLIP folder with random weights, byte pieces and dropout."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(p + "</w>" for p in alphabet), "<|startoftext|>", "<|endoftext|>"]
    last = len(pieces) - 1
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    common |= {"num_attention_heads": 2, "attention_dropout": 0.2}
    text = {"vocab_size": len(pieces), "max_position_embeddings": 77, "bos_token_id": last - 1}
    text |= {"eos_token_id": last, "pad_token_id": last}
    vision = {"image_size": SIDE, "patch_size": 8}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=common | text, vision_config=common | vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
