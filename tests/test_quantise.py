"""Int8 weights: what is rounded, by how much, and that results stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from nunbit.training.onnx import in_groups, quantise_weights, round_weights

pytestmark = pytest.mark.train


def _model(path: Path, *, tied: bool = False) -> None:
    """ids -> table -> matrix -> transposed Gemm; ``tied`` reads table and matrix in other ways."""
    random = np.random.default_rng(0)
    tensors = {
        "table": random.normal(size=(300, 64)) * random.uniform(0.01, 10, size=(300, 1)),
        "matrix": random.normal(size=(64, 80)),
        "turned": random.normal(size=(90, 80)),
        "bias": random.normal(size=90),
        "small": random.normal(size=(90, 5)),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "matrix"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "turned", "bias"], ["wide"], transB=1),
        helper.make_node("MatMul", ["wide", "small"], ["out"]),
    ]
    if tied:
        nodes[1:1] = [helper.make_node("Gather", ["table", "ids"], ["again"], axis=0)]
        nodes += [
            helper.make_node("MatMul", ["again", "matrix"], ["other"]),
            helper.make_node("Transpose", ["table"], ["table_turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["again", "table_turned"], ["scores"]),
        ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 5])]
    if tied:
        outputs += [
            helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 80]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 300]),
        ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])],
        outputs,
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def _run(path: Path) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {"ids": np.arange(300)})
    return list(found)


@pytest.mark.parametrize("tied", [False, True])
def test_results_stay_and_the_file_shrinks(tmp_path: Path, tied: bool) -> None:
    before, after = tmp_path / "a.onnx", tmp_path / "b.onnx"
    _model(before, tied=tied)
    quantise_weights(before, after)
    for old, new in zip(_run(before), _run(after), strict=True):
        cosines = (old * new).sum(1) / (np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1))
        assert cosines.min() > 0.999
        assert not np.array_equal(old, new)
    kinds = {t.name: t.data_type for t in onnx.load(after).graph.initializer}
    packed = {n for n, k in kinds.items() if k == TensorProto.INT8}
    assert packed == {"table_rows_int8", "matrix_sum0_int8", "turned_sum1_int8"}
    assert kinds["bias"] == kinds["small"] == TensorProto.FLOAT
    # What another node still reads as it is must stay.
    assert ("table" in kinds) is tied
    assert tied or after.stat().st_size < 0.35 * before.stat().st_size
    onnx.checker.check_model(onnx.load(after))


@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_error_is_at_most_half_a_step_of_its_channel(axis: int) -> None:
    weights = np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32)
    weights[:, 3] = 0
    weights[5] *= 1000
    integers, scale = round_weights(weights, axis)
    assert integers.dtype == np.int8
    assert scale.shape == ((1, 30) if axis == 0 else (40, 1))
    assert np.abs(integers.astype(int)).max() == 127
    # Half a step, and at the peak what float16 rounds off the scale.
    allowed = scale.astype(np.float32) * (0.5 + 127 * 2.0**-11)
    assert (np.abs(integers * scale.astype(np.float32) - weights) <= allowed).all()


@pytest.mark.parametrize("summed", [0, 1])
def test_groups_cut_the_axis_that_products_sum_over_and_halve_the_error(summed: int) -> None:
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(384, 384)).astype(np.float32)
    axis = 1 if summed == 0 else 2
    grouped = in_groups(weights, summed)
    assert grouped.shape == ((6, 64, 384) if summed == 0 else (384, 6, 64))
    np.testing.assert_array_equal(grouped.reshape(384, 384), weights)

    def error(values: NDArray[np.float32], along: int) -> float:
        integers, scale = round_weights(values, along)
        return float(np.square(integers * scale.astype(np.float32) - values).mean())

    assert error(grouped, axis) < 0.75 * error(weights, summed)
    assert in_groups(weights[:90, :90].copy(), summed).shape == (
        (1, 90, 90) if summed == 0 else (90, 1, 90)
    )


def test_tables_read_along_another_axis_are_left_alone(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.ones((64, 64), np.float32), "table")
    node = helper.make_node("Gather", ["table", "ids"], ["out"], axis=1)
    graph = helper.make_graph(
        [node],
        "toy",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [64, "N"])],
        [table],
    )
    before, after = tmp_path / "a.onnx", tmp_path / "b.onnx"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), before)
    quantise_weights(before, after)
    assert [t.name for t in onnx.load(after).graph.initializer] == ["table"]
