"""Fit the text projection of a finished run to sentences that people wrote, and measure it.

    python scripts/fit_text.py RUN DATA KOTE.csv --out RUN2 [--share 1] [--test]
    nunbit export RUN2 --out BUNDLE

The run's text encoder must be locked (`text_lr = 0`). Fits on KOTE's part `val` (less a tenth that
is printed) and DATA's train split. Prints accuracy on DATA's validation split by templates and by
the frozen paraphrases, and the sentences' macro-F1 beside the run before this stage, the untouched
encoder and TF-IDF + logistic regression. `--test` adds KOTE's part `test`, once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nunbit.comments import Comments, read_kote
from nunbit.descriptions import load_descriptions
from nunbit.encoders import tokenise
from nunbit.evaluate.rows import truth_of
from nunbit.labels import LabelSet
from nunbit.metrics import confusion_matrix, macro_f1
from nunbit.paraphrases import load_paraphrases
from nunbit.prompts import prompts_for
from nunbit.shards import open_dataset
from nunbit.training.checkpoints import BEST, load_final, save_weights
from nunbit.training.data import select_rows
from nunbit.training.export import torch_embed_images
from nunbit.training.network import Network, load_network
from nunbit.training.runfolder import RunFolder, label_set_of, template_set_of
from nunbit.training.text_stage import FittedText, ImageSide, StageSettings, TextSide, fit_text
from nunbit.zeroshot import normalise

Array = np.ndarray[Any, Any]


def features(network: Network, texts: list[str]) -> Array:
    """(M, F) pooled features before the projection, short texts together."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: dict[int, Array] = {}
    with torch.no_grad():
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            ids, mask = tokenise(network.tokenizer, [texts[i] for i in part], None)
            limit = network.max_tokens
            ids, mask = ids[:, :limit], mask[:, :limit]
            pooled = network.model.text._pool(torch.from_numpy(ids), torch.from_numpy(mask))
            rows |= dict(zip(part, pooled.numpy(), strict=True))
    return np.stack([rows[i] for i in range(len(texts))])


def project(rows: Array, text: FittedText) -> Array:
    """Unit embeddings of text features."""
    return normalise(rows @ text.weight.T + text.bias)


def sentence_f1(rows: Array, classes: Array, comments: Comments) -> float:
    """Macro-F1 of the nearest class, over comments with one main emotion."""
    truth = comments.truth
    keep = truth >= 0
    guess = (rows @ classes.T).argmax(axis=1)
    matrix = confusion_matrix(truth[keep], guess[keep].astype(np.int64), len(classes))
    return float(macro_f1(matrix))


