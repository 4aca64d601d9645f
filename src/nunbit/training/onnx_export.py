"""Towers to ONNX files, without a word on the terminal.

Uses torch's exporter with a dynamic batch (and text length). Knows nothing of bundles.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from nunbit.errors import TrainingError
from nunbit.training.towers import DualEncoder

_DYNAMIC = torch.export.Dim.DYNAMIC


def export_image_tower(model: DualEncoder, image_size: int, path: Path) -> None:
    """Write ``pixels`` (N, 3, S, S) float32 -> ``vectors`` (N, D).

    Raises:
        TrainingError: The exporter refuses the network.
    """
    example = torch.zeros(2, 3, image_size, image_size)
    _export(model.image, (example,), ({0: _DYNAMIC},), ["pixels"], path)


def export_text_tower(model: DualEncoder, path: Path) -> None:
    """Write ``input_ids`` and ``attention_mask`` (M, L) int64 -> ``vectors`` (M, D).

    Raises:
        TrainingError: The exporter refuses the network.
    """
    ids = torch.ones(2, 7, dtype=torch.int64)
    shape = {0: _DYNAMIC, 1: _DYNAMIC}
    names = ["input_ids", "attention_mask"]
    _export(model.text, (ids, torch.ones_like(ids)), (shape, shape), names, path)


def export_voice_tower(tower: nn.Module, features: int, path: Path) -> None:
    """Write ``functionals`` (N, F) float32 -> ``vectors`` (N, D).

    Raises:
        TrainingError: The exporter refuses the network.
    """
    _export(tower, (torch.zeros(2, features),), ({0: _DYNAMIC},), ["functionals"], path)


def _export(
    tower: nn.Module,
    examples: tuple[Tensor, ...],
    shapes: tuple[dict[int, object], ...],
    names: list[str],
    path: Path,
) -> None:
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                tower.eval(),
                examples,
                path,
                input_names=names,
                output_names=["vectors"],
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        _strip_traces(path)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as exc:
        raise TrainingError(
            en=f"{path.name}: this network cannot be exported to ONNX: {exc}",
            ko=f"{path.name}: 이 모델은 ONNX로 내보낼 수 없습니다: {exc}",
        ) from exc


def _strip_traces(path: Path) -> None:
    """Remove the stack trace that torch writes beside every operator.

    They name the folders of whoever exported the model, and take a megabyte.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.value_info, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    # torchvision is absent on purpose, and torch 2.13 deprecates a class its own exporter uses.
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logger.setLevel(level)
