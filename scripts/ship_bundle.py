"""Put the bundle of a run into the package, with its licence, its limits and its test figures.

    python scripts/ship_bundle.py RUN/bundle OUT/fer7-lite --mirror --calibrate DATA
    python scripts/ship_bundle.py OUT/fer7-lite fer7-lite --evaluation 'FER+ majority=EVAL' \
        --evaluation 'FER2013 label=EVAL2'

The first line averages over mirror images and fits the temperature anew on DATA's validation split;
its result is what is evaluated. The second writes `src/nunbit/bundles/NAME`; its figures come from
each EVAL's result.json, not typed in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from development.voice_export import voice_card, voice_licence
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import fit_temperature

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

LIMITS = """\
Not validated on Korean faces or on video; no figure of it is by person, since FER2013 names
none. Training faces are 48 px, grey and tightly cropped pictures from the web, some of them
drawings or advertisements; FER2013's label and the ten raters agree in 63% of them.

The figure of the selection split above is the run's, on all images where one class has the most
votes; on those with a majority of the ten raters (2,659 images) the shipped bundle, which
averages over mirror images and whose temperature was fitted to that, has 85.6%.

FER2013 was gathered by web image search: the people shown were not asked, and who they are
(age, sex, skin tone, culture) is not recorded. FER+'s raters were crowd workers of unknown
background. Bias by age, sex or skin tone is therefore unmeasured, and how Korean faces are read
by such labels is unknown.

Its default sentences are the template set natural-0.1, with which it was trained; the mended
set `natural` is read through the text tower. Weights: research only, see LICENSE."""

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


def mirrored(document: dict[str, Any], folder: Path, data: Path) -> None:
    """Switch mirror averaging on and fit the temperature to it on the validation split."""
    document["preprocessing"]["mirror"] = True
    document["temperature"] = 1.0
    write_document(folder, document)
    dataset, bundle = open_dataset(data), load_bundle(folder, threads=1)
    rows = dataset.split_rows("validation")
    truth = truth_of(dataset, rows, "uploader")
    rows, truth = rows[truth >= 0], truth[truth >= 0]
    vectors = np.concatenate(
        [
            bundle.embed_images(np.stack([dataset.pixels(int(row)) for row in part]))
            for part in np.array_split(rows, max(1, len(rows) // 256))
        ]
    )
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
    logits = cosines.astype(np.float64) * bundle.logit_scale
    document["temperature"] = fit_temperature(logits, truth)
    write_document(folder, document)


def write_document(folder: Path, document: dict[str, Any]) -> None:
    """Write `bundle.json`."""
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    (folder / "bundle.json").write_text(text, encoding="utf-8")


def main() -> int:
    """Copy, complete and print what was shipped."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("name")
    parser.add_argument("--evaluation", action="append", default=[], metavar="TRUTH=EVAL")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--calibrate", type=Path, metavar="DATA")
    arguments = parser.parse_args()
    inside = "/" not in arguments.name
    target = BUNDLES / arguments.name if inside else Path(arguments.name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(arguments.bundle, target)
    document = json.loads((target / "bundle.json").read_text(encoding="utf-8"))
    document["name"] = target.name
    document["statement"] = STATEMENT
    document["preprocessing"]["detector_framing"] = DETECTOR_FRAMING
    document["licence"]["trained_weights"] = LICENCE_NAME
    evaluations = {t: Path(p) for t, _, p in (e.partition("=") for e in arguments.evaluation)}
    card = (target / "MODEL_CARD.md").read_text(encoding="utf-8")
    card = card.replace(card.splitlines()[0], f"# {target.name}", 1)
    limits = f"## Limits\n\n{LIMITS}\n"
    for section in ("Results on the test split", "Limits", "Voice tower"):
        card = card.partition(f"\n## {section}")[0]
    card += "\n" + (results_table(evaluations) + "\n" if evaluations else "") + limits
    # A voice tower was fitted before the figures were written: what is known of it stays.
    (target / "MODEL_CARD.md").write_text(card + voice_card(document), encoding="utf-8")
    (target / "LICENSE").write_text(LICENCE + voice_licence(document), encoding="utf-8")
    for rewritten in ("MODEL_CARD.md", "LICENSE"):
        document["checksums"].pop(rewritten, None)
    write_document(target, document)
    if arguments.mirror:
        mirrored(document, target, arguments.calibrate)
    size = sum(p.stat().st_size for p in target.iterdir()) / 1e6
    print(f"{target.name}: {size:.1f} MB\n{results_table(evaluations) if evaluations else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
