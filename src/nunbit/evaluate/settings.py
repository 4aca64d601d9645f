"""Settings of ``nunbit evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from nunbit.config import BatchSize, Seed, Threads
from nunbit.schema import Policy, Split
from nunbit.zeroshot import Ensemble


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """What to evaluate and how.

    Attributes:
        split: Split of DATA; None takes test if there is one, else validation.
        policy: Label policy of the truth; None takes the data set's.
        label_set: Merge the classes into those of this label set (``dep2`` or a TOML file); None
            takes them as they were prepared.
        prompts: Template set or TOML file; None takes the bundle's first.
        ensemble: How the templates are combined.
        compare: ``paper``, or the folder of another evaluation of the same images; or several.
        seeds: Folders of evaluations of the same recipe with other seeds, to be summarised.
        part: ``i/n``: score only job i's share of n (job arrays); whoever finishes last joins all.
        with_images: Put the crops of the most confident mistakes into the report.
        batch_size: Crops embedded at once; bounds memory.
        threads: Threads of the image tower; None takes the cores there are.
        n_resamples: Bootstrap resamples.
        seed: Seed of the resamples and folds.
        n_bins: Bins of the reliability diagram.
        min_group: Subgroups with fewer images are marked as small.
        max_mistakes: Length of the list of the most confident mistakes.
    """

    split: Split | None = None
    policy: Policy | None = None
    label_set: str | None = None
    prompts: str | None = None
    ensemble: Ensemble = "mean_embedding"
    compare: str | tuple[str, ...] | None = None
    seeds: tuple[str, ...] = ()
    part: str | None = None
    with_images: bool = False
    batch_size: BatchSize = 64
    threads: Threads | None = None
    n_resamples: Annotated[int, Meta(ge=100, le=20_000)] = 2_000
    seed: Seed = 0
    n_bins: Annotated[int, Meta(ge=2, le=100)] = 15
    min_group: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    max_mistakes: Annotated[int, Meta(ge=0, le=200)] = 24

    @property
    def comparisons(self) -> tuple[str, ...]:
        """What to compare with, the most interesting first."""
        if self.compare is None:
            return ()
        return (self.compare,) if isinstance(self.compare, str) else self.compare
