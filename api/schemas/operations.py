"""The service's own state on the wire."""

from __future__ import annotations

from typing import Literal

from api.schemas.base import Output, example


class Health(Output):
    """The process answers."""

    model_config = example(status="ok")

    status: Literal["ok"]


class Check(Output):
    """One thing the service depends on."""

    model_config = example(name="database", ok=True, detail="answers")

    name: str
    ok: bool
    detail: str


class Readiness(Output):
    """Whether requests can be served now."""

    model_config = example(ready=True, checks=[{"name": "database", "ok": True, "detail": "answers"}])

    ready: bool
    checks: list[Check]
