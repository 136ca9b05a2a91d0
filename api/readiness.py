"""Whether requests can be served now: each thing the service depends on is asked, and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.schemas.operations import Check, Readiness
from memos.errors import MemosError, Unavailable
from memos.store import verify
from memos.wiring import App


def readiness(app: App) -> Readiness:
    """Ask them all: one that fails does not hide the others."""
    checks = [
        _checked("database", lambda: _database(app)),
        _checked("migrations", lambda: _migrations(app)),
        _checked("broker", lambda: _broker(app)),
        _checked("model", lambda: _model(app)),
    ]
    return Readiness(ready=all(check.ok for check in checks), checks=checks)


def _database(app: App) -> str:
    postgres, pgvector = verify.versions(app.database)
    return f"PostgreSQL {postgres}, pgvector {pgvector}"


def _migrations(app: App) -> str:
    width = verify.vector_width(app.database)
    if width is None:
        raise Unavailable("the schema is missing: run 'memos migrate'")
    if width != app.embedder.dimensions:
        raise Unavailable(f"vectors of {width} dimensions are stored, the model makes {app.embedder.dimensions}")
    return "the schema fits"


def _broker(app: App) -> str:
    if app.redis is None:
        return "none configured: the sweeper finds the jobs"
    app.redis.ping()
    return "answers"


def _model(app: App) -> str:
    app.embedder.embed(["ready"])
    return app.embedder.name


def _checked(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=ask())
    except MemosError as error:
        return Check(name=name, ok=False, detail=error.detail)
    except (SQLAlchemyError, psycopg.Error, RedisError, OSError) as error:
        # The text of a driver's error may hold addresses; the kind is enough for whoever may see this page.
        return Check(name=name, ok=False, detail=f"does not answer ({type(error).__name__})")
