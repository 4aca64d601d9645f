"""Put the bundle of a run into the package, with its licence, its limits and its test figures.

    python scripts/ship_bundle.py RUN/bundle OUT/fer7-lite --like fer7-lite \\
        --mirror --calibrate DATA
    python scripts/ship_bundle.py OUT/fer7-lite fer7-lite --like fer7-lite \
        --evaluation 'FER+ majority=EVAL' --evaluation 'FER2013 label=EVAL2' --beyond TABLE

The first line averages over mirror images and fits temperature and class shares anew on DATA's
validation split; its result is what is evaluated. The second writes `src/nunbit/bundles/NAME`; its
figures come from each EVAL's result.json, not typed in, and from the saved output of
`benchmarks/beyond.py` (TABLE). `--like` names the bundle that is replaced:
how it takes faces (blur taken off, framing) and what its card says of words are taken over, all
files but the image tower must be the same, and answers of both on the validation split are set
side by side. What else shipping needs: docs/results.md, 'How new weights ship'.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from development.voice_export import voice_card, voice_licence
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import find_bundle
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import fit_temperature
from nunbit.statistics.remapping import softmax
from nunbit.training.onnx import model_card

SOURCES = "FER2013 and FER+"

BUNDLES = Path(__file__).parent.parent / "src" / "nunbit" / "bundles"

LICENCE_NAME = "LicenseRef-nunbit-weights-research-only"
LICENCE = """Licence of the trained weights in this folder (LicenseRef-nunbit-weights-research-only)

The files image.onnx, text.onnx and prompts.npz hold weights trained on {sources}. The
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
Not validated on Korean faces or on video. FER2013 names no persons: figures on its test split are
by image; those on other people's faces are by person. Training faces are 48 px, grey and tightly
cropped pictures from the web, some of them drawings or advertisements; FER2013's label and the ten
raters agree in 63% of them.

The figure of the selection split above is the run's, on all images where one class has the most
votes; on those with a majority of the ten raters ({chosen_on} images) the shipped bundle, which
averages over mirror images and whose temperature was fitted to that, has {selected}.

A face that is blurred by 1.45 px of 48 or more, by the estimate of its spectrum, is deblurred first
(`deblur`; docs/results.md, Blur taken off): on blurs that were made, not on such of real cameras.

FER2013 was gathered by web image search: the people shown were not asked, and who they are
(age, sex, skin tone, culture) is not recorded. FER+'s raters were crowd workers of unknown
background. Bias by age, sex or skin tone is therefore unmeasured, and how Korean faces are read
by such labels is unknown.

Its default sentences are the template set natural-0.1, with which it was trained; the mended
set `natural` is read through the text tower. Weights: research only, see LICENSE."""

BEYOND = """\
Every person weighs the same; intervals draw persons (`benchmarks/beyond.py`). `ck48` and mead
chose nothing. What peers were trained on is not said anywhere; CK+ (`ck48`) is a usual training
set. mead has three persons: its intervals mean little."""

# Where FER2013's own frame lies relative to the detector's box, measured on training faces.
DETECTOR_FRAMING = {"scale": 0.98, "shift_y": -0.01}


@dataclass(frozen=True, eq=False)
class Answers:
    """(N,) true classes, (N, D) unit embeddings and (N, K) logits of labelled images."""

    truth: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]


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


def beyond_section(output: Path | None) -> str:
    """What `benchmarks/beyond.py` printed of sets with other people; '' without it."""
    if output is None:
        return ""
    table = output.read_text(encoding="utf-8").partition("\n\n")[0].strip()
    return f"## On other people's faces\n\n{BEYOND}\n\n{table}\n\n"


def answers(folder: Path, data: Path, *, temperature: float | None = None) -> Answers:
    """What a bundle says of the labelled validation images of prepared data."""
    dataset, bundle = open_dataset(data), load_bundle(folder, threads=1)
    rows = dataset.split_rows("validation")
    truth = truth_of(dataset, rows, "uploader")
    rows, truth = rows[truth >= 0], truth[truth >= 0]
    parts = np.array_split(rows, max(1, len(rows) // 256))
    vectors = np.concatenate(
        [bundle.embed_images(np.stack([dataset.pixels(int(row)) for row in p])) for p in parts]
    )
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding").astype(np.float64)
    divisor = bundle.temperature if temperature is None else temperature
    return Answers(truth, vectors, cosines * bundle.logit_scale / divisor)


def calibrated(document: dict[str, Any], found: Answers) -> None:
    """Fit temperature and class shares to the final answers; the card's figures of them."""
    document["temperature"] = fit_temperature(found.logits, found.truth)
    shares = softmax(found.logits / document["temperature"]).mean(axis=0)
    ids = [label["id"] for label in document["label_set"]["labels"]]
    document["class_shares"] = {i: round(float(v), 4) for i, v in zip(ids, shares, strict=True)}
    hits = found.logits.argmax(axis=1) == found.truth
    document["training"]["shipped"] = {"images": len(hits), "top1": round(float(hits.mean()), 6)}


