"""Facets: a field with one value, such as a session, a tag or a piece of metadata, and lists of who has it.

They are kept as numbers, since a value may be long and its list only has to hold all that match: whoever is on it is asked
the filter itself. Two values of one number cost a comparison and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from memos.rules.filters import Filter
from memos.rules.narrowing import Must, OneOf, few, fewest, necessary, told
from memos.store.cubes import Branch
from memos.store.transaction import Transaction

MOST: Final = 64
"""Facets kept of a memory. One with more is on every list."""

NUMBER: Final = """hashtextextended(f.field || chr(31) || jsonb_typeof(f.value) || chr(31) || CASE jsonb_typeof(f.value)
    WHEN 'number' THEN CAST(trim_scale(CAST(f.value #>> '{}' AS numeric)) AS text) ELSE f.value #>> '{}' END, 0)"""
"""SQL: the facet of a field `f.field` with the JSON scalar `f.value`. A number is told by its value and not by how it was
written: 1.0 is 1, as it is for a filter."""

FACETS: Final = f"""(
    SELECT CASE WHEN count(*) <= {MOST} THEN coalesce(array_agg(DISTINCT {NUMBER}), '{{}}') END
    FROM (VALUES ('session_id', to_jsonb(v.session_id)), ('name', to_jsonb(v.name))
        UNION ALL SELECT 'tags', to_jsonb(t) FROM unnest(v.tags) AS t
        UNION ALL SELECT 'metadata.' || e.key, e.value FROM jsonb_each(v.metadata) AS e) AS f (field, value)
    WHERE jsonb_typeof(f.value) IN ('string', 'number', 'boolean'))"""
"""SQL: the facets of a version `v`, NULL for more than are kept."""

_ASKED: Final = """list{i} AS (SELECT array_agg({number}) AS list FROM (SELECT field, CAST(raw AS jsonb) AS value
    FROM unnest(CAST(:fields{i} AS text[]), CAST(:values{i} AS text[])) AS a (field, raw)) f)"""
_LISTED: Final = """SELECT version_id FROM facets
    WHERE tenant_id = :tenant AND branch_id = :branch AND facet = ANY(CAST({list} AS bigint[]))"""
_BETWEEN: Final = """created_at BETWEEN coalesce(CAST(:begin AS timestamptz), '-infinity')
    AND coalesce(CAST(:until AS timestamptz), 'infinity')"""
_IN_TIME: Final = f"SELECT version_id FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND {_BETWEEN}"
_UNDESCRIBED: Final = (
    "SELECT version_id FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND facets IS NULL"
)
_HAS: Final = "(h.facets IS NULL OR h.facets && CAST(:list{i} AS bigint[]))"
_WAS: Final = f"(h.created_at IS NULL OR h.{_BETWEEN})"
_POSTED: Final = """EXISTS (SELECT 1 FROM facets f WHERE f.tenant_id = :tenant AND f.branch_id = :branch
    AND f.facet = ANY(CAST(:list{i} AS bigint[])) AND f.version_id = p.version_id OFFSET 0)"""
_LOOKED_UP: Final = 8
"""Facets looked up for each posting; with more, reading the version itself is no slower."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """How the lists help with one filter on one branch.

    `members` is SQL for the ids of all versions that may match, where they are few. `row` is what a row `h` of `heads` must
    fulfil and `posting` what a posting `p` must, both cheaper than the filter itself; `rows_told` and `postings_told` say
    that it need not be asked besides, until candidates are chosen.
    """

    members: str | None = None
    row: str = "true"
    posting: str = "true"
    rows_told: bool = False
    postings_told: bool = False
    parameters: dict[str, object] = field(default_factory=dict)


NOT_NARROWED: Final = Narrowed()


def narrow(tx: Transaction, branch: Branch, tree: Filter | None) -> Narrowed:
    """Look up what all matches of a filter must have (`rules.narrowing`): one round trip, none where no list helps."""
    if not (musts := necessary(tree)):
        return NOT_NARROWED
    most = few(branch.live_count)
    bound: dict[str, object] = {}
    lists, sources, named = [], [], []
    for i, must in enumerate(musts):
        if isinstance(must, OneOf):
            bound[f"fields{i}"] = [name for name, _ in must.values]
            bound[f"values{i}"] = [json.dumps(value) for _, value in must.values]
            lists.append(_ASKED.format(i=i, number=NUMBER))
            named.append(f"(SELECT list FROM list{i})")
            sources.append(_LISTED.format(list=named[-1]))
        else:
            bound |= {"begin": must.begin, "until": must.until}
            named.append("NULL")
            sources.append(_IN_TIME)
    counted = [
        f"(SELECT count(*) FROM (SELECT 1 FROM ({source}) s LIMIT {most + 1}) c)" for source in (*sources, _UNDESCRIBED)
    ]
    with_lists = f"WITH {', '.join(lists)} " if lists else ""
    [row] = tx.tuples(f"{with_lists}SELECT {', '.join((*counted, *named))}", branch=branch.id, **bound)
    *counts, undescribed = row[: len(counted)]
    return _narrowed(musts, counts, undescribed, row[len(counted) :], told=told(tree), most=most)


def _narrowed(
    musts: Sequence[Must],
    counts: Sequence[int],
    undescribed: int,
    lists: Sequence[list[int] | None],
    *,
    told: bool,
    most: int,
) -> Narrowed:
    parameters: dict[str, object] = {}
    rows, postings = [], []
    for i, (must, facets) in enumerate(zip(musts, lists, strict=True)):
        if isinstance(must, OneOf):
            parameters[f"list{i}"] = facets
            rows.append(_HAS.format(i=i))
            if not undescribed and len(must.values) <= _LOOKED_UP:
                postings.append(_POSTED.format(i=i))
        else:
            parameters |= {"begin": must.begin, "until": must.until}
            rows.append(_WAS)
    found = Narrowed(
        row=" AND ".join(rows),
        posting=" AND ".join(postings) or "true",
        rows_told=told and not undescribed,
        postings_told=told and not undescribed and len(postings) == len(musts),
        parameters=parameters,
    )
    sizes = [count + undescribed for count in counts]
    if (least := fewest(sizes, most)) is None:
        return found
    source = _LISTED.format(list=f":list{least}") if isinstance(musts[least], OneOf) else _IN_TIME
    return replace(found, members=f"{source} UNION {_UNDESCRIBED}")


def undescribed(tx: Transaction, branch_id: int) -> bool:
    """Whether a branch holds memories whose facets nobody has listed: a writer of an older release did not."""
    return bool(tx.scalar(f"SELECT EXISTS (SELECT 1 FROM heads h WHERE {_UNLISTED})", branch=branch_id))


def describe_some(tx: Transaction, branch_id: int, most: int) -> int:
    """List the facets of up to `most` such memories; how many those were. The cube must be locked, since a writer that takes
    a memory away at this moment would leave it on the lists."""
    return int(tx.scalar(_DESCRIBE, branch=branch_id, most=most))


_UNLISTED: Final = "h.tenant_id = :tenant AND h.branch_id = :branch AND h.facets IS NULL AND h.created_at IS NULL"
_DESCRIBE: Final = f"""
WITH described AS (
    UPDATE heads o SET created_at = v.created_at, facets = {FACETS} FROM memory_versions v
    WHERE o.tenant_id = :tenant AND o.branch_id = :branch AND v.tenant_id = :tenant AND v.id = o.version_id
        AND o.memory_id IN (SELECT h.memory_id FROM heads h WHERE {_UNLISTED} LIMIT :most)
    RETURNING o.version_id, o.facets),
listed AS (INSERT INTO facets (tenant_id, branch_id, facet, version_id)
    SELECT :tenant, :branch, f.facet, d.version_id FROM described d, unnest(d.facets) AS f (facet))
SELECT count(*) FROM described
"""
