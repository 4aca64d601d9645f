"""Weight files, read without ever running what is inside them.

safetensors hold numbers only. A ``.pt``, ``.pth`` or ``.bin`` is a pickle: ``torch.load`` reads it
with ``weights_only=True`` or not at all. OpenAI's own files are TorchScript archives; their tensors
are taken out by an unpickler that knows nothing but tensors, because ``torch.jit.load`` would
compile the program stored beside them (and is deprecated). Knows nothing of models.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nunbit.errors import InputError

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
            en=f"{path}: cannot read this weight file: {exc.strerror or exc}",
            ko=f"{path}: 가중치 파일을 읽을 수 없습니다: {exc.strerror or exc}",
        ) from exc
    if head.startswith(_LFS_POINTER):
        raise InputError(
            en=f"{path}: a Git LFS pointer, not the weights; run `git lfs pull` in its folder",
            ko=f"{path}: 가중치가 아니라 Git LFS 포인터입니다. 그 폴더에서 `git lfs pull`을 "
            "실행하십시오",
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
            en=f"{path}: not a weight file (neither safetensors nor PyTorch); "
            "give the file that holds the model's weights",
            ko=f"{path}: 가중치 파일이 아닙니다 (safetensors도 PyTorch도 아님). "
            "모델 가중치가 든 파일을 주십시오",
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
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return _read_torchscript(path, archive)
    except zipfile.BadZipFile as exc:
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
        raise _damaged(path, _first_line(exc)) from exc


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
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _strided
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


def _read_torchscript(path: Path, archive: zipfile.ZipFile) -> State:
    root = next(n for n in archive.namelist() if n.endswith("/constants.pkl")).split("/")[0]
    try:
        program = _TensorUnpickler(path, archive, root).load()
        return dict(_tensors_of(program, ""))
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as exc:
        raise _damaged(path, exc) from exc
    except (AttributeError, IndexError, RuntimeError, zipfile.BadZipFile) as exc:
        raise _damaged(path, exc) from exc


def _tensors_of(holder: _ScriptObject, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(holder).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _ScriptObject):
            yield from _tensors_of(value, f"{prefix}{name}.")


def _cleaned(found: Any, path: Path) -> State:
    """The named tensors in what a file held."""
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    tensors = {}
    if isinstance(found, Mapping):
        tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if not tensors:
        raise InputError(
            en=f"{path}: holds no named weights; save model.state_dict() and give that file",
            ko=f"{path}: 이름 붙은 가중치가 없습니다. model.state_dict()를 저장해 그 파일을 "
            "주십시오",
        )
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(
        en=f"{path}: this weight file is damaged or cut short ({reason}); download or copy it "
        "again and compare its size",
        ko=f"{path}: 가중치 파일이 손상되었거나 잘렸습니다 ({reason}). 다시 내려받거나 복사하고 "
        "크기를 비교하십시오",
    )


def _more_than_tensors(path: Path, name: str) -> InputError:
    return InputError(
        en=f"{path}: refused: this pickle holds more than tensors ({name}), which could run code "
        "on loading; convert it to .safetensors on a machine and from an origin you trust",
        ko=f"{path}: 거부합니다. 이 pickle에는 텐서 말고도 읽을 때 코드를 실행할 수 있는 "
        f"것({name})이 있습니다. 출처를 믿을 수 있다면 안전한 컴퓨터에서 .safetensors로 "
        "바꾸십시오",
    )
