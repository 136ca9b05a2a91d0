"""Which stored turn a search result stands for.

A benchmark knows its turns by their own ids; the service answers with memories. A returned turn is credited
as itself. A derived memory (a fact, an episode) either takes its place in the ranking and earns nothing,
which is the strict reading and the default, or stands for the turns it cites, each of which then takes a
place of its own, so that citing many turns is never free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.client import Hit
from benchmarks.metrics import distinct


def ranked_turns(hits: Iterable[Hit], turns: Mapping[str, str], *, sources: bool) -> list[str]:
    """Turn ids best first; `turns` maps memory ids to them, and what is no turn stands as `memory:<id>`."""
    ranked: list[str] = []
    for hit in hits:
        cited = [turns[source] for source in hit.sources if source in turns] if sources else []
        if hit.memory_id in turns:
            ranked.append(turns[hit.memory_id])
        elif cited:
            ranked.extend(cited)
        else:
            ranked.append(f"memory:{hit.memory_id}")
    return distinct(ranked)
