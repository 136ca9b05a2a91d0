"""The content address of a KV chunk: what it was computed from, and who may know that it exists.

    model_key = SHA-256(canonical JSON of everything that decides the bits)
    root      = HMAC-SHA-256(server secret; tenant, share scope, model_key)
    key_i     = SHA-256(root, key_{i-1}, number of tokens, tokens as u32 big-endian)       key_{-1} = root

Token ids are the truth, not text: two texts that tokenize alike share chunks, one text under two tokenizers does not.
A changed memory gives other tokens, so other keys from its chunk on; nothing stale can be served by accident.
The root is keyed, so a key says nothing to another tenant, and equal memories of two tenants share no chunk: sharing
across tenants leaks what others store through timing (PromptPeek, NDSS 2025).
Every field is length-prefixed, so no two different inputs run together into the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from memos.errors import Invalid
from memos.rules.kv_layout import CHUNK_TOKENS, Group, KVSpec, needed_chunks

_NO_TAILS: Final[Mapping[bytes, Collection[int]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Everything that decides the bits of a cache. Digests are hex SHA-256 of the files themselves.

    `positions` is canonical JSON of the rotary parameters; `numerics` names the arithmetic (kernel, dtype, device),
    because bit-equality only holds inside one such class; `adapter_sha256` is that of a LoRA, if one is merged in.
    """

    weights_sha256: str
    spec: KVSpec
    positions: str
    tokenizer_sha256: str
    template_sha256: str
    engine: str
    numerics: str
    adapter_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `[start, start + n_tokens)` of a prefix, and the address of their keys and values."""

    key: bytes
    parent: bytes
    index: int
    start: int
    n_tokens: int

    @property
    def end(self) -> int:
        return self.start + self.n_tokens


@dataclass(frozen=True, slots=True)
class Match:
    """The longest stored prefix: `path` from the root, `needed` the chunks to fetch per group."""

    n_tokens: int = 0
    path: tuple[Chunk, ...] = ()
    needed: Mapping[Group, tuple[Chunk, ...]] = field(default_factory=dict)


def canonical_json(value: object) -> str:
    """One text per value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def model_key(identity: ModelIdentity) -> str:
    """Hex SHA-256 over the identity. Caches of models with different keys are never interchangeable."""
    described = {
        "adapter": identity.adapter_sha256,
        "dtype": identity.spec.dtype.value,
        "engine": identity.engine,
        "groups": {
            group.value: [list(shape.layers), shape.kv_heads, shape.head_dim, shape.window]
            for group, shape in identity.spec.groups()
        },
        "numerics": identity.numerics,
        "positions": identity.positions,
        "template": identity.template_sha256,
        "tokenizer": identity.tokenizer_sha256,
        "weights": identity.weights_sha256,
    }
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def tenant_root(secret: bytes, *, tenant_id: str, share_scope: str, model: str) -> bytes:
    """Root of a chain: 32 bytes. `share_scope` is the cube, or a share group that was granted explicitly."""
    return _scoped_mac(secret, b"kvroot1", tenant_id, share_scope, model)


def cache_salt(secret: bytes, *, tenant_id: str, share_scope: str) -> str:
    """Salt for engines that keep their own prefix cache (vLLM, LMCache): 64 hex characters."""
    return _scoped_mac(secret, b"kvsalt1", tenant_id, share_scope).hex()


def prompt_cache_key(secret: bytes, *, tenant_id: str, share_scope: str, model: str) -> str:
    """Routing hint for providers: 64 hex characters, the same for every edition of a plan so that its prefix hits."""
    return _scoped_mac(secret, b"kvhint1", tenant_id, share_scope, model).hex()


