"""The retention classes of cubes, one at a time: what a person adds or takes away, where the API sends a policy as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.services import administer
from memos.services.views import CubeView
from memos.store import ages, cubes
from memos.store.ages import Kept
from memos.store.transaction import Transaction

MOST_CUBES = 200


def list_kept(tx: Transaction, who: Principal) -> list[Kept]:
    """Cubes within reach that have a retention policy, by name."""
    who.require(Scope.ADMIN)
    return ages.kept(tx, None if who.cube_ids is None else sorted(who.cube_ids), MOST_CUBES)


def add(tx: Transaction, who: Principal, cube: str, given: Mapping[str, Any], *, now: datetime) -> CubeView:
    """One more class for a cube: a revision of it. Raises `Invalid` for what is no class (see `rules.retention`)."""
    policy, classes = _of(tx, who, cube)
    return administer.update_cube(tx, who, cube, policy={**policy, "retention": [*classes, dict(given)]}, now=now)


def remove(tx: Transaction, who: Principal, cube: str, place: int, *, if_match: str, now: datetime) -> CubeView:
    """Take away the class at `place`. `if_match` is the cube's revision when it was shown, so that nobody takes away another."""
    policy, classes = _of(tx, who, cube)
    if not 0 <= place < len(classes):
        raise NotFound("no such retention class")
    left = {**policy, "retention": [one for at, one in enumerate(classes) if at != place]}
    return administer.update_cube(tx, who, cube, policy=left, if_match=if_match, now=now)


def _of(tx: Transaction, who: Principal, cube: str) -> tuple[dict[str, Any], list[Any]]:
    """The policy of a cube, held until the end of the transaction, and its retention classes."""
    who.require(Scope.ADMIN)
    found = cubes.find(tx, cube, lock=True)
    who.reach(found.id)
    return found.policy, list(found.policy.get("retention", []))
