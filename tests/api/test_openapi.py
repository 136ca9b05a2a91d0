"""The OpenAPI document promises what callers rely on: names, keys, scopes, examples, failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema_rs import Draft202012Validator

from api import openapi
from api.schemas import (
    admin,
    cubes,
    derived,
    graph,
    jobs,
    lifecycle,
    memories,
    operations,
    problems,
    reading,
    traces,
    versions,
    walk,
    writing,
)
from api.schemas.base import Input, Output
from memos.rules.access import Scope

PROMISED = {
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "POST /v1/cubes",
    "GET /v1/cubes",
    "GET /v1/cubes/{cube}",
    "PATCH /v1/cubes/{cube}",
    "DELETE /v1/cubes/{cube}",
    "GET /v1/cubes/{cube}/revisions",
    "GET /v1/cubes/{cube}/diff",
    "POST /v1/cubes/{cube}/rollback",
    "POST /v1/cubes/{cube}/tags",
    "GET /v1/cubes/{cube}/tags",
    "DELETE /v1/cubes/{cube}/tags/{name}",
    "POST /v1/cubes/{cube}/branches",
    "GET /v1/cubes/{cube}/branches",
    "DELETE /v1/cubes/{cube}/branches/{name}",
    "POST /v1/cubes/{cube}/merge",
    "POST /v1/cubes/{cube}/messages",
    "POST /v1/cubes/{cube}/documents",
    "POST /v1/cubes/{cube}/memories",
    "POST /v1/cubes/{cube}/import",
    "GET /v1/cubes/{cube}/memories",
    "GET /v1/cubes/{cube}/memories/{memory_id}",
    "PATCH /v1/cubes/{cube}/memories/{memory_id}",
    "DELETE /v1/cubes/{cube}/memories/{memory_id}",
    "GET /v1/cubes/{cube}/memories/{memory_id}/history",
    "POST /v1/cubes/{cube}/memories/{memory_id}/restore",
    "POST /v1/cubes/{cube}/memories/{memory_id}/state",
    "GET /v1/cubes/{cube}/memories/{memory_id}/provenance",
    "POST /v1/cubes/{cube}/search",
    "POST /v1/search",
    "POST /v1/cubes/{cube}/context",
    "GET /admin/v1/traces/{trace_id}",
    "POST /admin/v1/traces/{trace_id}/replay",
    "POST /v1/cubes/{cube}/extract",
    "POST /v1/cubes/{cube}/consolidate",
    "GET /v1/cubes/{cube}/entities",
    "GET /v1/cubes/{cube}/entities/{entity_id}",
    "POST /v1/cubes/{cube}/entities/merge",
    "POST /v1/cubes/{cube}/entities/{entity_id}/split",
    "GET /v1/cubes/{cube}/graph",
    "POST /v1/cubes/{cube}/graph/walk",
    "POST /v1/cubes/{cube}/decay",
    "POST /v1/cubes/{cube}/promote",
    "GET /v1/cubes/{cube}/decisions",
    "POST /v1/cubes/{cube}/forget",
    "GET /v1/receipts/key",
    "GET /v1/receipts/{receipt_id}",
    "GET /v1/jobs",
    "GET /v1/jobs/{job_id}",
    "POST /v1/jobs/{job_id}/cancel",
    "POST /v1/jobs/{job_id}/retry",
    "GET /admin/v1/overview",
    "POST /admin/v1/tenants",
    "GET /admin/v1/tenants",
    "POST /admin/v1/keys",
    "GET /admin/v1/keys",
    "DELETE /admin/v1/keys/{key_id}",
}

PUBLIC = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def document(api: FastAPI) -> dict[str, Any]:
    return openapi.document(api)


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_promised_route_is_there(document: dict[str, Any]) -> None:
    present = {f"{method} {path}" for method, path, _ in operations_of(document)}
    assert present >= PROMISED


def test_every_route_explains_itself(document: dict[str, Any]) -> None:
    ids = set()
    for method, path, operation in operations_of(document):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert operation["operationId"] not in ids, name
        ids.add(operation["operationId"])
        for parameter in operation.get("parameters", ()):
            assert parameter["schema"], name


def test_every_route_is_public_by_name_or_asks_for_a_scope(document: dict[str, Any]) -> None:
    for method, path, operation in operations_of(document):
        if path in PUBLIC:
            assert "x-scope" not in operation
            continue
        assert operation["x-scope"] in set(Scope), f"{method} {path}"
        assert operation["security"] == [{"key": []}]
        assert {"401", "403", "422", "503"} <= set(operation["responses"])
        assert operation["x-scope"] in operation["description"]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_write_is_repeatable_or_says_why_not(document: dict[str, Any]) -> None:
    for method, path, operation in operations_of(document):
        names = {p["name"] for p in operation.get("parameters", ())}
        if operation.get("x-scope", "read") == "read" or method == "GET":
            assert "Idempotency-Key" not in names, path
        elif "Idempotency-Key" not in names:
            assert "Idempotency-Key" in operation["description"], path


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations_of(document):
        answers = [r for r in operation["responses"].values() if "$ref" not in r]
        for holder in [*answers, *([operation["requestBody"]] if "requestBody" in operation else [])]:
            for kind, media in holder.get("content", {}).items():
                if kind.startswith("text/"):
                    continue
                assert media["schema"], f"{method} {path}"
                assert media.get("example") is not None, f"{method} {path}: {kind}"
                if "json" in kind and "ndjson" not in kind:
                    whole = {"components": document["components"], **media["schema"]}
                    Draft202012Validator(whole).validate(media["example"])


def test_every_failure_is_a_problem_document(document: dict[str, Any]) -> None:
    for method, path, operation in operations_of(document):
        for status, response in operation["responses"].items():
            if status[0] in "45" and path != "/readyz":
                name = response["$ref"].rsplit("/", 1)[-1]
                assert "application/problem+json" in document["components"]["responses"][name]["content"], (
                    method,
                    path,
                )
    assert "HTTPValidationError" not in document["components"]["schemas"]


MODULES = (
    admin,
    cubes,
    derived,
    graph,
    jobs,
    lifecycle,
    memories,
    operations,
    problems,
    reading,
    traces,
    versions,
    walk,
    writing,
)
SHAPES = sorted(
    {
        shape
        for module in MODULES
        for shape in vars(module).values()
        if isinstance(shape, type) and issubclass(shape, Input | Output) and shape not in (Input, Output)
    },
    key=lambda shape: shape.__name__,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_example_is_valid(shape: type[Input | Output]) -> None:
    extra = shape.model_config.get("json_schema_extra")
    assert isinstance(extra, dict), shape
    examples: Any = extra["examples"]
    for example in examples:
        read = shape.model_validate(example, by_name=True)
        assert read.model_dump(mode="json", exclude_unset=True, by_alias=issubclass(shape, Input)) == example


def test_the_document_and_its_page_are_public_and_need_no_other_host(stranger: TestClient) -> None:
    assert stranger.get("/openapi.json").json()["openapi"].startswith("3.1")
    page = stranger.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
