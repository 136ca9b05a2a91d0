"""On whose behalf this thread of work runs, so that no transaction can forget what its caller may see.

A door sets it once per request; every transaction begun meanwhile reads it, also in threads the request starts through
the framework. Workers and consoles have no caller and see everything their tenant has.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from memos.rules.access import Principal

CALLER: Final[ContextVar[Principal | None]] = ContextVar("memos_caller", default=None)
