"""The experiment in miniature: drawn faces, prepared, a tiny model trained, evaluated zero-shot."""

import sys
from pathlib import Path

import nunbit
from nunbit.synth.aihub_records import SynthSettings
from nunbit.synth.aihub_tree import write_tree


def main(out: Path) -> None:
    """Write everything below ``out``."""
    drawn = SynthSettings(per_class=20, per_class_validation=8, photo_width=320, oddities=False)
    write_tree(out / "faces", drawn)  # your own: the AI Hub download or class folders

    data = nunbit.prepare(out / "faces", out / "data", size=48)
    print(data)
    run = nunbit.train(data, out / "run", init="tiny", image_size=48, epochs=2, holdout=0.3)
    print(run)
    result = nunbit.evaluate(data, out / "eval", model=run.model(), split="validation")
    print(result)
    print(result.to_arrow().select(["label", "recall"]).to_pylist())
    print("open", result.report)


if __name__ == "__main__":  # nunbit works in several processes
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-experiment"))
