"""What tests of erasure share: words that occur nowhere else, what is derived from them, and a look at every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from memos.rules.access import Principal
from memos.rules.header import Draft, Kind, Source
from memos.services import erase, signing, work
from memos.services.encode import encode
from memos.services.erase import Wanted
from memos.services.remember import utc_now
from memos.store import jobs, memories
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App
from tests.services.running import run

# Words that occur nowhere else; stems and embeddings follow from them.
SECRET = "Zyxgrimbold keeps his quorvantium in the vermwhistle cellar"
EDITED = "Zyxgrimbold moved his quorvantium to the brondulax attic"
NEEDLES = ("zyxgrimbold", "quorvant", "vermwhistl", "brondulax", "fluxomart", "gnarlwick", "plimsmoke", "drexelthorpe")


def derive(app: App, owner: Principal, cube: str, text: str, sources: Sequence[UUID], **fields: Any) -> UUID:
    """A memory made of others, as the workers write them."""
    now = utc_now()
    draft = Draft(kind=Kind.FACT, text=text, created_at=now, origin="derived", **fields)
    [encoded] = encode(app.embedder, [draft])
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        rows = memories.get_many(tx, writer.view, sources)
        cited = tuple(Source(row.memory_id, row.version) for row in rows.values())
        made = writer.add(replace(draft, sources=cited), encoded)
        writer.finish(kind="extract", author=None, reason="")
    return made


def forget(app: App, owner: Principal, cube: str, *memory_ids: UUID) -> dict[str, Any]:
    """Erase; the receipt."""
    with app.database.transaction(owner.tenant_id) as tx:
        promised = erase.request(tx, owner, cube, Wanted(memory_ids), now=utc_now())
    run(app, owner, promised.job_id)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return erase.get_receipt(tx, owner, promised.receipt_id)


def public_keys(app: App, owner: Principal) -> dict[str, Any]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return {"keys": erase.public_keys(tx, owner, signing.keyring(app.settings))}


def scan(owner_url: str, needles: Sequence[str]) -> list[tuple[str, str]]:
    """(table, needle) for everything that any row of any table still holds, large values included."""
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    found = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1"
        ).fetchall()
        assert len(tables) > 40
        for (table,) in tables:
            # A row as text spells bytes as hex and vectors as numbers, so every column takes part.
            rows = connection.execute(sql.SQL("SELECT lower(CAST(t AS text)) FROM {} t").format(sql.Identifier(table)))
            whole = "\n".join(row for (row,) in rows)
            found += [(table, needle) for needle in needles if needle.lower() in whole]
    return found


def run_all(app: App, owner: Principal) -> None:
    """Every job that waits, due or not."""
    for _ in range(10):
        with app.database.transaction(owner.tenant_id) as tx:
            waiting = jobs.list_page(tx, "queued", None, 200, None, None)
            tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND state = 'queued'")
        if not waiting:
            return
        for job in waiting:
            assert work.run_job(app, owner.tenant_id, job.id) in ("succeeded", None)
