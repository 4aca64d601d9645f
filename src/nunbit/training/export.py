"""Export trained weights as a bundle: ONNX, prompts, tokenizer, model card, parity check.

A bundle gets its name only when it is complete and agrees with torch; a failed export changes
nothing. Inference reads it with ``nunbit.model.encoders``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import InputError, Text, TrainingError
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.labels import LabelSet, label_set_to_dict
from nunbit.language.prompts import TemplateSet, prompts_for
from nunbit.language.tokenizer import tokenise
from nunbit.model.bundle import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    IMAGE_FILE,
    PROMPTS_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
)
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import Bundle, load_bundle, resize_crop, standardise
from nunbit.model.posterior import shares_of_faces
from nunbit.model.zeroshot import ensemble_cosines, normalise
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.files import sha256_file, write_json, write_text, writing
from nunbit.runtime.progress import say
from nunbit.runtime.resources import nunbit_version, provenance
from nunbit.training.bundle_start import START_BUNDLE, carry_over, replaced_bundle
from nunbit.training.checkpoints import final_path, fitting, load_final
from nunbit.training.data import dataset_hash, label_set_of, select_rows, template_set_of
from nunbit.training.e5 import all_texts, known_prompts, package_sets
from nunbit.training.networks import Network, load_network
from nunbit.training.onnx import (
    CARD_FILE,
    export_image_tower,
    export_text_tower,
    model_card,
    quantise_products,
    quantise_weights,
)
from nunbit.training.settings import RunFolder

PARITY_COSINE = 0.999
PARITY_SAME_ANSWER = 0.995
PARITY_IMAGES = 256
WORTH_SHRINKING_BYTES = 10_000_000
"""Text towers below this size stay float32: making them smaller has no benefit."""
SHARE_IMAGES = 1000
"""So many images say what class shares the probabilities carry: to 1.6 points at the most."""
_BATCH = 32

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BundleContent:
    """Content of a bundle.

    Attributes:
        network: Trained network with tokenizer and preprocessing.
        label_set: The K classes of the training data.
        template_set: The captions of the training.
        temperature: Fitted on the selection split.
        training: Settings, step and selection metrics, for ``bundle.json`` and the card.
        training_data: Training data: source, policy, counts, sha256.
        start: The bundle of which the image tower learned on, if it is one: the rest is taken over.
    """

    network: Network
    label_set: LabelSet
    template_set: TemplateSet
    temperature: float
    training: dict[str, Any]
    training_data: dict[str, Any]
    start: Path | None = None


def write_bundle(
    content: BundleContent,
    out: Path,
    samples: NDArray[np.uint8],
    samples_from: str,
    choosing: Iterable[NDArray[np.uint8]] = (),
) -> dict[str, Any]:
    """Write a bundle, check it against torch and put it in place.

    Args:
        content: What to write.
        out: The bundle's folder; an earlier bundle there is replaced.
        samples: (N, H, W, 3) uint8 crops for the parity check, N >= 1.
        samples_from: What the samples are, for ``bundle.json``.
        choosing: Batches of crops that were kept apart: what class shares the bundle carries.

    Returns:
        ``bundle.json``.

    Raises:
        InputError: ``out`` holds something else, or cannot be written.
        TrainingError: Bundle and torch disagree, or the network cannot be exported.
    """
    network = content.network
    network.model.eval()
    with replaced_bundle(out) as folder:
        export_image_tower(network.model, network.preprocessing.image_size, folder / IMAGE_FILE)
        if content.start is None:
            export_text_tower(network.model, folder / TEXT_FILE)
            write_text(folder / TOKENIZER_FILE, network.tokenizer.to_str())
            document = _document(content, _write_prompts(content, folder / PROMPTS_FILE))
        else:
            cached = {content.label_set.name: [content.template_set.name]}
            document = carry_over(content.start, folder, _document(content, cached))
        _seal(folder, document)
        figures = None
        if network.architecture["kind"] == "hub":
            figures = _with_smaller(_FAST_IMAGE, content, folder, document, samples)
        large = (folder / TEXT_FILE).stat().st_size >= WORTH_SHRINKING_BYTES
        if content.start is None and large:
            figures = _with_smaller(_SMALL_TEXT, content, folder, document, samples) or figures
        figures = figures or _parity(content, load_bundle(folder), samples)
        if not _agrees(figures):
            raise TrainingError(
                Text(
                    f"the exported model differs from the trained one ({figures}); no bundle was "
                    "written; please report this with the versions that nunbit doctor prints",
                    f"내보낸 모델이 학습된 모델과 다릅니다 ({figures}). 번들을 쓰지 않았습니다. "
                    "nunbit doctor가 출력하는 버전과 함께 알려 주십시오",
                )
            )
        document["parity"] = figures | {"images": len(samples), "images_from": samples_from}
        bundle = load_bundle(folder)
        prompts = bundle.prompt_embeddings(content.template_set, content.label_set)
        if (shares := shares_of_faces(bundle, prompts, choosing)) is not None:
            document["class_shares"] = shares
        write_text(folder / CARD_FILE, model_card(document))
        _seal(folder, document)
    return document


def export_run(run: Path, out: Path) -> Mapping[str, Any]:
    """Make a bundle from a run's best checkpoint, also of a run that was interrupted.

    Args:
        run: ``RUN/``.
        out: The bundle's folder.

    Returns:
        ``bundle.json``.

    Raises:
        InputError: Not a run, no evaluation was reached yet, or ``out`` holds something else.
        TrainingError: Bundle and torch disagree.
    """
    folder = RunFolder(run)
    document = folder.read()
    path = (run / document["data"]).resolve()
    data = None
    with suppress(InputError):
        found = open_dataset(path)
        data = found if dataset_hash(path) == document["training_data"]["sha256"] else None
    if data is None:
        say(
            Text(
                f"the training data is not at {path}: parity is checked on random pictures",
                f"학습 데이터가 {path}에 없어 임의의 그림으로 일치를 검사합니다",
            )
        )
    return bundle_of_run(folder, out, data)


def bundle_of_run(run: RunFolder, out: Path, data: DataSet | None) -> dict[str, Any]:
    """Make a bundle from a run's best weights, averaged with its start where that was asked for.

    Args:
        run: The run.
        out: The bundle's folder.
        data: The run's data set, for the parity check; None checks on random pictures.

    Returns:
        ``bundle.json``.
    """
    document, settings = run.read(), run.settings()
    final = load_final(run.checkpoints)
    if final is None:
        raise InputError(
            Text(
                f"{run.path}: no evaluated checkpoint yet; resume with `resume=True`",
                f"{run.path}: 아직 평가된 체크포인트가 없습니다. `resume=True`로 이어 가십시오",
            )
        )
    network = load_network(run.path)
    with fitting(final_path(run.checkpoints)):
        network.model.load_state_dict(final["model"])
        temperature, step = float(final["validation"]["temperature"]), int(final["step"])
    say(Text("exporting the bundle", "번들로 내보냅니다"))
    content = BundleContent(
        network=network,
        label_set=label_set_of(document, run.path),
        template_set=template_set_of(document, run.path),
        temperature=temperature,
        training={
            # A folder given as INIT or a file of prompts would name the user's directories.
            "settings": settings_to_dict(settings)
            | {"init": network.origin["name"], "prompts": document["template_set"]["name"]},
            "step": step,
            "averaged_with_start": final.get("start_share", 0.0),
            "selection": final["validation"],
        },
        training_data={k: v for k, v in document["training_data"].items() if v is not None},
        start=run.path / START_BUNDLE if network.architecture["kind"] == "bundle" else None,
    )
    if data is None:
        return write_bundle(
            content, out, _random_pictures(network.preprocessing.image_size), "random pictures"
        )
    rows = select_rows(data, settings).choosing_rows
    crops = np.stack([data.pixels(int(row)) for row in _spread(rows, PARITY_IMAGES)])
    many = _spread(rows, SHARE_IMAGES)
    parts = np.array_split(many, -(-len(many) // _BATCH))
    batches = (np.stack([data.pixels(int(row)) for row in part]) for part in parts)
    kept = "images kept apart to choose the checkpoint"
    return write_bundle(content, out, crops, kept, batches)


def _spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """So many of the rows at the most, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def _random_pictures(side: int) -> NDArray[np.uint8]:
    """Smooth random colours; plain noise would look like the same grey to every network."""
    coarse = np.random.default_rng(0).integers(0, 256, (64, 6, 6, 3), dtype=np.uint8)
    size = (side, side)
    return np.stack([np.asarray(Image.fromarray(c).resize(size)) for c in coarse])


