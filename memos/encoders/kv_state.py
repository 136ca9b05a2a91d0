"""KV caches as numpy arrays, the form in which engines, codecs and stores hand them to each other.

    GroupKV.k, GroupKV.v    [layers of the group, KV heads, tokens, head size]

Heads stand before tokens because engines keep them so: restoring then needs no transposition. numpy has no bfloat16,
so caches of such engines hold its bit patterns as uint16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos.errors import Invalid
from memos.rules.kv_layout import Group, GroupSpec, KVDtype, KVSpec

Array = NDArray[Any]

_STORAGE: dict[KVDtype, np.dtype[Any]] = {
    KVDtype.F32: np.dtype("<f4"),
    KVDtype.F16: np.dtype("<f2"),
    KVDtype.BF16: np.dtype("<u2"),
}


@dataclass(frozen=True, slots=True, eq=False)
class GroupKV:
    """Keys and values of one group for tokens `[start, end)`."""

    k: Array
    v: Array
    start: int = 0

    @property
    def n_tokens(self) -> int:
        return int(self.k.shape[2])

    @property
    def end(self) -> int:
        return self.start + self.n_tokens

    def tokens(self, start: int, end: int) -> GroupKV:
        """A view of tokens `[start, end)`, counted from the beginning of the prefix."""
        if not self.start <= start < end <= self.end:
            raise Invalid(f"tokens {start}..{end} are not in {self.start}..{self.end}")
        part = slice(start - self.start, end - self.start)
        return GroupKV(self.k[:, :, part], self.v[:, :, part], start)


@dataclass(frozen=True, slots=True, eq=False)
class KVState:
    """A cache up to token `end`: all groups end there, but a trimmed sliding group starts later than the others."""

    groups: Mapping[Group, GroupKV]

    @property
    def end(self) -> int:
        return next(iter(self.groups.values())).end

    @property
    def n_bytes(self) -> int:
        return sum(kv.k.nbytes + kv.v.nbytes for kv in self.groups.values())


def storage_dtype(dtype: KVDtype) -> np.dtype[Any]:
    """numpy dtype that holds an engine dtype."""
    return _STORAGE[dtype]


def empty_group(spec: GroupSpec, dtype: KVDtype, start: int, end: int) -> GroupKV:
    """Arrays for tokens `[start, end)`, to be filled by the caller."""
    shape = (len(spec.layers), spec.kv_heads, end - start, spec.head_dim)
    return GroupKV(np.empty(shape, storage_dtype(dtype)), np.empty(shape, storage_dtype(dtype)), start)


def checked(state: KVState, spec: KVSpec, *, restorable: bool = True) -> KVState:
    """The state itself, once its arrays are known to fit the model.

    `restorable` demands that everything a restore looks back to is there; without it the state may be a mere piece.

    Raises:
        Invalid: a group is missing, of another shape or dtype, or the groups end at different tokens.
    """
    shapes = dict(spec.groups())
    if set(state.groups) != set(shapes):
        raise Invalid(f"the model has groups {sorted(shapes)}, the cache has {sorted(state.groups)}")
    for group, shape in shapes.items():
        kv = state.groups[group]
        expected = (len(shape.layers), shape.kv_heads, kv.n_tokens, shape.head_dim)
        for array in (kv.k, kv.v):
            if array.shape != expected or array.dtype != storage_dtype(spec.dtype):
                raise Invalid(f"group {group} needs {expected} {spec.dtype}, not {array.shape} {array.dtype}")
        if kv.end != state.end or kv.n_tokens == 0:
            raise Invalid("all groups of a cache hold tokens and end at the same one")
        if restorable and kv.start > shape.first_needed(state.end):
            raise Invalid(f"group {group} starts at {kv.start}, which is too late for a restore at {state.end}")
    return state


def trimmed(state: KVState, spec: KVSpec) -> KVState:
    """The same cache without the sliding-window tokens nothing will ever look back to. Views, not copies."""
    return KVState(
        {
            group: state.groups[group].tokens(max(state.groups[group].start, shape.first_needed(state.end)), state.end)
            for group, shape in spec.groups()
        }
    )


def joined(parts: Sequence[KVState], spec: KVSpec) -> KVState:
    """One cache from consecutive pieces. Raises Invalid when they do not follow on each other."""
    groups: dict[Group, GroupKV] = {}
    for group, _ in spec.groups():
        pieces = [part.groups[group] for part in parts]
        if any(later.start != earlier.end for earlier, later in pairwise(pieces)):
            raise Invalid(f"the pieces of group {group} do not follow on each other")
        groups[group] = GroupKV(
            np.concatenate([piece.k for piece in pieces], axis=2),
            np.concatenate([piece.v for piece in pieces], axis=2),
            pieces[0].start,
        )
    return checked(KVState(groups), spec, restorable=False)


def to_float32(array: Array, dtype: KVDtype) -> NDArray[np.float32]:
    """Engine values as float32, which holds each of the three dtypes exactly."""
    if dtype is KVDtype.BF16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32, copy=False)


def from_float32(values: NDArray[np.float32], dtype: KVDtype) -> Array:
    """float32 as engine values, rounded to nearest even."""
    if dtype is KVDtype.BF16:
        return bfloat16_bits(values)
    return values.astype(storage_dtype(dtype), copy=False)


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float32, rounded to nearest even. Expects finite values."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    # Adding just under half a unit, plus one if the kept part is odd, rounds ties to even.
    rounded = bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))
    return (rounded >> np.uint32(16)).astype(np.uint16)
