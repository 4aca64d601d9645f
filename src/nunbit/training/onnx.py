"""Export towers to ONNX, quantise them, and write the model card. Knows nothing of bundles."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nunbit.core.messages import Text, TrainingError
from nunbit.training.towers import DualEncoder

# --- export ---------------------------------------------------------------------------------------
# By torch's exporter, with a dynamic batch (and text length).

DYNAMIC = torch.export.Dim.DYNAMIC


def export_image_tower(model: DualEncoder, image_size: int, path: Path) -> None:
    """Write ``pixels`` (N, 3, S, S) float32 -> ``vectors`` (N, D).

    Raises:
        TrainingError: The exporter refuses the network.
    """
    example = torch.zeros(2, 3, image_size, image_size)
    export_tower(model.image, (example,), ({0: DYNAMIC},), ["pixels"], path)


def export_text_tower(model: DualEncoder, path: Path) -> None:
    """Write ``input_ids`` and ``attention_mask`` (M, L) int64 -> ``vectors`` (M, D).

    Raises:
        TrainingError: The exporter refuses the network.
    """
    ids, shape = torch.ones(2, 7, dtype=torch.int64), {0: DYNAMIC, 1: DYNAMIC}
    names = ["input_ids", "attention_mask"]
    export_tower(model.text, (ids, torch.ones_like(ids)), (shape, shape), names, path)


def export_tower(
    tower: nn.Module,
    examples: tuple[Tensor, ...],
    shapes: tuple[dict[int, object], ...],
    names: list[str],
    path: Path,
) -> None:
    """Write a network whose output is ``vectors``.

    Args:
        tower: The network.
        examples: Its inputs.
        shapes: Their axes whose length may vary (``DYNAMIC``).
        names: Of the inputs.
        path: The file.

    Raises:
        TrainingError: The exporter refuses the network.
    """
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
            Text(
                f"{path.name}: this network cannot be exported to ONNX: {exc}",
                f"{path.name}: 이 모델은 ONNX로 내보낼 수 없습니다: {exc}",
            )
        ) from exc


def _strip_traces(path: Path) -> None:
    """Remove the stack trace that torch writes beside every operator.

    They name the folders of whoever exported the model, and take a megabyte.
    """
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
    with _errors_only("torch.onnx._internal.exporter"), warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _errors_only(name: str | None) -> Iterator[None]:
    """Silence what a logger says below errors; None is the root."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# --- quantisation ---------------------------------------------------------------------------------
# :func:`quantise_weights` gives a quarter of the size and leaves the arithmetic unchanged: only
# weights are rounded, each row of an embedding table and each 64 weights of an output channel with
# a scale of their own. The integers are turned back when a session loads, by operators every
# onnxruntime has, so speed and memory are those of float32. :func:`quantise_products` rounds the
# activations too and is fast, but it costs e5 a cosine of 0.01, ten times what a bundle may lose; a
# vision transformer usually bears it.

# Smaller tables are not worth two more nodes.
_LEAST_WEIGHTS = 4096
_LARGEST = 127
# Weights of a channel that share a scale: a tuned e5 loses a cosine of 0.0012 with one scale for
# the whole channel and 0.0006 with these, which take 2% more room.
_GROUP = 64


def quantise_weights(source: Path, target: Path) -> None:
    """Write a copy of an ONNX file whose large weight matrices and tables are int8.

    Args:
        source: A file with its weights inside.
        target: Where the copy goes.
    """
    model = onnx.load(source)
    graph = model.graph
    packer = _Packer({tensor.name: tensor for tensor in graph.initializer})
    nodes = [new for node in graph.node for new in packer.nodes_for(node)]
    # A matrix that another kind of node reads as well stays beside its integers.
    read = {name for node in nodes for name in node.input} | {out.name for out in graph.output}
    kept = [t for t in graph.initializer if t.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept + packer.tensors)
    onnx.save(model, target)


def quantise_products(source: Path, target: Path) -> None:
    """Write a copy of an ONNX file whose matrix products run on 8-bit integers.

    Weights are rounded per output channel beforehand, activations when they pass (dynamic
    quantisation): on processors with integer dot products a transformer runs three times as fast.
    What it loses depends on the weights, so whoever calls this compares afterwards.

    Args:
        source: A file with its weights inside.
        target: Where the copy goes.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _errors_only(None):  # it recommends a step that changes nothing here
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )


def round_weights(
    weights: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Integers in [-127, 127] and scales; their product is the weights again.

    Args:
        weights: Of any shape.
        axis: Weights along this axis share a scale.

    Returns:
        The integers, and the scales, whose ``axis`` has length 1.
    """
    peak = np.abs(weights).max(axis=axis, keepdims=True)
    scale = np.where(peak > 0, peak / _LARGEST, 1.0).astype(np.float16)
    # A scale that was rounded down would put the peak outside.
    rounded = np.rint(weights / scale.astype(np.float32))
    return np.clip(rounded, -_LARGEST, _LARGEST).astype(np.int8), scale


