"""OpenAI's and open_clip's CLIP weights as a ``transformers`` CLIPModel.

Both use the same tensor names and differ in one thing that no tensor shows: OpenAI trained with
QuickGELU, open_clip mostly with GELU. A wrong guess silently costs accuracy, so nothing is guessed.
Knows nothing of files' formats or of training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.runtime.files import read_json
from nunbit.training.hub_models import (
    OPENAI_MEAN,
    OPENAI_STD,
    Pretrained,
    quiet_transformers,
    transformers_module,
)
from nunbit.training.weights import (
    State,
    find_clip_vocabulary,
    load_clip_tokenizer,
    read_state_dict,
)

OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")
"""Scalars that only OpenAI's own archives carry among their weights."""

# Heads do not show in any tensor. OpenAI's and most open_clip models have 64 channels a head; the
# image towers of ViT-H, ViT-g and ViT-bigG have 80, 88 and 104, that is 16 heads each.
_CHANNELS_A_HEAD = 64
_WIDE_IMAGE_TOWERS = {1280: 16, 1408: 16, 1664: 16}

_LAYER_NAMES = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_NAMES = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_NEEDED = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "visual.proj",
    "visual.transformer.resblocks.0.mlp.c_fc.weight",
    "token_embedding.weight",
    "positional_embedding",
    "text_projection",
    "transformer.resblocks.0.mlp.c_fc.weight",
)
# Other models by how some of their tensors' names begin; the first that fits is told.
_FOREIGN = {
    "a CLIP with a ResNet image tower": ("visual.layer1.", "visual.attnpool."),
    "an open_clip model with a timm image tower": ("visual.trunk.",),
    "a timm vision transformer without a text tower": ("patch_embed.", "blocks.0."),
    "a ResNet classifier": ("layer1.0.", "conv1.weight"),
    "a text model of the BERT family": ("embeddings.word_embeddings", "bert.", "roberta."),
}
_TEXT_PARTS = (
    "transformer.",
    "token_embedding.",
    "positional_embedding",
    "ln_final.",
    "text_projection",
)


@dataclass(frozen=True, slots=True)
class ClipHints:
    """Facts about a CLIP that no tensor shows.

    Attributes:
        activation: ``quick_gelu`` or ``gelu``; None = told by OpenAI's marks or not at all.
        image_heads: Attention heads of the image tower; None = by its width.
        text_heads: The same of the text tower.
    """

    activation: str | None = None
    image_heads: int | None = None
    text_heads: int | None = None


def load_clip_file(path: Path, activation: str, tokenizer: str) -> Pretrained:
    """Load OpenAI's or open_clip's weight file with CLIP's tokenizer and preprocessing.

    ``open_clip_config.json`` in the same folder is heeded.

    Args:
        path: The weight file.
        activation: ``quick_gelu``, ``gelu``, or ``auto``: as the file or its neighbour tells.
        tokenizer: Where CLIP's vocabulary is, or ``auto`` to search.

    Raises:
        InputError: The file is damaged, holds code, is of another architecture, or there is no
            vocabulary that fits.
        SettingsError: Nothing tells the activation.
    """
    config_path = path.with_name("open_clip_config.json")
    config = read_json(config_path) if config_path.is_file() else {}
    try:
        hints = hints_from_open_clip(config) if config else ClipHints()
        pixels = config.get("preprocess_cfg", {})
        mean, std = pixels.get("mean", OPENAI_MEAN), pixels.get("std", OPENAI_STD)
        bilinear = pixels.get("interpolation") == "bilinear"
    except (AttributeError, TypeError, KeyError) as exc:
        raise InputError(
            Text(
                f"{config_path}: not the configuration of an open_clip model; remove or correct it",
                f"{config_path}: open_clip 모델의 설정이 아닙니다. 지우거나 고치십시오",
            )
        ) from exc
    if activation != "auto":
        hints = replace(hints, activation=activation)
    model = clip_from_state_dict(read_state_dict(path), hints, path)
    text = model.config.text_config
    return Pretrained(
        model=model,
        tokenizer=load_clip_tokenizer(find_clip_vocabulary(path, tokenizer), text.vocab_size),
        max_tokens=text.max_position_embeddings,
        image_size=model.config.vision_config.image_size,
        mean=tuple(mean),
        std=tuple(std),
        resample="bilinear" if bilinear else "bicubic",
    )


