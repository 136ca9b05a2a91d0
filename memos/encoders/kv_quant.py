"""Keys and values as 8- or 4-bit codes, with the axes that fit how attention uses them.

Keys have a few channels with large values in every token, so each key channel gets a scale of its own, over groups of
64 tokens. Values have no such channels, so each token gets scales of its own, over groups of up to 64 channels (KIVI,
Liu et al., arXiv 2402.02750). Taking keys along the wrong axis costs fifty times the error. The first tokens of a
prefix draw attention from everywhere and have unusual keys: chunk 0 keeps four of them exactly, outside the codes and
outside the ranges (attention sinks, arXiv 2309.17453; KVQuant, arXiv 2401.18079).

    code = round((x - low) / step)      low, step: float16 per group, rounded outward so that no value is clipped

Scales are an eighth of all bits at 4 bits a code, so a step keeps only four bits of its mantissa (it grows by 3 % on
average) and both are stored as byte planes: that is what zstd can shrink, and what brings 4 bits to a quarter of fp16.
4-bit codes lie two in a byte: channel d of the first half of a head in the low nibble, d of the second in the high.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.encoders.kv_container import TensorLayout
from memos.encoders.kv_state import Array, GroupKV, from_float32, to_float32
from memos.errors import Invalid
from memos.rules.kv_layout import GroupSpec, KVDtype

GROUP: Final = 64
EXACT_TOKENS: Final = 4


@dataclass(frozen=True, slots=True)
class KiviCodec:
    """`bits` is 8 or 4. Lossy for every dtype."""

    name: str
    bits: int
    zstd_level: int | None = 3

    def is_lossless(self, dtype: KVDtype) -> bool:  # noqa: ARG002 - the port asks per dtype
        return False

    def layout(self, spec: GroupSpec, dtype: KVDtype, start: int, n_tokens: int) -> dict[str, TensorLayout]:
        lead = (len(spec.layers), spec.kv_heads)
        codes = TensorLayout("U8", (*lead, n_tokens, spec.head_dim * self.bits // 8))
        key_scales = TensorLayout("U8", (2, *lead, -(-n_tokens // GROUP), spec.head_dim))
        value_scales = TensorLayout("U8", (2, *lead, n_tokens, spec.head_dim // _channel_group(spec)))
        layout = {
            "k.codes": codes,
            "k.low": key_scales,
            "k.step": key_scales,
            "v.codes": codes,
            "v.low": value_scales,
            "v.step": value_scales,
        }
        exact = _exact_tokens(start, n_tokens)
        if exact:
            layout["k.exact"] = layout["v.exact"] = TensorLayout(dtype.value, (*lead, exact, spec.head_dim))
        return layout

    def encode(self, kv: GroupKV, spec: GroupSpec, dtype: KVDtype) -> dict[str, Array]:
        tensors: dict[str, Array] = {
            name: np.empty(part.shape, np.uint8)
            for name, part in self.layout(spec, dtype, kv.start, kv.n_tokens).items()
            if not name.endswith(".exact")
        }
        exact = _exact_tokens(kv.start, kv.n_tokens)
        for layer in range(len(spec.layers)):
            for prefix, array in (("k", kv.k), ("v", kv.v)):
                values = _without_exact(to_float32(array[layer], dtype), exact)
                if not np.isfinite(values).all():
                    raise Invalid("a cache with infinities or NaN cannot be quantised")
                grouped = _key_groups(values) if prefix == "k" else _value_groups(values, spec)
                axis = 2 if prefix == "k" else 3
                codes, low, step = _quantised(grouped, axis, 2**self.bits - 1)
                tensors[f"{prefix}.low"][:, layer] = _planes(low)
                tensors[f"{prefix}.step"][:, layer] = _planes(step)
                flat = codes.reshape(spec.kv_heads, -1, spec.head_dim)[:, : kv.n_tokens]
                tensors[f"{prefix}.codes"][layer] = flat if self.bits == 8 else _packed(flat)
        if exact:
            tensors["k.exact"], tensors["v.exact"] = kv.k[:, :, :exact], kv.v[:, :, :exact]
        return tensors

    def decode(self, tensors: Mapping[str, Array], spec: GroupSpec, dtype: KVDtype, out: GroupKV) -> None:
        """Fill `out` (arrays of the chunk's shape in the engine's dtype)."""
        for layer in range(len(spec.layers)):
            for prefix, target in (("k", out.k), ("v", out.v)):
                # For float32 engines the codes are unpacked and scaled where they will stay.
                shape = target[layer].shape
                values = target[layer] if dtype is KVDtype.F32 else np.empty(shape, np.float32)
                self._unpack(tensors[f"{prefix}.codes"][layer], values)
                low = _from_planes(tensors[f"{prefix}.low"][:, layer])
                step = _from_planes(tensors[f"{prefix}.step"][:, layer])
                scale = _scale_keys if prefix == "k" else _scale_values
                scale(values, low, step)
                if dtype is not KVDtype.F32:
                    target[layer] = from_float32(values, dtype)
        if "k.exact" in tensors:
            exact = tensors["k.exact"].shape[2]
            out.k[:, :, :exact], out.v[:, :, :exact] = tensors["k.exact"], tensors["v.exact"]

    def _unpack(self, codes: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
        if self.bits == 8:
            values[...] = codes
        else:
            half = codes.shape[-1]
            values[..., :half] = codes & np.uint8(15)
            values[..., half:] = codes >> np.uint8(4)


def _exact_tokens(start: int, n_tokens: int) -> int:
    return min(EXACT_TOKENS, n_tokens) if start == 0 else 0


def _channel_group(spec: GroupSpec) -> int:
    """64 channels, or the largest power of two below that divides the head."""
    return math.gcd(spec.head_dim, GROUP)


def _without_exact(values: NDArray[np.float32], exact: int) -> NDArray[np.float32]:
    """[heads, tokens, channels] with the exact tokens overwritten by their successor, so that they widen no range."""
    if not exact:
        return values
    values = values.copy()
    values[:, :exact] = values[:, exact : exact + 1] if values.shape[1] > exact else 0.0
    return values


def _key_groups(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[heads, groups, 64 tokens, channels]; a short last group repeats its last token, which widens no range."""
    heads, n_tokens, channels = values.shape
    padded = np.pad(values, ((0, 0), (0, -n_tokens % GROUP), (0, 0)), mode="edge")
    return padded.reshape(heads, -1, GROUP, channels)


