"""The layout of a cache and what a restore needs of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules.kv_layout import CHUNK_TOKENS, Group, GroupSpec, KVDtype, KVSpec, chunk_bounds, needed_chunks

GEMMA = KVSpec.of_layers([None if i % 6 == 5 else 512 for i in range(18)], kv_heads=1, head_dim=256, dtype=KVDtype.F16)


def test_bytes_per_token_of_gemma_3_270m() -> None:
    assert GEMMA.bytes_per_token == 18_432
    assert GEMMA.n_layers == 18


@pytest.mark.parametrize(("n_tokens", "factor"), [(1024, 1.7), (2048, 2.7), (4096, 3.7)])
def test_trimming_sliding_layers_saves_what_was_measured(n_tokens: int, factor: float) -> None:
    assert n_tokens * GEMMA.bytes_per_token / GEMMA.restore_bytes(n_tokens) == pytest.approx(factor, abs=0.06)


def test_restore_at_a_boundary_needs_all_full_chunks_but_only_trailing_sliding_ones() -> None:
    assert needed_chunks(GEMMA, 1024) == {Group.FULL: range(4), Group.SLIDING: range(2, 4)}
    assert needed_chunks(GEMMA, 1030) == {Group.FULL: range(5), Group.SLIDING: range(2, 5)}
    assert needed_chunks(GEMMA, 0) == {Group.FULL: range(0), Group.SLIDING: range(0)}


@given(n_tokens=st.integers(0, 5000), window=st.integers(2, 1200))
@settings(deadline=None, max_examples=100)
def test_needed_sliding_chunks_hold_the_whole_window_and_none_to_spare(n_tokens: int, window: int) -> None:
    spec = KVSpec.of_layers([window], kv_heads=1, head_dim=2, dtype=KVDtype.F32)
    needed = needed_chunks(spec, n_tokens)[Group.SLIDING]
    first = max(0, n_tokens - window + 1)
    assert needed.stop == len(chunk_bounds(n_tokens))
    if n_tokens:
        assert needed.start * CHUNK_TOKENS <= first < (needed.start + 1) * CHUNK_TOKENS


@given(n_tokens=st.integers(0, 2000))
@settings(deadline=None, max_examples=50)
def test_chunks_tile_the_tokens(n_tokens: int) -> None:
    bounds = chunk_bounds(n_tokens)
    assert [token for start, end in bounds for token in range(start, end)] == list(range(n_tokens))
    assert all(0 < end - start <= CHUNK_TOKENS for start, end in bounds)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: GroupSpec((), 1, 64),
        lambda: GroupSpec((1, 0), 1, 64),
        lambda: GroupSpec((0,), 0, 64),
        lambda: GroupSpec((0,), 1, 63),
        lambda: GroupSpec((0,), 1, 64, window=1),
        lambda: KVSpec(KVDtype.F32),
        lambda: KVSpec(KVDtype.F32, full=GroupSpec((0, 2), 1, 64)),
        lambda: KVSpec(KVDtype.F32, full=GroupSpec((0,), 1, 64, window=8)),
        lambda: KVSpec.of_layers([None, 16, 32], kv_heads=1, head_dim=64, dtype=KVDtype.F32),
    ],
)
def test_layouts_no_model_has_are_refused(bad: Callable[[], object]) -> None:
    with pytest.raises(Invalid):
        bad()


def test_asking_for_an_absent_group_is_an_error() -> None:
    spec = KVSpec.of_layers([None], kv_heads=1, head_dim=64, dtype=KVDtype.F32)
    with pytest.raises(Invalid):
        spec.group(Group.SLIDING)
