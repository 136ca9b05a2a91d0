"""What a model's KV cache looks like, and which parts of it a restore needs.

A cache is cut along the tokens into chunks of 256, and along the layers into two groups: layers that attend to
everything (`full`) and layers that only see a sliding window (`swa`). A restore at token n needs every `full` chunk,
but of the `swa` group only the chunks that hold the last window - 1 tokens: nothing later will ever look further back.

    tokens   0        256       512       768      1024 = n         window 512
    full     |  need   |  need   |  need   |  need   |
    swa      |    -    |    -    |  need   |  need   |

On a model with 15 of 18 layers in windows of 512 that alone cuts the bytes 2.7 times at 2,048 tokens, without loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from memos.errors import Invalid

CHUNK_TOKENS = 256
"""Measured: prefilling in pieces of 256 is bit-identical to one shot on CPU, and LMCache users found 256 best too."""


class Group(StrEnum):
    """Layers that are stored, fetched and trimmed together."""

    FULL = "full"
    SLIDING = "swa"


class KVDtype(StrEnum):
    """Element type an engine keeps its cache in, by its safetensors name."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"

    @property
    def itemsize(self) -> int:
        return 4 if self is KVDtype.F32 else 2


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Shape of one group: `layers` are indices into the model, in order; all share heads and head size.

    `window` counts tokens including the asking one, as in transformers' `sliding_window`; None means no window.
    """

    layers: tuple[int, ...]
    kv_heads: int
    head_dim: int
    window: int | None = None

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise Invalid(f"a group needs distinct ascending layer indices, not {self.layers}")
        if self.kv_heads < 1 or self.head_dim < 2 or self.head_dim % 2:
            raise Invalid(f"{self.kv_heads} heads of {self.head_dim} channels is not an attention shape")
        if self.window is not None and self.window < 2:
            raise Invalid(f"a sliding window of {self.window} tokens sees nothing before itself")

    @property
    def values_per_token(self) -> int:
        """Scalars stored per token, keys and values together."""
        return 2 * len(self.layers) * self.kv_heads * self.head_dim

    def first_needed(self, n_tokens: int) -> int:
        """First token whose keys a restore at `n_tokens` must hold."""
        return 0 if self.window is None else max(0, n_tokens - (self.window - 1))


@dataclass(frozen=True, slots=True)
class KVSpec:
    """Layout of a whole cache. At least one group is present, and together they cover every layer once."""

    dtype: KVDtype
    full: GroupSpec | None = None
    swa: GroupSpec | None = None

    def __post_init__(self) -> None:
        layers = sorted(layer for _, group in self.groups() for layer in group.layers)
        if not layers or layers != list(range(len(layers))):
            raise Invalid(f"the groups must cover layers 0..n-1 once each, not {layers}")
        if (self.full and self.full.window is not None) or (self.swa and self.swa.window is None):
            raise Invalid("only the sliding group has a window, and it must have one")

    @classmethod
    def of_layers(cls, windows: Sequence[int | None], *, kv_heads: int, head_dim: int, dtype: KVDtype) -> KVSpec:
        """Group layers by window, given one entry per layer. Two different window sizes are refused."""
        full = tuple(i for i, window in enumerate(windows) if window is None)
        swa = tuple(i for i, window in enumerate(windows) if window is not None)
        sizes = {window for window in windows if window is not None}
        if len(sizes) > 1:
            raise Invalid(f"layers with windows of {sorted(sizes)} tokens cannot share one sliding group")
        return cls(
            dtype=dtype,
            full=GroupSpec(full, kv_heads, head_dim) if full else None,
            swa=GroupSpec(swa, kv_heads, head_dim, next(iter(sizes))) if swa else None,
        )

    def groups(self) -> Iterator[tuple[Group, GroupSpec]]:
        if self.full is not None:
            yield Group.FULL, self.full
        if self.swa is not None:
            yield Group.SLIDING, self.swa

    def group(self, group: Group) -> GroupSpec:
        spec = self.full if group is Group.FULL else self.swa
        if spec is None:
            raise Invalid(f"this model has no layers in group {group}")
        return spec

    @property
    def n_layers(self) -> int:
        return sum(len(group.layers) for _, group in self.groups())

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in the engine's own dtype, nothing trimmed."""
        return self.dtype.itemsize * sum(group.values_per_token for _, group in self.groups())

    def restore_bytes(self, n_tokens: int) -> int:
        """Bytes in the engine's dtype that a restore at `n_tokens` needs: whole chunks, the sliding group trimmed."""
        total = 0
        for group, needed in needed_chunks(self, n_tokens).items():
            tokens = n_tokens - needed.start * CHUNK_TOKENS if needed else 0
            total += tokens * self.group(group).values_per_token * self.dtype.itemsize
        return total


def chunk_bounds(n_tokens: int) -> list[tuple[int, int]]:
    """Half-open token ranges of the chunks of `n_tokens` tokens; the last may be shorter than 256."""
    return [(start, min(start + CHUNK_TOKENS, n_tokens)) for start in range(0, n_tokens, CHUNK_TOKENS)]


def needed_chunks(spec: KVSpec, n_tokens: int) -> dict[Group, range]:
    """Chunk indices per group that a restore at `n_tokens` must fetch."""
    n_chunks = -(-n_tokens // CHUNK_TOKENS)
    return {
        group: range(min(n_chunks, shape.first_needed(n_tokens) // CHUNK_TOKENS), n_chunks)
        for group, shape in spec.groups()
    }
