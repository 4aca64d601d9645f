"""Settings of ``nunbit predict``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from nunbit.config import BatchSize, Threads
from nunbit.faces import DetectorSettings, MinScore, PassSizes


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """What to compare faces with, and how to find them.

    Attributes:
        prompts: Template set (``paper``, ``natural``, ``english`` or a TOML file), or a text file
            with one sentence a line, which adds to ``prompt``. None takes the set the bundle was
            trained with.
        prompt: The user's own sentences, compared among themselves.
        label_set: Name or TOML file of the classes; None takes the bundle's own.
        ensemble: How the templates are combined. ``vote`` gives no cosine and is left out.
        crops: The pictures are faces already: nothing is searched.
        sizes_px: See ``faces.DetectorSettings``.
        min_score: See ``faces.DetectorSettings``.
        tiny_px: Faces with a smaller longer side are marked as tiny.
        batch_size: Faces embedded at once.
        threads: Threads of the model; None takes the cores there are.
    """

    prompts: str | None = None
    prompt: tuple[str, ...] = ()
    label_set: str | None = None
    ensemble: Literal["mean_embedding", "mean_similarity", "max"] = "mean_embedding"
    crops: bool = False
    sizes_px: PassSizes = DetectorSettings().sizes_px
    min_score: MinScore = DetectorSettings().min_score
    tiny_px: Annotated[int, Meta(ge=0, le=4000)] = 32
    batch_size: BatchSize = 64
    threads: Threads | None = None