def torch_embed_images(network: Network, crops: NDArray[np.uint8]) -> Array:
    """The training side's embeddings of (N, H, W, 3) uint8 crops: (N, D) unit rows."""
    rows = [np.zeros((0, network.embedding_size), np.float32)]
    with torch.no_grad():
        for start in range(0, len(crops), _BATCH):
            part = crops[start : start + _BATCH]
            resized = np.stack([resize_crop(crop, network.preprocessing) for crop in part])
            pixels = torch.from_numpy(standardise(resized, network.preprocessing))
            rows.append(network.model.embed_images(pixels).numpy())
    return np.concatenate(rows)


def torch_embed_texts(network: Network, texts: list[str]) -> Array:
    """The training side's embeddings of M texts: (M, D) unit rows."""
    rows = []
    with torch.no_grad():
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            ids, mask = map(torch.from_numpy, tokenise(network.tokenizer, part, network.max_tokens))
            rows.append(network.model.embed_texts(ids, mask).numpy())
    return np.concatenate(rows)


def _write_prompts(content: BundleContent, path: Path) -> dict[str, list[str]]:
    """Cache the prompts of every template set × label set; say which."""
    table = known_prompts(*package_sets(content.label_set, content.template_set))
    texts = sorted(set(all_texts(table)))
    vectors = torch_embed_texts(content.network, texts)
    with writing(path):
        np.savez(path, texts=np.array(texts), embeddings=vectors)
    return {label_set: sorted(sets) for label_set, sets in table.items()}


