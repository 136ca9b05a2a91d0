from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memos.encoders import minilm_graph, minilm_weights
from memos.encoders.minilm_graph import quantised_rows
from memos.encoders.onnx_embedder import OnnxEmbedder

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-20),
)


@settings(deadline=None, max_examples=60)
@given(MATRICES, st.sampled_from([63, 127]))
def test_quantised_rows_are_within_half_a_step(matrix: np.ndarray, limit: int) -> None:
    values, scales = quantised_rows(matrix, limit)

    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max() <= limit
    error = np.abs(values * scales[:, None] - matrix)
    assert (error <= 0.5001 * scales[:, None]).all()


def test_the_program_writes_the_graph_that_is_in_use(
    model_cache: Path, onnx_embedder: OnnxEmbedder, tmp_path: Path
) -> None:
    [used] = model_cache.glob("*.onnx")
    built = tmp_path / "graph.onnx"

    minilm_graph.main([str(minilm_weights.minilm_dir() / "model.safetensors"), str(built)])

    assert _sha256(built) == _sha256(used)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