def hints_from_open_clip(config: dict[str, Any]) -> ClipHints:
    """Read ``open_clip_config.json`` beside a weight file."""
    model = config["model_cfg"]
    image, text = model["vision_cfg"], model["text_cfg"]
    head_width = image.get("head_width")
    return ClipHints(
        activation="quick_gelu" if model.get("quick_gelu") else "gelu",
        image_heads=image["width"] // head_width if head_width else None,
        text_heads=text.get("heads"),
    )


def clip_from_state_dict(state: State, hints: ClipHints, where: Path) -> Any:
    """Make a ``transformers`` CLIPModel of weights in OpenAI's or open_clip's layout.

    Sizes are read from the tensors. The end-of-text id is the largest one, as in CLIP itself,
    where the text is pooled at the largest id.

    Args:
        state: Name -> tensor, float32.
        hints: Facts that the tensors do not show.
        where: The file, for messages.

    Returns:
        The CLIPModel, in evaluation mode.

    Raises:
        InputError: The weights are of another architecture, or some are missing.
        SettingsError: Nothing tells QuickGELU from GELU.
    """
    state = _plain_layout(state)
    _check_architecture(state, where)
    activation = hints.activation or _marked_activation(state, where)
    renamed, surplus = _renamed(state)
    config = _config(state, activation, hints)
    try:
        # Unlike CLIPModel(config), this does not first fill 150 million weights with noise.
        with quiet_transformers():
            model, report = transformers_module().CLIPModel.from_pretrained(
                None, config=config, state_dict=renamed, output_loading_info=True
            )
    except RuntimeError as exc:
        detail = str(exc).strip().splitlines()[-1].strip()
        raise _other_architecture(where, f"a CLIP variant ({detail})") from exc
    missing = sorted(report["missing_keys"])
    surplus += sorted(report["unexpected_keys"])
    if missing or surplus:
        raise _other_architecture(
            where,
            f"a CLIP variant ({len(missing)} weights missing{_example(missing)}, "
            f"{len(surplus)} unknown{_example(surplus)})",
        )
    return model.eval()


def _plain_layout(state: State) -> State:
    """open_clip's newer classes put the text tower under ``text.``; masks are no weights."""
    if "text.token_embedding.weight" in state:
        state = {
            k.removeprefix("text.") if k.removeprefix("text.").startswith(_TEXT_PARTS) else k: v
            for k, v in state.items()
        }
    return {k: v for k, v in state.items() if not k.endswith("attn_mask")}


def _check_architecture(state: State, where: Path) -> None:
    if all(key in state for key in _NEEDED):
        return
    names = set(state)

    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in names)

    if has("vision_model.") and has("text_model."):
        raise InputError(
            Text(
                f"{where}: weights in the layout of transformers; give their folder (with "
                f"config.json and tokenizer) instead: `init={where.parent}`",
                f"{where}: transformers 형식의 가중치입니다. 파일 대신 config.json과 토크나이저가 "
                f"있는 폴더를 주십시오: `init={where.parent}`",
            )
        )
    other = f"weights named {', '.join(sorted(names)[:3])} …"
    raise _other_architecture(
        where, next((what for what, starts in _FOREIGN.items() if has(*starts)), other)
    )


def _marked_activation(state: State, where: Path) -> str:
    if any(mark in state for mark in OPENAI_MARKS):
        return "quick_gelu"
    raise SettingsError(
        Text(
            f"{where}: it is unknown whether this CLIP was trained with QuickGELU (OpenAI) or "
            "GELU (mostly open_clip): give `activation=quick_gelu` or `activation=gelu`, "
            "or put its open_clip_config.json beside it",
            f"{where}: 이 CLIP이 QuickGELU(OpenAI)로 학습되었는지 GELU(대개 open_clip)로 "
            "학습되었는지 알 수 없습니다. `activation=quick_gelu` 또는 `activation=gelu`를 "
            "주거나 open_clip_config.json을 같은 폴더에 두십시오",
        )
    )


