"""How plans and lookups are told to callers."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from memos.rules.activation_policy import CODEC_NAMES
from memos.services import kv_lookup, kv_plan
from memos.services.kv_lookup import Found
from memos.services.kv_plan import Made
from memos.services.kv_tier import ActivationTier, spec_of
from memos.store import kv_models
from memos.store.transaction import Transaction


def plan_view(tx: Transaction, tier: ActivationTier, made: Made, model: str | None) -> dict[str, Any]:
    """A plan as its door shows it. Promises a build where caches are kept and some are missing."""
    plan, view, stored = made.plan, made.view, made.stored
    kv_tokens = _kv_tokens(tx, tier, made)
    n_tokens = None if stored is None else len(stored.token_ids)
    full = n_tokens is not None and kv_tokens == n_tokens
    rebuild = None
    if kv_plan.is_due(made, kv_tokens):
        rebuild = kv_plan.promise_build(tx, view.cube.id, view.branch.name)
    spans = {(span.memory_id, span.version): span for span in made.spans}
    starts = [segment.char_start for segment in plan.segments]
    settled = bisect_left(starts, plan.settled_chars)
    return {
        "plan_id": None if stored is None else stored.id,
        "cube_id": view.cube.id,
        "branch": view.branch.name,
        "revision": view.at,
        "model": (model if stored is None else tier.model_name) or model,
        "model_key": None if stored is None else stored.model_key,
        "prefix_text": plan.text,
        "token_ids": None if stored is None else stored.token_ids,
        "n_tokens": n_tokens,
        "source_digest": plan.source_digest,
        "cache_salt": tier.salt(tx.tenant_id, view.cube.id),
        "prompt_cache_key": tier.hint(tx.tenant_id, view.cube.id, model or (stored.model_key if stored else "")),
        "breakpoints": [{"char": plan.settled_chars, "token": _token_at(made, settled)}],
        "items": [
            {
                "memory_id": segment.memory_id,
                "version": segment.version,
                "char_start": segment.char_start,
                "char_end": segment.char_end,
                "token_start": spans[key].start if (key := (segment.memory_id, segment.version)) in spans else None,
                "token_end": spans[key].end if key in spans else None,
            }
            for segment in plan.segments
        ],
        "left_out": made.left_out,
        "kv": "full" if full else "partial" if kv_tokens else "none",
        "kv_tokens": kv_tokens,
        "rebuild_job": rebuild,
    }


def lookup_view(found: Found) -> dict[str, Any]:
    return {
        "model_key": found.model_key,
        "plan_id": found.plan_id,
        "total_tokens": found.total_tokens,
        "matched_tokens": found.matched_tokens,
        "chunks": [
            {
                "key": piece.chunk.key.hex(),
                "index": piece.chunk.index,
                "start": piece.chunk.start,
                "end": piece.chunk.end,
                "group": piece.found.group,
                "codec": piece.found.codec,
                "bytes": piece.found.wire_bytes,
                "etag": f'"{piece.found.sha256.hex()}"',
                "sha256": piece.found.sha256.hex(),
                "url": f"/v1/kv/chunks/{piece.chunk.key.hex()}?group={piece.found.group}&codec={piece.found.codec}",
                "gate": piece.found.gate,
            }
            for piece in found.pieces
        ],
        "est": found.est,
        "advice": found.advice.value,
    }


def _kv_tokens(tx: Transaction, tier: ActivationTier, made: Made) -> int:
    """Tokens of the plan that can be restored now, in whatever codec."""
    if made.stored is None:
        return 0
    plan = made.stored
    spec = spec_of(kv_models.find(tx, plan.model_key).spec)
    root = tier.root(tx.tenant_id, plan.cube_id, plan.model_key)
    match, _ = kv_lookup.longest(tx, plan.cube_id, root, plan.token_ids, spec, CODEC_NAMES)
    return match.n_tokens


def _token_at(made: Made, settled: int) -> int | None:
    """The token at which the segment of that number begins: whole tokens before it are settled."""
    if made.stored is None:
        return None
    if settled >= len(made.spans):
        return len(made.stored.token_ids)
    return made.spans[settled].start
