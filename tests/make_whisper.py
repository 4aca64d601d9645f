"""A Whisper model whose words are known: its folder as CTranslate2 reads it, made without weights.

Every token leads to one next token, whatever is heard: the layers add nothing, and the output layer
holds, for each token of a chain, the directions of the tokens before it. The attention from text to
sound looks for each word at a place of its own. Needs ctranslate2, no torch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WORDS = (" 저는", " 2024", "년에", " AI", "를,", " 음", " 배웠어요.")
"""What the model always says, token by token."""

FRAME_S = 0.02
"""Step of the encoder."""

_WIDTH = 64
_MULTILINGUAL = ""  # CTranslate2 takes a model for multilingual where this token is
_LANGUAGES = ("en", "ko", "ja")
_TASKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
          "<|notimestamps|>")  # fmt: skip


def write_whisper(
    folder: Path,
    words: Sequence[str] = WORDS,
    *,
    language: str = "ko",
    end_s: float = 1.5,
    loops: bool = False,
) -> Path:
    """Write the model.

    Args:
        folder: Made if it is not there.
        words: Tokens of text, each with its leading blank where it begins a word.
        language: What it takes every sound for.
        end_s: Time that it gives to the end of its only segment, a multiple of 0.02. Each word is
            looked for in the middle of its equal share of the time before.
        loops: After the last word it says the first again, without end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _tokens(words)
    _write_tokenizer(folder, tokens)
    at = {token: i for i, token in enumerate(tokens)}
    chain = [
        "<|transcribe|>", "<|0.00|>", *map(_as_bytes, words), f"<|{end_s:.2f}|>", "<|endoftext|>",
    ]  # fmt: skip
    steps = [(at[a], at[b]) for a, b in itertools.pairwise(chain)]
    if loops:
        last = at[_as_bytes(words[-1])]
        steps = [step for step in steps if step[0] != last] + [(last, at[_as_bytes(words[0])])]
    steps.append((at["<|startoftranscript|>"], at[f"<|{language}|>"]))
    # Where no times are asked for. The time after the last word is silent then.
    steps.append((at["<|notimestamps|>"], at[_as_bytes(words[0])]))
    share = end_s / FRAME_S / len(words)
    # A word's place is where the network looks while it still has the token before.
    before = ["<|notimestamps|>", *map(_as_bytes, words)]
    looks = [(at[before[k]], round(share * (k + 0.5))) for k in range(len(words))]
    spec = _spec(len(tokens), steps, looks)
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [at[f"<|{name}|>"] for name in _LANGUAGES]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.save(str(folder))
    return folder


def _as_bytes(text: str) -> str:
    """As byte-level tokenizers write it: every byte a letter."""
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return str(piece[0])


def _tokens(words: Sequence[str]) -> list[str]:
    text = sorted(pre_tokenizers.ByteLevel.alphabet()) + [_as_bytes(word) for word in words]
    special = [
        "<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in _LANGUAGES), *_TASKS,
    ]  # fmt: skip
    times = [f"<|{k * 0.02:.2f}|>" for k in range(1501)]
    return [*text, _MULTILINGUAL, *special, *times]


def _write_tokenizer(folder: Path, tokens: Sequence[str]) -> None:
    """Without merges; the vocabulary's order is the model's."""
    plain = tokens[: tokens.index("<|endoftext|>")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(plain)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(tokens[len(plain) :]))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30,
              "n_fft": 400}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")


def _spec(n_tokens: int, steps: Sequence[tuple[int, int]], looks: Sequence[tuple[int, int]]) -> Any:
    """The network: from each token to the next, and from tokens to frames of the encoder."""
    from ctranslate2.specs import whisper_spec

    rng = np.random.default_rng(0)
    spec = whisper_spec.WhisperSpec(1, 2, 1, 2)
    embeddings = rng.normal(size=(n_tokens, _WIDTH)).astype(np.float32)
    output = np.zeros((n_tokens, _WIDTH), np.float32)
    for before, after in steps:
        output[after] += _normed(embeddings[before])
    spec.decoder.embeddings.weight = embeddings
    spec.decoder.projection.weight = output
    spec.decoder.position_encodings.encodings = np.zeros((448, _WIDTH), np.float32)
    # Frames a few steps apart are alike, others are not.
    waves = np.arange(1500)[:, None] * rng.normal(size=_WIDTH // 2) / 6
    places = np.concatenate([np.sin(waves), np.cos(waves)], axis=1).astype(np.float32)
    spec.encoder.position_encodings.encodings = places
    for conv, channels in ((spec.encoder.conv1, 80), (spec.encoder.conv2, _WIDTH)):
        conv.weight = np.zeros((_WIDTH, channels, 3), np.float32)
        conv.bias = np.zeros(_WIDTH, np.float32)
    for norm in (spec.encoder.layer_norm, spec.decoder.layer_norm):
        _norm(norm)
    _silent(spec.encoder.layer[0])
    _silent(spec.decoder.layer[0])
    queries, keys, _ = spec.decoder.layer[0].attention.linear
    tokens = np.stack([_normed(embeddings[token]) for token, _ in looks])
    sought = np.stack([_normed(places[frame]) for _, frame in looks])
    queries.weight = (2 * np.linalg.pinv(tokens) @ sought).T.astype(np.float32)
    keys.weight[:_WIDTH] = np.eye(_WIDTH)
    return spec


def _normed(vector: Any) -> Any:
    """As a layer norm gives it."""
    return (vector - vector.mean()) / vector.std()


def _silent(layer: Any) -> None:
    """Weights of nought: what passes through the layer stays as it is."""
    for attention in filter(None, (layer.self_attention, getattr(layer, "attention", None))):
        _norm(attention.layer_norm)
        crossed = len(attention.linear) == 3
        rows = (_WIDTH, 2 * _WIDTH, _WIDTH) if crossed else (3 * _WIDTH, _WIDTH)
        for linear, n in zip(attention.linear, rows, strict=True):
            _linear(linear, n, _WIDTH)
    _norm(layer.ffn.layer_norm)
    _linear(layer.ffn.linear_0, 2 * _WIDTH, _WIDTH)
    _linear(layer.ffn.linear_1, _WIDTH, 2 * _WIDTH)


def _norm(norm: Any) -> None:
    norm.gamma = np.ones(_WIDTH, np.float32)
    norm.beta = np.zeros(_WIDTH, np.float32)


def _linear(linear: Any, rows: int, columns: int) -> None:
    linear.weight = np.zeros((rows, columns), np.float32)
    linear.bias = np.zeros(rows, np.float32)