def tfidf_f1(train: Comments, test: Comments) -> float:
    """Character n-grams and logistic regression, trained on the same comments."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    keep, held = train.truth >= 0, test.truth >= 0
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    x = vectoriser.fit_transform([t for t, k in zip(train.texts, keep, strict=True) if k])
    model = LogisticRegression(max_iter=1000, C=4.0, class_weight="balanced")
    model.fit(x, train.truth[keep])
    asked = vectoriser.transform([t for t, k in zip(test.texts, held, strict=True) if k])
    k = train.targets.shape[1]
    return float(macro_f1(confusion_matrix(test.truth[held], model.predict(asked), k)))


def part_of(comments: Comments, rows: Array) -> Comments:
    """Some comments."""
    return Comments(tuple(comments.texts[i] for i in rows), comments.targets[rows])


def image_side(
    network: Network, run: RunFolder, data: Path, scratch: Path
) -> tuple[ImageSide, Array, Array]:
    """Embeddings of the training images, and those of the validation images with their truth."""
    settings, dataset = run.settings(), open_dataset(data)
    chosen = select_rows(dataset, settings)
    rows = dataset.split_rows("validation")
    truth = truth_of(dataset, rows, "uploader")
    rows, truth = rows[truth >= 0], truth[truth >= 0]
    store = scratch / "image-vectors.npz"
    if store.is_file():
        stored = np.load(store)
        vectors, held = stored["train"], stored["held"]
    else:
        vectors, held = (
            np.concatenate(
                [
                    torch_embed_images(network, np.stack([dataset.pixels(int(r)) for r in part]))
                    for part in np.array_split(some, max(1, len(some) // 512))
                ]
            )
            for some in (chosen.rows, rows)
        )
        np.savez(store, train=vectors, held=held)
    counts = np.bincount(chosen.labels, minlength=chosen.targets.shape[1])
    prior = (counts / counts.mean()) ** settings.logit_adjustment
    scale = float(network.model.logit_scale.detach())
    side = ImageSide(vectors, chosen.targets, scale, prior.astype(np.float32))
    return side, held, truth


def report(
    text: FittedText, caption_rows: Array, label_set: LabelSet, held: Array, truth: Array, kit: Any
) -> dict[str, float]:
    """Accuracy on the validation images by templates and by frozen paraphrases."""
    k = len(label_set.labels)
    own = np.arange(len(caption_rows)) % k

    def classes(rows: Array, member: Array) -> Array:
        unit = project(rows, text)
        return normalise(np.stack([unit[member == c].mean(axis=0) for c in range(k)]))

    prompts = classes(caption_rows, own)
    found = {"templates": float(((held @ prompts.T).argmax(1) == truth).mean())}
    for lang in ("ko", "en"):
        texts, member = kit[lang]
        means = classes(texts, member)
        found[f"paraphrases_{lang}"] = float(((held @ means.T).argmax(1) == truth).mean())
        # Each paraphrase of a class against the same-numbered one of the others.
        singles = []
        unit = project(texts, text)
        for i in range(min(np.bincount(member))):
            rows = np.stack([unit[member == c][i] for c in range(k)])
            singles.append(float(((held @ rows.T).argmax(1) == truth).mean()))
        found[f"one_paraphrase_{lang}"] = float(np.mean(singles))
    return found


def main() -> int:
    """Fit, measure, write RUN2."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("kote", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--descriptions", help="default: those of the run")
    parser.add_argument("--test", action="store_true")
    a = parser.parse_args()
    run = RunFolder(a.run)
    document = run.read()
    label_set, templates = label_set_of(document, a.run), template_set_of(document, a.run)
    network = load_network(a.run)
    final = load_final(run.checkpoints)
    network.model.load_state_dict(final["model"])
    network.model.eval()
    a.out.mkdir(parents=True, exist_ok=True)
    images, held, truth = image_side(network, run, a.data, a.out)

    fit_on = read_kote(a.kote, "val", label_set)
    shuffled = np.random.default_rng(0).permutation(len(fit_on.texts))
    aside = part_of(fit_on, shuffled[: len(shuffled) // 10])
    fit_on = part_of(fit_on, shuffled[len(shuffled) // 10 :])
    test = read_kote(a.kote, "test", label_set) if a.test else None
    rows = prompts_for(templates, label_set)
    captions = [t for row in rows for t in row]
    n_prompts = len(captions)
    if descriptions := a.descriptions or run.settings().descriptions:
        described = load_descriptions(descriptions, label_set)
        captions += [t for row in zip(*described, strict=True) for t in row]
    caption_rows = features(network, captions)
    kit = {}
    for lang in ("ko", "en"):
        pairs = load_paraphrases(label_set.name).texts(lang)
        member = np.array([label_set.index(label) for label, _ in pairs])
        kit[lang] = (features(network, [t for _, t in pairs]), member)
    sets = {"aside": aside} | ({"test": test} if test else {})
    store = a.out / "sentence-features.npz"
    stored = dict(np.load(store)) if store.is_file() else {}
    for name, comments in {"fit": fit_on, **sets}.items():
        if name not in stored:
            stored[name] = features(network, list(comments.texts))
    np.savez(store, **stored)

    layer = network.model.text.projection
    before = FittedText(layer.weight.detach().numpy(), layer.bias.detach().numpy(), 1.0)
    k = len(label_set.labels)
    side = TextSide(
        caption_rows, np.arange(len(captions)) % k, n_prompts, stored["fit"], fit_on.targets
    )
    after = fit_text(layer, images, side, StageSettings(share=a.share))
    untouched = normalise(caption_rows[:n_prompts])
    raw = normalise(np.stack([untouched[c::k].mean(axis=0) for c in range(k)]))
    result: dict[str, Any] = {"share": a.share, "sentence_scale": after.sentence_scale}
    for name, text in (("before", before), ("after", after)):
        result[name] = report(text, caption_rows[:n_prompts], label_set, held, truth, kit)
        unit = project(caption_rows[:n_prompts], text)
        means = normalise(np.stack([unit[c::k].mean(axis=0) for c in range(k)]))
        for key, comments in sets.items():
            f1 = sentence_f1(project(stored[key], text), means, comments)
            result[name][f"sentences_{key}_macro_f1"] = f1
    for key, comments in sets.items():
        result[f"sentences_{key}_untouched_encoder"] = sentence_f1(
            normalise(stored[key]), raw, comments
        )
        result[f"sentences_{key}_tfidf"] = tfidf_f1(fit_on, comments)
    for path in a.run.iterdir():
        if path.is_file() and not path.name.startswith("events"):
            shutil.copy2(path, a.out / path.name)
    state = {key: value.clone() for key, value in network.model.state_dict().items()}
    state["text.projection.weight"] = torch.from_numpy(after.weight)
    state["text.projection.bias"] = torch.from_numpy(after.bias)
    (a.out / "checkpoints").mkdir(exist_ok=True)
    save_weights(a.out / "checkpoints", BEST, final | {"model": state})
    emotion = {
        "languages": ["ko"],
        "logit_scale": after.sentence_scale,
        "temperature": 1.0,
        "fitted_on": "KOTE, part val: Korean comments",
    }
    (a.out / "text_emotion.json").write_text(json.dumps(emotion, indent=2), encoding="utf-8")
    (a.out / "text_stage.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
