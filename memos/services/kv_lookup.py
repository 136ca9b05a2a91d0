"""Lookup: the longest stored prefix of some tokens, what it takes to fetch it, and whether that is worth it.

Keys are a chain of hashes over the tokens, so all of them are computed here and the database is asked once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from memos.errors import Invalid
from memos.rules import kv_address, kv_policy
from memos.rules.access import Principal, Scope
from memos.rules.activation_policy import CODEC_NAMES
from memos.rules.kv_address import Chunk, Match
from memos.rules.kv_layout import CHUNK_TOKENS, Group, KVSpec
from memos.rules.kv_policy import Advice, LoadCost, PrefillCost
from memos.services.kv_tier import ActivationTier, spec_of
from memos.store import cubes, kv_chunks, kv_models, kv_plans
from memos.store.kv_chunks import StoredObject
from memos.store.kv_models import Model
from memos.store.transaction import Transaction

# Until a model is calibrated: a small model on one CPU core, and a loopback link.
DEFAULT_PREFILL: Final = PrefillCost(linear_s=2.5e-3, quadratic_s=0.0)
DEFAULT_LOAD: Final = LoadCost(
    latency_s=5e-3, fetch_bytes_per_s=5e8, decode_bytes_per_s=dict.fromkeys(CODEC_NAMES, 2e8)
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Milliseconds to fetch and decode the match, and to prefill the same tokens."""

    load_ms: float
    prefill_ms: float
    basis: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One object to fetch, with its place in the chain."""

    chunk: Chunk
    found: StoredObject


@dataclass(frozen=True, slots=True)
class Found:
    """`pieces` are what a restore at `matched_tokens` needs, in order of the prefix."""

    model_key: str
    plan_id: UUID | None
    total_tokens: int
    matched_tokens: int
    pieces: tuple[Piece, ...]
    est: Estimate
    advice: Advice


def lookup(
    tx: Transaction,
    tier: ActivationTier,
    who: Principal,
    *,
    cube: str,
    model: str,
    plan_id: UUID | None = None,
    token_ids: Sequence[int] | None = None,
    codecs: Sequence[str] = CODEC_NAMES,
) -> Found:
    """Either a plan or tokens. Raises `NotFound` for a cube, model or plan out of reach."""
    who.require(Scope.READ)
    if (plan_id is None) == (token_ids is None):
        raise Invalid("send either plan_id or token_ids", where=["body"])
    home = cubes.find(tx, cube)
    who.reach(home.id)
    known = kv_models.find(tx, model)
    if plan_id is not None:
        # The cube's policy has been asked, and of plans this transaction meets only those the caller may read.
        plan = kv_plans.get(tx, plan_id)
        who.reach(plan.cube_id)
        if (plan.cube_id, plan.model_key) != (home.id, known.model_key):
            raise Invalid("the plan is of another cube or model", where=["body", "plan_id"])
        token_ids = plan.token_ids
    assert token_ids is not None  # noqa: S101 - one of the two was given
    root = tier.root(tx.tenant_id, home.id, known.model_key)
    match, objects = longest(tx, home.id, root, token_ids, spec_of(known.spec), codecs)
    pieces = _pieces(match, objects)
    est = estimate(known, match.n_tokens, [piece.found for piece in pieces])
    advice = kv_policy.advice(load_s=est.load_ms, prefill_s=est.prefill_ms) if pieces else Advice.PREFILL
    return Found(known.model_key, plan_id, len(token_ids), match.n_tokens, pieces, est, advice)


def longest(
    tx: Transaction, cube_id: UUID, root: bytes, token_ids: Sequence[int], spec: KVSpec, codecs: Sequence[str]
) -> tuple[Match, list[StoredObject]]:
    """The longest restorable prefix in any of the codecs, and the best liked objects that stand along it."""
    chain = kv_address.chain(root, token_ids)
    keys = [chunk.key for chunk in chain]
    objects = kv_chunks.matching(tx, cube_id, keys, [root, *keys], codecs)
    ready: dict[bytes, set[Group]] = {}
    tails: dict[bytes, set[int]] = {}
    for found in objects:
        ready.setdefault(found.key, set()).add(found.group)
        if found.n_tokens < CHUNK_TOKENS:
            tails.setdefault(found.parent_key, set()).add(found.n_tokens)
    return kv_address.longest_prefix(root, token_ids, spec, ready, tails, path=chain), objects


def estimate(model: Model, n_tokens: int, objects: Sequence[StoredObject]) -> Estimate:
    """By the model's calibrated costs, or by default ones."""
    prefill, load, basis = costs(model)
    load_s = load.latency_s if objects else 0.0
    for found in objects:
        load_s += load.seconds(found.wire_bytes, found.codec) - load.latency_s
    return Estimate(round(load_s * 1e3, 3), round(prefill.seconds(n_tokens) * 1e3, 3), basis)


def costs(model: Model) -> tuple[PrefillCost, LoadCost, str]:
    if model.prefill is None or model.load is None:
        return DEFAULT_PREFILL, DEFAULT_LOAD, "default"
    decode: Mapping[str, float] = {**DEFAULT_LOAD.decode_bytes_per_s, **model.load["decode_bytes_per_s"]}
    load = LoadCost(model.load["latency_s"], model.load["fetch_bytes_per_s"], decode)
    return PrefillCost(**model.prefill), load, "calibrated"


def _pieces(match: Match, objects: Sequence[StoredObject]) -> tuple[Piece, ...]:
    stored = {(found.key, found.group): found for found in objects}
    needed = [(chunk, group) for group, chunks in match.needed.items() for chunk in chunks]
    needed.sort(key=lambda pair: (pair[0].start, pair[1] is not Group.FULL))
    return tuple(Piece(chunk, stored[chunk.key, group]) for chunk, group in needed)
