"""Cubes on the wire."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import Description, JsonObject, Name, Time

BRANCH = {
    "name": "main",
    "base": None,
    "fork_revision": None,
    "revision": 12,
    "created_at": "2026-08-01T09:30:00Z",
}


class CubeIn(Input):
    """A new cube."""

    model_config = example(name="travel-agent", description="What the travel agent learned about its users")

    name: Name
    description: Description = ""
    policy: JsonObject = Field(default_factory=dict)
    """How the cube treats its memories; see the documentation of policies."""


class CubeChange(Input):
    """What to change of a cube; absent fields stay."""

    model_config = example(description="What the travel agent learned, since the relaunch")

    name: Name | None = None
    description: Description | None = None
    policy: JsonObject | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name is None and self.description is None and self.policy is None:
            raise ValueError("must name at least one of name, description, policy")
        return self


class BranchOut(Output):
    """A line of history."""

    model_config = example(**BRANCH)

    name: str
    base: str | None
    """The branch it was forked from."""
    fork_revision: int | None
    revision: int
    """The newest revision, which is also the branch's ETag."""
    created_at: Time


class CubeOut(Output):
    """A cube with its branches and how much is in it."""

    model_config = example(
        id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11",
        name="travel-agent",
        description="What the travel agent learned about its users",
        policy={},
        revision=12,
        branches=[BRANCH],
        counts={"memories": 48, "by_kind": {"turn": 40, "fact": 8}, "by_state": {"generated": 31, "activated": 17}},
        created_at="2026-08-01T09:30:00Z",
    )

    id: UUID
    name: str
    description: str
    policy: dict[str, Any]
    revision: int
    branches: list[BranchOut]
    counts: dict[str, Any]
    """`memories` in all, and the same `by_kind` and `by_state`."""
    created_at: Time
