"""Evaluation: what a careful reviewer would ask for, from one command."""

from nunbit.evaluate.settings import EvaluateSettings
from nunbit.evaluate.story import Unfinished, evaluate, evaluate_part

__all__ = ["EvaluateSettings", "Unfinished", "evaluate", "evaluate_part"]
