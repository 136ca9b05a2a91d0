"""The home space: the model whose vectors a cube holds unless it was moved to another one.

Revision ID: 0015
Revises: 0014

Cubes that were moved say so in `embedding_spaces`; all others are in the space of the configured model, and until now nothing
said which model that was. Another one of the same width would have been compared with their vectors. The row is written at the
first start after this migration, and asked at every further one. Belongs to no tenant, and the app has no need to read it.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

HOME = """
CREATE TABLE embedding_home (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    model       text NOT NULL,
    fingerprint text NOT NULL
)
"""
DOOR = """
CREATE FUNCTION memos_cubes_elsewhere(home text, OUT total bigint, OUT names text[]) LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    SELECT count(*), (array_agg(c.name ORDER BY c.name))[1:3] FROM cubes c
    WHERE c.last_revision > 0 AND NOT EXISTS (SELECT 1 FROM embedding_spaces e
        WHERE e.tenant_id = c.tenant_id AND e.cube_id = c.id AND e.state = 'active' AND e.fingerprint = home)
$$
"""
READ_BY_THE_DOOR = ("cubes", "embedding_spaces")


def upgrade() -> None:
    op.execute(HOME)
    op.execute(DOOR)
    op.execute("REVOKE ALL ON FUNCTION memos_cubes_elsewhere(text) FROM PUBLIC")
    op.execute("ALTER FUNCTION memos_cubes_elsewhere(text) OWNER TO memos_system")
    op.execute("GRANT EXECUTE ON FUNCTION memos_cubes_elsewhere(text) TO CURRENT_USER")
    for table in READ_BY_THE_DOOR:
        op.execute(f"GRANT SELECT ON {table} TO memos_system")
        op.execute(f"CREATE POLICY system_home ON {table} FOR SELECT TO memos_system USING (true)")


def downgrade() -> None:
    for table in READ_BY_THE_DOOR:
        op.execute(f"DROP POLICY system_home ON {table}")
    op.execute("DROP FUNCTION memos_cubes_elsewhere(text); DROP TABLE embedding_home")
