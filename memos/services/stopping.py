"""Whether this process has been told to stop. Handlers of jobs ask between steps, so that a job is handed to another
worker at once instead of when its lease runs out."""

from __future__ import annotations

from collections.abc import Callable

_ask: Callable[[], bool] = bool


def watch(ask: Callable[[], bool]) -> None:
    """From now on `ask` knows. It is called often, from any thread, and must cost nothing."""
    global _ask
    _ask = ask


def asked() -> bool:
    return _ask()
