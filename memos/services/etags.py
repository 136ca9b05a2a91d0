"""Optimistic concurrency: an ETag is the revision of a branch or the version of a memory."""

from __future__ import annotations

from memos.errors import Stale


def etag(number: int) -> str:
    return f'"{number}"'


def require_match(if_match: str | None, number: int, what: str) -> None:
    """Raise `Stale` unless the header names the present state (or is absent, or `*`)."""
    if if_match is None or if_match.strip() == "*":
        return
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")]
    if str(number) not in tags:
        raise Stale(f"{what} is at {number}, not at {if_match}; read it again and decide anew")
