"""Put the bundle of a run into the package, with its licence, its limits and its test figures.

    python scripts/ship_bundle.py RUN/bundle fer7-lite --evaluation 'FER+ majority=EVAL' \
        --evaluation 'FER2013 label=EVAL2'

Writes `src/nunbit/bundles/NAME`. The figures come from each EVAL's result.json, not typed in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

BUNDLES = Path(__file__).parent.parent / "src" / "nunbit" / "bundles"

LICENCE_NAME = "LicenseRef-nunbit-weights-research-only"
LICENCE = """Licence of the trained weights in this folder (LicenseRef-nunbit-weights-research-only)

The files image.onnx, text.onnx and prompts.npz hold weights trained on FER2013 and FER+. The
pictures of FER2013 were gathered by web image search for a contest; their owners are unknown. The
weights may therefore be used for non-commercial research and teaching only, and passed on only with
this file. They must not be used to identify people, to infer emotion at work or in education, for
diagnosis, screening or any medical decision, or for decisions about a person.

The weights are given as they are, without warranty of any kind.

They start from EfficientNet-lite0 (Apache-2.0) and multilingual-e5-small (MIT). FER+ labels: MIT.
The code of nunbit is under the Apache License 2.0 and is not touched by this file.
"""

STATEMENT = {
    "en": "Apparent expression, what a face looks like to a viewer; not a diagnosis. Not validated "
    "on Korean faces or on video.",
    "ko": "겉으로 보이는 표정이며 진단이 아닙니다. 한국인 얼굴과 영상에서는 검증되지 않았습니다.",
}

# Where FER2013's own frame lies relative to the detector's box, measured on training faces.
DETECTOR_FRAMING = {"scale": 0.98, "shift_y": -0.01}


def results_table(evaluations: dict[str, Path]) -> str:
    """Markdown of the headline and per-class figures of each evaluation."""
    lines = ["## Results on the test split", ""]
    lines += [
        "| truth | images | top-1 | macro-F1 | UAR | ECE | Brier |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    classes = []
    for truth, folder in evaluations.items():
        d = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        cells = [
            "{:.3f} [{:.3f}, {:.3f}]".format(d[k], *d["ci95"][k])
            for k in ("top1", "macro_f1", "uar")
        ]
        calibration = d["calibration"]
        lines.append(
            f"| {truth} | {d['n']:,} | {' | '.join(cells)} | {calibration['ece_after']:.3f} | "
            f"{calibration['brier']:.3f} |"
        )
        recalls = ", ".join(f"{k} {v['recall']:.2f}" for k, v in d["per_class"].items())
        classes.append(f"Recall per class, {truth}: {recalls}.")
    unit = d["ci_unit"]
    lines += ["", f"Intervals: 95%, bootstrap over {unit}s; persons are unknown.", "", *classes, ""]
    return "\n".join(lines)


def main() -> int:
    """Copy, complete and print what was shipped."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("name")
    parser.add_argument("--evaluation", action="append", default=[], metavar="TRUTH=EVAL")
    arguments = parser.parse_args()
    target = BUNDLES / arguments.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(arguments.bundle, target)
    document = json.loads((target / "bundle.json").read_text(encoding="utf-8"))
    document["name"] = arguments.name
    document["statement"] = STATEMENT
    document["preprocessing"]["detector_framing"] = DETECTOR_FRAMING
    document["licence"]["trained_weights"] = LICENCE_NAME
    evaluations = {t: Path(p) for t, _, p in (e.partition("=") for e in arguments.evaluation)}
    card = (target / "MODEL_CARD.md").read_text(encoding="utf-8")
    card = card.replace(card.splitlines()[0], f"# {arguments.name}", 1)
    limits = (
        "## Limits\n\nNot validated on Korean faces or on video. Training faces are 48 px, grey "
        "and tightly cropped pictures from the web, some of them drawings or advertisements; "
        "FER2013's label and the ten raters agree in 63% of them. Weights: research only, see "
        "LICENSE.\n"
    )
    card += "\n" + results_table(evaluations) + "\n" + limits
    (target / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    (target / "LICENSE").write_text(LICENCE, encoding="utf-8")
    if "MODEL_CARD.md" in document["checksums"]:
        del document["checksums"]["MODEL_CARD.md"]
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    (target / "bundle.json").write_text(text, encoding="utf-8")
    size = sum(p.stat().st_size for p in target.iterdir()) / 1e6
    print(f"{target.name}: {size:.1f} MB\n{results_table(evaluations)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
