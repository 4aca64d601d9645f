"""Faces beyond FER2013: the shipped model, peers, and what ``nunbit adapt`` makes of it.

python benchmarks/beyond.py [--sets ferplus_validation,faces_web_validation]
    [--bundle [NAME=]FOLDER …] [--draws 200] [--cache FOLDER] [--peers-env FOLDER]
    [--classifier RUN …]

Needs ``NUNBIT_DATA``. Sets: ``ferplus_validation``, ``ferplus_test`` (both policies: the class with
most votes, and that with five of ten), ``faces_web_validation``, ``faces_web_test`` (the persons of
``faces_web_persons.csv``; the shipped model learned from the others), ``faces_web`` (all), and,
report only and never to choose on, ``ck48`` and ``mead`` (eight frames a clip). Every person weighs
the same (FER+ names none: images do); intervals draw persons. ``adapt`` is run on 5 and 10 labelled
persons drawn at random (of those with five pictures or more; not on FER+, nor on the three persons
of mead) and judged on all others, 200 draws; where it refuses to write, the model stays
as it is. ``--classifier`` is the folder of
``nunbit train --baseline efficientnet`` or ``resnet``: the project's own classifiers, which need
the extra ``train``. Several bundles are set beside the first, with paired differences. Embeddings
and draws are kept in ``--cache``, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit import statistics
from nunbit.language.labels import LabelSet
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import BUNDLE_FILE, find_bundle
from nunbit.model.encoders import Bundle, load_bundle, resize_crop, standardise
from nunbit.model.posterior import Posterior, carried_shares
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.pictures.faces import detect_faces, frame_face, framing_of
from nunbit.statistics.remapping import centred_logs, softmax
from nunbit.stories.adapt.choice import FORMS, OF_NEUTRAL, Labelled, helps, judge
from nunbit.stories.adapt.labelled_faces import neutral_of_others

REPORT_ONLY = ("ck48", "mead")
SETS = ("ferplus_validation", "faces_web_validation")
SIZES = (5, 10)
RESAMPLES, SEED = 2_000, 0
FEWEST_IMAGES = 5  # of a person that is drawn: who labels persons labels several pictures of each
FRAMES = 8  # of a clip

VOTES = ("happiness", "surprise", "anger", "fear", "disgust", "sadness", "neutral")
NO_CLASS = ("contempt", "unknown", "NF")
SPELLINGS = {
    "joy": "joy", "happy": "joy", "surprise": "surprise", "surprised": "surprise",
    "anger": "anger", "angry": "anger", "fear": "fear", "disgust": "disgust",
    "disgusted": "disgust", "sadness": "sadness", "sad": "sadness", "neutral": "neutral",
}  # fmt: skip

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Faces:
    """A labelled set.

    Attributes:
        name: Of the set.
        crops: N face crops, each (H, W, 3).
        truth: (N,) classes.
        person: (N,) codes; an image of an unknown person has a code of its own.
        knows_persons: Whether they are persons.
        majority: (N,) where one class has five votes or more; None without votes.
    """

    name: str
    crops: list[NDArray[np.uint8]]
    truth: Codes
    person: Codes
    knows_persons: bool
    majority: NDArray[np.bool_] | None = None


# -- the sets --------------------------------------------------------------------------------------


def read_set(name: str, data: Path, labels: LabelSet, bundle: Bundle) -> Faces:
    """A set by name."""
    if name.startswith("ferplus_"):
        return _ferplus(name, data / "fer2013", labels)
    if name == "mead":
        return _mead(data / "video", labels, bundle)
    folder, part = ("faces_web", name[10:]) if name.startswith("faces_web_") else (name, "")
    kept = _persons(part)
    rows = [
        row
        for row in csv.DictReader((data / folder / "labels.csv").open(encoding="utf-8"))
        if row["label"] in SPELLINGS and (not part or row["person"] in kept)
    ]
    crops = list(_pictures(data / folder / "faces.zip", [row["file"] for row in rows]))
    truth = np.array([labels.index(SPELLINGS[row["label"]]) for row in rows], np.int64)
    return Faces(name, crops, truth, _codes([row["person"] for row in rows]), True)


def _persons(part: str) -> set[str]:
    listed = Path(__file__).with_name("faces_web_persons.csv").open(encoding="utf-8")
    return {row["person"] for row in csv.DictReader(listed) if row["part"] == part}


def _ferplus(name: str, folder: Path, labels: LabelSet) -> Faces:
    split = name.removeprefix("ferplus_")
    usage = {"validation": "PublicTest", "test": "PrivateTest"}[split]
    files, truth, majority = [], [], []
    for row in csv.DictReader((folder / "labels.csv").open(encoding="utf-8")):
        if row["usage"] != usage or not row["ferplus_neutral"]:
            continue
        votes = np.array([int(row[f"ferplus_{k}"]) for k in (*VOTES, *NO_CLASS)])
        top = int(votes.argmax())
        if top >= len(VOTES) or (votes == votes[top]).sum() > 1:
            continue
        files.append(row["file"])
        truth.append(labels.index(("joy", *VOTES[1:])[top]))
        majority.append(votes[top] >= 5)
    crops = list(_pictures(folder / f"{split}.zip", files))
    persons = np.arange(len(files))
    return Faces(name, crops, np.array(truth), persons, False, np.array(majority))


def _mead(folder: Path, labels: LabelSet, bundle: Bundle) -> Faces:
    """Frames of acted clips; the person code says the clip, its person stands before the dot."""
    import av

    framing = framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))
    crops, truth, person = [], [], []
    for row in csv.DictReader((folder / "clips.csv").open(encoding="utf-8")):
        if row["source"] != "mead" or row["emotion"] not in SPELLINGS:
            continue
        with av.open(str(folder / row["file"].removeprefix("video/"))) as media:
            frames = [frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)]
        for at in np.linspace(0.2 * len(frames), 0.9 * len(frames) - 1, FRAMES).astype(int):
            found = detect_faces(frames[at])
            if found:
                crops.append(frame_face(frames[at], found[0].box_xyxy, framing))
                truth.append(labels.index(SPELLINGS[row["emotion"]]))
                person.append(f"{row['person']}.{row['file']}")
    return Faces("mead", crops, np.array(truth), _codes(person, by=lambda p: p.split(".")[0]), True)


def _pictures(archive: Path, files: list[str]) -> Iterator[NDArray[np.uint8]]:
    with zipfile.ZipFile(archive) as zipped:
        names = {Path(name).name: name for name in zipped.namelist()}
        for file in files:
            data = zipped.read(names[Path(file).name])
            yield np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _codes(keys: list[str], by: Callable[[str], str] = str) -> Codes:
    return np.unique([by(key) for key in keys], return_inverse=True)[1].astype(np.int64)


# -- answers ---------------------------------------------------------------------------------------


def raw_answers(bundle: Bundle, faces: Faces, cache: Path) -> NDArray[np.float32]:
    """(N, K) probabilities of the bundle, kept under its hash."""
    path = cache / f"{bundle.hash[:16]}-{faces.name}.npy"
    if path.is_file():
        return np.asarray(np.load(path))
    prompts = bundle.prompt_embeddings(
        load_template_set(bundle.default_template_set), bundle.label_set
    )
    rows = []
    for crop_group in _grouped(faces.crops, 64):
        cosines = ensemble_cosines(bundle.embed_images(crop_group), prompts, "mean_embedding")
        rows.append(probabilities(cosines, bundle.logit_scale, bundle.temperature))
    found = np.concatenate(rows)
    np.save(path, found)
    return found


def _grouped(crops: list[NDArray[np.uint8]], n: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(crops), n):
        yield np.stack(crops[start : start + n])


SCORES = (
    ("top1", statistics.top1),
    ("uar", statistics.uar),
    ("macro_f1", statistics.macro_f1),
)


def scores(
    answers: Codes, faces: Faces, rows: NDArray[np.bool_], k: int, before: Codes | None = None
) -> dict[str, Any]:
    """Top-1 and mean recall, every person weighing the same, with intervals by persons.

    With ``before``, the paired differences from those answers.
    """
    person = np.unique(faces.person[rows], return_inverse=True)[1]
    weights = (1.0 / np.bincount(person))[person]
    truth = faces.truth[rows]
    entries = {"c": statistics.Additive(truth * k + answers[rows], k * k, weights)}
    if before is not None:
        entries["b"] = statistics.Additive(truth * k + before[rows], k * k, weights)
    drawn = statistics.resample(entries, person, n_resamples=RESAMPLES, seed=SEED)
    found: dict[str, Any] = {"n": int(rows.sum()), "persons": int(person.max()) + 1}
    for name, score in SCORES:
        value = {e: float(score(entry.total().reshape(k, k))) for e, entry in entries.items()}
        each = {e: score(drawn[e].reshape(-1, k, k)) for e in entries}
        paired = before is not None
        found[name] = value["c"] - value["b"] if paired else value["c"]
        found[f"{name}_ci95"] = statistics.interval(each["c"] - each["b"] if paired else each["c"])
    return found


def plain_scores(
    answers: Codes, faces: Faces, rows: NDArray[np.bool_], k: int
) -> tuple[float, ...]:
    """Top-1 and mean recall of some rows, persons alike."""
    person = np.unique(faces.person[rows], return_inverse=True)[1]
    weights = (1.0 / np.bincount(person))[person]
    cells = statistics.Additive(faces.truth[rows] * k + answers[rows], k * k, weights).total()
    matrix = cells.reshape(k, k)
    return float(statistics.top1(matrix)), float(statistics.uar(matrix))


def allowed(raw: NDArray[Any], faces: Faces, *, forced: bool) -> Codes:
    """Answers; ``forced``: among the classes that the set has."""
    known = np.unique(faces.truth) if forced else np.arange(raw.shape[1])
    answers: Codes = known[np.asarray(raw)[:, known].argmax(axis=1)]
    return answers


# -- adapt -----------------------------------------------------------------------------------------


def adapted(
    raw: NDArray[np.float32], faces: Faces, size: int, neutral_at: int, n_draws: int, cache: Path
) -> list[dict[str, Any]]:
    """Draws: a few labelled persons, judged on all others."""
    rng = np.random.default_rng([SEED, size])
    x = centred_logs(raw)
    x0 = neutral_of_others(x, faces.truth, faces.person, neutral_at)
    counts = np.bincount(faces.person)
    pool = np.flatnonzero(counts >= FEWEST_IMAGES)
    done = json.loads(cache.read_text()) if cache.is_file() else []
    for draw in range(n_draws):
        chosen = rng.choice(pool, size, replace=False)
        if draw < len(done):
            continue
        inside = np.isin(faces.person, chosen)
        done.append(_one(x, x0, faces, inside, raw.shape[1], draw))
        if draw % 10 == 9 or draw == n_draws - 1:
            cache.write_text(json.dumps(done))
            print(f"  {faces.name}, {size} persons: {draw + 1} draws", file=sys.stderr, flush=True)
    return done[:n_draws]


def _one(
    x: Floats, x0: Floats, faces: Faces, inside: NDArray[np.bool_], k: int, seed: int
) -> dict[str, Any]:
    person = np.unique(faces.person[inside], return_inverse=True)[1]
    given = Labelled(x[inside], faces.truth[inside], person, x0[inside])
    others = Labelled(x[~inside], faces.truth[~inside], faces.person[~inside], x0[~inside])
    with_neutral = len(set(given.person[given.has_neutral].tolist()))
    plain = judge(given, list(FORMS), seed)
    taken = plain if helps(plain, given) else None
    if with_neutral >= 5:
        own = judge(given, [*FORMS, *OF_NEUTRAL], seed)
        if own.chosen.own_neutral is not None and helps(own, given):
            taken = own if taken is None or own.gain > plain.gain else taken
    row: dict[str, Any] = {
        "n": len(given),
        "method": "none" if taken is None else taken.chosen.form,
        "tried": plain.chosen.form,
    }
    for forced in (False, True):
        for when, shown in (
            ("before", softmax(others.x)),
            ("after", softmax(others.x) if taken is None else taken.chosen.probabilities(others)),
            ("always", plain.chosen.probabilities(others)),
        ):
            answers = np.zeros(len(faces.truth), np.int64)
            answers[~inside] = allowed(shown, faces, forced=forced)
            name = f"{when}_forced" if forced else when
            row[name] = plain_scores(answers, faces, ~inside, k)
    return row


# -- the table -------------------------------------------------------------------------------------


def shown(found: dict[str, Any], name: str) -> str:
    """A score with its interval."""
    pair = found[f"{name}_ci95"]
    return f".{round(1000 * found[name]):03d}" + (
        "" if pair is None else f" [.{round(1000 * pair[0]):03d}, .{round(1000 * pair[1]):03d}]"
    )


def change(found: dict[str, Any], name: str) -> str:
    """A paired difference in points with its interval."""
    low, high = found[f"{name}_ci95"] or (float("nan"), float("nan"))
    return f"{100 * found[name]:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def report(faces: Faces, models: dict[str, Codes], pairs: dict[str, str], k: int) -> None:
    """A row a model and policy; ``pairs``: model -> the one it is compared with."""
    everything = np.ones(len(faces.truth), bool)
    policies = {"": everything}
    if faces.majority is not None:
        policies = {" (most votes)": everything, " (five of ten)": faces.majority}
    for policy, rows in policies.items():
        for name, answers in models.items():
            s = scores(answers, faces, rows, k)
            print(
                f"| {faces.name}{policy} | {name} | {s['n']} | "
                f"{s['persons'] if faces.knows_persons else '–'} | {shown(s, 'top1')} | "
                f"{shown(s, 'uar')} | {shown(s, 'macro_f1')} |",
                flush=True,
            )
        for new, old in pairs.items():
            s = scores(models[new], faces, rows, k, models[old])
            print(
                f"| {faces.name}{policy} | {new} − {old} | {s['n']} | "
                f"{s['persons'] if faces.knows_persons else '–'} | {change(s, 'top1')} | "
                f"{change(s, 'uar')} | {change(s, 'macro_f1')} |",
                flush=True,
            )


def report_draws(name: str, size: int, draws: list[dict[str, Any]], *, forced: bool) -> None:
    """Before and after, mean over draws, and the middle 90% of the differences."""
    tail = "_forced" if forced else ""
    values = {w: np.array([d[f"{w}{tail}"] for d in draws]) for w in ("before", "after", "always")}
    gain = values["after"] - values["before"]
    low, high = np.quantile(gain, [0.05, 0.95], axis=0)
    written = np.mean([d["method"] != "none" for d in draws])
    methods: dict[str, int] = {}
    for draw in draws:
        methods[draw["method"]] = methods.get(draw["method"], 0) + 1
    parts = [
        f"{values['before'][:, c].mean():.3f} → {values['after'][:, c].mean():.3f} "
        f"({100 * gain[:, c].mean():+.1f} [{100 * low[c]:+.1f}, {100 * high[c]:+.1f}])"
        for c in (0, 1)
    ]
    always = 100 * (values["always"] - values["before"]).mean(axis=0)
    answers = "forced" if forced else "seven"
    print(
        f"| {name} | {size} | {answers} | {np.mean([d['n'] for d in draws]):.0f} | {written:.0%} | "
        f"{parts[0]} | {parts[1]} | {always[0]:+.1f}, {always[1]:+.1f} | {methods} |",
        flush=True,
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--bundle", action="append", metavar="[NAME=]BUNDLE")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "nunbit" / "beyond")
    parser.add_argument("--peers-env", type=Path, help="Folder of the peers; without it, no peers.")
    parser.add_argument("--classifier", type=Path, action="append", default=[], metavar="RUN")
    options = parser.parse_args()
    data = os.environ.get("NUNBIT_DATA")
    if not data:
        print("beyond.py: NUNBIT_DATA does not name the data; skipped", file=sys.stderr)
        return 2
    options.cache.mkdir(parents=True, exist_ok=True)
    bundles = {}
    for text in options.bundle or ["fer7-lite"]:
        name, _, folder = text.rpartition("=")
        bundles[name or folder] = load_bundle(find_bundle(folder), threads=1)
    names = list(bundles)
    first = bundles[names[0]]
    labels, k = first.label_set, len(first.label_set.ids)
    began = time.perf_counter()
    print("| set | model | n | persons | top-1 | UAR | macro-F1 |\n|---|---|---|---|---|---|---|")
    read: list[tuple[str, Bundle, Faces, NDArray[np.float32]]] = []
    for name in options.sets.split(","):
        faces = read_set(name, Path(data), labels, first)
        models: dict[str, Codes] = {}
        pairs: dict[str, str] = {}
        for given, bundle in bundles.items():
            raw = raw_answers(bundle, faces, options.cache)
            read.append((given, bundle, faces, raw))
            own = _models(given, bundle, faces, raw)
            if bundle is not first:
                pairs |= {model: names[0] + model.removeprefix(given) for model in own}
            models |= own
        models |= _peers(faces, options.peers_env, labels)
        models |= dict(_classified(run, faces) for run in options.classifier)
        report(faces, models, pairs, k)
    print(
        "\n| set | persons labelled | answers | images | written | top-1 before → after | "
        "UAR before → after | without the guard | methods |\n|---|---|---|---|---|---|---|---|---|"
    )
    for given, bundle, faces, raw in read:
        # FER+ names no persons, and mead has three.
        for size in SIZES if faces.knows_persons and faces.name != "mead" and options.draws else ():
            file = options.cache / f"{bundle.hash[:16]}-{faces.name}-{size}-draws.json"
            at = labels.index("neutral")
            draws = adapted(raw, faces, size, at, options.draws, file)
            shown_as = f"{faces.name}, {given}" if len(bundles) > 1 else faces.name
            for forced in (False, True):
                report_draws(shown_as, size, draws, forced=forced)
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)
    return 0


def _models(name: str, bundle: Bundle, faces: Faces, raw: NDArray[np.float32]) -> dict[str, Codes]:
    models = {name: allowed(raw, faces, forced=False)}
    if len(np.unique(faces.truth)) < raw.shape[1]:
        models[f"{name}, forced choice"] = allowed(raw, faces, forced=True)
    if carried_shares(bundle) is not None:
        balanced = Posterior.of(bundle, prior="balanced").probabilities(raw)
        models[f"{name}, balanced prior"] = allowed(balanced, faces, forced=False)
    if faces.knows_persons:
        relative = _relative(bundle, faces, raw, bundle.label_set)
        if relative is not None:
            models[f"{name}, own neutral"] = allowed(relative, faces, forced=False)
    return models


def _peers(faces: Faces, folder: Path | None, labels: LabelSet) -> dict[str, Codes]:
    if folder is None:
        return {}
    from peers_fer import peer_answers

    crops = np.stack(
        [np.asarray(Image.fromarray(c).convert("L").resize((48, 48))) for c in faces.crops]
    )
    peers = peer_answers(np.repeat(crops[..., None], 3, axis=3), folder, labels)
    return {peer.name: peer.answers for peer in peers}


def _classified(run: Path, faces: Faces) -> tuple[str, Codes]:
    """Name and answers of a classifier that ``train --baseline`` wrote, seven answers allowed."""
    import torch

    from nunbit.training.checkpoints import BEST, load_state
    from nunbit.training.classifiers import build_classifier
    from nunbit.training.networks import plain_preprocessing
    from nunbit.training.settings import TrainSettings

    said = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    kind, size = said["baseline"], int(said["image_size"])
    model = build_classifier(kind, size, len(VOTES)).eval()
    model.load_state_dict(load_state(run / "checkpoints" / BEST)["model"])
    given = replace(TrainSettings(), image_size=size, grey=bool(said["grey"]))
    seen = plain_preprocessing(given, {"kind": "square", "margin": 0.0, "size": 48})
    rows = []
    with torch.no_grad():
        for group in _grouped(faces.crops, 64):
            pixels = standardise(np.stack([resize_crop(c, seen) for c in group]), seen)
            rows.append(model(torch.from_numpy(pixels)).argmax(dim=1).numpy())
    return f"{kind} classifier ({run.name})", np.concatenate(rows)


def _relative(
    bundle: Bundle, faces: Faces, raw: NDArray[np.float32], labels: LabelSet
) -> Floats | None:
    """As ``predict --neutral`` answers, with the person's other neutral pictures; None if none."""
    x0 = neutral_of_others(centred_logs(raw), faces.truth, faces.person, labels.index("neutral"))
    there = np.isfinite(x0).all(axis=1)
    if not there.any():
        return None
    found = np.array(raw, np.float64)
    posterior = Posterior.of(bundle)
    found[there] = posterior.probabilities(raw[there], x0[there])
    return found


if __name__ == "__main__":
    sys.exit(main())
