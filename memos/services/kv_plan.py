"""The activation plan of a cube: the same bytes for the same memories, whoever asks and whenever.

Without a model the plan is text; with one it has token ids, is remembered as a row (so that it need not be made again, and
can be named by its id), and says how much of it is stored as KV. Each request for it counts as a use.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import Invalid, NotFound
from memos.rules import activation_plan, activation_policy
from memos.rules import policy as policies
from memos.rules.access import Principal, Scope
from memos.rules.activation_plan import MemoryVersion, Plan, TokenSpan
from memos.rules.activation_policy import Activation
from memos.rules.promotion import decay_count
from memos.services.kv_tier import ActivationTier
from memos.store import cubes, jobs, kv_plans
from memos.store.cubes import View
from memos.store.kv_plans import Source, StoredPlan
from memos.store.transaction import Transaction

BUILD = "kv.build"
_ROUNDS = 6
"""Sizes are known only once the whole is tokenized; each round corrects the estimate by what it turned out to be."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan of a view. `stored` and the tokens are there when the model is the one this service runs."""

    view: View
    plan: Plan
    policy: Activation
    left_out: int
    stored: StoredPlan | None = None
    spans: Sequence[TokenSpan] = ()


def reach(tx: Transaction, who: Principal, cube: str, branch: str = cubes.MAIN) -> View:
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    return view


def warm(tier: ActivationTier, model: str | None) -> None:
    """Load the model a plan will need: it takes seconds, and no transaction should wait for it."""
    if tier.serves(model):
        _ = tier.engine


def make(
    tx: Transaction,
    tier: ActivationTier,
    view: View,
    *,
    model: str | None,
    budget_tokens: int | None,
    now: datetime,
) -> Made:
    """The plan of the present, remembered when there is a model for it. Writes.

    A plan is shared. A caller cleared for less than it holds gets one of its own, of what it may read: text, and no caches.
    """
    policy = activation_policy.parse(view.cube.policy)
    shared = kv_plans.sources(tx, view, now)
    sources = [source for source in shared if source.sight <= tx.clearance]
    if len(sources) < len(shared) or not tier.serves(model):
        budget = activation_policy.usable_tokens(budget_tokens, policy, None)
        chosen = _choose(sources, view, budget, 1.0, frozenset(), now)
        return Made(view, activation_plan.make_plan(chosen), policy, len(sources) - len(chosen))
    tier.register(tx)
    budget = activation_policy.usable_tokens(budget_tokens, policy, tier.engine.max_tokens)
    before = kv_plans.latest(tx, view.cube.id, view.branch.id, tier.model_key)
    members = frozenset(span.memory_id for span in kv_plans.members(tx, before.id)) if before else frozenset()
    scale = 1.0
    for _ in range(_ROUNDS):
        chosen = _choose(sources, view, budget, scale, members, now)
        plan = activation_plan.make_plan(chosen)
        ids = _ids(chosen)
        sight = max((source.sight for source in sources if str(source.memory_id) in ids), default=0)
        known = kv_plans.find(tx, view.cube.id, view.branch.id, tier.model_key, plan.source_digest)
        if known is not None and len(known.token_ids) <= budget:
            kv_plans.set_current(tx, known, view.at, sight)
            return Made(view, plan, policy, len(sources) - len(chosen), known, kv_plans.members(tx, known.id))
        tokenized = tier.engine.tokenize(plan.text)
        if len(tokenized.ids) <= budget:
            spans = activation_plan.token_spans(plan, tokenized.offsets)
            stored = kv_plans.insert(
                tx,
                view,
                tier.model_key,
                plan.source_digest,
                tokenized.ids,
                _digest(tokenized.ids),
                spans,
                budget,
                sight,
            )
            return Made(view, plan, policy, len(sources) - len(chosen), stored, spans)
        estimated = sum(_estimate(source, 1.0) for source in sources if str(source.memory_id) in ids)
        scale = max(scale * 1.05, len(tokenized.ids) / max(1, estimated) * 1.02)
    raise Invalid(f"no plan of this cube fits {budget} tokens", where=["query", "budget_tokens"])