@dataclass(frozen=True, slots=True)
class _Smaller:
    """How a tower may be stored in int8."""

    tower: str
    file: str
    quantise: Callable[[Path, Path], None]
    what: str


#: A transformer computes in int8; convolutions gain nothing from it.
_FAST_IMAGE = _Smaller("image", IMAGE_FILE, quantise_products, "int8")
_SMALL_TEXT = _Smaller("text", TEXT_FILE, quantise_weights, "int8 weights")


def _with_smaller(
    way: _Smaller,
    content: BundleContent,
    folder: Path,
    document: dict[str, Any],
    samples: NDArray[np.uint8],
) -> dict[str, float] | None:
    """Store a tower in int8 if the bundle still agrees with torch; ``document`` says which.

    Returns:
        The figures of the agreement; None where the tower must stay as it is.
    """
    path, whole = folder / way.file, folder / f"float32-{way.file}"
    path.rename(whole)
    way.quantise(whole, path)
    document["precision"][way.tower] = way.what
    _seal(folder, document)
    figures = _parity(content, load_bundle(folder), samples)
    agrees = _agrees(figures)
    if agrees:
        whole.unlink()
    else:
        whole.replace(path)
        document["precision"][way.tower] = (
            f"float32 ({way.what} would change it: smallest cosine "
            f"{figures[f'{way.tower}_cosine_min']:.4f}, same answer {figures['same_answer']:.2%})"
        )
    _seal(folder, document)
    return figures if agrees else None


def _document(content: BundleContent, cached: dict[str, list[str]]) -> dict[str, Any]:
    network = content.network
    return {
        "format": BUNDLE_FORMAT,
        "name": f"{network.origin['name']}-{content.label_set.name}",
        "label_set": label_set_to_dict(content.label_set),
        # Evaluation takes the first set unless told otherwise.
        "template_sets": sorted(
            cached[content.label_set.name], key=lambda name: name != content.template_set.name
        ),
        "cached_prompts": cached,
        "trained_template_set": content.template_set.name,
        "trained_prompts": [
            text for row in prompts_for(content.template_set, content.label_set) for text in row
        ],
        "preprocessing": msgspec.to_builtins(network.preprocessing),
        "max_tokens": network.max_tokens,
        "logit_scale": float(network.model.logit_scale.detach()),
        "temperature": content.temperature,
        "embedding_size": network.embedding_size,
        "precision": {"image": "float32", "text": "float32"},
        "licence": {
            "code": "Apache-2.0",
            "starting_weights": network.origin["licence"],
            "trained_weights": "as far as the terms of the training data allow",
        },
        "starting_point": network.origin,
        "training_data": content.training_data,
        "training": content.training,
        "nunbit_version": nunbit_version(),
        "provenance": provenance(
            "export",
            content.training.get("settings", {}),
            seeds={"training": int(content.training.get("settings", {}).get("seed", 0))},
            inputs={"dataset.json": str(content.training_data.get("sha256", ""))},
        ),
    }


def _parity(content: BundleContent, bundle: Bundle, samples: NDArray[np.uint8]) -> dict[str, float]:
    """Compare bundle and torch: images, all cached prompts, answers by the training prompts."""
    with np.load(bundle.path / PROMPTS_FILE) as cache:
        texts, torch_texts = [str(text) for text in cache["texts"]], cache["embeddings"]
    prompts = prompts_for(content.template_set, content.label_set)
    # A bundle that was begun with may have been cached for other templates.
    if new := sorted({text for row in prompts for text in row} - set(texts)):
        texts = texts + new
        torch_texts = np.concatenate([torch_texts, torch_embed_texts(content.network, new)])
    onnx_texts = bundle.embed_texts(texts)
    rows = np.array([[texts.index(text) for text in row] for row in prompts])  # (T, K)
    torch_images = torch_embed_images(content.network, samples)
    onnx_images = bundle.embed_images(samples)
    # Texts that were kept are not this export's: both sides take the cached ones.
    their_texts = onnx_texts if content.start is None else torch_texts
    answers = [
        ensemble_cosines(images, vectors[rows], "mean_embedding").argmax(axis=1)
        for images, vectors in ((torch_images, torch_texts), (onnx_images, their_texts))
    ]
    return {
        "image_cosine_min": _smallest_cosine(torch_images, onnx_images),
        "text_cosine_min": _smallest_cosine(torch_texts, onnx_texts),
        "same_answer": float((answers[0] == answers[1]).mean()),
    }


def _agrees(figures: dict[str, float]) -> bool:
    worst = min(figures["image_cosine_min"], figures["text_cosine_min"])
    return worst >= PARITY_COSINE and figures["same_answer"] >= PARITY_SAME_ANSWER


def _smallest_cosine(a: Array, b: Array) -> float:
    return float((normalise(a) * normalise(b)).sum(axis=1).min())


def _seal(folder: Path, document: dict[str, Any]) -> None:
    """Write ``bundle.json`` with the checksums of all that lies beside it."""
    files = (path for path in sorted(folder.iterdir()) if path.name != BUNDLE_FILE)
    document["checksums"] = {path.name: sha256_file(path) for path in files}
    write_json(folder / BUNDLE_FILE, sealed_document(document))
