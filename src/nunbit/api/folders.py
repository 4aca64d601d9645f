"""A folder of class folders where a prepared data set is meant: it is prepared on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nunbit.core.messages import InputError, Text
from nunbit.datasets.shards import MANIFEST
from nunbit.language.labels import LabelSet, label_set_names
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.runtime.progress import say
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.prepare import PrepareSettings, prepare

DATA = "data"


def prepared(
    data: Path, bundle: Path | None, out: Path, settings: EvaluateSettings
) -> tuple[Path, EvaluateSettings]:
    """What ``evaluate`` can read: ``data`` itself, or ``out/data`` made from its class folders.

    Args:
        data: Prepared data set, prediction file, or folder of class folders.
        bundle: The model, whose classes the folders must be called after; None = the shipped one.
        out: Folder of the evaluation.
        settings: Of the evaluation; ``split`` becomes ``all`` where none was asked for.

    Raises:
        InputError: The folders cannot be prepared.
        BundleError: The bundle is missing or damaged.
    """
    if not data.is_dir() or (data / "dataset.json").is_file() or (data / MANIFEST).is_file():
        return data, settings
    label_set = load_bundle(bundle or default_bundle_path(), threads=settings.threads).label_set
    if label_set.name not in label_set_names() or not _class_folders(data, label_set):
        return data, settings
    made = out / DATA
    say(
        Text(
            f"{data}: class folders; prepared as {made} with label set {label_set.name}, every "
            "image is evaluated",
            f"{data}: 클래스 폴더입니다. 레이블 집합 {label_set.name}(으)로 {made}에 준비하여 모든 "
            "이미지를 평가합니다",
        )
    )
    prepare([data], made, PrepareSettings(kind="folder", label_set=label_set.name))
    return made, replace(settings, split=settings.split or "all")


def _class_folders(data: Path, label_set: LabelSet) -> bool:
    """Whether any folder, or one a level deeper, is called after a class."""
    for folder in (p for depth in ("*", "*/*") for p in data.glob(depth) if p.is_dir()):
        try:
            if label_set.find(folder.name) is not None:
                return True
        except InputError:
            continue
    return False