def current(
    tx: Transaction, tier: ActivationTier, who: Principal, cube: str, *, branch: str, model: str | None,
    budget_tokens: int | None, now: datetime,
) -> Made:  # fmt: skip
    """The plan, for a caller: counts as a use."""
    who.require(Scope.READ)
    made = make(tx, tier, reach(tx, who, cube, branch), model=model, budget_tokens=budget_tokens, now=now)
    if made.stored is not None:
        kv_plans.touch(tx, made.stored.id, now)
    return made


def find(tx: Transaction, who: Principal, plan_id: UUID) -> StoredPlan:
    """A remembered plan within reach. Raises `NotFound`, also where it holds what the caller may not read."""
    who.require(Scope.READ)
    return within_reach(tx, who, plan_id)


def within_reach(tx: Transaction, who: Principal, plan_id: UUID) -> StoredPlan:
    """As `find`, for callers with another scope."""
    plan = kv_plans.get(tx, plan_id)
    who.reach(plan.cube_id)
    cubes.find(tx, str(plan.cube_id))
    if plan.sight > tx.clearance:
        raise NotFound("no such plan")
    return plan


def is_due(made: Made, kv_tokens: int) -> bool:
    """Whether what is missing of a plan's cache should be built now: at once where it was promoted, and with the second
    use where the cube's policy keeps caches. `made` is as it was before the use at hand was noted."""
    stored = made.stored
    if stored is None or kv_tokens == len(stored.token_ids):
        return False
    return stored.promoted or (made.policy.kv and bool(stored.uses))


def promise_build(tx: Transaction, cube_id: UUID, branch: str, **wishes: object) -> UUID:
    """A build of the branch's plan; one that waits already is enough when nothing particular is wished for."""
    payload = {"branch": branch, **{name: value for name, value in wishes.items() if value is not None}}
    dedup = f"{cube_id}/{branch}" if not wishes else None
    return jobs.promise(tx, BUILD, cube_id=cube_id, payload=payload, dedup_key=dedup)


# ---------------------------------------------------------------- steps


def _choose(
    sources: Sequence[Source], view: View, budget: int, scale: float, members: frozenset[str], now: datetime
) -> list[MemoryVersion]:
    pin_tags = set(policies.parse(view.cube.policy).forget.pin_tags)
    versions = [_version(source, pin_tags, now) for source in sources]
    tokens = {str(source.memory_id): _estimate(source, scale) for source in sources}
    room = budget - int(scale * len(activation_plan.OPENING) / 4)
    return activation_plan.choose(versions, tokens=tokens, budget_tokens=room, members=members)


def _version(source: Source, pin_tags: set[str], now: datetime) -> MemoryVersion:
    return MemoryVersion(
        memory_id=str(source.memory_id),
        version=source.version,
        content=source.content,
        revision=source.revision,
        edits=source.edits,
        dated=source.created_at.date(),
        pinned=not pin_tags.isdisjoint(source.tags),
        value=_value(source, now),
    )


def _value(source: Source, now: datetime) -> float:
    """Worth of a place in the prefix: what is held in the tier by decision, what is recalled, what is trusted."""
    since = source.last_recalled_at
    recalls = 0.0 if since is None else decay_count(source.weighted_recalls, since, now)
    chosen = 2.0 if source.tier == "activation" else 1.0
    # A statement says in a line what a turn of talk says around it.
    dense = 1.0 if source.kind in {"turn", "passage"} else 2.0
    return chosen * dense * (1.0 + recalls) * (0.5 + source.priority) * source.trust


def _estimate(source: Source, scale: float) -> int:
    """Tokens of a memory with its date and bullet, as far as the embedder's count tells; `scale` is what was learned."""
    return 1 + int(scale * (source.tokens + 10))


def _ids(chosen: Sequence[MemoryVersion]) -> set[str]:
    return {memory.memory_id for memory in chosen}


def _digest(token_ids: Sequence[int]) -> bytes:
    return hashlib.sha256(struct.pack(f">{len(token_ids)}I", *token_ids)).digest()
