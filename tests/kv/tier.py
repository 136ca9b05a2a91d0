"""A stand-in for the service's activation tier, as notes on the wire describe it, that can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from memos.encoders.causal_lm import Engine
from memos.encoders.kv_codecs import StoredChunk, encode_prefix
from memos.encoders.kv_state import KVState, trimmed
from memos.rules.kv_address import chain, model_key

ROOT = bytes(range(32))
SALT = "5a" * 32
TEXT = "What is remembered, oldest first.\n" + "".join(f"- Box {i} holds {i * 7} pens.\n" for i in range(26))


class Tier:
    """Answers of one cube with one plan. `bundle_hook` changes a bundle's bytes, `lookup_hook` a lookup's content."""

    def __init__(self, engine: Engine[Any], *, codec: str = "raw", text: str = TEXT) -> None:
        self.engine = engine
        self.model = model_key(engine.identity)
        self.text = text
        self.ids = engine.tokenize(text).ids
        self.state: KVState = engine.build(self.ids)
        self.blobs = stored(engine, self.state, self.ids, codec)
        self.advice = "load"
        self.refused: dict[str, int] = {}
        self.outcomes: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.bundle_hook: Callable[[bytes], bytes] = lambda body: body
        self.lookup_hook: Callable[[dict[str, Any]], Any] = lambda content: content
        self.plan_hook: Callable[[dict[str, Any]], Any] = lambda content: content

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        route = path.partition("?")[0]
        self.asked.append(f"{method} {route}")
        for part, status in self.refused.items():
            if part in route:
                return status, {"code": "not_found" if status == 404 else "unavailable", "detail": "told to refuse"}
        if route.endswith("/activation-plan"):
            return 200, self.plan_hook(self.plan())
        if route == "/v1/kv/lookup":
            return 200, self.lookup_hook(self.lookup())
        if route == "/v1/kv/bundles":
            return 200, self.bundle_hook(self.bundle(body["chunks"]))
        if route.startswith("/v1/kv/chunks/"):
            return 200, self.bundle_hook(self._named(route.rpartition("/")[2], path).data)
        if route == "/v1/kv/outcomes":
            self.outcomes.append(body)
            return 200, {"recorded": True, "saved_ms": 12.5}
        return 404, {"code": "not_found", "detail": "no such route"}

    def plan(self) -> dict[str, Any]:
        return {
            "plan_id": "plan-1",
            "cube_id": "cube-1",
            "branch": "main",
            "model_key": self.model,
            "prefix_text": self.text,
            "token_ids": list(self.ids),
            "source_digest": SALT,
            "cache_salt": SALT,
            "prompt_cache_key": SALT,
            "items": [{"memory_id": "m", "version": 1, "token_start": 3, "token_end": 9}],
            "kv_tokens": len(self.ids),
        }

    def lookup(self) -> dict[str, Any]:
        return {
            "model_key": self.model,
            "plan_id": "plan-1",
            "total_tokens": len(self.ids),
            "matched_tokens": len(self.ids),
            "chunks": [described(blob) for blob in self.blobs],
            "est": {"load_ms": 40.0, "prefill_ms": 2600.0, "basis": "default"},
            "advice": self.advice,
        }

    def bundle(self, wanted: Sequence[dict[str, str]]) -> bytes:
        return bundle([self._of(one["key"], one["group"]) for one in wanted])

    def _named(self, key: str, path: str) -> StoredChunk:
        return self._of(key, path.partition("group=")[2].partition("&")[0])

    def _of(self, key: str, group: str) -> StoredChunk:
        return next(b for b in self.blobs if (b.label.key.hex(), b.label.group.value) == (key, group))


def stored(engine: Engine[Any], state: KVState, ids: Sequence[int], codec: str) -> list[StoredChunk]:
    """What a restore of the whole state needs, in prefix order."""
    spec, model = engine.identity.spec, model_key(engine.identity)
    whole = encode_prefix(state, chain(ROOT, ids), spec, model=model, codec=codec)
    first = {group: kv.start for group, kv in trimmed(state, spec).groups.items()}
    return [b for b in whole if b.label.start + b.label.n_tokens > first[b.label.group]]


def described(blob: StoredChunk) -> dict[str, Any]:
    """A chunk as a lookup lists it."""
    label, digest = blob.label, hashlib.sha256(blob.data).hexdigest()
    return {
        "key": label.key.hex(),
        "start": label.start,
        "end": label.start + label.n_tokens,
        "group": label.group.value,
        "codec": label.codec,
        "bytes": len(blob.data),
        "sha256": digest,
    }


def bundle(blobs: Sequence[StoredChunk]) -> bytes:
    """The stream of a bundle."""
    parts = [b"MKVB\x01"]
    for blob in blobs:
        facts = described(blob)
        header = {
            **{name: facts[name] for name in ("key", "group", "codec", "start", "bytes", "sha256")},
            "n_tokens": blob.label.n_tokens,
            "model": blob.label.model,
        }
        packed = json.dumps(header).encode()
        parts += [struct.pack(">I", len(packed)), packed, blob.data]
    return b"".join([*parts, struct.pack(">I", 0)])
