"""Towers of an ONNX file in 8-bit integers: small, or fast.

:func:`quantise_weights` gives a quarter of the size and leaves the arithmetic unchanged: only
weights are rounded, each output channel (each row of an embedding table) with a scale of its own;
activations stay float32. The integers are turned back when a session loads, by operators every
onnxruntime has, so speed and memory are those of float32. :func:`quantise_products` rounds the
activations too and is fast, but it costs e5 a cosine of 0.01, ten times what a bundle may lose; a
vision transformer usually bears it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Smaller tables are not worth two more nodes.
_LEAST_WEIGHTS = 4096
_LARGEST = 127


def quantise_weights(source: Path, target: Path) -> None:
    """Write a copy of an ONNX file whose large weight matrices and tables are int8.

    Args:
        source: A file with its weights inside.
        target: Where the copy goes.
    """
    import onnx

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
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a step that changes nothing here
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(level)


def round_weights(
    weights: NDArray[np.float32], channel_axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers in [-127, 127] and one scale a channel; their product is the weights again.

    Args:
        weights: (A, B).
        channel_axis: The axis along which every index has its own scale.

    Returns:
        The integers (A, B), and the scales, (A, 1) or (1, B).
    """
    peak = np.abs(weights).max(axis=1 - channel_axis, keepdims=True)
    scale = np.where(peak > 0, peak / _LARGEST, 1.0).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale


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
            node.input[1], new = self._restored(node.input[1], 0 if turned else 1)
            return [*new, node]
        if node.op_type == "Gather" and self._is_large(node.input[0]) and not _axis(node):
            return self._gathered(node)
        return [node]

    def _is_large(self, name: str) -> bool:
        from onnx import TensorProto

        tensor = self._originals.get(name)
        return (
            tensor is not None
            and tensor.data_type == TensorProto.FLOAT
            and len(tensor.dims) == 2
            and tensor.dims[0] * tensor.dims[1] >= _LEAST_WEIGHTS
        )

    def _pack(self, name: str, channel_axis: int) -> str:
        """Make the integers and scales of a matrix once; the stem of their names."""
        from onnx import numpy_helper

        stem = f"{name}_by{channel_axis}"
        if stem not in self._made:
            self._made.add(stem)
            weights = numpy_helper.to_array(self._originals[name])
            integers, scale = round_weights(weights, channel_axis)
            self.tensors.append(numpy_helper.from_array(integers, f"{stem}_int8"))
            self.tensors.append(numpy_helper.from_array(scale, f"{stem}_scale"))
        return stem

    def _restored(self, name: str, channel_axis: int) -> tuple[str, list[Any]]:
        """Name of the matrix made float again, and the nodes that do so when a session loads."""
        from onnx import TensorProto, helper

        stem = self._pack(name, channel_axis)
        if f"{stem}_float" in self._made:
            return f"{stem}_float", []
        self._made.add(f"{stem}_float")
        return f"{stem}_float", [
            helper.make_node("Cast", [f"{stem}_int8"], [f"{stem}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{stem}_cast", f"{stem}_scale"], [f"{stem}_float"]),
        ]

    def _gathered(self, node: Any) -> list[Any]:
        """Rows are picked as integers and made float one by one: the table stays small."""
        from onnx import TensorProto, helper

        (table, rows), out = node.input, node.output[0]
        stem = self._pack(table, 0)
        return [
            helper.make_node("Gather", [f"{stem}_int8", rows], [f"{out}_int8"], axis=0),
            helper.make_node("Gather", [f"{stem}_scale", rows], [f"{out}_scale"], axis=0),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out]),
        ]


def _axis(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
