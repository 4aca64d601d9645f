"""Which prompts work: every template, every ensemble, leave-one-out, other sets, similarity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.evaluate.board import Board, number, numbers
from nunbit.evaluate.predictions import Predictions, deciding_templates
from nunbit.evaluate.scoring import Cosines, TextBank
from nunbit.labels import LabelSet
from nunbit.prompts import TemplateSet, prompts_for
from nunbit.zeroshot import ENSEMBLES, combine_cosines, normalise

Codes = NDArray[np.int64]


def prompts_section(
    p: Predictions, bank: TextBank, cosines: Cosines, board: Board
) -> Callable[[], dict[str, Any]]:
    """Put every way of prompting on the board; read them off afterwards.

    Returns:
        Keys ``per_template``, ``ensembles``, ``leave_one_template_out``, ``template_sets``,
        ``prompt_similarity`` and ``deciding_template``. Every difference is paired with the
        headline on the same images.
    """
    c = cosines.prompts
    for t, template in enumerate(bank.templates.templates):
        board.add_confusion(f"template/{template.id}", p.truth, c[:, t].argmax(axis=1))
        if len(bank.templates.templates) > 1:
            rest = [i for i in range(c.shape[1]) if i != t]
            combined = combine_cosines(c[:, rest], bank.prompts[rest], _rule(p))
            board.add_confusion(f"without/{template.id}", p.truth, combined.argmax(axis=1))
    for rule in ENSEMBLES:
        combined = combine_cosines(c, bank.prompts, rule)
        board.add_confusion(f"ensemble/{rule}", p.truth, combined.argmax(axis=1))
    for s, (other, _) in enumerate(bank.other_sets):
        scores = cosines.other_sets[:, s]
        board.add_confusion(f"set/{other.name}", p.truth, scores.argmax(axis=1))

    def read() -> dict[str, Any]:
        return {
            "per_template": _templates(bank, p.label_set, board),
            "ensembles": {r: _entry(board, f"ensemble/{r}") for r in ENSEMBLES},
            "leave_one_template_out": {
                t.id: _entry(board, f"without/{t.id}")
                for t in bank.templates.templates
                if len(bank.templates.templates) > 1
            },
            "template_sets": _sets(bank, p.label_set, board),
            "prompt_similarity": prompt_similarity(bank, p.label_set),
            "deciding_template": _deciding(p),
        }

    return read


def prompt_similarity(bank: TextBank, label_set: LabelSet) -> dict[str, Any]:
    """Text-text cosines between classes: can the prompts tell the classes apart at all?

    Returns:
        ``classes`` (K, K) cosines of the class embeddings, the ``most_alike`` pair, the mean over
        pairs, and per template the smallest, mean and largest cosine of two classes.
    """
    unit = normalise(bank.prompts)
    classes = normalise(unit.mean(axis=0))
    similarity = classes @ classes.T
    upper = np.triu_indices(len(classes), 1)
    most = int(similarity[upper].argmax())
    first, second = (label_set.ids[int(axis[most])] for axis in upper)
    per_template = {}
    for template, vectors in zip(bank.templates.templates, unit, strict=True):
        pairs = (vectors @ vectors.T)[upper]
        per_template[template.id] = {
            "smallest": number(pairs.min()),
            "mean": number(pairs.mean()),
            "largest": number(pairs.max()),
        }
    return {
        "classes": numbers(similarity, 4),
        "most_alike": {
            "labels": [first, second],
            "cosine": number(similarity[upper][most]),
        },
        "mean": number(similarity[upper].mean()),
        "per_template": per_template,
    }


def _templates(bank: TextBank, label_set: LabelSet, board: Board) -> dict[str, Any]:
    entries = {}
    rows = prompts_for(bank.templates, label_set)
    for template, texts in zip(bank.templates.templates, rows, strict=True):
        entries[template.id] = {
            "text": template.text,
            "trained": _trained(texts, bank),
            **_entry(board, f"template/{template.id}"),
        }
    return entries


def _sets(bank: TextBank, label_set: LabelSet, board: Board) -> dict[str, Any]:
    entries: dict[str, Any] = {
        bank.templates.name: {
            "language": bank.templates.language,
            "trained": _set_trained(bank.templates, label_set, bank),
            "headline": True,
            **_entry(board, "headline"),
        }
    }
    for other, _ in bank.other_sets:
        entries[other.name] = {
            "language": other.language,
            "trained": _set_trained(other, label_set, bank),
            "headline": False,
            **_entry(board, f"set/{other.name}"),
        }
    for name, reason in bank.unserved.items():
        entries[name] = {"n": 0, "unserved": reason}
    return entries


def _entry(board: Board, name: str) -> dict[str, Any]:
    return {**board.scores(name), "difference": board.difference(name, "headline")}


def _trained(texts: tuple[str, ...], bank: TextBank) -> bool | None:
    return None if bank.trained is None else set(texts) <= bank.trained


def _set_trained(templates: TemplateSet, label_set: LabelSet, bank: TextBank) -> bool | None:
    if bank.trained is None:
        return None
    return all(set(row) <= bank.trained for row in prompts_for(templates, label_set))


def _deciding(p: Predictions) -> dict[str, float | None]:
    deciding = deciding_templates(p)
    if deciding is None or p.templates is None:
        return {}
    ids = [t["id"] for t in p.templates["templates"]]
    shares = np.bincount(deciding, minlength=len(ids)) / len(p)
    return {name: number(share) for name, share in zip(ids, shares, strict=True)}


def _rule(p: Predictions) -> Any:
    return p.ensemble or "mean_embedding"
