"""The gate: exact codecs measure as exact, worse ones as worse, and a figure beyond its limit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memos.encoders.causal_lm import Engine
from memos.encoders.fake_lm import FakeEngine
from memos.encoders.kv_codecs import decode_chunk, encode_chunk
from memos.encoders.kv_container import ChunkLabel
from memos.encoders.kv_gate import (
    GateFigures,
    Window,
    agrees_with_recomputation,
    compare,
    greedy_divergence,
    measure,
    refusals,
    round_trip,
    windows_of,
)
from memos.encoders.kv_state import GroupKV, KVState
from memos.errors import Invalid
from memos.rules.kv_address import chain
from memos.rules.kv_layout import KVDtype
from tests.encoders.kv_engines import tiny_gemma, tiny_llama

TEXT = "A long winter taught them to read the ice, to wait, and to share what little the nets gave back. " * 12


@pytest.fixture(scope="module", params=["fake", "llama", "gemma"])
def engine(request: pytest.FixtureRequest) -> Engine[Any]:
    make: dict[str, Callable[[], Engine[Any]]] = {
        "fake": FakeEngine,
        "llama": tiny_llama,
        "gemma": tiny_gemma,
    }
    return make[request.param]()


@pytest.fixture(scope="module")
def figures(engine: Engine[Any]) -> dict[str, GateFigures]:
    windows = windows_of(engine.tokenize(TEXT).ids, n_context=300, n_predicted=40, count=3)
    return measure(engine, ["raw", "bf16", "int8", "int4"], windows)


def test_a_lossless_codec_moves_nothing(figures: dict[str, GateFigures]) -> None:
    exact = figures["raw"]
    assert (exact.kl, exact.top1, exact.delta_nll, exact.max_dlogit) == (0.0, 1.0, 0.0, 0.0)
    assert (exact.windows, exact.tokens) == (3, 120)
    assert refusals(exact, "raw", KVDtype.F32) == []


def test_fewer_bits_move_more(figures: dict[str, GateFigures]) -> None:
    assert 0 < figures["int8"].max_dlogit < figures["int4"].max_dlogit
    assert 0 < figures["int8"].kl < figures["int4"].kl
    assert figures["int8"].top1 >= figures["int4"].top1


def test_figures_are_plain_numbers_for_a_row(figures: dict[str, GateFigures]) -> None:
    row = figures["int4"].as_json()
    assert set(row) == {"kl", "top1", "delta_nll", "max_dlogit", "windows", "tokens"}
    assert all(isinstance(value, int | float) for value in row.values())


GOOD = GateFigures(kl=0.004, top1=0.97, delta_nll=0.01, max_dlogit=2.0, windows=8, tokens=1528)


@pytest.mark.parametrize(
    ("codec", "change", "n_reasons"),
    [
        ("int4", {}, 0),
        ("int4", {"kl": 0.02}, 1),
        ("int4", {"top1": 0.9}, 1),
        ("int4", {"delta_nll": -0.03}, 1),
        ("int4", {"kl": float("nan"), "top1": float("nan"), "delta_nll": float("nan")}, 3),
        ("int8", {}, 2),
        ("int8", {"kl": 1e-5, "top1": 0.995}, 0),
        ("raw", {}, 1),
        ("raw", {"max_dlogit": 0.0}, 0),
    ],
)
def test_limits(codec: str, change: dict[str, Any], n_reasons: int) -> None:
    assert len(refusals(replace(GOOD, **change), codec, KVDtype.F32)) == n_reasons


def test_bf16_is_held_to_exactness_only_where_it_is_exact() -> None:
    slightly_off = replace(GOOD, kl=1e-6, top1=1.0, max_dlogit=0.1)
    assert refusals(slightly_off, "bf16", KVDtype.F32) == []
    assert len(refusals(slightly_off, "bf16", KVDtype.BF16)) == 1


def test_a_cache_of_other_tokens_measures_far_worse_than_any_codec(
    engine: Engine[Any], figures: dict[str, GateFigures]
) -> None:
    ids = engine.tokenize(TEXT).ids
    window = windows_of(ids, n_context=300, n_predicted=40, count=1)[0]
    wrong = engine.build(tuple(reversed(window.context)))
    worst = compare(engine, engine.build(window.context), wrong, window)
    # Untrained models hardly look back; trained ones are tried in test_causal_lm.
    assert worst.kl > 4 * figures["int4"].kl


@pytest.mark.parametrize("codec", ["raw", "bf16", "int8", "int4"])
def test_recomputation_finds_one_foreign_token_in_one_layer(engine: Engine[Any], codec: str) -> None:
    """What quarantine is for: a cache that says something else than its tokens is an injection nobody can read."""
    ids, spec = engine.tokenize(TEXT).ids[:256], engine.identity.spec
    state = engine.build(ids)
    (chunk,) = chain(bytes(32), ids)
    for group, kv in state.groups.items():
        label = ChunkLabel(chunk.key, "m", group, codec, 0, 256)
        data = encode_chunk(kv, spec, label)
        stored = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
        last_bits = GroupKV(kv.k * np.float32(1 + 2e-7), kv.v * np.float32(1 - 2e-7))
        assert agrees_with_recomputation(stored, last_bits, spec, label)
        stored.k[0, :, 200] = stored.k[0, :, 17]
        stored.v[0, :, 200] = stored.v[0, :, 17]
        assert not agrees_with_recomputation(stored, kv, spec, label)
        stored.k[...] = np.nan
        assert not agrees_with_recomputation(stored, kv, spec, label)


def test_a_round_trip_keeps_the_shape(engine: Engine[Any]) -> None:
    ids = engine.tokenize(TEXT).ids[:300]
    state = engine.build(ids)
    back = round_trip(engine, state, ids, "int4")
    assert isinstance(back, KVState)
    assert (back.end, back.n_bytes) == (state.end, state.n_bytes)


def test_divergence_of_greedy_answers(engine: Engine[Any]) -> None:
    ids = engine.tokenize(TEXT).ids
    window = Window(tuple(ids[:300]), tuple(ids[300:310]))
    assert greedy_divergence(engine, window, "raw", max_new_tokens=12) is None
    at = greedy_divergence(engine, window, "int4", max_new_tokens=12)
    assert at is None or 0 <= at <= 12


@pytest.mark.parametrize("count", [1, 2, 8])
def test_windows_spread_over_the_whole_text(count: int) -> None:
    windows = windows_of(range(1000), n_context=100, n_predicted=20, count=count)
    assert len(windows) == count
    assert all((len(w.context), len(w.continuation)) == (100, 21) for w in windows)
    assert all(w.continuation[0] == w.context[-1] + 1 for w in windows)
    assert windows[0].context[0] == 0
    assert count == 1 or windows[-1].continuation[-1] == 999


def test_a_text_too_short_for_a_window_is_refused() -> None:
    with pytest.raises(Invalid):
        windows_of(range(100), n_context=100)


def test_a_window_without_a_target_is_refused() -> None:
    with pytest.raises(Invalid):
        measure(FakeEngine(), ["raw"], [Window((1, 2), (3,))])
