"""The files of ``RUN/`` that are not weights: settings, what it is trained on, the metrics log.

Knows nothing of torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.errors import InputError, TrainingError
from nunbit.files import read_json, sha256_file, write_json, write_text, writing
from nunbit.labels import LabelSet, label_set_from_dict, label_set_to_dict
from nunbit.prompts import TemplateSet, template_set_from_dict
from nunbit.shards import DOCUMENT, DataSet
from nunbit.training.settings import RUN_FILE, TrainSettings, config_toml, read_config

RUN_FORMAT = "nunbit-run/1"
CONFIG_FILE, METRICS_FILE = "config.toml", "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what; nothing is read before it is asked for."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def bundle(self) -> Path:
        """Folder of the bundle that ends the run."""
        return self.path / "bundle"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / RUN_FILE).is_file()

    def check_free(self, resume: bool) -> None:
        """Refuse a folder that holds something else, or a run that is not to be resumed.

        Raises:
            TrainingError: A run is here and ``resume`` is False.
            InputError: Other files are here.
        """
        if self.exists():
            if resume:
                return
            raise TrainingError(
                en=f"{self.path}: a run is here already; add --resume to go on with it, or choose "
                "another --out",
                ko=f"{self.path}: 이미 학습이 있습니다. 이어 가려면 --resume을 더하고, 아니면 다른 "
                "--out을 고르십시오",
            )
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(
                en=f"{self.path}: exists and is not a run; choose another --out",
                ko=f"{self.path}: 이미 있고 학습 폴더가 아닙니다. 다른 --out을 고르십시오",
            )

    def begin(self, settings: TrainSettings, document: dict[str, Any]) -> None:
        """Write what the run is; ``document`` is read back by :meth:`read`.

        ``run.json`` comes first: it makes the folder a run, which a rerun may then complete.
        """
        write_json(self.path / RUN_FILE, {"format": RUN_FORMAT, **document})
        write_text(self.path / CONFIG_FILE, config_toml(settings))

    def read(self) -> dict[str, Any]:
        """``run.json``.

        Raises:
            InputError: It is missing or of another format.
        """
        path = self.path / RUN_FILE
        if not path.is_file():
            raise InputError(
                en=f"{self.path}: not a run ({RUN_FILE} is missing); give the folder that "
                "`nunbit train DATA --out RUN` wrote",
                ko=f"{self.path}: 학습 폴더가 아닙니다({RUN_FILE} 없음). `nunbit train DATA --out "
                "RUN`이 만든 폴더를 주십시오",
            )
        document = read_json(path)
        if not isinstance(document, dict) or document.get("format") != RUN_FORMAT:
            raise InputError(
                en=f"{path}: not a run of this nunbit (format {RUN_FORMAT}); train again",
                ko=f"{path}: 이 nunbit의 학습 폴더가 아닙니다(형식 {RUN_FORMAT}). 다시 "
                "학습하십시오",
            )
        return document

    def has_settings(self) -> bool:
        """Whether the run got as far as writing its settings."""
        return (self.path / CONFIG_FILE).is_file()

    def settings(self) -> TrainSettings:
        """The effective settings.

        Raises:
            SettingsError: ``config.toml`` cannot be read.
        """
        return read_config(self.path / CONFIG_FILE)


def run_document(
    data: DataSet, template_set: TemplateSet, out: Path, training_data: dict[str, Any]
) -> dict[str, Any]:
    """What ``run.json`` holds: enough to resume and to export without asking again."""
    return {
        "label_set": label_set_to_dict(data.label_set),
        "template_set": _template_set_to_dict(template_set),
        "training_data": training_data,
        # Relative, so that no home directory is named and moving both folders keeps it valid.
        "data": os.path.relpath(data.path.resolve(), out.resolve()),
    }


def training_data_statement(data: DataSet, counts: dict[str, Any]) -> dict[str, Any]:
    """What the model sees in training, for bundle and card."""
    settings = data.settings
    return {
        "source": str(settings.get("source", "unknown")),
        "label_set": data.label_set.name,
        "policy": data.policy,
        **counts,
        "sha256": dataset_hash(data.path),
    }


def dataset_hash(path: Path) -> str:
    """sha256 of ``dataset.json``, which describes the whole data set."""
    return sha256_file(path / DOCUMENT)


def label_set_of(document: dict[str, Any], where: Path) -> LabelSet:
    """The label set in ``run.json``."""
    return label_set_from_dict(document["label_set"], str(where / RUN_FILE))


def template_set_of(document: dict[str, Any], where: Path) -> TemplateSet:
    """The caption templates in ``run.json``."""
    return template_set_from_dict(document["template_set"], str(where / RUN_FILE))


class MetricsLog:
    """``metrics.jsonl`` and the same numbers for TensorBoard.

    Args:
        run: The run's folder.
        step: The step the run goes on from; TensorBoard forgets later ones.
        lines: Lines up to there; later ones are of work that was lost and will be done again.
    """

    def __init__(self, run: Path, step: int, lines: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = run / METRICS_FILE
        with writing(self._path):
            kept = self._path.read_text(encoding="utf-8") if lines else ""
        write_text(self._path, "".join(kept.splitlines(keepends=True)[:lines]))
        self._board = SummaryWriter(str(run), purge_step=step + 1 if step else None)

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append one line."""
        with writing(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self._board.close()


def _template_set_to_dict(template_set: TemplateSet) -> dict[str, Any]:
    return {
        "name": template_set.name,
        "language": template_set.language,
        "templates": [{"id": t.id, "text": t.text} for t in template_set.templates],
    }
