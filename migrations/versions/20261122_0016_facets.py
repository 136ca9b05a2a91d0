"""Lists of what filters ask for: who has this session, this name, this tag, this piece of metadata, and from when it is.

Revision ID: 0016
Revises: 0015

A filter was asked of every memory that the vector graph and the posting lists came upon: 0.3 s for one session among 100,000
memories, and the graph gave up before it had found all of them. A facet is a field with one value, kept as a number; `facets`
lists who has it, and `heads` says what each memory has. NULL there means unknown: such a memory is on every list, and the filter
itself decides about it. That is so for all that is there now and for what the previous release writes, until the job `index`
of their branch has described them.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE facets (
    tenant_id   uuid NOT NULL,
    branch_id   integer NOT NULL,
    facet       bigint NOT NULL,
    version_id  bigint NOT NULL,
    PRIMARY KEY (tenant_id, branch_id, facet, version_id)
);
ALTER TABLE heads ADD COLUMN created_at timestamptz, ADD COLUMN facets bigint[];
"""

INDEXES = """
CREATE INDEX heads_created ON heads (tenant_id, branch_id, created_at) INCLUDE (version_id);
CREATE INDEX heads_begins ON heads (tenant_id, branch_id, valid_from) INCLUDE (version_id)
    WHERE kind = 'fact' AND valid_from IS NOT NULL;
CREATE INDEX heads_undescribed ON heads (tenant_id, branch_id) INCLUDE (version_id) WHERE facets IS NULL;
"""
# In two minutes, when the workers of the previous release are gone.
PROMISE = """
INSERT INTO jobs (tenant_id, id, cube_id, kind, payload, dedup_key, run_after)
    SELECT b.tenant_id, gen_random_uuid(), b.cube_id, 'index', jsonb_build_object('branch', b.name),
        b.cube_id || '/' || b.name, now() + interval '2 minutes'
    FROM branches b WHERE b.base_branch_id IS NULL AND b.deleted_at IS NULL AND b.live_count > 0
ON CONFLICT (tenant_id, kind, dedup_key) WHERE state = 'queued' DO NOTHING
"""
# Tables whose owner is held to their policies too; to promise it must see every tenant's rows.
READ = ("branches", "jobs")


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(INDEXES)
    op.execute("ALTER TABLE facets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant_isolation ON facets "
        "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON facets TO memos_app")
    for table in READ:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(PROMISE)
    for table in READ:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("DROP INDEX heads_undescribed; DROP INDEX heads_begins; DROP INDEX heads_created")
    op.execute("ALTER TABLE heads DROP COLUMN facets, DROP COLUMN created_at; DROP TABLE facets")