def chunk_key(root: bytes, parent: bytes, token_ids: Sequence[int]) -> bytes:
    """Address of one chunk that follows `parent`.

    Raises:
        Invalid: the chunk is empty, longer than 256 tokens, or an id is not an unsigned 32-bit number.
    """
    n_tokens = len(token_ids)
    if not 1 <= n_tokens <= CHUNK_TOKENS:
        raise Invalid(f"a chunk holds 1 to {CHUNK_TOKENS} tokens, not {n_tokens}")
    try:
        packed = struct.pack(f">{n_tokens}I", *token_ids)
    except struct.error as error:
        raise Invalid("token ids are integers from 0 to 4294967295") from error
    return hashlib.sha256(_joined(b"kvc1", root, parent, struct.pack(">I", n_tokens), packed)).digest()


def tokens_digest(token_ids: Sequence[int]) -> str:
    """Hex SHA-256 of token ids as u32 big-endian."""
    return hashlib.sha256(b"".join(token.to_bytes(4, "big") for token in token_ids)).hexdigest()


def chain(root: bytes, token_ids: Sequence[int]) -> tuple[Chunk, ...]:
    """The chunks of a whole prefix, in order; the last may hold fewer than 256 tokens."""
    chunks: list[Chunk] = []
    parent = root
    for index, start in enumerate(range(0, len(token_ids), CHUNK_TOKENS)):
        tokens = token_ids[start : start + CHUNK_TOKENS]
        key = chunk_key(root, parent, tokens)
        chunks.append(Chunk(key=key, parent=parent, index=index, start=start, n_tokens=len(tokens)))
        parent = key
    return tuple(chunks)


def longest_prefix(
    root: bytes,
    token_ids: Sequence[int],
    spec: KVSpec,
    ready: Mapping[bytes, Collection[Group]],
    tails: Mapping[bytes, Collection[int]] = _NO_TAILS,
    *,
    path: Sequence[Chunk] | None = None,
) -> Match:
    """The longest prefix of `token_ids` that can be restored from what is stored. `path` is their chain, if it is known.

    `ready` names the stored groups by chunk key; `tails` the lengths of stored chunks shorter than 256 by their
    parent's key (a plan's last chunk usually is one, and a question then follows inside what would be its space).
    A boundary counts only if every chunk it needs is there: all `full` ones and the trailing `swa` ones.
    """
    run: list[Chunk] = []
    for chunk in chain(root, token_ids) if path is None else path:
        run.append(chunk)
        if spec.full is not None and Group.FULL not in ready.get(chunk.key, ()):
            break
    while run:
        last = run.pop()
        stored = _stored_tails(root, last, token_ids, tails)
        for candidate in (last, *reversed(stored)):
            match = _restorable((*run, candidate), spec, ready)
            if match is not None:
                return match
    return Match()


def _stored_tails(
    root: bytes, chunk: Chunk, token_ids: Sequence[int], tails: Mapping[bytes, Collection[int]]
) -> list[Chunk]:
    """Shorter chunks that could stand where `chunk` stands."""
    return [
        Chunk(
            key=chunk_key(root, chunk.parent, token_ids[chunk.start : chunk.start + length]),
            parent=chunk.parent,
            index=chunk.index,
            start=chunk.start,
            n_tokens=length,
        )
        for length in sorted(set(tails.get(chunk.parent, ())))
        if 0 < length < chunk.n_tokens
    ]


def _restorable(path: tuple[Chunk, ...], spec: KVSpec, ready: Mapping[bytes, Collection[Group]]) -> Match | None:
    needed = {
        group: tuple(path[index] for index in indices) for group, indices in needed_chunks(spec, path[-1].end).items()
    }
    complete = all(group in ready.get(chunk.key, ()) for group, chunks in needed.items() for chunk in chunks)
    return Match(path[-1].end, path, needed) if complete else None


def _scoped_mac(secret: bytes, purpose: bytes, *fields: str) -> bytes:
    if len(secret) < 16:
        raise Invalid("the secret that salts KV addresses must be at least 16 bytes")
    return hmac.digest(secret, _joined(purpose, *(text.encode() for text in fields)), "sha256")


def _joined(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in fields)
