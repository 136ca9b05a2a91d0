"""Schemathesis against the OpenAPI document: no failure of ours, and every answer as documented."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from typing import Any

import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode, SerializationContext
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import OWNER_KEY

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 6
"""For each operation, of requests that fit the document and of requests that do not."""


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context: SerializationContext, value: Any) -> bytes:
    """The document calls an import a string; whatever else is generated is sent as JSON."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


def test_every_operation_answers_as_documented(api: FastAPI, client: TestClient) -> None:
    cube = client.post("/v1/cubes", json={"name": "travel-agent"}).json()["id"]
    body = {"items": [{"kind": "fact", "content": "Ana lives in Lisbon."}]}
    written = client.post(f"/v1/cubes/{cube}/memories", json=body).json()
    # Things that exist, so that requests get past the 404s.
    real = {"cube": cube, "memory_id": written["memories"][0]["id"], "job_id": written["jobs"][0]}
    document = schemathesis.openapi.from_asgi("/openapi.json", api)
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 40
    for operation in operations:
        for mode in GenerationMode:
            _fuzz(operation, mode, {} if operation.label == "DELETE /v1/cubes/{cube}" else real)


def _fuzz(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, real: dict[str, str]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers(case: Case[Any]) -> None:
        for name in real.keys() & case.path_parameters.keys():
            case.path_parameters[name] = real[name]
        case.call_and_validate(headers={"Authorization": f"Bearer {OWNER_KEY}"}, checks=CHECKS)

    # What takes no input cannot be asked wrongly.
    with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
        answers()
