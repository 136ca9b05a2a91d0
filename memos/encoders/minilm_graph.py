"""MiniLM as an ONNX graph written by hand: quantised, fused, and built from the weights alone.

The usual way (trace the torch model, then `quantize_dynamic`) needs torch, takes 7 s and 0.9 GB, and gives a
graph of 500 nodes. Six BERT layers (Devlin et al. 2018) are few enough to state directly, which buys three
things: torch is not needed, the same weights give the same graph whatever version of torch is about, and a
run takes two thirds of the time because attention, GELU and quantised products are one node each.

Weights are int8 with one scale per output channel; activations are quantised as they come, with one scale per
matrix. That scale is why the graph takes ONE text: in a batch it would depend on the neighbours (measured:
cosine down to 0.984 between a text alone and the same text in a batch of 16), and on a CPU a batch of turns
of equal length gains but a tenth. One text also means no padding and no attention mask.

Whoever changes what the graph computes changes `RECIPE` in onnx_embedder, which names the vector space.

Run as a program, `python -m memos.encoders.minilm_graph WEIGHTS OUT`, so that the 300 MB this takes are given
back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

LAYERS, HEADS, EPSILON = 6, 12, 1e-12

# Seven bits, not eight: without VNNI instructions (before 2019) the kernels add two products of uint8 and
# int8 in 16 bits and saturate beyond 63 * 255 * 2, so eight bits would give other vectors on other machines.
_WEIGHT_RANGE = 63
_TABLE_RANGE = 127
_CONTRIB = "com.microsoft"

Weights = Mapping[str, NDArray[np.float32]]


def build_graph(weights: Weights) -> onnx.ModelProto:
    """Return the model: `input_ids` int64 [1, tokens] to `vector` float32 [1, 384] of length 1.

    `weights` has the names of the published safetensors file.
    """
    graph = _Graph(weights)
    state = _embeddings(graph)
    for layer in range(LAYERS):
        state = _layer(graph, state, f"encoder.layer.{layer}.")
    mean = graph.node("ReduceMean", state, graph.constant("axis.tokens", np.array([1])), keepdims=0)
    graph.node("LpNormalization", mean, output="vector", axis=-1, p=2)
    width = weights["embeddings.LayerNorm.bias"].shape[0]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "minilm",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, width])],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)],
        ir_version=9,
    )


def main(arguments: Sequence[str]) -> None:
    """Read the safetensors file named first, write the ONNX file named second."""
    weights_path, out_path = map(Path, arguments)
    stored = load_file(weights_path)
    weights = {name: values.astype(np.float32) for name, values in stored.items() if values.dtype.kind == "f"}
    out_path.write_bytes(build_graph(weights).SerializeToString(deterministic=True))


def quantised_rows(matrix: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values in [-limit, limit] and one scale per row; their product is about `matrix`."""
    scales = np.abs(matrix).max(axis=1) / np.float32(limit)
    # A row of zeros has no scale of its own; any does.
    scales[scales == 0] = 1.0
    values = np.clip(np.rint(matrix / scales[:, None]), -limit, limit)
    return values.astype(np.int8), scales.astype(np.float32)


class _Graph:
    """Nodes and constants under construction; every method returns the name of the value it made."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def node(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        name = f"{kind}.{len(self.nodes)}"
        made = helper.make_node(kind, inputs, [output or name], name=name, domain=domain, **attributes)
        self.nodes.append(made)
        return output or name

    def linear(self, value: str, name: str) -> str:
        """Return value @ weight.T + bias, multiplied in integers."""
        weight, scales = quantised_rows(self.weights[f"{name}.weight"], _WEIGHT_RANGE)
        return self.node(
            "DynamicQuantizeMatMul",
            value,
            self.constant(f"{name}.weight", weight.T),
            self.constant(f"{name}.scale", scales),
            self.constant(f"{name}.zero", np.zeros_like(scales, dtype=np.int8)),
            self.weight(f"{name}.bias"),
            domain=_CONTRIB,
        )

    def normalised_sum(self, left: str, right: str, name: str) -> str:
        """Return LayerNorm(left + right), as two nodes: the fused operator is five times slower on CPUs."""
        total = self.node("Add", left, right)
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", total, scale, bias, axis=-1, epsilon=EPSILON)


def _embeddings(graph: _Graph) -> str:
    """Word, position and segment embeddings. The word table, half of all weights, is int8 too."""
    table, scales = quantised_rows(graph.weights["embeddings.word_embeddings.weight"], _TABLE_RANGE)
    rows = graph.node("Gather", graph.constant("words", table), "input_ids")
    row_scales = graph.node("Gather", graph.constant("words.scale", scales[:, None]), "input_ids")
    words = graph.node("Mul", graph.node("Cast", rows, to=TensorProto.FLOAT), row_scales)
    # There is one segment, so its embedding is folded into the positions.
    segment = graph.weights["embeddings.token_type_embeddings.weight"][0]
    places = graph.constant("places", graph.weights["embeddings.position_embeddings.weight"] + segment)
    zero, one, two = (graph.constant(f"index.{index}", np.array([index])) for index in range(3))
    length = graph.node("Slice", graph.node("Shape", "input_ids"), one, two)
    used_places = graph.node("Slice", places, zero, length, zero)
    return graph.normalised_sum(words, used_places, "embeddings.LayerNorm")


def _layer(graph: _Graph, state: str, prefix: str) -> str:
    heads = [graph.linear(state, f"{prefix}attention.self.{part}") for part in ("query", "key", "value")]
    mixed = graph.node("MultiHeadAttention", *heads, domain=_CONTRIB, num_heads=HEADS)
    mixed = graph.linear(mixed, f"{prefix}attention.output.dense")
    state = graph.normalised_sum(mixed, state, f"{prefix}attention.output.LayerNorm")
    inner = graph.node("Gelu", graph.linear(state, f"{prefix}intermediate.dense"), domain=_CONTRIB)
    inner = graph.linear(inner, f"{prefix}output.dense")
    return graph.normalised_sum(inner, state, f"{prefix}output.LayerNorm")


if __name__ == "__main__":
    main(sys.argv[1:])
