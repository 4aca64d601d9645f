"""Builders that several tests (and benchmarks) share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nunbit.datasets.predictions import SEEN, UNKNOWN, UNSEEN, Predictions
from nunbit.language.labels import LabelSet, load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.model.zeroshot import combine_cosines, normalise, probabilities
from nunbit.stories.evaluate.compare import paper_table
from nunbit.stories.evaluate.scoring import Cosines, PromptWording, TextBank
from nunbit.stories.evaluate.variants import PromptEvidence

SCALE = 20.0
PLACES = ("숙박/거주", "상업시설", "실외 자연", "도심", "교통", "스포츠/레저")


@dataclass(frozen=True, eq=False)
class World:
    """Predictions and the evidence behind them."""

    predictions: Predictions
    evidence: PromptEvidence


def make_world(n: int = 600, *, persons: int | None = 60, seed: int = 0, **changes: Any) -> World:
    """A model that confuses AI Hub's classes as the paper's Table 2 does.

    Args:
        n: Images.
        persons: Persons, a quarter of them seen in training; None for a source without persons.
        seed: Seed.
        changes: Fields of ``Predictions`` to replace.
    """
    rng = np.random.default_rng(seed)
    labels = load_label_set("aihub7")
    table = paper_table().matrix.astype(float)
    truth = rng.choice(7, n, p=table.sum(axis=1) / table.sum())
    person = rng.integers(0, persons or 1, n)
    cosine = _prompt_cosines(rng, table, truth, person)  # (N, T, K)
    bank = _bank(rng, labels)
    ensemble = combine_cosines(cosine, bank.prompts, "mean_embedding")
    votes = np.stack([truth, _noisy(rng, truth, 0.72), _noisy(rng, truth, 0.7)], axis=1)
    uploader = _noisy(rng, truth, 0.68)
    ids = np.array(labels.ids, dtype=object)
    seen = np.where(person < (persons or 0) // 4, SEEN, UNSEEN) if persons else np.full(n, UNKNOWN)
    fields: dict[str, Any] = {
        "label_set": labels,
        "split": "validation",
        "policy": "annot_a",
        "record_id": [f"r{i:06d}" for i in range(n)],
        "truth": truth,
        "probability": probabilities(ensemble, SCALE, 1.3),
        "cosine": ensemble,
        "prompt_cosine": cosine,
        "logit_scale": SCALE,
        "temperature": 1.3,
        "ensemble": "mean_embedding",
        "templates": {
            "name": bank.templates.name,
            "language": "ko",
            "templates": [{"id": t.id, "text": t.text} for t in bank.templates.templates],
        },
        "subject_id": [f"p{x:04d}" for x in person] if persons else [None] * n,
        "uploader_label": list(ids[uploader]),
        "votes": [tuple(ids[row]) for row in votes],
        "vote_names": ("annot_a", "annot_b", "annot_c"),
        "attributes": {
            "gender": [("남", "여")[x % 2] for x in person],
            "age": [str(10 + 10 * (int(x) % 6)) for x in person],
            "place": [PLACES[i] for i in rng.integers(0, len(PLACES), n)],
        },
        "box_px": rng.lognormal(7.0, 0.3, n).astype(np.float32),
        "blur": rng.lognormal(5.0, 0.8, n).astype(np.float32),
        "seen": seen,
    }
    predictions = Predictions(**(fields | changes))
    return World(predictions, PromptEvidence(bank, _cosines(rng, cosine, bank, truth)))


def rebuilt(world: World, probability: np.ndarray) -> Predictions:
    """The world's predictions with other probabilities, as of a model without prompts."""
    own = world.predictions
    fields = {name: getattr(own, name) for name in own.__dataclass_fields__}
    dropped = {"cosine": None, "prompt_cosine": None, "templates": None, "ensemble": None}
    return Predictions(**(fields | dropped | {"probability": probability.astype(np.float32)}))


def _prompt_cosines(
    rng: np.random.Generator, table: np.ndarray, truth: np.ndarray, person: np.ndarray
) -> np.ndarray:
    expected = np.log(table / table.sum(axis=1, keepdims=True))[truth]  # (N, K)
    habit = 0.5 * rng.normal(size=(int(person.max()) + 1, 7))[person]
    image = expected + habit + rng.gumbel(size=expected.shape)
    noise = rng.normal(size=(len(truth), 5, 7)) * np.linspace(0.3, 1.2, 5)[None, :, None]
    logits = image[:, None, :] + noise
    logits -= logits.mean(axis=2, keepdims=True)
    return np.clip(0.2 + logits / SCALE, -1.0, 1.0).astype(np.float32)


def _noisy(rng: np.random.Generator, truth: np.ndarray, agreement: float) -> np.ndarray:
    other = rng.integers(0, 7, len(truth))
    return np.where(rng.random(len(truth)) < agreement, truth, other)


def _bank(rng: np.random.Generator, labels: LabelSet) -> TextBank:
    classes = normalise(rng.normal(size=(7, 64)).astype(np.float32) + 1.0)

    def vectors(spread: float) -> np.ndarray:
        noise = rng.normal(size=(5, 7, 64)).astype(np.float32) * spread
        return normalise(classes[None] + noise)

    sets = [load_template_set(name) for name in ("paper", "natural", "english")]
    members = [labels.index(label) for label in labels.groups["depression_related"].labels]
    rest = [k for k in range(7) if k not in members]
    wordings = (
        PromptWording("class_means", None),
        PromptWording(
            "named", ("이 사람의 표정은 슬픔, 불안, 상처 가운데 하나이다.", "그렇지 않다.")
        ),
        PromptWording("negated", ("이 사람은 우울해 보인다.", "이 사람은 우울해 보이지 않는다.")),
    )
    sides = np.stack(
        [np.stack([classes[members].mean(axis=0), classes[rest].mean(axis=0)])] * len(wordings)
    )
    return TextBank(
        templates=sets[0],
        prompts=vectors(0.05),
        other_sets=((sets[1], vectors(0.05)),),
        unserved={"english": {"en": "no text tower", "ko": "텍스트 인코더 없음"}},
        wordings=wordings,
        sides=normalise(sides),
        trained=frozenset(),
    )


def _cosines(
    rng: np.random.Generator, cosine: np.ndarray, bank: TextBank, truth: np.ndarray
) -> Cosines:
    n = len(cosine)
    natural = cosine.mean(axis=1) + 0.02 * rng.normal(size=(n, 7)).astype(np.float32)
    inside = np.isin(truth, [3, 4, 5]).astype(np.float32)
    sides = np.zeros((n, len(bank.wordings), 2), np.float32)
    sides[:, 0, 0] = 0.05 * (inside - 0.5) + 0.02 * rng.normal(size=n)
    sides[:, 1, 0] = 0.03 * (inside - 0.5) + 0.03 * rng.normal(size=n)
    sides[:, 2, 0] = 0.5 + 0.01 * inside  # the negated wording answers "inside" to everything
    return Cosines(prompts=cosine, other_sets=natural[:, None, :], sides=sides)
