"""The service's problem documents as the errors they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from memos.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KVRejected,
    MemosError,
    NotFound,
    StorageFull,
    TooBusy,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_BY_CODE: Final[Mapping[str, type[MemosError]]] = {
    kind.code: kind
    for kind in (
        Conflict,
        Forbidden,
        Invalid,
        KVRejected,
        NotFound,
        StorageFull,
        TooBusy,
        TooLarge,
        Unauthenticated,
    )
}


def refusal(status: int, body: bytes, what: str) -> MemosError:
    """The error an answer stands for; `Unavailable` when the service itself failed or something else answered."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    kind = _BY_CODE.get(str(problem.get("code")), Unavailable)
    detail = str(problem.get("detail") or problem.get("title") or "no reason given")[:500]
    return kind(f"{what} was answered {status}: {detail}")
