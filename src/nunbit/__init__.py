"""눈빛 nunbit: apparent emotion in face, voice and words, zero-shot by prompts.

The public names below load on first use, so importing the package costs next to nothing and never
loads torch. nunbit summarises apparent expression; it is not a diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nunbit.encoders import Bundle, load_bundle
    from nunbit.errors import (
        BundleError,
        InputError,
        MediaError,
        MissingExtra,
        NunbitError,
        SettingsError,
        TrainingError,
    )
    from nunbit.labels import Label, LabelSet, load_label_set
    from nunbit.measures.changes import find_changes
    from nunbit.measures.interval import SeriesSummary, summarise
    from nunbit.prompts import TemplateSet, load_template_set
    from nunbit.schema import EvalResult, FaceRecord
    from nunbit.shards import DataSet, open_dataset

_HOME = {
    "Bundle": "encoders",
    "BundleError": "errors",
    "DataSet": "shards",
    "EvalResult": "schema",
    "FaceRecord": "schema",
    "InputError": "errors",
    "Label": "labels",
    "LabelSet": "labels",
    "MediaError": "errors",
    "MissingExtra": "errors",
    "NunbitError": "errors",
    "SeriesSummary": "measures.interval",
    "SettingsError": "errors",
    "TemplateSet": "prompts",
    "TrainingError": "errors",
    "find_changes": "measures.changes",
    "load_bundle": "encoders",
    "load_label_set": "labels",
    "load_template_set": "prompts",
    "open_dataset": "shards",
    "summarise": "measures.interval",
}

__all__ = [
    "Bundle",
    "BundleError",
    "DataSet",
    "EvalResult",
    "FaceRecord",
    "InputError",
    "Label",
    "LabelSet",
    "MediaError",
    "MissingExtra",
    "NunbitError",
    "SeriesSummary",
    "SettingsError",
    "TemplateSet",
    "TrainingError",
    "find_changes",
    "load_bundle",
    "load_label_set",
    "load_template_set",
    "open_dataset",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nunbit' has no attribute '{name}'")
    return getattr(import_module(f"nunbit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
