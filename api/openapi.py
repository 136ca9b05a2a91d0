"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know.

That is the bearer key and the scope each route asks for, the headers of optimistic concurrency and of repeatable writes,
one shape for every failure, and an example for every body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from api.problems import PROBLEM
from api.schemas.base import Input, Output
from api.schemas.problems import Problem
from api.schemas.writing import ImportResult

Document = dict[str, Any]

DESCRIPTION = """A memory operating system for agents: versioned, explained, local by default.

Send `Authorization: Bearer <key>`. Times are RFC 3339 and answered in UTC, ids are UUIDs, a cube is addressed by id or
name. Failures are `application/problem+json` with a stable `code`. What is not known is refused, never ignored. What lies
beyond the key's reach is the same 404 as what does not exist.
"""

FAILURES = {
    401: ("Unauthenticated", "No key, or not one of ours."),
    403: ("Forbidden", "The key lacks the scope."),
    404: ("NotFound", "Absent, or beyond the key's reach."),
    409: ("Conflict", "The present state, or the Idempotency-Key's first use, stands against it."),
    412: ("Stale", "If-Match names a state that has passed."),
    413: ("TooLarge", "The body, or something in it, is larger than allowed."),
    416: ("RangeNotSatisfiable", "The range lies outside of what there is."),
    422: ("Invalid", "The request makes no sense; `errors` says where."),
    429: ("TooBusy", "Come back after `Retry-After` seconds."),
    503: ("Unavailable", "A server this one depends on does not answer; come back after `Retry-After` seconds."),
    507: ("StorageFull", "No room is left for caches; memories are unaffected."),
}
ALWAYS = (401, 403, 422, 503)
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer"}}},
    503: {"Retry-After": {"schema": {"type": "integer"}}},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The ETag this write builds on; 412 when it has passed.",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "description": "Makes the write repeatable: sent again with the same request it gives the first answer, with "
    "`Idempotent-Replayed: true`; with another request it is 409.",
}


def document(api: FastAPI) -> Document:
    """Built once, on first demand."""
    if api.openapi_schema is None:
        built = get_openapi(title="memos", version=api.version, description=DESCRIPTION, routes=api.routes)
        _add_components(built)
        for operation in _operations(built):
            _complete(operation)
        _add_examples(built)
        api.openapi_schema = built
    return api.openapi_schema


def _add_components(built: Document) -> None:
    components = built.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (Problem, ImportResult):
        schema = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key, as made by `POST /admin/v1/keys`."}
    }
    components["responses"] = {
        name: {
            "description": description,
            "headers": _ERROR_HEADERS.get(status, {}),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, (name, description) in FAILURES.items()
    }


def _operations(built: Document) -> Iterator[Document]:
    for methods in built["paths"].values():
        yield from methods.values()


def _complete(operation: Document) -> None:
    fails = set(operation.pop("x-fails", ()))
    repeatable = operation.pop("x-repeatable", False)
    scope = operation.get("x-scope")
    responses = operation["responses"]
    if scope is not None:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{scope}`.".strip()
        fails |= set(ALWAYS)
    if repeatable:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        fails.add(409)
    if 412 in fails:
        operation.setdefault("parameters", []).append(_IF_MATCH)
        for status, response in responses.items():
            if status.startswith("2"):
                response["headers"] = {"ETag": {"schema": {"type": "string"}}}
    if "requestBody" in operation:
        fails.add(413)
    if operation.get("parameters") or "requestBody" in operation or scope is not None:
        fails.add(422)
    responses.pop("422", None)
    for status in sorted(fails):
        responses[str(status)] = {"$ref": f"#/components/responses/{FAILURES[status][0]}"}


def _add_examples(built: Document) -> None:
    """A body's example is its model's, so that every body has one and no two differ."""
    schemas = built["components"]["schemas"]
    for shape in _shapes(Input, Output):
        # FastAPI leaves out what is null, but in an answer it is there.
        if shape.__name__ in schemas and isinstance(extra := shape.model_config.get("json_schema_extra"), dict):
            schemas[shape.__name__] |= extra
    bodies = [o["requestBody"] for o in _operations(built) if "requestBody" in o]
    answers = [r for o in _operations(built) for r in o["responses"].values()]
    for holder in (*bodies, *answers, *built["components"]["responses"].values()):
        for media in holder.get("content", {}).values():
            found = _example(media.get("schema", {}), schemas)
            if found is not None and "example" not in media:
                media["example"] = found


def _shapes(*roots: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for shape in roots:
        yield shape
        yield from _shapes(*shape.__subclasses__())


def _example(schema: Document, schemas: Document) -> Any:
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    items = schema.get("properties", {}).get("items", {}).get("items")
    if items is not None:
        return {"items": [_example(items, schemas)], "next_cursor": None}
    return None
