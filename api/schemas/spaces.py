"""Embedding spaces on the wire."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import Flag, Storable, Time


class SpaceIn(Input):
    """The model a cube is to move to."""

    model_config = example(model="minilm", activate=True)

    model: Annotated[Storable, Field(min_length=1, max_length=500)]
    """As in `MEMOS_EMBEDDER`; with at most the dimensions of this database."""
    activate: Flag = False
    """Whether to change over once every text has a vector; else that waits for `.../activate`."""


SPACE = {
    "id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15",
    "model": "minilm",
    "fingerprint": "5b1d8a9e0c3f4a775b1d8a9e0c3f4a775b1d8a9e0c3f4a775b1d8a9e0c3f4a77",
    "dimensions": 384,
    "state": "filling",
    "staged": 320,
    "total": 1000,
    "created_at": "2026-08-01T09:30:00Z",
    "changed_at": "2026-08-01T09:30:00Z",
}


class SpaceOut(Output):
    """One embedding space of a cube."""

    model_config = example(**SPACE)

    id: UUID
    model: str
    fingerprint: str
    dimensions: int
    state: Literal["filling", "ready", "active", "kept"]
    """`active`: its vectors are read. `kept`: they were, and there is a way back."""
    staged: int
    """Texts with a vector of this space beside the present ones."""
    total: int
    """Texts of the cube."""
    created_at: Time
    changed_at: Time


class SpacesOut(Output):
    """The embedding spaces of a cube, oldest first; none when it never left the configured model's."""

    model_config = example(items=[SPACE])

    items: list[SpaceOut]
