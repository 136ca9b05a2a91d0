"""Packages on the wire: what is asked of an export, and what became of an import."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from api.schemas.base import Input, Output, example
from api.schemas.fields import Flag
from memos.rules.header import Sensitivity


class ExportIn(Input):
    """What a package is to hold."""

    model_config = example(max_sensitivity="normal", vectors=True)

    max_sensitivity: Sensitivity = Sensitivity.SECRET
    """Memories above it leave only their commitments, and so does all that was made from them."""
    vectors: Flag = False
    """Whether vectors travel; without them the receiver embeds the texts anew."""
    usage: Flag = True
    """Whether recall counts and strengths travel."""
    decisions: Flag = True
    """Whether it travels what the workers decided, and why."""


class ImportedOut(Output):
    """A package that was taken in, or was here already."""

    model_config = example(
        cube_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
        name="travel-agent",
        outcome="imported",
        revision=12,
        signed_by="5b1d8a9e0c3f4a77",
        counts={"version": 40, "revision": 12},
        embedded=0,
        kept_erased=0,
        marks_skipped=0,
    )

    cube_id: UUID
    name: str
    outcome: Literal["imported", "known"]
    """`known`: the cube was here with the same history, and nothing was done."""
    revision: int
    signed_by: str
    """The id of the key that signed the package."""
    counts: dict[str, int]
    """Rows by section."""
    embedded: int
    """Texts that were embedded anew, because the package had no vectors of this service's model."""
    kept_erased: int
    """Memories that this tenant had erased, and that stay so."""
    marks_skipped: int
    """Marks of erased texts that another service's secret made: their return cannot be recognised here."""