def in_groups(weights: NDArray[np.float32], summed_axis: int) -> NDArray[np.float32]:
    """A matrix (A, B) with the axis that products sum over cut into groups: one axis more.

    Returns:
        (A / G, G, B) or (A, B / G, G); where the axis cannot be cut evenly there is one group.
    """
    length = weights.shape[summed_axis]
    group = _GROUP if length % _GROUP == 0 else length
    if summed_axis == 0:
        return weights.reshape(length // group, group, -1)
    return weights.reshape(-1, length // group, group)


class _Packer:
    """Replaces nodes that read large float matrices; collects the new tensors."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self._originals = tensors
        self._made: set[str] = set()
        self.tensors: list[Any] = []

    def nodes_for(self, node: Any) -> list[Any]:
        """The node itself, or what stands in its place."""
        if node.op_type in ("MatMul", "Gemm") and self._is_large(node.input[1]):
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            node.input[1], new = self._restored(node.input[1], 1 if turned else 0)
            return [*new, node]
        by_row = not any(a.name == "axis" and a.i for a in node.attribute)
        if node.op_type == "Gather" and self._is_large(node.input[0]) and by_row:
            return self._gathered(node)
        return [node]

    def _is_large(self, name: str) -> bool:
        tensor = self._originals.get(name)
        return (
            tensor is not None
            and tensor.data_type == TensorProto.FLOAT
            and len(tensor.dims) == 2
            and tensor.dims[0] * tensor.dims[1] >= _LEAST_WEIGHTS
        )

    def _pack(self, stem: str, weights: NDArray[np.float32], axis: int) -> None:
        """Make integers and scales once."""
        if stem not in self._made:
            self._made.add(stem)
            integers, scale = round_weights(weights, axis)
            self.tensors.append(numpy_helper.from_array(integers, f"{stem}_int8"))
            self.tensors.append(numpy_helper.from_array(scale, f"{stem}_scale"))

    def _weights(self, name: str) -> NDArray[np.float32]:
        return np.asarray(numpy_helper.to_array(self._originals[name]), np.float32)

    def _restored(self, name: str, summed_axis: int) -> tuple[str, list[Any]]:
        """Name of the matrix made float again, and the nodes that do so when a session loads."""
        stem = f"{name}_sum{summed_axis}"
        if f"{stem}_float" in self._made:
            return f"{stem}_float", []
        weights = self._weights(name)
        self._pack(stem, in_groups(weights, summed_axis), 1 if summed_axis == 0 else 2)
        self._made.add(f"{stem}_float")
        self.tensors.append(
            numpy_helper.from_array(np.array(weights.shape, np.int64), f"{stem}_shape")
        )
        return f"{stem}_float", [
            *_product(f"{stem}_int8", f"{stem}_scale", f"{stem}_groups"),
            helper.make_node("Reshape", [f"{stem}_groups", f"{stem}_shape"], [f"{stem}_float"]),
        ]

    def _gathered(self, node: Any) -> list[Any]:
        """Rows are picked as integers and made float one by one: the table stays small."""
        (table, rows), out = node.input, node.output[0]
        stem = f"{table}_rows"
        self._pack(stem, self._weights(table), 1)
        integers, scale = f"{out}_int8", f"{out}_scale"
        return [
            helper.make_node("Gather", [f"{stem}_int8", rows], [integers], axis=0),
            helper.make_node("Gather", [f"{stem}_scale", rows], [scale], axis=0),
            *_product(integers, scale, out),
        ]


def _product(integers: str, scale: str, out: str) -> list[Any]:
    """Nodes that make integers float again."""
    casts = [f"{out}_integers", f"{out}_scales"]
    return [
        helper.make_node("Cast", [integers], casts[:1], to=TensorProto.FLOAT),
        helper.make_node("Cast", [scale], casts[1:], to=TensorProto.FLOAT),
        helper.make_node("Mul", casts, [out]),
    ]


# --- model card -----------------------------------------------------------------------------------
# Written from ``bundle.json``; no number is typed by hand.

CARD_FILE = "MODEL_CARD.md"

_FOR = """\
- For researchers who describe apparent expression in pictures and recordings of people who agreed
  to it, within the person or between groups, and who report intervals and what could not be read.
- For teaching and for comparing methods.
"""

_NOT_COVERED = """\
- Labels are what raters saw, not what was felt. People read faces of their own culture better
  (Elfenbein and Ambady 2002): labels of raters from elsewhere carry their reading of the face.
- Who is shown (age, sex, skin tone, culture, health) is known only as far as the training data
  above say so. **This card has no figure by age, sex or skin tone: bias by them is unmeasured
  here.**
  `nunbit evaluate` gives figures by group where the data name groups.
- Whether the people shown agreed to this use is a matter of the training data's terms.
"""

_NOT_FOR = """\
- It estimates **apparent expression**, what a face looks like to a viewer. It does not know what
  a person feels, and it is **not a diagnosis** of depression or of anything else.
- Not for decisions about people: hiring, schooling, policing, border control, insurance, credit.
- Not for watching people at work or at school, and not without the consent of the people shown.
- Groups of labels such as the depression-related one are groups of words, nothing clinical.
- Not validated on video, on faces of other age groups, cultures or cameras than the training data
  has, or on crops that are framed differently.
"""


def model_card(document: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        document: ``bundle.json`` with ``parity``.
    """
    data, training = document["training_data"], document["training"]
    labels = document["label_set"]["labels"]
    origin, parity = document["starting_point"], document["parity"]
    sections = [
        f"# {document['name']}\n",
        "A dual encoder of face crops and sentences, classifying by cosine to prompts; no "
        "classifier head.\n",
        "## Starting point\n",
        _table(
            {
                "started from": _start(origin),
                "weights": origin["weights"],
                "licence": origin["licence"],
                "input": f"{document['preprocessing']['image_size']} px",
                "embedding": f"{document['embedding_size']} numbers",
            }
        ),
        "## Training data\n",
        _table(data),
        "Classes: " + ", ".join(f"{lb['id']} ({lb['ko']})" for lb in labels) + "\n",
        "## Result on the selection split\n",
        "These images chose the checkpoint and the temperature, so the figures are optimistic; "
        "`nunbit evaluate` gives the honest ones. They are figures of the run, on every image with "
        "a label under the policy above: an evaluation under another policy leaves other images "
        "out.\n",
        _table(_selection(training.get("selection", {}), document)),
        "## Prompts of the training\n",
        "\n".join(f"- {text}" for text in document["trained_prompts"]) + "\n",
        "## Settings\n",
        _table(
            {
                k: _start(origin) if k == "init" else v
                for k, v in training.get("settings", {}).items()
            }
            | ({"mean of": training["mean_of"]} if "mean_of" in training else {})
        ),
        "## Export\n",
        f"Agreement with torch on {parity['images']} images ({parity['images_from']}), checked "
        "when the run was exported: smallest "
        f"cosine {parity['image_cosine_min']:.6f} (images), {parity['text_cosine_min']:.6f} "
        f"(texts), same answer {parity['same_answer']:.2%}.\n",
        "## Licence\n",
        _table(document["licence"]),
        "## Intended users\n",
        _FOR,
        "## Who is not covered, and what is unmeasured\n",
        _NOT_COVERED,
        "## What it must not be used for\n",
        _NOT_FOR,
        f"\nWritten by nunbit {document['nunbit_version']}.\n",
    ]
    return "\n".join(sections)


def _start(origin: Mapping[str, Any]) -> str:
    """The starting weights, without the name of a run, which is a folder of the user."""
    if str(origin["weights"]).startswith("a run on "):
        return "an earlier run of nunbit, see weights"
    return str(origin["name"])


def _selection(selection: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The run's figures, with the temperature the bundle uses where it was fitted anew since."""
    shown = {k: v for k, v in selection.items() if k != "temperature"}
    images = document["training_data"].get("choosing_images")
    if images is not None:
        shown = {"images": images, **shown}
    if "temperature" in selection:
        shown["temperature of the run"] = selection["temperature"]
    if "temperature" in document:
        shown["temperature of this bundle"] = document["temperature"]
    return shown


def _table(values: Mapping[str, Any]) -> str:
    if not values:
        return "(none)\n"
    rows = [f"| {key} | {_cell(value)} |" for key, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return str(value).replace("|", "\\|")
