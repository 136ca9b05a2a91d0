"""The two sides of the indexes of the present, unfolded and folded (see `folds`): which take part in a query, and what is asked
of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memos.store.filters import compile_filter
from memos.store.request import Request

_FILTERED: Final = """ AND EXISTS (SELECT 1 FROM memory_versions v
    WHERE v.tenant_id = :tenant AND v.id = {row}.version_id AND {filter} OFFSET 0)"""
# Where a filter leaves a folded memory but none of its sources, it stands in for them.
_STANDS_IN: Final = """(NOT h.folded OR h.kind = ANY(:beside) OR NOT EXISTS (
    SELECT 1 FROM memory_versions m JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = m.cube_id
        AND s.memory_id = m.memory_id AND s.version = m.version
    JOIN heads o ON o.tenant_id = :tenant AND o.branch_id = :branch AND o.memory_id = s.source_memory_id
    JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = o.version_id
    WHERE m.tenant_id = :tenant AND m.id = h.version_id AND {condition} AND {filter}))"""

_CHECKED: Final = """ AND EXISTS (SELECT 1 FROM heads h WHERE h.tenant_id = :tenant AND h.branch_id = :branch
            AND h.version_id = p.version_id AND {condition} OFFSET 0)"""


@dataclass(frozen=True, slots=True)
class Sides:
    """Which of the two sides of the indexes, unfolded and folded, take part, and what a row `h` and a posting `p` must
    fulfil in each. `few`: of the folded side only the nearest are tried."""

    in_channels: Mapping[bool, str]
    at_last: str
    posted: Mapping[bool, str]
    few: bool = False


def sides_of(request: Request, condition: str, parameters: dict[str, object]) -> Sides:
    """`condition` is what every candidate must fulfil (see `request.condition_of`). Adds to `parameters` what it binds."""
    each = condition.format(row="h")
    if request.filter is None:
        if request.kinds is not None:
            posted = _CHECKED.format(condition="h.kind = ANY(:kinds)")
            return Sides({False: each, True: each}, each, {False: posted, True: posted})
        if request.beside:
            posted = _CHECKED.format(condition="h.kind = ANY(:beside)")
            return Sides({False: each, True: f"{each} AND h.kind = ANY(:beside)"}, each, {False: "", True: posted})
        return Sides({False: each}, each, {False: ""})
    compiled, bound = compile_filter(request.filter)
    narrowed = request.narrowed
    parameters |= bound | narrowed.parameters
    if request.kinds is not None:
        compiled += " AND v.kind = ANY(:kinds)"
    asked = _FILTERED.format(row="h", filter=compiled)
    row = f"{each} AND {narrowed.row}" + ("" if narrowed.rows_told else asked)
    posted = f" AND {narrowed.posting}"
    if not narrowed.postings_told:
        posted += _FILTERED.format(row="p", filter=compiled)
    elif request.kinds is not None:
        posted += _CHECKED.format(condition="h.kind = ANY(:kinds)")
    if request.kinds is not None:
        return Sides({False: row, True: row}, each + asked, {False: posted, True: posted})
    # Hardly ever does a filter keep a fact and not its source: looking for such on and on would cost every filtered search.
    last = f"{each}{asked} AND " + _STANDS_IN.format(condition=condition.format(row="v"), filter=compiled)
    return Sides({False: row, True: row}, last, {False: posted, True: posted}, few=True)
