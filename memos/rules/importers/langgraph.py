"""LangGraph: items of a `BaseStore`, as `Item.dict()`, the server's store API, or a row of the Postgres store writes them.

`{"namespace": ["users", "ana"], "key": "...", "value": {...}, "created_at": "...", "updated_at": "..."}`; the Postgres store
spells the namespace `prefix`, with dots. The value is whatever the application put there: a text under one of the usual names is
taken as the memory and the rest as metadata; a value without one is written out field by field.
See the reference of `langgraph.store.base.Item`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from memos.rules.importers.foreign import Foreign, entries, moment, present, text_of

# Where applications keep the text, the likeliest first; LangMem wraps it once more.
_TEXTS: Final = ("memory", "text", "content", "data", "fact", "page_content", "value")
_KINDS: Final = frozenset({"fact", "episode", "profile", "procedure"})


def read(values: list[Any]) -> Iterator[Foreign]:
    """Every item becomes a fact, or what its own `kind` says when we have that kind."""
    for place, entry in enumerate(entries(values, "items"), start=1):
        yield _item(place, entry)


def _item(place: int, entry: Any) -> Foreign:
    if not isinstance(entry, Mapping):
        return Foreign.fault(f"item {place}", "is no object")
    namespace = _namespace(entry)
    key = entry.get("key")
    if namespace is None or not isinstance(key, str) or not key:
        return Foreign.fault(f"item {place}", "has no 'namespace' and 'key'")
    name = "/".join([*namespace, key])
    value = entry.get("value")
    if isinstance(value, str) and (parsed := _object(value)) is not None:
        value = parsed  # a database dump leaves the column as text
    if not isinstance(value, Mapping):
        return Foreign.fault(name, "has a 'value' that is no object")
    text, rest = _text(value)
    if text is None:
        return Foreign.skip(name, "has an empty value")
    try:
        created_at, expires_at = moment(entry.get("created_at")), moment(entry.get("expires_at"))
        updated_at = moment(entry.get("updated_at"))
    except ValueError as error:
        return Foreign.fault(name, f"'created_at', 'updated_at' or 'expires_at' {error}")
    kind = str(value.get("kind", "")).lower()
    return Foreign(
        name,
        present(
            {
                "kind": kind if kind in _KINDS else "fact",
                "content": text,
                "external_id": f"langgraph:{name}",
                "created_at": created_at,
                "expires_at": expires_at,
                "metadata": {
                    "langgraph": present({"namespace": namespace, "key": key, "updated_at": updated_at, "value": rest})
                },
            }
        ),
    )


def _namespace(entry: Mapping[str, Any]) -> list[str] | None:
    found = entry.get("namespace", entry.get("prefix"))
    if isinstance(found, str):
        return found.split(".") if found else None
    if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
        return found
    return None


def _text(value: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The text of a value, and what else stands in it."""
    for name in _TEXTS:
        found = value.get(name)
        if isinstance(found, Mapping):
            found = text_of(found.get("content")) or text_of(found.get("text"))
        if text := text_of(found):
            return text, {key: part for key, part in value.items() if key != name}
    written = [f"{key}: {_written(part)}" for key, part in value.items() if part not in (None, "", [], {})]
    return ("\n".join(written) or None), {}


def _written(part: object) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, sort_keys=True)


def _object(text: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
