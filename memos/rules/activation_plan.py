"""The prefix plan: which memories of a cube stand in front of a prompt, in which order, as which exact text.

Engines and providers reuse work only for a prefix that is byte for byte the same. So the order follows one rule:
what changed last stands last. Adding a memory then appends, and editing one disturbs only what came after its old
place, which was the part that had changed most recently anyway. Memories that were edited again and again would keep
tearing holes into the middle, so they form a second band behind all the others.

    opening | settled memories, oldest change first ........ | volatile memories, oldest change first

The order depends on nothing but the versions themselves, so every worker renders the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from memos.errors import Invalid
from memos.rules.kv_layout import CHUNK_TOKENS

OPENING: Final = "What is remembered, oldest first; a later entry corrects an earlier one.\n"
VOLATILE_EDITS: Final = 2
"""One edit may be a correction; a second one shows a memory that moves."""
STICKINESS: Final = 1.5
"""A newcomer must be worth this much more than a member of the plan to take its place and break the prefix."""


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """One current memory. `revision` is the one that made this version current, `edits` the versions before it.

    `value` decides on inclusion only (any scale, higher is better), never on the order.
    """

    memory_id: str
    version: int
    content: str
    revision: int
    edits: int = 0
    dated: date | None = None
    pinned: bool = False
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Characters `[char_start, char_end)` of a plan's text that one memory version wrote."""

    memory_id: str
    version: int
    char_start: int
    char_end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`source_digest` is hex SHA-256 over the opening and the ordered versions; it names the text without showing it.

    `settled_chars` is where the volatile band begins: the natural place for a provider's cache breakpoint.
    """

    text: str
    segments: tuple[Segment, ...]
    source_digest: str
    settled_chars: int


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Tokens `[start, end)` that contain any character of one memory version; neighbours may share a token."""

    memory_id: str
    version: int
    start: int
    end: int


def make_plan(memories: Iterable[MemoryVersion], *, opening: str = OPENING) -> Plan:
    """Order and render. Raises Invalid when a memory appears twice."""
    ordered = sorted(memories, key=_place)
    if len({memory.memory_id for memory in ordered}) != len(ordered):
        raise Invalid("a plan holds one version of each memory")
    parts, segments, at = [opening], [], len(opening)
    settled_chars = at
    for memory in ordered:
        part = _render(memory)
        segments.append(Segment(memory.memory_id, memory.version, at, at + len(part)))
        parts.append(part)
        at += len(part)
        if not _is_volatile(memory):
            settled_chars = at
    return Plan("".join(parts), tuple(segments), source_digest(ordered, opening=opening), settled_chars)


def source_digest(ordered: Sequence[MemoryVersion], *, opening: str = OPENING) -> str:
    """Digest of what a plan is made of; a plan whose digest is not the current one is stale."""
    digest = hashlib.sha256(b"plan1")
    for field in (opening, *(part for memory in ordered for part in (memory.memory_id, str(memory.version)))):
        encoded = field.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def choose(
    memories: Iterable[MemoryVersion],
    *,
    tokens: Mapping[str, int],
    budget_tokens: int,
    members: Collection[str] = (),
) -> list[MemoryVersion]:
    """The memories that fit a budget: pinned first, then by value, with an advantage for those already `members`.

    `tokens` gives the rendered size of each memory. What does not fit is skipped, so a long memory never empties the
    plan; the result is in no particular order.
    """
    kept = frozenset(members)

    def rank(memory: MemoryVersion) -> tuple[bool, float, str]:
        bonus = STICKINESS if memory.memory_id in kept else 1.0
        return (not memory.pinned, -memory.value * bonus, memory.memory_id)

    chosen, left = [], budget_tokens
    for memory in sorted(memories, key=rank):
        if tokens[memory.memory_id] <= left:
            chosen.append(memory)
            left -= tokens[memory.memory_id]
    return chosen


def token_spans(plan: Plan, offsets: Sequence[tuple[int, int]]) -> tuple[TokenSpan, ...]:
    """Map the plan's memories to tokens, given each token's half-open character range in the plan's text.

    Tokens of no width (a beginning-of-sequence mark) belong to no memory. Offsets must not step backwards.
    """
    if any(later[0] < earlier[0] for earlier, later in pairwise(offsets)):
        raise Invalid("token offsets must ascend")
    spans: list[TokenSpan] = []
    first = 0
    for segment in plan.segments:
        while first < len(offsets) and offsets[first][1] <= segment.char_start:
            first += 1
        end = first
        while end < len(offsets) and offsets[end][0] < segment.char_end:
            end += 1
        spans.append(TokenSpan(segment.memory_id, segment.version, first, end))
    return tuple(spans)


def shared_prefix(before: Sequence[int], after: Sequence[int]) -> int:
    """Number of leading tokens two editions of a plan have in common: what survives an edit."""
    shared = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            break
        shared += 1
    return shared


def surviving_chunks(shared_tokens: int) -> int:
    """Number of leading chunks that `shared_tokens` unchanged tokens keep valid: whole ones only."""
    return shared_tokens // CHUNK_TOKENS


def tainted_from(spans: Iterable[TokenSpan], memory_ids: Collection[str]) -> int | None:
    """Index of the first chunk that holds, or was computed after, any of these memories; None if none stands here.

    Every key after a token was computed while attending to it, so erasure takes this chunk and all that follow.
    """
    starts = [span.start for span in spans if span.memory_id in memory_ids and span.end > span.start]
    return min(starts) // CHUNK_TOKENS if starts else None


def _is_volatile(memory: MemoryVersion) -> bool:
    return memory.edits >= VOLATILE_EDITS


def _place(memory: MemoryVersion) -> tuple[bool, int, str]:
    return (_is_volatile(memory), memory.revision, memory.memory_id)


def _render(memory: MemoryVersion) -> str:
    # Continuation lines are indented, so that a memory cannot pass off part of itself as an entry of its own.
    stamp = f"[{memory.dated.isoformat()}] " if memory.dated else ""
    return "- " + stamp + "\n  ".join(memory.content.strip().splitlines()) + "\n"
