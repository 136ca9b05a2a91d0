"""The archive can be looked into: a vector graph of what was put away, and a way to tell that something was.

Revision ID: 0014
Revises: 0013

What a decay run archives leaves the indexes of the present. A search that stays unsure asks the archive once, and needs a
graph for that, or it would scan all that was ever put away. `contents.archived` is a hint and not the truth: the search
checks the version of each text it finds. Writers of the previous release do not set it, so what they archive is found
again only by asking for its state, as it was before.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Tables whose owner is held to their policies too; for the time of the move it must see every tenant's rows.
MOVED = ("contents", "memory_versions")

MOVE = """
UPDATE contents c SET archived = true FROM memory_versions v
WHERE v.tenant_id = c.tenant_id AND v.content_id = c.id AND v.to_revision IS NULL AND v.state = 'archived'
    AND NOT v.tombstone AND c.embedding IS NOT NULL;
"""


def upgrade() -> None:
    op.execute("ALTER TABLE contents ADD COLUMN archived boolean NOT NULL DEFAULT false")
    for table in MOVED:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(MOVE)
    for table in MOVED:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE INDEX contents_archived ON contents USING hnsw (embedding halfvec_cosine_ops) "
        "WITH (m = 16, ef_construction = 64) WHERE archived"
    )
    op.execute(
        "CREATE INDEX versions_archived ON memory_versions (tenant_id, branch_id, content_id) "
        "WHERE to_revision IS NULL AND state = 'archived'"
    )


def downgrade() -> None:
    op.execute("DROP INDEX versions_archived; DROP INDEX contents_archived; ALTER TABLE contents DROP COLUMN archived")
