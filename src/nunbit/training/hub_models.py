"""Load dual encoders from Hugging Face folders or the hub: CLIP, SigLIP and Korean variants.

A hub id is looked up in the local cache first. Code that a folder brings along is never run, and
pickled weights are only read as tensors. Knows nothing of training.
"""

from __future__ import annotations

import importlib
import json
import pickle
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nunbit.core.messages import InputError, MissingExtra, Text

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

DUAL_ENCODERS = ("clip", "siglip", "vision-text-dual-encoder", "chinese_clip", "altclip")
"""``model_type`` of the dual encoders that can be trained from."""

# Where preprocessor_config.json is missing: what each family was trained with.
_PIXELS = {"siglip": (HALF, HALF), "vision-text-dual-encoder": (HALF, HALF)}
_PILLOW_BILINEAR = 2
# What transformers raises for folders that are damaged or not what they seem.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError,
               AttributeError, pickle.UnpicklingError)  # fmt: skip
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
# RoBERTa and its kin count positions from the padding id up, so two rows are never used.
_SHIFTED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "altclip_text_model")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained dual encoder with what is needed to feed it.

    Attributes:
        model: A ``transformers`` model with ``vision_model`` and ``text_model``.
        tokenizer: ``tokenizers.Tokenizer`` with padding, without truncation.
        max_tokens: What the text tower reads.
        image_size: Side of the image tower's input, pixels.
        mean: Per channel.
        std: Per channel.
        resample: Pillow filter.
    """

    model: Any
    tokenizer: Any
    max_tokens: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["bilinear", "bicubic"]


def load_hub_model(init: str) -> Pretrained:
    """Load a dual encoder from a local folder, the hub's cache, or the hub.

    Args:
        init: A folder or a hub id (``owner/name``).

    Raises:
        InputError: It cannot be loaded, is no dual encoder, or its tokenizer does not fit.
        MissingExtra: ``transformers`` is not installed.
    """
    folder = Path(init)
    if not folder.is_dir() and (init.startswith((".", "/", "~")) or init.count("/") != 1):
        raise InputError(
            Text(
                f"`init={init}`: no such folder or file, and not a hub id (owner/name); give tiny, "
                "lite, a folder with config.json, a weight file, or a hub id",
                f"`init={init}`: 그런 폴더나 파일이 없고 허브 id(소유자/이름)도 아닙니다. tiny, "
                "lite, config.json이 있는 폴더, 가중치 파일, 허브 id 중 하나를 주십시오",
            )
        )
    try:
        parts = read_hub_folder(init, DUAL_ENCODERS, local_only=True)
    except InputError as exc:
        if folder.is_dir():
            raise
        if not _hub_answers():
            raise _cannot_load(init, "it is not in the cache and the hub does not answer") from exc
        parts = read_hub_folder(init, DUAL_ENCODERS, local_only=False)
    return _pretrained(init, *parts)


def read_hub_folder(
    source: str, kinds: tuple[str, ...], *, local_only: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """Read model, tokenizer and ``preprocessor_config.json`` (empty if absent).

    Args:
        source: Folder or hub id.
        kinds: Accepted values of ``model_type``.
        local_only: Use no network.

    Raises:
        InputError: Anything is missing, damaged or of another kind.
        MissingExtra: ``transformers`` is not installed.
    """
    transformers = transformers_module()
    from safetensors import SafetensorError

    with quiet_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(
                source, local_files_only=local_only, trust_remote_code=False
            )
            if config.model_type not in kinds:
                raise _cannot_load(
                    source, f"model_type is {config.model_type}, expected {' or '.join(kinds)}"
                )
            model, report = transformers.AutoModel.from_pretrained(
                source,
                config=config,
                local_files_only=local_only,
                output_loading_info=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
            tokenizer = _wrapped_tokenizer(source, local_only)
            found = _file(source, "preprocessor_config.json", local_only)
            processor = json.loads(found.read_text(encoding="utf-8")) if found else {}
        except (*_UNREADABLE, SafetensorError) as exc:
            raise _cannot_load(source, exc) from exc
    if missing := sorted(report["missing_keys"]):
        raise _cannot_load(source, f"{len(missing)} weights are missing, first {missing[0]}")
    return model.eval(), tokenizer, processor


def unwrap_tokenizer(source: str, wrapped: Any) -> Any:
    """The ``tokenizers`` object inside a Hugging Face tokenizer, with padding only.

    Raises:
        InputError: There is none: the tokenizer is written in Python.
    """
    if not getattr(wrapped, "is_fast", False):
        raise _cannot_load(source, "its tokenizer has no tokenizer.json form")
    tokenizer = wrapped.backend_tokenizer
    tokenizer.no_truncation()
    pad = wrapped.pad_token or wrapped.eos_token
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad), pad_token=pad)
    return tokenizer


def transformers_module() -> Any:
    """The package ``transformers``, imported when first needed (it takes seconds).

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as exc:
        raise MissingExtra("transformers", "train") from exc


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence progress bars and advice on stderr while the body runs; restores the settings."""
    logging = transformers_module().utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _hub_answers() -> bool:
    """Whether the hub can be reached; asked once, because its client retries for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as exc:
        return isinstance(exc, urllib.error.HTTPError)
    return True


