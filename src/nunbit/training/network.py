"""A network with all that it needs to be used: tokenizer, preprocessing, origin.

Its description lies in ``RUN/model.json`` and ``RUN/tokenizer.json``, so that a run can go on or be
exported without the starting weights; the weights themselves are in checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nunbit.encoders import Preprocessing, load_any_tokenizer
from nunbit.errors import InputError
from nunbit.files import read_json, write_json, write_text
from nunbit.training.towers import DualEncoder, build

_MODEL_FILE, _TOKENIZER_FILE = "model.json", "tokenizer.json"


@dataclass(frozen=True, eq=False)
class Network:
    """What a starting point gives and a bundle is made of.

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
    document = {
        "architecture": network.architecture,
        "max_tokens": network.max_tokens,
        "preprocessing": msgspec.to_builtins(network.preprocessing),
        "origin": network.origin,
    }
    write_text(folder / _TOKENIZER_FILE, network.tokenizer.to_str())
    write_json(folder / _MODEL_FILE, document)


def load_network(folder: Path) -> Network:
    """Build a run's network with random weights.

    Raises:
        InputError: The description is missing or damaged.
    """
    path = folder / _MODEL_FILE
    document = read_json(path)
    try:
        return Network(
            model=build(document["architecture"]),
            tokenizer=load_any_tokenizer(folder / _TOKENIZER_FILE),
            max_tokens=int(document["max_tokens"]),
            preprocessing=msgspec.convert(document["preprocessing"], Preprocessing),
            architecture=document["architecture"],
            origin=document["origin"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(
            en=f"{path}: damaged ({exc!r}); train into a new --out",
            ko=f"{path}: 손상되었습니다 ({exc!r}). 새 --out에 학습하십시오",
        ) from exc
