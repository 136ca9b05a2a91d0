"""Sessions: an admin key signs in to the pages, and each request asks whether it still may."""

from __future__ import annotations

import secrets
from datetime import datetime

from memos.rules import sessions as rules
from memos.rules.access import Principal, Scope
from memos.rules.sessions import NONCE_BYTES, Session
from memos.store import audit, tenants
from memos.store.engine import Database


def begin(database: Database, key: str, now: datetime) -> Session:
    """Raises `Unauthenticated` for what is no key, and `Forbidden` for one without the `admin` scope."""
    who = database.authenticate(key)
    who.require(Scope.ADMIN)
    with database.transaction(who.tenant_id) as tx:
        audit.record(tx, who.key_id, "session.begin", now)
    return Session(who.tenant_id, who.key_id, now, secrets.token_bytes(NONCE_BYTES))


def resume(database: Database, secret: bytes, cookie: str, now: datetime) -> tuple[Session, Principal] | None:
    """Who presents a cookie; None when it is not ours or too old, or when its key is gone or no admin's any more."""
    session = rules.opened(secret, cookie, now)
    if session is None:
        return None
    with database.transaction(session.tenant_id, read_only=True) as tx:
        who = tenants.principal(tx, session.key_id)
    if who is None or Scope.ADMIN not in who.scopes:
        return None
    return session, who


def end(database: Database, who: Principal, now: datetime) -> None:
    with database.transaction(who.tenant_id) as tx:
        audit.record(tx, who.key_id, "session.end", now)
