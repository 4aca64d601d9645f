"""눈빛 nunbit: apparent emotion in face, voice and words, zero-shot by prompts.

    model = nunbit.load()                        # a shipped model, or yours
    model.predict("photo.jpg")                   # faces and their apparent expression
    nunbit.analyze("interview.mp4")              # a recording's timeline
    nunbit.prepare("faces/", "data")             # then train, evaluate

The public names load on first use, so importing the package costs next to nothing and never loads
torch. nunbit summarises apparent expression; it is not a diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nunbit.api import (
        adapt,
        align,
        analyze,
        evaluate,
        predict,
        prepare,
        search,
        start_live,
        train,
    )
    from nunbit.api.loaded import Model, load
    from nunbit.api.outcomes import (
        AlignResult,
        PrepareResult,
        SearchResult,
        StudyResult,
        TrainResult,
    )
    from nunbit.api.studies import study
    from nunbit.core.messages import (
        BundleError,
        InputError,
        MediaError,
        MissingExtra,
        NunbitError,
        SettingsError,
        TrainingError,
    )
    from nunbit.core.schema import FaceRecord
    from nunbit.datasets.shards import DataSet, open_dataset
    from nunbit.language.labels import Label, LabelSet, load_label_set
    from nunbit.language.prompts import TemplateSet, load_template_set
    from nunbit.model.encoders import Bundle, load_bundle
    from nunbit.runtime.results import EvalResult
    from nunbit.statistics.changes import find_changes
    from nunbit.statistics.series import SeriesSummary, summarise
    from nunbit.stories.adapt.adaptation_result import AdaptResult
    from nunbit.stories.predict.result import PredictResult
    from nunbit.stories.timelines import (
        SessionsResult,
        TimelineResult,
        read_sessions,
        read_timeline,
    )

    __version__: str

_HOME = {
    "AdaptResult": "stories.adapt.adaptation_result",
    "AlignResult": "api.outcomes",
    "Bundle": "model.encoders",
    "BundleError": "core.messages",
    "DataSet": "datasets.shards",
    "EvalResult": "runtime.results",
    "FaceRecord": "core.schema",
    "InputError": "core.messages",
    "Label": "language.labels",
    "LabelSet": "language.labels",
    "MediaError": "core.messages",
    "MissingExtra": "core.messages",
    "Model": "api.loaded",
    "NunbitError": "core.messages",
    "PredictResult": "stories.predict.result",
    "PrepareResult": "api.outcomes",
    "SearchResult": "api.outcomes",
    "SeriesSummary": "statistics.series",
    "SessionsResult": "stories.timelines",
    "SettingsError": "core.messages",
    "StudyResult": "api.outcomes",
    "TemplateSet": "language.prompts",
    "TimelineResult": "stories.timelines",
    "TrainResult": "api.outcomes",
    "TrainingError": "core.messages",
    "adapt": "api",
    "align": "api",
    "analyze": "api",
    "evaluate": "api",
    "find_changes": "statistics.changes",
    "load": "api.loaded",
    "load_bundle": "model.encoders",
    "load_label_set": "language.labels",
    "load_template_set": "language.prompts",
    "open_dataset": "datasets.shards",
    "predict": "api",
    "prepare": "api",
    "read_sessions": "stories.timelines",
    "read_timeline": "stories.timelines",
    "search": "api",
    "start_live": "api",
    "study": "api.studies",
    "summarise": "statistics.series",
    "train": "api",
}

__all__ = [
    "AdaptResult",
    "AlignResult",
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
    "Model",
    "NunbitError",
    "PredictResult",
    "PrepareResult",
    "SearchResult",
    "SeriesSummary",
    "SessionsResult",
    "SettingsError",
    "StudyResult",
    "TemplateSet",
    "TimelineResult",
    "TrainResult",
    "TrainingError",
    "adapt",
    "align",
    "analyze",
    "evaluate",
    "find_changes",
    "load",
    "load_bundle",
    "load_label_set",
    "load_template_set",
    "open_dataset",
    "predict",
    "prepare",
    "read_sessions",
    "read_timeline",
    "search",
    "start_live",
    "study",
    "summarise",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nunbit")
    if name not in _HOME:
        raise AttributeError(f"module 'nunbit' has no attribute '{name}'")
    return getattr(import_module(f"nunbit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
