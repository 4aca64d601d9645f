"""Metrics of an evaluation: pure arrays in, arrays and numbers out.

``classification`` scores confusion matrices, ``calibration`` judges probabilities, ``bootstrap``
gives intervals by resampling persons, ``agreement`` compares annotators. Nothing here knows a
file, a label's name or a model. N images, K classes, R resamples, P persons.
"""

from nunbit.metrics.agreement import HumanCeiling, agreement_level, human_ceiling
from nunbit.metrics.bootstrap import (
    Additive,
    auroc_from_bins,
    cluster_codes,
    confusion_cells,
    ece_interval,
    interval,
    rank_bins,
    resample,
)
from nunbit.metrics.calibration import (
    Reliability,
    RiskCoverage,
    brier,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    risk_coverage,
    soft_cross_entropy,
)
from nunbit.metrics.classification import (
    auroc,
    best_relabelling,
    binary_confusion,
    confusion_matrix,
    f1,
    macro_f1,
    mcnemar,
    precision,
    recall,
    top1,
    uar,
)

__all__ = [
    "Additive",
    "HumanCeiling",
    "Reliability",
    "RiskCoverage",
    "agreement_level",
    "auroc",
    "auroc_from_bins",
    "best_relabelling",
    "binary_confusion",
    "brier",
    "cluster_codes",
    "confusion_cells",
    "confusion_matrix",
    "ece_interval",
    "expected_calibration_error",
    "f1",
    "fit_temperature",
    "human_ceiling",
    "interval",
    "macro_f1",
    "mcnemar",
    "negative_log_likelihood",
    "precision",
    "rank_bins",
    "recall",
    "reliability",
    "resample",
    "risk_coverage",
    "soft_cross_entropy",
    "top1",
    "uar",
]
