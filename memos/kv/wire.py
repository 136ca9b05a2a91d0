"""What the service says about plans and stored chunks, as values. Nothing in an answer is believed before it is checked.

An answer that is not what it should be raises `Unavailable`: to a caller a service that talks nonsense is one that
does not answer, and the remedy (prefill) is the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from memos.encoders.kv_codecs import CODECS
from memos.encoders.kv_container import ChunkLabel
from memos.errors import Unavailable
from memos.rules.kv_layout import CHUNK_TOKENS, Group

TOKENS_MAX: Final = 32_768
"""Longest prefix the service plans for."""
CHUNKS_MAX: Final = 2 * TOKENS_MAX // CHUNK_TOKENS
"""Two groups of each chunk."""

_HEX64: Final = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One memory version in a plan; the token range is None where the service has no tokenizer for the model."""

    memory_id: str
    version: int
    tokens: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class ActivationPlan:
    """The memory of a cube as a prefix. `token_ids` is None where the service does not know the model's tokenizer."""

    plan_id: str | None
    cube_id: str
    branch: str
    model_key: str | None
    prefix_text: str
    token_ids: tuple[int, ...] | None
    source_digest: str
    cache_salt: str
    prompt_cache_key: str
    items: tuple[PlanItem, ...]
    kv_tokens: int

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> ActivationPlan:
        ids = content.get("token_ids")
        return cls(
            plan_id=_optional(content, "plan_id", _text),
            cube_id=_text(content, "cube_id"),
            branch=_text(content, "branch"),
            model_key=_optional(content, "model_key", _digest),
            prefix_text=_text(content, "prefix_text"),
            token_ids=None if ids is None else _token_ids(ids),
            source_digest=_digest(content, "source_digest"),
            cache_salt=_digest(content, "cache_salt"),
            prompt_cache_key=_digest(content, "prompt_cache_key"),
            items=tuple(_plan_item(item) for item in _objects(content, "items", most=TOKENS_MAX)),
            kv_tokens=_count(content, "kv_tokens", most=TOKENS_MAX),
        )


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A stored group of a chunk: its label, and the size and SHA-256 of the bytes the service will send."""

    label: ChunkLabel
    n_bytes: int
    sha256: bytes

    def request(self) -> dict[str, str]:
        """How a bundle request names it."""
        return {"key": self.label.key.hex(), "group": self.label.group.value, "codec": self.label.codec}


@dataclass(frozen=True, slots=True)
class Lookup:
    """The longest stored prefix, the chunks a restore of it needs, and whether the service thinks loading pays."""

    model_key: str
    plan_id: str | None
    total_tokens: int
    matched_tokens: int
    chunks: tuple[ChunkRef, ...]
    load_ms: float
    prefill_ms: float
    should_load: bool

    @property
    def n_bytes(self) -> int:
        return sum(chunk.n_bytes for chunk in self.chunks)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Lookup:
        model_key = _digest(content, "model_key")
        matched = _count(content, "matched_tokens", most=TOKENS_MAX)
        estimate = content.get("est")
        if not isinstance(estimate, Mapping):
            raise _nonsense("est", estimate)
        chunks = _objects(content, "chunks", most=CHUNKS_MAX)
        return cls(
            model_key=model_key,
            plan_id=_optional(content, "plan_id", _text),
            total_tokens=_count(content, "total_tokens", most=TOKENS_MAX),
            matched_tokens=matched,
            chunks=tuple(_chunk_ref(chunk, model_key, matched) for chunk in chunks),
            load_ms=_number(estimate, "load_ms"),
            prefill_ms=_number(estimate, "prefill_ms"),
            should_load=_text(content, "advice") == "load" and bool(chunks),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: the truth the service's policy learns from. Times in ms."""

    cube: str
    model: str
    loaded: bool
    used_tokens: int
    ttft_ms: float
    plan_id: str | None = None
    keys: Sequence[bytes] = ()
    prefill_ms: float | None = None
    category: str | None = None

    def as_json(self) -> dict[str, Any]:
        optional = {"plan_id": self.plan_id, "prefill_ms": self.prefill_ms, "category": self.category}
        return {
            "cube": self.cube,
            "model": self.model,
            "keys": [key.hex() for key in self.keys],
            "loaded": self.loaded,
            "used_tokens": self.used_tokens,
            "ttft_ms": self.ttft_ms,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _plan_item(item: Mapping[str, Any]) -> PlanItem:
    start = _optional(item, "token_start", _count)
    end = _optional(item, "token_end", _count)
    return PlanItem(
        memory_id=_text(item, "memory_id"),
        version=_count(item, "version"),
        tokens=None if start is None or end is None else (start, end),
    )


def _chunk_ref(chunk: Mapping[str, Any], model_key: str, matched: int) -> ChunkRef:
    start, end = _count(chunk, "start", most=matched), _count(chunk, "end", most=matched)
    group, codec = _text(chunk, "group"), _text(chunk, "codec")
    if not 1 <= end - start <= CHUNK_TOKENS or group not in set(Group) or codec not in CODECS:
        raise _nonsense("chunks", f"{group} {codec} {start}..{end}")
    label = ChunkLabel(bytes.fromhex(_digest(chunk, "key")), model_key, Group(group), codec, start, end - start)
    return ChunkRef(label, _count(chunk, "bytes"), bytes.fromhex(_digest(chunk, "sha256")))


def _token_ids(ids: Any) -> tuple[int, ...]:
    if not isinstance(ids, list) or len(ids) > TOKENS_MAX or not all(type(i) is int and 0 <= i < 2**32 for i in ids):
        raise _nonsense("token_ids", "not a list of token ids")
    return tuple(ids)


def _optional(content: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], T]) -> T | None:
    return None if content.get(name) is None else read(content, name)


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise _nonsense(name, value)
    return value


def _digest(content: Mapping[str, Any], name: str) -> str:
    value = _text(content, name)
    if not _HEX64.fullmatch(value):
        raise _nonsense(name, value)
    return value


def _count(content: Mapping[str, Any], name: str, most: int = 2**31) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise _nonsense(name, value)
    return value


def _number(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _nonsense(name, value)
    return float(value)


def _objects(content: Mapping[str, Any], name: str, *, most: int) -> list[Mapping[str, Any]]:
    value = content.get(name)
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, Mapping) for item in value):
        raise _nonsense(name, type(value).__name__)
    return value


def _nonsense(name: str, value: object) -> Unavailable:
    return Unavailable(f"the service answered something unexpected: {name} is {str(value)[:80]!r}")
