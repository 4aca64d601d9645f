"""Towers of an ONNX file in 8-bit integers: small, or fast.

:func:`quantise_weights` gives a quarter of the size and leaves the arithmetic unchanged: only
weights are rounded, each row of an embedding table and each 64 weights of an output channel with a
scale of their own; activations stay float32. The integers are turned back when a session loads, by
operators every onnxruntime has, so speed and memory are those of float32.
:func:`quantise_products` rounds the activations too and is fast, but it costs e5 a cosine of 0.01,
ten times what a bundle may lose; a vision transformer usually bears it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def _pack(self, stem: str, weights: NDArray[np.float32], axis: int) -> None:
        """Make integers and scales once."""
        from onnx import numpy_helper

        if stem not in self._made:
            self._made.add(stem)
            integers, scale = round_weights(weights, axis)
            self.tensors.append(numpy_helper.from_array(integers, f"{stem}_int8"))
            self.tensors.append(numpy_helper.from_array(scale, f"{stem}_scale"))

    def _weights(self, name: str) -> NDArray[np.float32]:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._originals[name]), np.float32)

    def _restored(self, name: str, summed_axis: int) -> tuple[str, list[Any]]:
        """Name of the matrix made float again, and the nodes that do so when a session loads."""
        from onnx import helper, numpy_helper

        stem = f"{name}_sum{summed_axis}"
        if f"{stem}_float" in self._made:
            return f"{stem}_float", []
        weights = self._weights(name)
        self._pack(stem, in_groups(weights, summed_axis), 1 if summed_axis == 0 else 2)
        self._made.add(f"{stem}_float")
        shape = numpy_helper.from_array(np.array(weights.shape, np.int64), f"{stem}_shape")
        self.tensors.append(shape)
        return f"{stem}_float", [
            *_product(f"{stem}_int8", f"{stem}_scale", f"{stem}_groups"),
            helper.make_node("Reshape", [f"{stem}_groups", f"{stem}_shape"], [f"{stem}_float"]),
        ]

    def _gathered(self, node: Any) -> list[Any]:
        """Rows are picked as integers and made float one by one: the table stays small."""
        from onnx import helper

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
    from onnx import TensorProto, helper

    casts = [f"{out}_integers", f"{out}_scales"]
    return [
        helper.make_node("Cast", [integers], casts[:1], to=TensorProto.FLOAT),
        helper.make_node("Cast", [scale], casts[1:], to=TensorProto.FLOAT),
        helper.make_node("Mul", casts, [out]),
    ]


def _axis(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
