"""The bundles that come inside the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nunbit
from nunbit.encoders import BUNDLE_FILE
from nunbit.errors import BundleError
from nunbit.files import read_json

DEFAULT_FILE = "default.txt"
"""Names the folder to take where ``bundles/`` has several."""


@dataclass(frozen=True, slots=True)
class ShippedBundle:
    """A bundle inside the package.

    Attributes:
        name: Its folder's name.
        path: Its folder.
        licence: Licence of the trained weights.
    """

    name: str
    path: Path
    licence: str


def shipped_bundles(folder: Path | None = None) -> tuple[ShippedBundle, ...]:
    """The bundles in the package, by name.

    Args:
        folder: Where to look; None means the package's own ``bundles/``.

    Raises:
        InputError: A ``bundle.json`` is not JSON.
    """
    found = []
    for path in sorted((folder or _own_folder()).glob(f"*/{BUNDLE_FILE}")):
        licence = read_json(path).get("licence") or {}
        text = licence.get("trained_weights", "-") if isinstance(licence, dict) else str(licence)
        found.append(ShippedBundle(path.parent.name, path.parent, text))
    return tuple(found)


def default_bundle_path(folder: Path | None = None) -> Path:
    """The bundle that is used without ``--bundle``.

    Args:
        folder: Where to look; None means the package's own ``bundles/``.

    Raises:
        BundleError: None is shipped, or several and ``default.txt`` names none of them.
    """
    folder = folder or _own_folder()
    shipped = {bundle.name: bundle.path for bundle in shipped_bundles(folder)}
    if not shipped:
        raise BundleError(
            en="this build ships no model: pass --bundle FOLDER, for example the RUN/bundle that "
            "nunbit train wrote",
            ko="이 빌드에는 모델이 들어 있지 않습니다. --bundle 폴더를 주십시오. 예: nunbit "
            "train이 만든 RUN/bundle",
        )
    if len(shipped) == 1:
        return next(iter(shipped.values()))
    file = folder / DEFAULT_FILE
    named = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if named not in shipped:
        names = ", ".join(shipped)
        raise BundleError(
            en=f"several models are shipped ({names}) and {file} names none of them: choose one "
            "with --bundle",
            ko=f"모델이 여럿 들어 있는데({names}) {file}이(가) 그중 하나를 가리키지 않습니다. "
            "--bundle로 고르십시오",
        )
    return shipped[named]


def _own_folder() -> Path:
    return Path(nunbit.__file__).parent / "bundles"
