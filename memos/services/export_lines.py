"""Lines: the memories of a branch as the items that would write them again. The present, without its past.

A line is an item of the import format, so `memos import` and `POST .../import` take the file as it is. What lines cannot carry
(history, lineage, trust, what recall taught, states other than alive) needs a package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from memos.rules.access import Principal, Scope
from memos.rules.header import DEFAULT_PRIORITY, Sensitivity, instant
from memos.store import cubes, memories
from memos.store.cubes import At
from memos.store.engine import Database
from memos.store.memories import Version
from memos.store.present import RECALLABLE


def lines(database: Database, who: Principal, cube: str, branch: str = cubes.MAIN, at: At = None) -> Iterator[bytes]:
    """NDJSON, in order of writing. What is wrong with the request raises before the first line."""
    who.require(Scope.READ)
    with database.transaction(who.tenant_id, read_only=True) as tx:
        who.reach(cubes.view(tx, cube, branch, at).cube.id)
    return _lines(database, who, cube, branch, at)


def _lines(database: Database, who: Principal, cube: str, branch: str, at: At) -> Iterator[bytes]:
    with database.transaction(who.tenant_id, read_only=True) as tx:
        for version in memories.stream(tx, cubes.view(tx, cube, branch, at)):
            if version.state in RECALLABLE and version.text is not None:
                yield json.dumps(item(version), ensure_ascii=False).encode() + b"\n"


def item(version: Version) -> dict[str, Any]:
    """A version in the import format; what is not there, or as it would be anyway, is left out."""
    said = {
        "kind": version.kind,
        "content": version.text,
        "external_id": version.external_id,
        "session_id": version.session_id,
        "role": version.role,
        "name": version.name,
        "title": version.title,
        "source": version.source,
        "created_at": instant(version.created_at),
        "valid_from": instant(version.valid_from),
        "valid_to": instant(version.valid_to),
        "expires_at": instant(version.expires_at),
        "priority": None if version.priority == DEFAULT_PRIORITY else version.priority,
        "sensitivity": None if version.sensitivity == Sensitivity.NORMAL else version.sensitivity,
        "tags": version.tags or None,
        "metadata": version.metadata or None,
    }
    return {name: value for name, value in said.items() if value is not None}
