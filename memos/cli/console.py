"""Acting at the console: directly in the database, as whoever a tenant's owner may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from memos.cli.keys import CONSOLE, operator
from memos.cli.servers import reachable
from memos.rules.access import ALL_SCOPES, Principal
from memos.settings import Settings
from memos.store import tenants
from memos.wiring import App, build_app

# What moves whole cubes takes longer than any request may.
STATEMENT_TIMEOUT_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Console:
    """A connected service, and the tenant's console as a caller of it."""

    app: App
    who: Principal


@contextmanager
def console(settings: Settings, tenant: str) -> Iterator[Console]:
    """Raises `NotFound` for a tenant that is not there, and `Misconfigured` when nothing is set up."""
    with reachable(settings) as named:
        patient = named.model_copy(update={"pool_size": 4, "statement_timeout_s": STATEMENT_TIMEOUT_S})
        app = build_app(patient, application_name="memos-console")
        try:
            acting = operator(app.database)
            with app.database.transaction(acting.tenant_id, read_only=True) as tx:
                found = tenants.find(tx, tenant)
            yield Console(app, Principal(found.id, found.name, CONSOLE, ALL_SCOPES, operator=found.operator))
        finally:
            app.close()
