"""Evaluation: what a careful reviewer would ask for, from one command."""

from nunbit.evaluate.settings import EvaluateSettings
from nunbit.evaluate.story import evaluate

__all__ = ["EvaluateSettings", "evaluate"]
