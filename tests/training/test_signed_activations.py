"""Convolutions of signed activations give what they gave before, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from whispergpt.training.recipes.signed_activations import signed_is_exact, write_signed

CHANNELS = 24


def write_model(path: Path, weights_type: type[np.generic] = np.uint8) -> None:
    """Write a model of two convolutions of the same dynamically quantized activations."""
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 127, (2, CHANNELS, CHANNELS, 3)).astype(weights_type)
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("ConvInteger", ["q", "w0", "zero", "wz"], ["y0"], kernel_shape=[3], pads=[1, 1], name="first"),
            node("ConvInteger", ["q", "w1", "zero", "wz"], ["y1"], kernel_shape=[3], dilations=[2], name="second"),
        ],
        "two_convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, None])],
        [helper.make_tensor_value_info(name, TensorProto.INT32, None) for name in ("y0", "y1")],
        [
            numpy_helper.from_array(weights[0], "w0"),
            numpy_helper.from_array(weights[1], "w1"),
            numpy_helper.from_array(np.array(69, weights_type), "wz"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))


def convolved(path: Path, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def test_the_sums_are_the_same_integers(tmp_path: Path) -> None:
    write_model(tmp_path / "plain.onnx")
    write_signed(tmp_path / "plain.onnx", tmp_path / "signed.onnx")
    graph = onnx.load(str(tmp_path / "signed.onnx")).graph
    convolutions = [node for node in graph.node if node.op_type == "ConvInteger"]
    assert {node.input[0] for node in convolutions} == {"q_signed"}
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) == 1  # once for both
    if not signed_is_exact():
        pytest.skip("this processor does not convolve signed activations exactly")
    rng = np.random.default_rng(2)
    for low, high in ((-1.0, 1.0), (0.0, 5.0), (-3.0, -1.0), (0.0, 0.0)):
        x = rng.uniform(low, high, (1, CHANNELS, 40)).astype(np.float32)
        plain, signed = convolved(tmp_path / "plain.onnx", x), convolved(tmp_path / "signed.onnx", x)
        for before, after in zip(plain, signed, strict=True):
            assert np.array_equal(before, after)


def test_signed_weights_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "plain.onnx", np.int8)
    with pytest.raises(ValueError, match="first: only dynamic quantization with unsigned weights"):
        write_signed(tmp_path / "plain.onnx", tmp_path / "signed.onnx")
    assert not (tmp_path / "signed.onnx").exists()
