"""Sections about labels and people: policies, annotators, persons, subgroups."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.core.schema import POLICIES
from nunbit.datasets.policies import labels_under, person_folds, vote_distributions
from nunbit.datasets.predictions import SEEN, UNSEEN, Predictions, codes_of
from nunbit.statistics.scores import ABSENT, MAJORITY, SPLIT, UNANIMOUS
from nunbit.stories.evaluate.board import HEADLINE, Board, number, numbers, pair, share

Codes = NDArray[np.int64]

_FOLDS = 5
_QUANTILES = 4
# Below this many persons a subgroup's figures describe these persons, not the group.
_MIN_PERSONS = 10
# What the gap of an attribute's groups is tested with; result.json carries the name.
GAP_TEST = "max_statistic_bootstrap"
_LEVELS = {"unanimous": UNANIMOUS, "majority": MAJORITY, "split": SPLIT}


def policies_section(p: Predictions, board: Board) -> Callable[[], dict[str, Any]]:
    """Scores of the same predictions under every label policy, and against each annotator."""
    truths = policy_truths(p)
    for name, truth in truths.items():
        board.add_confusion(f"policy/{name}", truth, p.predicted)
    shares = vote_distributions(p.votes, p.label_set.ids)
    judged = ~np.isnan(shares[:, 0])
    entropy = np.where(
        judged,
        statistics.soft_cross_entropy(p.probability.astype(float), np.nan_to_num(shares)),
        0.0,
    )
    board.add("soft", statistics.Additive(np.where(judged, 0, -1), 1, entropy))
    board.add("soft/n", statistics.Additive(np.where(judged, 0, -1), 1))

    def read() -> dict[str, Any]:
        entries = {name: board.scores(f"policy/{name}") for name in truths}
        if "votes" in entries and judged.any():
            entries["votes"]["soft_cross_entropy"] = number(entropy[judged].mean())
            entries["votes"]["ci95"]["soft_cross_entropy"] = board.mean_interval("soft", "soft/n")
        return entries

    return read


def policy_truths(p: Predictions) -> dict[str, Codes]:
    """Truth under every policy that gives a label to some image; name -> (N,) codes."""
    truths: dict[str, Codes] = {p.policy: p.truth}
    for policy in POLICIES:
        # Votes without names (FER+ counts raters) have no first annotator.
        if policy not in truths and (policy != "annot_a" or p.vote_names):
            truths[policy] = codes_of(labels_under(policy, p.uploader_label, p.votes), p.label_set)
    for a, name in enumerate(p.vote_names):
        if name not in truths:
            own = [votes[a] if a < len(votes) else None for votes in p.votes]
            truths[name] = codes_of(own, p.label_set)
    order = dict.fromkeys(("uploader", *p.vote_names, *POLICIES, p.policy))
    return {n: truths[n] for n in order if n in truths and (truths[n] >= 0).any()}


def vote_codes(p: Predictions) -> Codes:
    """Votes as (N, A) class positions; null and absent votes as in ``statistics.agreement``."""
    cast = np.array([len(votes) for votes in p.votes], np.int64)
    codes = np.full((len(p), cast.max(initial=0)), ABSENT, np.int64)
    there = np.arange(codes.shape[1]) < cast[:, None]
    codes[there] = codes_of([vote for votes in p.votes for vote in votes], p.label_set)
    return codes


def agreement_section(p: Predictions, board: Board) -> Callable[[], dict[str, Any]]:
    """Scores of images on which annotators agree, and of the others."""
    level = statistics.agreement_level(vote_codes(p), len(p.label_set.labels))
    for name, value in _LEVELS.items():
        board.add_confusion(f"agreement/{name}", np.where(level == value, p.truth, -1), p.predicted)

    def read() -> dict[str, Any]:
        if not (level >= 0).any():
            return {}
        return {
            name: {
                "share": number((level == value).mean()),
                **board.scores(f"agreement/{name}"),
            }
            for name, value in _LEVELS.items()
        }

    return read


def annotators_section(p: Predictions, board: Board, n_resamples: int, seed: int) -> dict[str, Any]:
    """Agreement of annotators: of every two, and of each with the majority of the others.

    Returns:
        Plain data; ``n_cases`` 0 where there are fewer than two annotators. A case is an image
        and an annotator who is left out of its majority; the model is judged by the same truth on
        the same cases. That truth exists only where the others agree. ``pairwise`` needs no
        agreement of others: it stands beside a score under one annotator's label.
    """
    k = len(p.label_set.labels)
    votes = vote_codes(p)
    found = statistics.one_against_others(votes, k)
    if not len(found.truth):
        return {"n_cases": 0}
    cases = Board(
        np.unique(board.clusters[found.image], return_inverse=True)[1],
        persons=board.persons,
        n_classes=k,
        n_resamples=n_resamples,
        seed=seed,
    )
    cases.add_confusion("human", found.truth, found.answer)
    cases.add_confusion("model", found.truth, p.predicted[found.image])
    cases.run()
    human = cases.confusion("human")
    hit = found.truth == found.answer
    # Without names a position is no person: figures for it would describe the sorting.
    per_annotator = {
        name: number(hit[found.annotator == annotator].mean())
        for annotator, name in enumerate(p.vote_names)
        if (found.annotator == annotator).any()
    }
    return {
        "n_cases": len(found.truth),
        "n_images": len(np.unique(found.image)),
        "n_null_votes": found.n_null,
        "human": cases.scores("human"),
        "model": cases.scores("model"),
        "difference": cases.difference("model", "human"),
        "per_class": {
            label: {"recall": number(recall), "support": int(support)}
            for label, recall, support in zip(
                p.label_set.ids, statistics.recall(human), human.sum(axis=1), strict=True
            )
        },
        "per_annotator": per_annotator,
        "pairwise": _pairwise(p, board, votes, n_resamples, seed),
    }


def _pairwise(
    p: Predictions, board: Board, votes: Codes, n_resamples: int, seed: int
) -> dict[str, Any]:
    """How often two annotators name the same class, over all pairs and for each named pair."""
    k = len(p.label_set.labels)
    found = statistics.pairwise(votes, k)
    own = Board(
        board.clusters, persons=board.persons, n_classes=k, n_resamples=n_resamples, seed=seed
    )
    cells = np.where(found.pairs > 0, 0, -1).astype(np.int32)
    own.add("agreed", statistics.Additive(cells, 1, found.agreed.astype(np.float64)))
    own.add("pairs", statistics.Additive(cells, 1, found.pairs.astype(np.float64)))
    own.run()

    per_pair = {}
    for a, b in combinations(range(len(p.vote_names)), 2):
        two = statistics.pairwise(votes[:, [a, b]], k)
        if two.pairs.sum():
            name = f"{p.vote_names[a]}, {p.vote_names[b]}"
            per_pair[name] = number(two.agreed.sum() / two.pairs.sum())
    return {
        "share": number(found.agreed.sum() / max(1, found.pairs.sum())),
        "n_pairs": int(found.pairs.sum()),
        "n_images": int((found.pairs > 0).sum()),
        "n_null_pairs": found.n_null,
        "ci95": own.interval(
            ("agreed", "pairs"),
            lambda agreed, pairs: share(agreed[..., 0], pairs[..., 0]),
            sides=lambda agreed, pairs: (pairs,),
        ),
        "per_pair": per_pair,
    }


def seen_section(p: Predictions, board: Board) -> Callable[[], dict[str, Any]]:
    """Scores of persons who also occur in the train split, and of the others."""
    for name, value in (("seen", SEEN), ("unseen", UNSEEN)):
        board.add_confusion(name, np.where(p.seen == value, p.truth, -1), p.predicted)

    def read() -> dict[str, Any]:
        return {
            "seen_subjects": board.scores("seen"),
            "unseen_subjects": board.scores("unseen"),
        }

    return read


def fold_scores(p: Predictions, seed: int) -> dict[str, Any]:
    """Scores on fifths of the images, grouped by person: how much depends on who is shown."""
    rows = np.flatnonzero(p.truth >= 0)
    subjects = [p.subject_id[row] for row in rows]
    if len(set(subjects) - {None}) + subjects.count(None) < _FOLDS:  # persons
        return {"n_folds": 0}
    folds = person_folds(subjects, [p.record_id[row] for row in rows], _FOLDS, seed)
    parts, k = [rows[folds == fold] for fold in range(_FOLDS)], len(p.label_set.labels)
    matrices = np.stack(
        [statistics.confusion_matrix(p.truth[own], p.predicted[own], k) for own in parts]
    )
    scores = {key: score(matrices) for key, score in HEADLINE.items()}
    return {
        "n_folds": _FOLDS,
        **{
            key: {
                "folds": numbers(values),
                "mean": number(np.nanmean(values)),
                "sd": number(np.nanstd(values, ddof=1)),
            }
            for key, values in scores.items()
        },
    }


def subgroups_section(p: Predictions, board: Board, min_group: int) -> Callable[[], dict[str, Any]]:
    """Scores by gender, age, place and image quality, with the difference to all other images."""
    groups = subgroup_values(p)
    names: dict[str, list[str]] = {}
    for attribute, values in groups.items():
        used = {v for v, truth in zip(values, p.truth, strict=True) if v is not None and truth >= 0}
        names[attribute] = sorted(used, key=_natural)
        as_array = np.array(values, dtype=object)
        for value in names[attribute]:
            truth = np.where(as_array == value, p.truth, -1)
            board.add_confusion(f"subgroup/{attribute}/{value}", truth, p.predicted)

    def read() -> dict[str, Any]:
        result: dict[str, Any] = {}
        for attribute, values in names.items():
            entries = [_subgroup(board, attribute, value, min_group) for value in values]
            if entries:
                unknown = sum(
                    v is None and t >= 0 for v, t in zip(groups[attribute], p.truth, strict=True)
                )
                result[attribute] = {
                    "groups": entries,
                    "n_unknown": unknown,
                    "gap": _gap(board, attribute, entries),
                }
        return result

    return read


def subgroup_values(p: Predictions) -> dict[str, list[str | None]]:
    """Attribute -> one group name per image; numbers are cut into ranges."""
    groups = dict(p.attributes)
    if "age" in groups:
        groups["age"] = [_age_group(v) for v in groups["age"]]
    for name, values in (("box_px", p.box_px), ("blur", p.blur)):
        ranges = _quantile_ranges(values.astype(np.float64))
        if ranges is not None:
            groups[name] = ranges
    return groups


def _subgroup(board: Board, attribute: str, value: str, min_group: int) -> dict[str, Any]:
    name = f"subgroup/{attribute}/{value}"
    scores = board.scores(name)
    few_persons = board.persons and board.n_clusters(name) < _MIN_PERSONS
    own, whole = board.confusion(name), board.confusion("headline")
    top1 = board.of(statistics.top1)
    return {
        "value": value,
        **scores,
        "small": bool(scores["n"] < min_group or few_persons),
        "difference_to_rest": {
            "top1": number(statistics.top1(own) - statistics.top1(whole - own)),
            "ci95": board.interval(
                (name, "headline"),
                lambda mine, everybody: top1(mine) - top1(everybody - mine),
                scale="difference",
                sides=lambda mine, everybody: (mine, everybody - mine),
            ),
        },
    }


def _gap(board: Board, attribute: str, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Largest gap between two groups that are large enough, tested as a largest gap."""
    large = [e for e in entries if not e["small"] and e["top1"] is not None]
    names = [f"subgroup/{attribute}/{e['value']}" for e in large]
    if len(large) < 2 or min(map(board.n_clusters, names)) < 2:
        return None
    gap = statistics.largest_gap(
        np.array([float(statistics.top1(board.confusion(name))) for name in names]),
        np.stack([statistics.top1(board.confusion_draws(name)) for name in names], axis=1),
        np.array([statistics.effective(board.per_person(name).sum(axis=1)) for name in names]),
    )
    if gap is None:
        return None
    return {
        "metric": "top1",
        "n_groups": len(large),
        "best": large[gap.best]["value"],
        "worst": large[gap.worst]["value"],
        "difference": number(gap.difference),
        "expected_if_alike": number(gap.expected),
        "ci95": pair((gap.low, gap.high)),
        "p_value": number(gap.p_value),
        "test": GAP_TEST,
    }


