"""Traces by the hash of the context that was given.

An agent that kept the `context_hash` of an answer, and not its `trace_id`, can still be told why it said this.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE traces ADD COLUMN context_hash text")
    op.execute("CREATE INDEX traces_context ON traces (tenant_id, context_hash) WHERE context_hash IS NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE traces DROP COLUMN context_hash")
