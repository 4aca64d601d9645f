"""How far the probabilities can be believed, and which mistakes were made with most confidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import metrics
from nunbit.evaluate.board import Board, number, numbers, pair
from nunbit.evaluate.predictions import Predictions, deciding_templates
from nunbit.zeroshot import probabilities

_POINTS = 100
_COVERAGES = (0.5, 0.8, 0.9)


def calibration_section(p: Predictions, board: Board, n_bins: int) -> Callable[[], dict[str, Any]]:
    """ECE, Brier score and likelihood before and after the bundle's temperature.

    The temperature comes from the bundle, which fitted it on its selection split; it is never
    fitted on the images that are judged here.
    """
    rows = np.flatnonzero(p.truth >= 0)
    truth = p.truth[rows]
    after = _Judged(p.probability[rows].astype(np.float64), truth, n_bins)
    before = _Judged(_before_temperature(p)[rows], truth, n_bins)
    for name, judged in (("before", before), ("after", after)):
        for key, entry in judged.sums().items():
            cells = np.full(len(p), -1, dtype=np.int32)
            cells[rows] = entry.cells
            values = None
            if entry.values is not None:
                values = np.zeros(len(p))
                values[rows] = entry.values
            board.add(f"{key}/{name}", metrics.Additive(cells, entry.n_cells, values))

    def read() -> dict[str, Any]:
        result: dict[str, Any] = {
            "temperature": number(p.temperature),
            "temperature_source": "bundle",
            "n_bins": len(after.bins.count),
        }
        ci95: dict[str, Any] = {}
        for name, judged in (("before", before), ("after", after)):
            result[f"ece_{name}"] = number(judged.bins.ece)
            result[f"nll_{name}"] = number(judged.nll.mean())
            result["brier" if name == "after" else "brier_before"] = number(judged.brier.mean())
            ci95[f"ece_{name}"] = _ece_interval(board, name, len(rows))
            result[f"ece_noise_floor_{name}"] = number(
                metrics.ece_noise_floor(judged.confidence, judged.bins)
            )
            result[f"ece_noise_floor_persons_{name}"] = _person_floor(board, name, len(rows))
            for key in ("nll", "brier"):
                full = f"{key}_{name}" if (key, name) != ("brier", "after") else "brier"
                ci95[full] = board.mean_interval(f"{key}/{name}", "n/after")
        return {
            **result,
            "ci95": ci95,
            "bins": _bins(board, after),
            "bins_before": _bins(board, before, name="before"),
            "risk_coverage": _risk_coverage(after),
        }

    return read


def confident_mistakes(p: Predictions, n: int) -> list[dict[str, Any]]:
    """The wrong answers that were given with the highest probability, as references."""
    wrong = np.flatnonzero((p.truth >= 0) & (p.predicted != p.truth))
    confidence = p.probability.max(axis=1)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:n]
    deciding = deciding_templates(p)
    names = [t["id"] for t in p.templates["templates"]] if p.templates else []
    return [
        {
            "record_id": p.record_id[i],
            "truth": p.label_set.ids[p.truth[i]],
            "prediction": p.label_set.ids[p.predicted[i]],
            "probability": number(confidence[i]),
            "probability_of_truth": number(p.probability[i, p.truth[i]]),
            "deciding_template": names[deciding[i]] if deciding is not None else None,
            "votes": list(p.votes[i]),
        }
        for i in order
    ]


class _Judged:
    """Probabilities held against the truth; N labelled images."""

    def __init__(
        self, probability: NDArray[np.float64], truth: NDArray[np.int64], n_bins: int
    ) -> None:
        self.confidence = probability.max(axis=1)
        self.correct = probability.argmax(axis=1) == truth
        self.bins = metrics.reliability(self.confidence, self.correct, n_bins)
        self.nll = metrics.negative_log_likelihood(probability, truth)
        self.brier = metrics.brier(probability, truth)

    def sums(self) -> dict[str, metrics.Additive]:
        """Everything of it that is a sum over images."""
        bins, n_bins = self.bins.bin_of, len(self.bins.count)
        one = np.zeros(len(bins), dtype=np.int64)
        return {
            "n": metrics.Additive(one, 1),
            "nll": metrics.Additive(one, 1, self.nll),
            "brier": metrics.Additive(one, 1, self.brier),
            "gap": metrics.Additive(bins, n_bins, self.confidence - self.correct),
            "right": metrics.Additive(bins, n_bins, self.correct.astype(np.float64)),
            "mass": metrics.Additive(bins, n_bins),
        }


def _before_temperature(p: Predictions) -> NDArray[np.float64]:
    """Probabilities as if the temperature were 1."""
    if p.ensemble == "vote":  # shares of templates, not a softmax: no temperature applies
        return p.probability.astype(np.float64)
    if p.cosine is not None:
        return probabilities(p.cosine, p.logit_scale).astype(np.float64)
    logits = np.log(np.maximum(p.probability.astype(np.float64), 1e-12)) * p.temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return normalised


def _ece_interval(board: Board, name: str, n: int) -> list[float] | None:
    if board.n_clusters("n/after") < 2:
        return None
    return pair(
        metrics.ece_interval(
            board.total(f"gap/{name}"),
            n,
            board.draws(f"gap/{name}"),
            _image_draws(board),
            stretch=_stretch(board),
        )
    )


def _person_floor(board: Board, name: str, n: int) -> float | None:
    """The noise of the ECE when the images of a person err together; None without persons."""
    if not board.persons or board.n_clusters("n/after") < 2:
        return None
    found = board.total(f"gap/{name}") / n
    draws = board.draws(f"gap/{name}") / _image_draws(board)[:, None]
    return number(_stretch(board) * np.nanmean(abs(draws - found).sum(axis=1)))


def _image_draws(board: Board) -> NDArray[np.float32]:
    # A resample of few persons can hold no labelled image: undefined, not zero.
    n_draws = board.draws("n/after")[:, 0]
    defined: NDArray[np.float32] = np.where(n_draws > 0, n_draws, np.float32(np.nan))
    return defined


def _stretch(board: Board) -> float:
    if board.method("n/after") != "jackknife_t":
        return 1.0
    return metrics.stretch(metrics.effective(board.per_person("n/after")[:, 0]))


def _bins(board: Board, judged: _Judged, name: str = "after") -> list[dict[str, Any]]:
    bins = judged.bins

    def interval(b: int) -> list[float] | None:
        def accuracy(right: Any, mass: Any) -> Any:
            return right[..., b] / np.where(mass[..., b] > 0, mass[..., b], np.nan)

        return board.interval(
            (f"right/{name}", f"mass/{name}"),
            accuracy,
            sides=lambda right, mass: (mass[:, b],),
        )

    return [
        {
            "confidence": number(bins.confidence[b]),
            "accuracy": number(bins.accuracy[b]),
            "n": int(bins.count[b]),
            "ci95": interval(b),
        }
        for b in range(len(bins.count))
    ]


def _risk_coverage(judged: _Judged) -> dict[str, Any]:
    curve = metrics.risk_coverage(judged.confidence, judged.correct, _POINTS)
    at = {
        f"{coverage:.0%}": number(np.interp(coverage, curve.coverage, curve.accuracy))
        for coverage in _COVERAGES
    }
    return {
        "coverage": numbers(curve.coverage, 4),
        "accuracy": numbers(curve.accuracy, 4),
        "aurc": number(curve.aurc),
        "accuracy_at_coverage": at,
    }
