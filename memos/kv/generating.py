"""A prompt behind a cube's memory, answered from the stored cache where that works, and from a prefill where not.

The model reads the same token ids either way, so the two ways differ in time only (lossy codecs: within their gate).
A request always gets a cache of its own: nothing it does can change what the next one restores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from memos.encoders.causal_lm import Engine, HandleT
from memos.encoders.kv_codecs import StoredChunk, decode_chunk, restore_starts
from memos.encoders.kv_state import KVState
from memos.errors import Invalid, KVRejected, MemosError
from memos.kv.ahead import checked_ahead
from memos.kv.bundle import checked_refs
from memos.kv.client import KVClient
from memos.kv.wire import ActivationPlan, ChunkRef, Lookup, Outcome
from memos.rules.kv_address import model_key
from memos.rules.kv_layout import KVSpec

DEFAULT_CODECS: Final = ("int8", "bf16", "raw")
"""What answers cannot be told from exact ones with; int4 has to be asked for."""


class Way(StrEnum):
    RESTORED = "restored"
    PREFILLED = "prefilled"


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` says why it was prefilled (empty if restored); `prompt_tokens` counts memory and prompt together,
    `cached_tokens` those that were restored. `ttft_ms` runs from asking for the stored cache to the first token of the
    answer, all fetching, checking and decoding included. `reported` is false when the service did not take the outcome.
    """

    text: str
    token_ids: tuple[int, ...]
    way: Way
    reason: str
    prompt_tokens: int
    cached_tokens: int
    loaded_bytes: int
    ttft_ms: float
    reported: bool


def generate(
    client: KVClient,
    engine: Engine[HandleT],
    cube: str,
    prompt: str | Sequence[int],
    *,
    max_new_tokens: int,
    plan: ActivationPlan | None = None,
    codecs: Sequence[str] = DEFAULT_CODECS,
    branch: str = "main",
    obey_advice: bool = True,
    category: str | None = None,
) -> Answer:
    """Answer `prompt` (text, or token ids with marks of their own) behind the memory of a cube.

    A `plan` from an earlier call saves asking for it again; without one, a service that does not answer is an error,
    because then nobody knows the memory. `obey_advice=False` loads even where the service expects no gain.

    Raises:
        MemosError: the plan cannot be had.
        Invalid: memory, prompt and answer do not fit the model.
    """
    model = model_key(engine.identity)
    if plan is None:
        plan = client.plan(cube, model, branch=branch)
    prefix = _prefix(engine, plan, model)
    suffix = engine.tokenize(prompt).ids if isinstance(prompt, str) else tuple(prompt)
    if not suffix:
        raise Invalid("a prompt behind a memory has at least one token")
    started = time.perf_counter()
    found, handle, reason = _try_restore(client, engine, cube, plan, model, prefix, codecs, obey_advice=obey_advice)
    if handle is None:
        prefill_started = time.perf_counter()
        handle, cached = engine.restore(None), 0
        feed = (*prefix, *suffix)
    else:
        prefill_started, cached = None, handle.n_tokens
        feed = (*prefix[cached:], *suffix)
    first = engine.generate(handle, feed, 1)
    now = time.perf_counter()
    ttft_ms = (now - started) * 1e3
    rest = engine.generate(handle, first, max_new_tokens - 1) if first and max_new_tokens > 1 else ()
    outcome = Outcome(
        cube=cube,
        model=model,
        loaded=cached > 0,
        used_tokens=cached,
        ttft_ms=ttft_ms,
        plan_id=plan.plan_id,
        keys=tuple(dict.fromkeys(ref.label.key for ref in found.chunks)) if found else (),
        prefill_ms=None if prefill_started is None else (now - prefill_started) * 1e3,
        category=category,
    )
    return Answer(
        text=engine.detokenize((*first, *rest)),
        token_ids=(*first, *rest),
        way=Way.RESTORED if cached else Way.PREFILLED,
        reason=reason,
        prompt_tokens=len(prefix) + len(suffix),
        cached_tokens=cached,
        loaded_bytes=found.n_bytes if found and cached else 0,
        ttft_ms=ttft_ms,
        reported=_reported(client, outcome),
    )


def restore(client: KVClient, engine: Engine[HandleT], refs: Sequence[ChunkRef], n_tokens: int) -> HandleT:
    """A fresh handle that continues after `n_tokens` stored tokens, each chunk decoded into its place as it arrives.

    Raises:
        KVRejected: the chunks do not make up such a cache, or one is damaged, truncated, too large or another's.
        Unavailable: the stream broke off.
    """
    return restored(client.fetch(refs, engine.identity.spec), engine, refs, n_tokens)


def restored(
    chunks: Iterable[StoredChunk], engine: Engine[HandleT], refs: Sequence[ChunkRef], n_tokens: int
) -> HandleT:
    """As `restore`, from chunks that come from elsewhere."""
    spec = engine.identity.spec
    _check_model(refs, model_key(engine.identity))
    starts = restore_starts([ref.label for ref in checked_refs(refs, spec)], spec, n_tokens)
    handle, arrays = engine.blank(n_tokens, starts)
    with closing(checked_ahead(chunks)) as arriving:
        for chunk in arriving:
            _decode_into(arrays, chunk, spec)
    return handle


def _decode_into(arrays: KVState, chunk: StoredChunk, spec: KVSpec) -> None:
    """`chunk` comes from `checked_ahead`."""
    label = chunk.label
    place = arrays.groups[label.group].tokens(label.start, label.start + label.n_tokens)
    decode_chunk(chunk.data, spec, label, out=place, checked=True)


def _check_model(refs: Sequence[ChunkRef], model: str) -> None:
    if any(ref.label.model != model for ref in refs):
        raise KVRejected("these chunks were computed by another model, tokenizer, adapter or arithmetic")


def _try_restore(
    client: KVClient,
    engine: Engine[HandleT],
    cube: str,
    plan: ActivationPlan,
    model: str,
    prefix: Sequence[int],
    codecs: Sequence[str],
    *,
    obey_advice: bool,
) -> tuple[Lookup | None, HandleT | None, str]:
    """What the service has, a handle on it if it could be loaded, and otherwise why not."""
    if plan.plan_id is None or plan.model_key != model:
        return None, None, "the service keeps no caches for this model"
    found = None
    try:
        found = client.lookup(cube, model, plan_id=plan.plan_id, codecs=codecs, branch=plan.branch)
        if not found.chunks or not 0 < found.matched_tokens <= len(prefix):
            return found, None, "nothing of this memory is stored"
        if obey_advice and not found.should_load:
            return found, None, f"loading takes {found.load_ms:.0f} ms, prefill {found.prefill_ms:.0f} ms"
        return found, restore(client, engine, found.chunks, found.matched_tokens), ""
    except MemosError as error:
        return found, None, f"{error.code}: {error.detail}"


def _prefix(engine: Engine[HandleT], plan: ActivationPlan, model: str) -> tuple[int, ...]:
    """The plan's tokens: the service's if they are this model's, else our own reading of its text."""
    if plan.token_ids is not None and plan.model_key == model:
        return plan.token_ids
    return engine.tokenize(plan.prefix_text).ids


def _reported(client: KVClient, outcome: Outcome) -> bool:
    """The answer is there; a policy that learns a little less is no reason to lose it."""
    try:
        client.report(outcome)
    except MemosError:
        return False
    return True