def _wrapped_tokenizer(source: str, local_only: bool) -> Any:
    transformers = transformers_module()
    # Without any of these, transformers 5 makes up an empty vocabulary and says nothing.
    if not any(_file(source, name, local_only) for name in _VOCABULARIES):
        raise _cannot_load(source, "it has no tokenizer (tokenizer.json)")
    options = {"local_files_only": local_only, "trust_remote_code": False}
    try:
        return transformers.AutoTokenizer.from_pretrained(source, **options)
    except (ImportError, ValueError):
        # SigLIP's class wants sentencepiece although tokenizer.json says the same.
        return transformers.PreTrainedTokenizerFast.from_pretrained(source, **options)


def _file(source: str, name: str, local_only: bool) -> Path | None:
    found = transformers_module().utils.cached_file(
        source,
        name,
        local_files_only=local_only,
        _raise_exceptions_for_missing_entries=False,
    )
    return Path(found) if found else None


def _pretrained(source: str, model: Any, wrapped: Any, processor: dict[str, Any]) -> Pretrained:
    config, text = model.config, model.config.text_config
    tokenizer = unwrap_tokenizer(source, wrapped)
    max_tokens = int(text.max_position_embeddings)
    if config.model_type == "siglip":
        # SigLIP was trained on texts filled up to this length and reads the last position.
        padding = tokenizer.padding
        tokenizer.enable_padding(
            pad_id=padding["pad_id"], pad_token=padding["pad_token"], length=max_tokens
        )
    if text.model_type in _SHIFTED_POSITIONS:
        max_tokens -= int(text.pad_token_id) + 1
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= text.vocab_size:
        raise _cannot_load(
            source,
            f"the tokenizer's ids go to {largest}, the text tower knows {text.vocab_size}: they "
            "do not belong together",
        )
    mean, std = _PIXELS.get(config.model_type, (OPENAI_MEAN, OPENAI_STD))
    if config.vision_config.model_type in ("clip_vision_model", "clip"):
        mean, std = OPENAI_MEAN, OPENAI_STD
    return Pretrained(
        model=model,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        image_size=int(config.vision_config.image_size),
        mean=_three(processor.get("image_mean", mean)),
        std=_three(processor.get("image_std", std)),
        resample="bilinear" if processor.get("resample") == _PILLOW_BILINEAR else "bicubic",
    )


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _cannot_load(source: str, reason: object) -> InputError:
    first_line = (str(reason).strip() or "unknown reason").splitlines()[0]
    if Path(source).is_dir():
        return InputError(
            Text(
                f"`init={source}`: cannot load this model: {first_line}; the folder must hold "
                "config.json, model.safetensors and tokenizer.json of one dual encoder",
                f"`init={source}`: 모델을 불러올 수 없습니다: {first_line}. 폴더에는 한 이중 "
                "인코더의 config.json, model.safetensors, tokenizer.json이 있어야 합니다",
            )
        )
    return InputError(
        Text(
            f"`init={source}`: cannot load this model: {first_line}; without network, run `hf "
            f"download {source} --local-dir model` where there is one, copy the folder here and "
            "give `init=model`",
            f"`init={source}`: 모델을 불러올 수 없습니다: {first_line}. 네트워크가 없으면 "
            f"네트워크가 있는 곳에서 `hf download {source} --local-dir model`을 실행하고 폴더를 "
            "옮겨 `init=model`로 주십시오",
        )
    )
