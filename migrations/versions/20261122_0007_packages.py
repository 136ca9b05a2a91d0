"""Packages and embedding spaces.

Revision ID: 0007
Revises: 0006

A package brings a whole history at once, so its versions cannot be checked as if they were written one after the other:
they enter through a door of their own, which opens only for a cube whose history began in the same transaction; the
service then recomputes every hash before it commits. Embedding spaces let a cube change its model while it is in use:
the vectors of the next space are staged beside the present ones, and changing places is one transaction.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SPACES = """
-- Where the vectors of a cube live. A cube without an active row is in the space of the configured model.
CREATE TABLE embedding_spaces (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    cube_id      uuid NOT NULL,
    model        text NOT NULL CHECK (length(model) BETWEEN 1 AND 500),
    fingerprint  text NOT NULL CHECK (length(fingerprint) = 64),
    dimensions   integer NOT NULL CHECK (dimensions > 0),
    state        text NOT NULL CHECK (state IN ('filling', 'ready', 'active', 'kept')),
    created_at   timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, cube_id, fingerprint),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);
CREATE UNIQUE INDEX embedding_spaces_active ON embedding_spaces (tenant_id, cube_id) WHERE state = 'active';

-- Vectors that are not read yet (of a space being filled) or not any more (of one kept for a rollback). Of any width.
CREATE TABLE staged_vectors (
    tenant_id   uuid NOT NULL,
    space_id    uuid NOT NULL,
    content_id  bigint NOT NULL,
    cube_id     uuid NOT NULL,
    embedding   halfvec NOT NULL,
    PRIMARY KEY (tenant_id, space_id, content_id),
    FOREIGN KEY (tenant_id, space_id) REFERENCES embedding_spaces (tenant_id, id),
    FOREIGN KEY (tenant_id, content_id) REFERENCES contents (tenant_id, id)
);
CREATE INDEX staged_vectors_content ON staged_vectors (tenant_id, content_id);
"""
TENANT_TABLES = ("embedding_spaces", "staged_vectors")

DOOR = """
CREATE FUNCTION memos_import_versions(target uuid, records jsonb) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE
    written integer;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM revisions r WHERE r.tenant_id = memos_tenant() AND r.cube_id = target AND r.number = 1
                   AND r.xmin = CAST(pg_current_xact_id() AS xid)) THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle', MESSAGE = 'only a history that begins here may be imported';
    END IF;
    -- By the names of the columns, so that a later migration may add one.
    INSERT INTO memory_versions
    SELECT r.* FROM jsonb_populate_recordset(CAST(NULL AS memory_versions), records) AS r WHERE r.cube_id = target;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;
"""
SIGNATURE = "memos_import_versions(uuid, jsonb)"
TRIGGER = """
DROP TRIGGER lifecycle_version ON memory_versions;
CREATE TRIGGER lifecycle_version BEFORE INSERT ON memory_versions FOR EACH ROW WHEN ({condition})
    EXECUTE FUNCTION memos_check_version();
"""


def upgrade() -> None:
    op.execute(SPACES)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")
    op.execute(DOOR)
    op.execute(f"ALTER FUNCTION {SIGNATURE} OWNER TO memos_system")
    op.execute(f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO memos_app")
    # Row-level security binds the door like everybody: it reaches the calling tenant and no other.
    op.execute("GRANT SELECT ON revisions TO memos_system")
    # Triggers of the versions run as whoever writes them, and may read versions and label texts.
    op.execute("GRANT SELECT, INSERT ON memory_versions TO memos_system")
    op.execute("GRANT SELECT, UPDATE ON contents TO memos_system")
    # Only inside the door is the current user memos_system, who cannot log in.
    op.execute(TRIGGER.format(condition="NEW.version > 1 AND current_user <> 'memos_system'"))


def downgrade() -> None:
    op.execute(TRIGGER.format(condition="NEW.version > 1"))
    op.execute("REVOKE SELECT, UPDATE ON contents FROM memos_system")
    op.execute("REVOKE SELECT, INSERT ON memory_versions FROM memos_system")
    op.execute("REVOKE SELECT ON revisions FROM memos_system")
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    for table in reversed(TENANT_TABLES):
        op.execute(f"DROP TABLE {table}")
