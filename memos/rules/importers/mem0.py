"""mem0: what `get_all()` returns and the platform exports, a statement an item, and the relations of its graph memory.

Shapes: a list, `{"results": [...]}` or `{"memories": [...]}` (with `"relations"` beside it), or one item a line. An item has
`id`, `memory`, and maybe `hash`, `metadata`, `categories`, `created_at`, `updated_at`, `expiration_date` and whose it is.
See docs.mem0.ai, "Export Stored Memories" and "Get all memories".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from memos.rules.importers.foreign import Foreign, entries, moment, present, text_of

_KEPT: Final = ("user_id", "agent_id", "app_id", "actor_id", "role", "updated_at", "immutable", "structured_attributes")


def read(values: list[Any]) -> Iterator[Foreign]:
    """Memories become facts, relations too (tagged `relation`)."""
    for place, entry in enumerate(entries(values, "results", "memories"), start=1):
        yield _memory(place, entry)
    for value in values:
        relations = value.get("relations") if isinstance(value, Mapping) else None
        for place, relation in enumerate(relations if isinstance(relations, list) else (), start=1):
            yield _relation(place, relation)


def _memory(place: int, entry: Any) -> Foreign:
    if not isinstance(entry, Mapping):
        return Foreign.fault(f"memory {place}", "is no object")
    name = f"memory {entry.get('id') or place}"
    text = text_of(entry.get("memory")) or text_of(entry.get("text")) or text_of(entry.get("data"))
    if text is None:
        return Foreign.fault(name, "has no 'memory', the text")
    try:
        created_at, expires_at = moment(entry.get("created_at")), moment(entry.get("expiration_date"))
    except ValueError as error:
        return Foreign.fault(name, f"'created_at' or 'expiration_date' {error}")
    metadata = entry.get("metadata")
    categories = entry.get("categories")
    return Foreign(
        name,
        present(
            {
                "kind": "fact",
                "content": text,
                "external_id": f"mem0:{entry['id']}" if entry.get("id") else None,
                "session_id": entry.get("run_id"),
                "created_at": created_at,
                "expires_at": expires_at,
                "tags": [str(c) for c in categories] if isinstance(categories, list) else None,
                "metadata": {
                    **(metadata if isinstance(metadata, Mapping) else {}),
                    **present({"mem0": present({key: entry.get(key) for key in _KEPT})}),
                },
            }
        ),
    )


def _relation(place: int, relation: Any) -> Foreign:
    name = f"relation {place}"
    if not isinstance(relation, Mapping):
        return Foreign.fault(name, "is no object")
    said = [relation.get("source"), relation.get("relationship"), relation.get("target") or relation.get("destination")]
    words = [text for part in said if (text := text_of(part))]
    if len(words) < len(said):
        return Foreign.fault(name, "lacks its 'source', 'relationship' or 'target'")
    return Foreign(
        name, {"kind": "fact", "content": " ".join(word.replace("_", " ") for word in words), "tags": ["relation"]}
    )
