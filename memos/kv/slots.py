"""A memory kept as a llama.cpp server's own slot file: looked up, fetched, restored, and counted as used or not.

The file is opaque to the service, so everything that must agree is compared here before it is handed to the server: the
profile (build, model, context size, cache types), the tokens the server itself makes of the plan's text, and the file's
digest. Afterwards the server's `cache_n` has to show that it took the prefix from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from memos.encoders.causal_lm import Completion, RestoreFailed
from memos.errors import Conflict, KVRejected, MemosError, NotFound, Unavailable
from memos.kv.client import KVClient
from memos.kv.wire import ActivationPlan


class Saved(Protocol):
    """A slot file that lies where the server reads it."""

    @property
    def n_tokens(self) -> int: ...

    @property
    def tokens_sha256(self) -> str: ...


class SlotServer(Protocol):
    """`encoders.llamacpp_server.LlamaCppServer`, without what it imports."""

    def profile_key(self) -> str: ...

    def tokenize(self, text: str, *, special: bool = False) -> tuple[int, ...]: ...

    def save(self, token_ids: Sequence[int], name: str, *, slot: int = 0) -> Any: ...

    def contents(self, saved: Any) -> bytes: ...

    def adopt(self, name: str, data: bytes, token_ids: Sequence[int]) -> Any: ...

    def complete(
        self, saved: Any, prefix: Sequence[int], suffix: Sequence[int], *, max_new_tokens: int, slot: int = 0
    ) -> Completion: ...

    def answer(self, token_ids: Sequence[int], *, max_new_tokens: int, slot: int = 0) -> Completion: ...

    def discard(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SlotAnswer:
    """`restored` is whether the server used the file; `reason` says why not. `kept` is the file's id at the service."""

    completion: Completion
    restored: bool
    reason: str = ""
    kept: str | None = None


def keep_slot(
    client: KVClient, server: SlotServer, cube: str, model: str, *, plan: ActivationPlan | None = None, slot: int = 0
) -> str:
    """Have the server evaluate a cube's memory, and hand its slot file in; the file's id. Needs the scope `kv`.

    Raises:
        Conflict: the memory changed meanwhile.
        MemosError: the server or the service failed.
    """
    plan = plan or client.plan(cube, model)
    prefix = server.tokenize(plan.prefix_text)
    name = f"{plan.source_digest}.bin"
    saved = server.save(prefix, name, slot=slot)
    try:
        query = {
            "cube": cube,
            "branch": plan.branch,
            "model": model,
            "profile": server.profile_key(),
            "source_digest": plan.source_digest,
            "tokens_sha256": saved.tokens_sha256,
            "n_tokens": saved.n_tokens,
        }
        return str(client.hand_in(f"/v1/kv/slot-files?{urlencode(query)}", server.contents(saved))["id"])
    finally:
        server.discard(name)


def answer_from_slot(
    client: KVClient,
    server: SlotServer,
    cube: str,
    model: str,
    prompt: str,
    *,
    max_new_tokens: int,
    keep: bool = False,
    slot: int = 0,
) -> SlotAnswer:
    """Answer behind a cube's memory: from its slot file where there is one that fits, else the server reads the memory.
    With `keep`, what it read is handed in for the next time.

    Raises:
        MemosError: the plan cannot be had, or the server does not answer.
    """
    plan = client.plan(cube, model)
    prefix, suffix = server.tokenize(plan.prefix_text), server.tokenize(prompt)
    name = f"{plan.source_digest}.bin"
    try:
        data, kept = _fetched(client, server, cube, plan, prefix)
        saved = server.adopt(name, data, prefix)
        try:
            done = server.complete(saved, prefix, suffix, max_new_tokens=max_new_tokens, slot=slot)
        finally:
            server.discard(name)
        return SlotAnswer(done, restored=True, kept=kept)
    except RestoreFailed as failed:
        reason, found = f"{failed.code}: {failed.detail}", failed.completion
    except (NotFound, KVRejected, Conflict, Unavailable) as error:
        reason, found = f"{error.code}: {error.detail}", None
    done = found or server.answer([*prefix, *suffix], max_new_tokens=max_new_tokens, slot=slot)
    return SlotAnswer(done, False, reason, _kept(client, server, cube, model, plan, slot) if keep else None)


def _fetched(
    client: KVClient, server: SlotServer, cube: str, plan: ActivationPlan, prefix: Sequence[int]
) -> tuple[bytes, str]:
    """The plan's file for this server, and its id. Raises `NotFound` without one, `KVRejected` for one of other tokens."""
    query = urlencode({"cube": cube, "profile": server.profile_key(), "source_digest": plan.source_digest})
    items = client.ask("GET", f"/v1/kv/slot-files?{query}").get("items")
    if not isinstance(items, list) or not items:
        raise NotFound("no slot file of this memory and server is kept")
    file = items[0]
    if not isinstance(file, Mapping) or file.get("n_tokens") != len(prefix):
        raise KVRejected("the slot file holds other tokens")
    return client.slot_file(file, prefix), str(file["id"])


def _kept(client: KVClient, server: SlotServer, cube: str, model: str, plan: ActivationPlan, slot: int) -> str | None:
    """The answer is there; that the next one will be slower too is no reason to lose it."""
    try:
        return keep_slot(client, server, cube, model, plan=plan, slot=slot)
    except MemosError:
        return None
