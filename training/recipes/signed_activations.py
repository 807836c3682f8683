"""Faster integer convolutions in an 8-bit ONNX model, with the same results.

Dynamic quantization writes activations as bytes from 0 to 255. ONNX Runtime multiplies bytes of two signs with VNNI,
and bytes of one sign with instructions of half the width or less. So each convolution gets its activations minus 128,
with a zero point that is 128 less: the integers that it sums are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from whispergpt.engine.whole_file import whole_file
from whispergpt.training.recipes.packages import library

OFFSET = 128
SIGNED = "_signed"
"""Suffix of the names of signed activations and of their zero points."""


def write_signed(model: Path, out: Path) -> None:
    """Write a copy of a model in which every ``ConvInteger`` takes signed activations.

    Raises:
        ValueError: a convolution's activations are not quantized dynamically, or its weights are not unsigned.
    """
    onnx = library("onnx")
    loaded = onnx.load(str(model))
    _use_signed_activations(loaded.graph, onnx)
    with whole_file(out) as whole:
        onnx.save(loaded, str(whole))


def signed_is_exact() -> bool:
    """Return whether this processor convolves signed activations exactly.

    ONNX Runtime's kernels for AVX2 without VNNI add pairs of products in 16 bits, which the largest values exceed.
    """
    onnx, runtime = library("onnx"), library("onnxruntime")
    channels, width, kernel = 67, 70, 3  # odd sizes, for the kernels' tails as well
    activations = np.full((1, channels, width), OFFSET - 1, np.int8)
    weights = np.full((channels, channels, kernel), 255, np.uint8)
    int32 = onnx.TensorProto.INT32
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ConvInteger", ["x", "w"], ["y"], kernel_shape=[kernel])],
        "largest_products",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT8, list(activations.shape))],
        [onnx.helper.make_tensor_value_info("y", int32, None)],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return all(
        bool(np.all(session.run(None, {"x": np.full_like(activations, value)})[0] == channels * kernel * 255 * value))
        for value in (OFFSET - 1, -OFFSET)
    )


def _use_signed_activations(graph: Any, onnx: Any) -> None:
    """Give every ``ConvInteger`` of a graph signed activations, in place."""
    offset = onnx.numpy_helper.from_array(np.array(OFFSET, np.int32), "signed_offset")
    graph.initializer.append(offset)
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    quantizers = {node.output[0]: node for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    nodes, signed = [], set()
    for node in graph.node:
        if node.op_type == "ConvInteger":
            activations, weights, zero = [*node.input, "", ""][:3]
            if activations not in quantizers or not zero or types.get(weights) != onnx.TensorProto.UINT8:
                raise ValueError(f"{node.name}: only dynamic quantization with unsigned weights is known")
            if activations not in signed:
                signed.add(activations)
                nodes += _signed_nodes(quantizers[activations], zero, offset.name, onnx)
            node.input[0], node.input[2] = activations + SIGNED, zero + SIGNED
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _signed_nodes(quantizer: Any, zero: str, offset: str, onnx: Any) -> list[Any]:
    """Return the nodes that quantize what a quantizer takes once more, by its scale, to signed bytes."""
    int8, int32 = onnx.TensorProto.INT8, onnx.TensorProto.INT32
    node, signed = onnx.helper.make_node, quantizer.output[0] + SIGNED
    return [
        node("Cast", [zero], [zero + "_wide"], to=int32),
        node("Sub", [zero + "_wide", offset], [zero + "_less"]),
        node("Cast", [zero + "_less"], [zero + SIGNED], to=int8),
        node("QuantizeLinear", [quantizer.input[0], quantizer.output[1], zero + SIGNED], [signed]),
    ]
