"""Probabilities of an evaluation: what acts on them after the cosines, and other class shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.datasets.predictions import Predictions
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import BALANCED, TRAIN, Posterior, carried_shares
from nunbit.model.zeroshot import Ensemble, probabilities
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.evaluate.board import Board
from nunbit.stories.evaluate.scoring import Scorer

Floats = NDArray[np.float32]


def class_probabilities(
    cosine: Floats, model: Bundle, rule: Ensemble, posterior: Posterior
) -> Floats:
    """Probabilities of an ensemble's cosines as the bundle shows them; (N, K).

    A ``vote`` is no cosine: its probabilities are the templates' shares, on which nothing acts.
    """
    if rule == "vote":
        return np.asarray(cosine / cosine.sum(axis=1, keepdims=True))
    return posterior.probabilities(probabilities(cosine, model.logit_scale, model.temperature))


def posterior_section(
    p: Predictions, scorer: Scorer, posterior: Posterior, settings: EvaluateSettings
) -> dict[str, Any]:
    """``adapted``, ``prior``, ``adaptation_notes`` and ``priors`` of the result.

    ``priors`` has the scores under the class shares of training and under balanced ones, where
    the two differ in an answer: ``train``, ``balanced`` and the paired ``difference`` (balanced
    minus train); else None.
    """
    about: dict[str, Any] = posterior.to_dict(relative=False)
    about["adaptation_notes"] = [note.to_dict() for note in posterior.notes]
    about["priors"] = None
    model, classes = scorer.bundle, scorer.dataset.label_set
    known = classes.ids == model.label_set.ids and carried_shares(model) is not None
    if not known or p.cosine is None or scorer.rule == "vote":
        return about
    shown = {
        name: class_probabilities(
            p.cosine, model, scorer.rule, Posterior.of(model, label_set=classes, prior=name)
        ).argmax(axis=1)
        for name in (TRAIN, BALANCED)
    }
    if (shown[TRAIN] == shown[BALANCED]).all():
        return about
    board = Board(
        statistics.cluster_codes(p.subject_id if p.knows_persons else None, len(p)),
        persons=p.knows_persons,
        n_classes=len(classes.labels),
        n_resamples=settings.n_resamples,
        seed=settings.seed,
    )
    for name, answer in shown.items():
        board.add_confusion(name, p.truth, answer)
    board.run()
    about["priors"] = {
        **{name: board.scores(name) for name in shown},
        "difference": board.difference(BALANCED, TRAIN),
    }
    return about