def taken_over(document: dict[str, Any], old: Path) -> None:
    """What does not come with weights, from the bundle that is replaced.

    Raises:
        SystemExit: A file other than the image tower differs.
    """
    before = json.loads((old / "bundle.json").read_text(encoding="utf-8"))
    for key in ("deblur", "mirror", "detector_framing"):
        if key in before["preprocessing"]:
            document["preprocessing"][key] = before["preprocessing"][key]
    ours, theirs = ({**d["checksums"], "image.onnx": ""} for d in (document, before))
    differing = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    if differing:
        raise SystemExit(
            f"{', '.join(differing)}: not those of {old}; words and prompts would move"
        )


def side_by_side(new: Answers, old: Answers) -> str:
    """Paired change of top-1, and whether embeddings still mean the same."""
    hits = [(a.logits.argmax(axis=1) == a.truth).astype(float) for a in (new, old)]
    change = hits[0] - hits[1]
    half = 1.96 * float(change.std(ddof=1)) / len(change) ** 0.5
    near = (new.vectors * old.vectors).sum(axis=1)
    return (
        f"validation, {len(change):,} images: top-1 {hits[0].mean():.4f}, before "
        f"{hits[1].mean():.4f}, change {100 * change.mean():+.2f} "
        f"[{100 * (change.mean() - half):+.2f}, {100 * (change.mean() + half):+.2f}] points; "
        f"cosine of new and old embeddings: median {np.median(near):.3f}, lowest {near.min():.3f}"
    )


def words_section(folder: Path) -> str:
    """The card's section on words, which their own fit wrote; '' without one."""
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, found, rest = card.partition("\n## What people say\n")
    return f"{found}{rest.partition(chr(10) + '## ')[0]}" if found else ""


def write_document(folder: Path, document: dict[str, Any]) -> None:
    """Write `bundle.json`."""
    text = json.dumps(sealed_document(document), ensure_ascii=False, indent=2) + "\n"
    (folder / "bundle.json").write_text(text, encoding="utf-8")


def main() -> int:
    """Copy, complete and print what was shipped."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("name")
    parser.add_argument("--like", help="the bundle that is replaced: a folder or a shipped name")
    parser.add_argument("--evaluation", action="append", default=[], metavar="TRUTH=EVAL")
    parser.add_argument("--beyond", type=Path, metavar="TABLE")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--calibrate", type=Path, metavar="DATA")
    parser.add_argument("--sources", default=SOURCES, help="of the faces, for the licence")
    arguments = parser.parse_args()
    inside = "/" not in arguments.name
    target = BUNDLES / arguments.name if inside else Path(arguments.name)
    like = None if arguments.like is None else find_bundle(arguments.like)
    document = json.loads((arguments.bundle / "bundle.json").read_text(encoding="utf-8"))
    document["name"] = target.name
    document["statement"] = STATEMENT
    document["preprocessing"]["detector_framing"] = DETECTOR_FRAMING
    document["licence"]["trained_weights"] = LICENCE_NAME
    for rewritten in ("MODEL_CARD.md", "LICENSE"):
        document["checksums"].pop(rewritten, None)
    if like is not None:
        taken_over(document, like)
    if arguments.mirror:
        document["preprocessing"]["mirror"] = True
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(arguments.bundle, partial)
    write_document(partial, document)
    if arguments.calibrate is not None:
        found = answers(partial, arguments.calibrate, temperature=1.0)
        calibrated(document, found)
        write_document(partial, document)
        if like is not None:
            print(side_by_side(found, answers(like, arguments.calibrate)))
    evaluations = {t: Path(p) for t, _, p in (e.partition("=") for e in arguments.evaluation)}
    figures = results_table(evaluations) + "\n" if evaluations else ""
    figures += beyond_section(arguments.beyond)
    write_card(partial, document, figures, words_section(like or arguments.bundle))
    licence = LICENCE.format(sources=arguments.sources) + voice_licence(document)
    (partial / "LICENSE").write_text(licence, encoding="utf-8")
    load_bundle(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    size = sum(p.stat().st_size for p in target.iterdir()) / 1e6
    print(f"{target.name}: {size:.1f} MB\n{results_table(evaluations) if evaluations else ''}")
    return 0


def write_card(folder: Path, document: dict[str, Any], figures: str, words: str) -> None:
    """The card: from the document, then figures, limits, words and voice."""
    shipped = document["training"].get("shipped") or {"images": 2659, "top1": 0.856}
    limits = LIMITS.format(chosen_on=f"{shipped['images']:,}", selected=f"{shipped['top1']:.1%}")
    card = model_card(document) + "\n"
    card += f"{figures}## Limits\n\n{limits}\n{words}{voice_card(document)}"
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
