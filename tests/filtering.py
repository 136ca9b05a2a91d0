"""Filters for Hypothesis: any conditions, put together in any way the grammar has."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def nested(conditions: st.SearchStrategy[dict[str, Any]], *, width: int, leaves: int) -> st.SearchStrategy[Any]:
    """Filters as they come from JSON: up to `leaves` conditions under `and`, `or` of up to `width` parts, and `not`."""
    return st.recursive(
        conditions,
        lambda inner: st.one_of(
            st.builds(lambda parts: {"and": parts}, st.lists(inner, min_size=1, max_size=width)),
            st.builds(lambda parts: {"or": parts}, st.lists(inner, min_size=1, max_size=width)),
            inner.map(lambda part: {"not": part}),
        ),
        max_leaves=leaves,
    )
