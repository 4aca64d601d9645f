"""Average the final weights of runs that began with one bundle, and of that bundle.

    python scripts/average_weights.py RUN [RUN...] --start 0.3 --out OUT/name

Runs of several seeds are averaged alike (model soups: Wortsman et al. 2022, arXiv:2203.05482), then
with the bundle's own weights by the share that `--start` gives (WiSE-FT, arXiv:2109.01903). OUT is
the first run's folder with these weights, exported as OUT/bundle. Which share is best is read from
`benchmarks/wider_faces.py` on the validation parts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

from nunbit.training.bundle_start import START_BUNDLE, folded_weights
from nunbit.training.checkpoints import AVERAGED, load_final, save_weights
from nunbit.training.export import export_run
from nunbit.training.networks import load_network
from nunbit.training.optimisers import mixed_with_start
from nunbit.training.settings import RunFolder

# What a run is without its history.
_COPIED = ("run.json", "config.toml", "model.json", "tokenizer.json")


def averaged(runs: list[Path], share: float) -> dict[str, torch.Tensor]:
    """The mean of the runs' final weights, with the start's by a share."""
    states = []
    for run in runs:
        final = load_final(RunFolder(run).checkpoints)
        if final is None:
            raise SystemExit(f"{run}: no evaluated weights yet")
        states.append(final["model"])
    mean = {name: torch.stack([s[name] for s in states]).mean(dim=0) for name in states[0]}
    tower = load_network(runs[0]).model.image
    start = folded_weights(runs[0] / START_BUNDLE, tower)
    return mixed_with_start(mean, {f"image.{k}": v for k, v in start.items()}, share)


def main() -> int:
    """Write the averaged run and its bundle."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    first, out = arguments.runs[0], arguments.out
    state = averaged(arguments.runs, arguments.start)
    final = load_final(RunFolder(first).checkpoints) or {}
    out.mkdir(parents=True)
    for name in _COPIED:
        shutil.copyfile(first / name, out / name)
    shutil.copytree(first / START_BUNDLE, out / START_BUNDLE)
    # The temperature is the first run's until ship_bundle.py fits it anew.
    end = final | {"model": state, "start_share": arguments.start, "runs": len(arguments.runs)}
    save_weights(RunFolder(out).checkpoints, AVERAGED, end)
    document = export_run(out, out / "bundle")
    print(f"{out}/bundle: {len(arguments.runs)} run(s), start {arguments.start:g}")
    print(document["parity"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
