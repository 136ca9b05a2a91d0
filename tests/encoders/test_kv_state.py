"""Caches as arrays: pieces fit together or are refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.encoders.kv_state import GroupKV, KVState, checked, joined, trimmed
from memos.errors import Invalid
from memos.rules.kv_layout import Group, KVDtype, KVSpec
from tests.encoders.kv_arrays import made_up, mixed_spec, same_bytes

SPEC = mixed_spec(head_dim=16)
STATE = KVState({group: made_up(SPEC, group, 0, 700) for group in Group})


def part(start: int, end: int) -> KVState:
    return KVState({group: kv.tokens(start, end) for group, kv in STATE.groups.items()})


@given(cuts=st.sets(st.integers(1, 699), max_size=4))
@settings(deadline=None, max_examples=30)
def test_pieces_join_to_the_whole_wherever_they_were_cut(cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), 700]
    whole = joined([part(a, b) for a, b in pairwise(bounds)], SPEC)
    assert all(same_bytes(whole.groups[group], STATE.groups[group]) for group in Group)


@pytest.mark.parametrize("bounds", [[(0, 100), (101, 200)], [(0, 100), (99, 200)], [(100, 200), (0, 100)]])
def test_gaps_overlaps_and_wrong_orders_do_not_join(bounds: list[tuple[int, int]]) -> None:
    with pytest.raises(Invalid):
        joined([part(a, b) for a, b in bounds], SPEC)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5), (0, 701)])
def test_tokens_that_are_not_there_cannot_be_cut_out(start: int, end: int) -> None:
    with pytest.raises(Invalid):
        STATE.groups[Group.FULL].tokens(start, end)


def test_trimming_keeps_the_window_and_copies_nothing() -> None:
    less = trimmed(STATE, SPEC)
    swa = less.groups[Group.SLIDING]
    assert (swa.start, swa.end) == (700 - 299, 700)
    assert np.shares_memory(swa.k, STATE.groups[Group.SLIDING].k)
    assert trimmed(less, SPEC).groups[Group.SLIDING].start == swa.start
    assert checked(less, SPEC) is less


@pytest.mark.parametrize(
    "bad",
    [
        {Group.FULL: STATE.groups[Group.FULL]},
        dict(STATE.groups) | {Group.SLIDING: STATE.groups[Group.SLIDING].tokens(0, 699)},
        dict(STATE.groups) | {Group.SLIDING: STATE.groups[Group.SLIDING].tokens(500, 700)},
        dict(STATE.groups) | {Group.FULL: STATE.groups[Group.FULL].tokens(1, 700)},
        dict(STATE.groups) | {Group.FULL: STATE.groups[Group.SLIDING]},
        {g: GroupKV(kv.k.astype(np.float16), kv.v, 0) for g, kv in STATE.groups.items()},
        {g: GroupKV(kv.k, kv.v[..., :8], 0) for g, kv in STATE.groups.items()},
        {g: GroupKV(kv.k[:, :, :0], kv.v[:, :, :0], 0) for g, kv in STATE.groups.items()},
    ],
)
def test_what_does_not_fit_the_model_is_refused(bad: dict[Group, GroupKV]) -> None:
    with pytest.raises(Invalid):
        checked(KVState(bad), SPEC)


def test_a_piece_fits_without_being_restorable() -> None:
    piece = part(300, 500)
    assert checked(piece, SPEC, restorable=False) is piece
    with pytest.raises(Invalid):
        checked(piece, SPEC)


def test_bytes_are_those_of_the_layout() -> None:
    spec = KVSpec.of_layers([None, None], kv_heads=3, head_dim=8, dtype=KVDtype.BF16)
    state = KVState({Group.FULL: made_up(spec, Group.FULL, 0, 10)})
    assert state.n_bytes == 10 * spec.bytes_per_token
