"""Let the image tower of a bundle learn on from two sources of faces, guided by itself.

    python scripts/train_wider.py FACES --run RUN [--minutes 90] [--steps 4000]
    python scripts/train_wider.py FACES --run RUN --export OUT --start 0.3
    python scripts/train_wider.py FACES --run RUN --export OUT --mix '0.6*RUN:800,1200+0.4*start'
    python scripts/ship_bundle.py OUT OUT2/fer7-lite --like fer7-lite --mirror --calibrate FERPLUS

`--mix` is a mean of averages that runs kept, also of other runs than RUN, whose settings the export
notes; which mean is best is read from `benchmarks/wider_faces.py --mix` on the validation parts.

`FACES` is the joined table of `faces_web_table.py --join`, prepared (docs/results.md). Run it again
to go on where it stopped. What differs from `nunbit train --recipe fer7-lite-wider`:

* A batch has a fixed share of faces of known persons. Their classes are drawn by `WEB_SHARES`, then
  a person of the class, then one of the person's pictures: what source a face has says nothing of
  its class, and no person counts more than another.
* Targets are mixed with what the bundle itself says of the unchanged picture (mirror averaged), and
  doubt about a single label is spread over all classes by that.
* The embedding of a changed picture is drawn to the bundle's embedding of the unchanged one, so
  that prompts that no class has keep what they mean.
* A part of the pictures is blurred, by up to `BLUR_PX`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn

from nunbit.datasets.policies import vote_distributions
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import find_bundle
from nunbit.model.encoders import Bundle, load_bundle, resize_crop, standardise
from nunbit.model.zeroshot import normalise
from nunbit.training.augmentation import augment
from nunbit.training.bundle_start import folded_weights, load_on_bundle, mixture
from nunbit.training.data import crop_document, dataset_hash
from nunbit.training.export import PARITY_IMAGES, SHARE_IMAGES, BundleContent, write_bundle
from nunbit.training.networks import load_start
from nunbit.training.settings import TrainSettings

# Of faces whose person is known, by class: joy, surprise, anger, fear, disgust, sadness, neutral.
# Fear has 8 pictures and disgust a few persons.
WEB_SHARES = (0.19, 0.19, 0.18, 0.01, 0.06, 0.18, 0.19)
BLUR_PX = (0.6, 2.6)
SIDE = 48.0
# Options that say where something lies on a machine: no export names them.
_PLACES = ("faces", "run", "export", "init", "mix")

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Source:
    """Faces of one source: (N, S, S, 3) crops, (N, K) targets, (N, D) the bundle's embeddings."""

    crops: Pixels
    targets: Floats
    guides: Floats
    labels: NDArray[np.int64]
    persons: list[str]


def read_sources(
    data: DataSet, bundle: Bundle, prompts: Floats, options: argparse.Namespace
) -> tuple[Source, Source]:
    """Training faces without and with known persons."""
    rows = data.split_rows("train")
    votes, subjects = data.column("votes"), data.column("subject_id")
    shares = vote_distributions([votes[row] for row in rows], data.label_set.ids)
    known = ~np.isnan(shares[:, 0])
    rows, shares = rows[known], shares[known].astype(np.float32)
    crops = np.stack([resize_crop(data.pixels(int(r)), bundle.preprocessing) for r in rows])
    guides = embedded(bundle, crops, Path(options.run) / "guides.npy")
    logits = guides @ prompts.T * (bundle.logit_scale / bundle.temperature)
    said = torch.softmax(torch.from_numpy(logits), 1).numpy()
    persons = [subjects[row] or "" for row in rows]
    web = np.array([bool(p) for p in persons])
    parts = []
    for chosen, trust in ((~web, options.trust), (web, options.web_trust)):
        own = shares[chosen]
        labels = own.argmax(1)
        if chosen is web:
            own = np.eye(own.shape[1], dtype=np.float32)[labels]
        mixed = (1 - trust) * own + trust * said[chosen]
        kept = [p for p, c in zip(persons, chosen, strict=True) if c]
        parts.append(Source(crops[chosen], mixed, guides[chosen], labels, kept))
    return parts[0], parts[1]


def embedded(bundle: Bundle, crops: Pixels, cache: Path) -> Floats:
    """(N, D) unit embeddings by the bundle, mirror averaged."""
    if cache.exists():
        found: Floats = np.load(cache)
        return found
    vectors = np.concatenate(
        [bundle.embed_images(crops[i : i + 256]) for i in range(0, len(crops), 256)]
    )
    np.save(cache, vectors)
    return vectors


