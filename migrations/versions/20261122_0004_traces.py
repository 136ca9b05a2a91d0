"""Traces: how each question was answered, for a while.

Revision ID: 0004
Revises: 0003

A trace holds what somebody asked, which is as private as a memory: it belongs to the tenant, goes with its cube, with any
memory it names that is erased, and with time. It may name several cubes, so none of them is a foreign key.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE traces (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    id          uuid NOT NULL,
    door        text NOT NULL CHECK (door IN ('search', 'context')),
    asked_at    timestamptz NOT NULL,
    key_id      uuid NOT NULL,
    cube_ids    uuid[] NOT NULL,
    memory_ids  uuid[] NOT NULL,
    -- The request with its clock made explicit, and the revision of each cube that was read: enough to ask again.
    request     jsonb NOT NULL,
    revisions   jsonb NOT NULL,
    route       jsonb NOT NULL,
    -- [[memory id, version, score, {channel: evidence}], ...], best first; of a context also what was dropped and why.
    items       jsonb NOT NULL,
    dropped     jsonb NOT NULL DEFAULT '[]',
    answer_hash bytea NOT NULL CHECK (length(answer_hash) = 32),
    weights     text NOT NULL,
    took_ms     real NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX traces_age ON traces (tenant_id, asked_at);
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("ALTER TABLE traces ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant_isolation ON traces "
        "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
    )
    op.execute("GRANT SELECT, INSERT, DELETE ON traces TO memos_app")


def downgrade() -> None:
    op.execute("DROP TABLE traces")
