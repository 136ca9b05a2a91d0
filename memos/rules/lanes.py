"""Which queue a job waits in. Building caches takes minutes of a model's time, and nobody's reading should wait for that."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    MAIN = "main"
    KV = "kv"
    """Everything of the activation tier."""


def lane_of(kind: str) -> Lane:
    """By the kind's name; the functions of migration 0012 say the same in SQL."""
    return Lane.KV if kind.startswith("kv.") else Lane.MAIN