class Draws:
    """Which faces a step has, and how they are changed: a function of the seed and the step."""

    def __init__(self, fer: Source, web: Source, options: argparse.Namespace) -> None:
        self._fer, self._web, self._options = fer, web, options
        self._settings = replace(
            TrainSettings(),
            grey=True, rotate=15.0, zoom=0.1, shift=0.05, brightness=0.3, contrast=0.3,
            erase=0.1, degrade=options.degrade, blur=0.0, occlude=options.occlude,
        )  # fmt: skip
        by_class: list[dict[str, list[int]]] = [{} for _ in WEB_SHARES]
        for row, (label, person) in enumerate(zip(web.labels, web.persons, strict=True)):
            by_class[label].setdefault(person, []).append(row)
        self._by_class = [list(persons.values()) for persons in by_class]

    def step(self, step: int) -> tuple[Pixels, Floats, Floats]:
        """Crops (B, S, S, 3), targets (B, K) and guides (B, D)."""
        options = self._options
        draw = np.random.default_rng([options.seed, step])
        count = options.batch - options.web
        each = len(self._fer.crops) // count
        order = np.random.default_rng([options.seed, 10**6 + step // each])
        own = order.permutation(len(self._fer.crops))[step % each * count :][:count]
        classes = draw.choice(len(WEB_SHARES), options.web, p=WEB_SHARES)
        other = []
        for c in classes:
            persons = self._by_class[c]
            pictures = persons[int(draw.integers(len(persons)))]
            other.append(pictures[int(draw.integers(len(pictures)))])
        parts = [(self._fer, own), (self._web, np.array(other, np.int64))]
        crops = np.concatenate([s.crops[k] for s, k in parts])
        changed = np.stack([self._change(crop, draw) for crop in crops])
        targets = np.concatenate([s.targets[k] for s, k in parts])
        return changed, targets, np.concatenate([s.guides[k] for s, k in parts])

    def _change(self, crop: Pixels, draw: np.random.Generator) -> Pixels:
        crop = augment(crop, self._settings, draw)
        happens, strength = draw.random(2)
        if happens < self._options.blur:
            spread = BLUR_PX[0] + strength * (BLUR_PX[1] - BLUR_PX[0])
            blur = ImageFilter.GaussianBlur(float(spread * crop.shape[0] / SIDE))
            crop = np.asarray(Image.fromarray(np.ascontiguousarray(crop)).filter(blur))
        return crop


def loss_of(
    vectors: Tensor, prompts: Tensor, targets: Tensor, guides: Tensor, options: Any
) -> Tensor:
    """Cross-entropy with the targets, and the distance from the guides."""
    logits = vectors @ prompts.T * options.scale
    weight = torch.ones(len(vectors))
    weight[-options.web :] = options.web_weight
    each = -(targets * torch.log_softmax(logits, 1)).sum(1)
    apart = 1 - (vectors * guides).sum(1)
    # Faces of known persons are where the bundle errs: they are not held to it.
    apart[-options.web :] *= 0.3
    return (weight * each).sum() / weight.sum() + options.hold * apart.mean()


def main() -> int:
    """Train until the time or the steps are over; keep the average of the weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--bundle", default="fer7-lite")
    parser.add_argument("--export", type=Path, help="write the bundle of RUN's last average")
    parser.add_argument("--init", help="weights to begin with: average-N.pt, or a mean like --mix")
    parser.add_argument("--constant", action="store_true", help="the rate does not fall")
    parser.add_argument("--start", type=float, default=0.0, help="share of the bundle's weights")
    parser.add_argument("--mix", help="weights to export, as SHARE*RUN:STEPS+…+SHARE*start")
    for name, value in (("steps", 4000), ("batch", 64), ("web", 16), ("seed", 0), ("keep", 250)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, number in (
        *(("lr", 2e-4), ("decay", 0.02), ("ema", 0.998), ("minutes", 600.0), ("blur", 0.4)),
        *(("degrade", 0.2), ("occlude", 0.1), ("trust", 0.4), ("web-trust", 0.25)),
        *(("hold", 2.0), ("web-weight", 1.0)),
    ):
        parser.add_argument(f"--{name}", type=float, default=number)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.export is not None:
        export(options)
        return 0
    options.run.mkdir(parents=True, exist_ok=True)
    folder = find_bundle(options.bundle)
    bundle = load_bundle(folder, threads=1)
    templates = load_template_set(bundle.default_template_set)
    prompts = normalise(bundle.prompt_embeddings(templates, bundle.label_set).mean(axis=0))
    options.scale = bundle.logit_scale / bundle.temperature
    fer, web = read_sources(open_dataset(options.faces), bundle, prompts, options)
    if options.steps == 0:
        return 0
    print(f"{len(fer.labels):,} faces, {len(web.labels):,} of known persons", flush=True)
    train(Draws(fer, web, options), load_on_bundle(folder)[0].image, prompts, options)
    return 0


def export(options: argparse.Namespace) -> None:
    """The bundle of a mean of averages, mixed with the weights that the run began with."""
    data, folder = open_dataset(options.faces), find_bundle(options.bundle)
    templates = load_template_set(load_bundle(folder).default_template_set)
    settings = replace(
        TrainSettings(), init=options.bundle, grey=True, image_size="auto", prompts=templates.name
    )
    network, settings = load_start(settings, data.label_set, templates, crop_document(data))
    parts = options.run.glob("average-*.pt")
    last = max(parts, key=lambda path: int(path.stem.rpartition("-")[2]))
    step = int(last.stem.rpartition("-")[2])
    mix = options.mix or f"{1 - options.start}*{options.run}:{step}+{options.start}*start"
    start = folded_weights(folder, network.model.image)
    network.model.image.load_state_dict(mixture(mix, start))
    rows = data.split_rows("validation")
    label = data.column("uploader_label")
    rows = np.array([r for r in rows if label[r] in data.label_set.ids and _anonymous(data, r)])
    rows = rows[np.linspace(0, len(rows) - 1, SHARE_IMAGES).astype(np.int64)]
    crops = np.stack([data.pixels(int(row)) for row in rows])
    said = json.loads((options.run / "options.json").read_text(encoding="utf-8"))
    train_rows = data.split_rows("train")
    content = BundleContent(
        network=network,
        label_set=data.label_set,
        template_set=templates,
        temperature=load_bundle(folder).temperature,
        training={
            "settings": {k: v for k, v in said.items() if k not in _PLACES},
            "step": step,
            "mean_of": "+".join(_short(term) for term in mix.split("+")),
            "selection": {},
        },
        training_data={
            "source": "table",
            "label_set": data.label_set.name,
            "policy": "votes",
            "train_images": len(train_rows),
            "choosing_images": len(data.split_rows("validation")),
            "choosing_from": "validation",
            "sha256": dataset_hash(data.path),
        },
        start=folder,
    )
    batches = np.array_split(crops, -(-len(crops) // 64))
    document = write_bundle(content, options.export, crops[:PARITY_IMAGES], "validation", batches)
    print(document["parity"], document["class_shares"])


def _short(term: str) -> str:
    """A term of a mean with the run's name in place of its folder."""
    share, _, source = term.strip().partition("*")
    return f"{share}*{Path(source).name}"


def _anonymous(data: DataSet, row: Any) -> bool:
    return not data.column("subject_id")[row]


def train(draws: Draws, tower: nn.Module, prompts: Floats, options: argparse.Namespace) -> None:
    """The loop; ``state.pt`` holds everything to go on."""
    if options.init is not None:
        begun = "*" in options.init
        own = tower.state_dict()
        tower.load_state_dict(mixture(options.init, own) if begun else torch.load(options.init))
    settings = {k: str(v) for k, v in vars(options).items()}
    (options.run / "options.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    tower = tower.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = {k: v.detach().clone() for k, v in tower.state_dict().items()}
    optimizer = torch.optim.AdamW(
        tower.parameters(), options.lr, (0.9, 0.98), weight_decay=options.decay
    )
    state, first, used = options.run / "state.pt", 0, 0.0
    if state.exists():
        held = torch.load(state, weights_only=False)  # this script wrote it
        tower.load_state_dict(held["tower"])
        optimizer.load_state_dict(held["optimizer"])
        average, first, used = held["average"], held["step"], held["seconds"]
    pre = load_bundle(find_bundle(options.bundle), threads=1).preprocessing
    texts, seen = torch.from_numpy(prompts.astype(np.float32)), 0.0
    began = time.time() - used
    for step in range(first, options.steps):
        spent = (time.time() - began) / (60 * options.minutes)
        warm, at = min(1.0, (step + 1) / 60), min(1.0, max(step / options.steps, spent))
        fall = 1.0 if options.constant else 0.5 * (1 + np.cos(np.pi * at))
        rate = float(options.lr * warm * fall)
        for group in optimizer.param_groups:
            group["lr"] = rate
        crops, targets, guides = draws.step(step)
        pixels = torch.from_numpy(standardise(crops, pre)).contiguous(
            memory_format=torch.channels_last
        )
        vectors = nn.functional.normalize(tower(pixels), dim=1)
        loss = loss_of(vectors, texts, *map(torch.from_numpy, (targets, guides)), options)  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        beta = min(options.ema, (step + 1) / (step + 10))
        for name, value in tower.state_dict().items():
            average[name].lerp_(value, 1 - beta)
        seen = loss.item() if step == first else 0.98 * seen + 0.02 * loss.item()
        done = step + 1
        late = spent >= 1
        if done % 25 == 0:
            speed = done * options.batch / (time.time() - began)
            print(f"step {done}/{options.steps}, {speed:.1f} img/s, loss {seen:.4f}", flush=True)
        if done % options.keep == 0 or done == options.steps or late:
            torch.save(average, options.run / f"average-{done}.pt")
            torch.save({"tower": tower.state_dict(), "optimizer": optimizer.state_dict(),
                        "average": average, "step": done,
                        "seconds": time.time() - began}, state)  # fmt: skip
        if late:
            break


if __name__ == "__main__":
    sys.exit(main())