def _age_group(age: str | None) -> str | None:
    """The decade of a number of years ("34" -> "30-39"); any other spelling as it is."""
    if age is None or not re.fullmatch(r"\d{1,3}", age.strip()):
        return age
    decade = int(age) // 10 * 10
    return f"{decade}-{decade + 9}"


def _quantile_ranges(values: NDArray[np.float64]) -> list[str | None] | None:
    """Quarters of equal size, named by their limits; None where all values are alike."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    inner = np.quantile(values[known], np.arange(1, _QUANTILES) / _QUANTILES)
    edges = np.unique([values[known].min(), *inner, values[known].max()])
    if len(edges) < 3:
        return None
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    names = [f"{a}–{b}" for a, b in pairwise(_short(edges))]
    return [names[i] if ok else None for i, ok in zip(index, known, strict=True)]


def _short(edges: NDArray[np.float64]) -> list[str]:
    """Different numbers with as few digits as tell them apart, two or all before the point."""
    spelled: list[str] = []
    for more in range(16):
        spelled = [f"{v:.{more}f}" if abs(v) >= 10 else f"{v:.{2 + more}g}" for v in edges]
        if len(set(spelled)) == len(edges):
            break
    return spelled


def _natural(value: str) -> tuple[float, str]:
    number_first = re.match(r"\d+(\.\d+)?", value)
    return (float(number_first.group()) if number_first else float("inf"), value)
