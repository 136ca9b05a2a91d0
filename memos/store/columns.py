"""A pool of candidates on its way out of the database: whole columns in the wire's own bytes, read by numpy at once.

PostgreSQL sends an array as a header and, per element, a length and a value. Where no element is null and all are of one
width, that is what numpy calls a structured array, and reading it is no work per row.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.rules.pool import Pool, empty

COLUMNS: Final = """
    array_agg(h.version_id), array_agg(h.kind = 'turn'),
    array_agg(coalesce(hashtextextended(h.session_id, 0), 0)), array_agg(coalesce(h.ordinal, -1)),
    array_agg(CAST(1 - (h.embedding <=> :query) AS real)), array_agg(h.length), array_agg(h.asks), array_agg(h.trust),
    array_agg(h.folded), array_agg({counts}),
    array_agg(CAST(CASE WHEN h.name IS NULL THEN 0 WHEN h.name = ANY(CAST(:named AS text[])) THEN 1 ELSE -1 END AS smallint)),
    array_agg(CAST(CASE coalesce(h.role, h.name) = CAST(:role AS text) WHEN true THEN 1 WHEN false THEN -1 ELSE 0 END
        AS smallint))
"""
"""Of rows `h`: what `pool_of` reads. `:named` are the speakers that the query names, `:role` is whose words it is after."""

_HEADER: Final = struct.Struct(">iiI")
_DIMENSION: Final = struct.Struct(">ii")
_INT8, _INT4, _INT2, _REAL, _BOOL = ">i8", ">i4", ">i2", ">f4", "u1"


def pool_of(columns: Sequence[bytes | None], terms: int) -> Pool:
    """The pool in one row of `COLUMNS`. `terms`: how many are counted in each."""
    raw = [column for column in columns if column is not None]
    if len(raw) < len(columns):
        return empty(terms)  # array_agg over no rows is null
    version_id = _fixed(raw[0], _INT8).astype(np.int64)
    n = len(version_id)
    trust = _fixed(raw[7], _REAL).astype(np.float64)
    return Pool(
        version_id=version_id,
        turn=_fixed(raw[1], _BOOL).astype(np.bool_),
        session=_fixed(raw[2], _INT8).astype(np.int64),
        ordinal=_fixed(raw[3], _INT4).astype(np.int64),
        spoken=_fixed(raw[10], _INT2).astype(np.int64),
        in_role=_fixed(raw[11], _INT2).astype(np.int64),
        dense=_fixed(raw[4], _REAL).astype(np.float64),
        counts=_fixed(raw[9], _INT2).astype(np.float64).reshape(n, -1)[:, :terms],
        length=_fixed(raw[5], _INT4).astype(np.float64),
        asks=_fixed(raw[6], _BOOL).astype(np.bool_),
        trust=trust,
        # Neither lowers a score today: strength decides what stays, and what was superseded is not valid any more.
        strength=np.ones(n),
        superseded=np.zeros(n, dtype=np.bool_),
        folded=_fixed(raw[8], _BOOL).astype(np.bool_),
    )


def _fixed(raw: bytes, kind: str) -> NDArray[np.generic]:
    """The values of an array without nulls, of any number of dimensions, flat."""
    dimensions, nulls, _ = _HEADER.unpack_from(raw)
    if nulls:
        raise ValueError("a column of the pool holds a null")
    start = _HEADER.size + dimensions * _DIMENSION.size
    elements = np.frombuffer(raw, dtype=np.dtype([("size", ">i4"), ("value", kind)]), offset=start)
    values: NDArray[np.generic] = elements["value"]
    return values