def _value_groups(values: NDArray[np.float32], spec: GroupSpec) -> NDArray[np.float32]:
    """[heads, tokens, groups, channels of a group]"""
    return values.reshape(*values.shape[:2], -1, _channel_group(spec))


def _quantised(
    values: NDArray[np.float32], axis: int, levels: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16]]:
    """Codes of the same shape, and low and step with `axis` removed."""
    low = _rounded_down(values.min(axis=axis))
    span = values.max(axis=axis) - low.astype(np.float32)
    step = -_rounded_down(-span / levels, drop_bits=6)
    if not (np.isfinite(low).all() and np.isfinite(step).all()):
        raise Invalid("a cache with values beyond float16 cannot be quantised")
    # A step of zero means that all values equal low: any divisor gives code 0.
    divisor = np.where(step > 0, step, np.float16(1)).astype(np.float32)
    codes = np.rint((values - np.expand_dims(low.astype(np.float32), axis)) / np.expand_dims(divisor, axis))
    return np.clip(codes, 0, levels).astype(np.uint8), low, step


def _rounded_down(values: NDArray[np.float32], *, drop_bits: int = 0) -> NDArray[np.float16]:
    """The largest float16 not above each value whose last `drop_bits` of mantissa are zero; infinite out of range."""
    unit = np.uint16((1 << drop_bits) - 1)
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float16)
    above = nearest.astype(np.float32) > values
    bits = np.where(above, np.nextafter(nearest, np.float16(-np.inf)), nearest).view(np.uint16)
    # The magnitude of a float16 grows with its bit pattern, so "down" is smaller bits above zero, larger below.
    negative = bits >= np.uint16(0x8000)
    return np.where(negative, (bits + unit) & ~unit, bits & ~unit).view(np.float16)


def _planes(scales: NDArray[np.float16]) -> NDArray[np.uint8]:
    """[2, ...]: low bytes, then high bytes."""
    bits = scales.view(np.uint16)
    return np.stack([bits & np.uint16(255), bits >> np.uint16(8)]).astype(np.uint8)


def _from_planes(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    bits = planes[0] | (planes[1].astype(np.uint16) << np.uint16(8))
    scales: NDArray[np.float16] = bits.view(np.float16)
    return scales.astype(np.float32)


def _scale_keys(values: NDArray[np.float32], low: NDArray[np.float32], step: NDArray[np.float32]) -> None:
    """In place: [heads, tokens, channels] by scales [heads, token groups, channels]."""
    heads, n_tokens, channels = values.shape
    whole = n_tokens // GROUP
    if whole:
        # Splitting an axis keeps an array's strides, so each of these reshapes is a view into `values`.
        groups = values[:, : whole * GROUP].reshape(heads, whole, GROUP, channels)
        groups *= step[:, :whole, None]
        groups += low[:, :whole, None]
    if n_tokens % GROUP:
        values[:, whole * GROUP :] *= step[:, whole:]
        values[:, whole * GROUP :] += low[:, whole:]


def _scale_values(values: NDArray[np.float32], low: NDArray[np.float32], step: NDArray[np.float32]) -> None:
    """In place: [heads, tokens, channels] by scales [heads, tokens, channel groups]."""
    groups = values.reshape(*low.shape, -1)
    groups *= step[..., None]
    groups += low[..., None]


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    half = codes.shape[-1] // 2
    return codes[..., :half] | (codes[..., half:] << np.uint8(4))
