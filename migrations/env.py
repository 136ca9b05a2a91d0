"""Alembic's entry: runs on the connection `memos.store.schema.migrate` hands over, under lock and statement limits."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, transaction_per_migration=True, dimensions=context.config.attributes["dimensions"]
)
with context.begin_transaction():
    # A migration that waits for a lock makes everyone behind it wait too: give up early and say so.
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.run_migrations()