def _renamed(state: State) -> tuple[State, list[str]]:
    """The tensors under their ``transformers`` names, and the names nothing is known of."""
    out: State = {}
    surplus: list[str] = []
    for key, value in state.items():
        side = "vision_model" if key.startswith("visual.") else "text_model"
        block = key.removeprefix("visual.").removeprefix("transformer.resblocks.")
        if key in OPENAI_MARKS:
            continue
        if key in _NAMES:
            out[_NAMES[key]] = value
        elif key in _TRANSPOSED:
            out[_TRANSPOSED[key]] = value.T.contiguous()
        elif "transformer.resblocks." in key and (parts := _block_parts(block, value)):
            out |= {f"{side}.encoder.layers.{name}": tensor for name, tensor in parts.items()}
        else:
            surplus.append(key)
    return out, surplus


def _block_parts(name: str, value: Tensor) -> State:
    """One tensor of a transformer block under its new name or names; empty if unknown."""
    number, _, rest = name.partition(".")
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias") and len(value) % 3 == 0:
        kind = rest.rpartition("_")[2]
        # torch's MultiheadAttention stacks query, key and value, in this order.
        return {
            f"{number}.self_attn.{p}_proj.{kind}": part.clone()
            for p, part in zip("qkv", value.chunk(3), strict=True)
        }
    for old, new in _LAYER_NAMES.items():
        if rest.startswith(old):
            return {f"{number}.{new}{rest.removeprefix(old)}": value}
    return {}


def _config(state: State, activation: str, hints: ClipHints) -> Any:
    patches = state["visual.conv1.weight"]  # (width, 3, P, P)
    image_width, patch = patches.shape[0], patches.shape[-1]
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vocabulary, text_width = state["token_embedding.weight"].shape
    shared = {"hidden_act": activation, "projection_dim": state["text_projection"].shape[1]}
    return transformers_module().CLIPConfig(
        projection_dim=shared["projection_dim"],
        vision_config=shared
        | {
            "hidden_size": image_width,
            "intermediate_size": len(state["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
            "num_hidden_layers": _layers(state, "visual.transformer.resblocks."),
            "num_attention_heads": hints.image_heads
            or _WIDE_IMAGE_TOWERS.get(image_width)
            or max(1, image_width // _CHANNELS_A_HEAD),
            "image_size": grid * patch,
            "patch_size": patch,
        },
        text_config=shared
        | {
            "vocab_size": vocabulary,
            "hidden_size": text_width,
            "intermediate_size": len(state["transformer.resblocks.0.mlp.c_fc.weight"]),
            "num_hidden_layers": _layers(state, "transformer.resblocks."),
            "num_attention_heads": hints.text_heads or max(1, text_width // _CHANNELS_A_HEAD),
            "max_position_embeddings": len(state["positional_embedding"]),
            # transformers pools at the first eos id, CLIP at the largest id: the same.
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
    )


def _layers(state: State, prefix: str) -> int:
    return len({k.removeprefix(prefix).split(".")[0] for k in state if k.startswith(prefix)})


def _example(names: list[str]) -> str:
    return f", first {names[0]}" if names else ""


def _other_architecture(where: Path, found: str) -> InputError:
    return InputError(
        Text(
            f"{where}: not the weights of a CLIP with a vision transformer but {found}; give a "
            "ViT-B/32, B/16 or L/14 of OpenAI or open_clip, or a Hugging Face folder",
            f"{where}: 비전 트랜스포머 CLIP의 가중치가 아닙니다 ({found}). OpenAI나 open_clip의 "
            "ViT-B/32, B/16, L/14 또는 Hugging Face 폴더를 주십시오",
        )
    )
