"""Whether requests can be served now: each thing the service depends on is asked, and says what is wrong."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

import psycopg
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.schemas.operations import Check, Readiness
from memos.errors import MemosError, Unavailable
from memos.store import verify
from memos.store.schema import expected_revision
from memos.wiring import App

# Anybody may ask, and a check opens a connection of its own: an answer is good for this long.
FRESH_S = 1.0


class Probe:
    """Asks, and remembers the answer for a moment. Thread-safe."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._asked_at = -math.inf
        self._found = Readiness(ready=False, checks=[])
        self.draining = False
        """Set when the process is about to stop: whoever sends requests here should send them elsewhere."""

    def readiness(self) -> Readiness:
        """Every check is made: one that fails does not hide the others."""
        if self.draining:
            return Readiness(ready=False, checks=[Check(name="process", ok=False, detail="is about to stop")])
        with self._lock:
            if time.monotonic() - self._asked_at > FRESH_S:
                checks = [_checked(name, check, self._app) for name, check in CHECKS.items()]
                self._found = Readiness(ready=all(check.ok for check in checks), checks=checks)
                self._asked_at = time.monotonic()
            return self._found


def _database(app: App) -> str:
    postgres, pgvector = verify.versions(app.database)
    return f"PostgreSQL {postgres}, pgvector {pgvector}"


def _migrations(app: App) -> str:
    width = verify.vector_width(app.database)
    if width is None:
        raise Unavailable("the schema is missing: run 'memos migrate'")
    if width != app.embedder.dimensions:
        raise Unavailable(f"vectors of {width} dimensions are stored, the model makes {app.embedder.dimensions}")
    # Who logs in as the app role only cannot read the migration, but the width tells that there was one.
    owner_url = app.settings.database_url
    if owner_url is not None:
        applied, expected = verify.applied_revision(owner_url.get_secret_value()), expected_revision()
        if applied != expected:
            raise Unavailable(f"the schema is at {applied}, this version needs {expected}: run 'memos migrate'")
    return "the schema fits"


def _broker(app: App) -> str:
    if app.redis is None:
        return "none configured: background jobs wait until there is one"
    app.redis.ping()
    return "answers"


def _model(app: App) -> str:
    app.embedder.embed(["ready"])
    return app.embedder.name


def _checked(name: str, check: Callable[[App], str], app: App) -> Check:
    try:
        return Check(name=name, ok=True, detail=check(app))
    except MemosError as error:
        return Check(name=name, ok=False, detail=error.detail)
    except (SQLAlchemyError, psycopg.Error, RedisError, OSError) as error:
        # The text of a driver's error may hold addresses; the kind is enough for whoever may see this.
        return Check(name=name, ok=False, detail=f"does not answer ({type(error).__name__})")


CHECKS: Mapping[str, Callable[[App], str]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "model": _model,
}
