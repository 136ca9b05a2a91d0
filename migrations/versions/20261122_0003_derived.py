"""Derived: what texts say, whom they name, and how memories hang together.

Revision ID: 0003
Revises: 0002

What is read from a text (claims, mentions) hangs on the text, like its vector: a version that shares the text shares
the reading, so history, branches and rollback need nothing more, and erasing a text erases what was read from it. What
is true of one version (links) hangs on the version. Only the decision that two names mean one entity belongs to no
memory; it has revision ranges of its own.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

READINGS = """
-- How far a task has gone through the versions of a branch, in order of writing.
CREATE TABLE cursors (
    tenant_id   uuid NOT NULL,
    branch_id   integer NOT NULL,
    task        text NOT NULL,
    revision    integer NOT NULL,
    version_id  bigint NOT NULL,
    PRIMARY KEY (tenant_id, branch_id, task),
    FOREIGN KEY (tenant_id, branch_id) REFERENCES branches (tenant_id, id)
) WITH (fillfactor = 70);

-- A text that has been read, by what. A job that runs twice reads nothing twice.
CREATE TABLE readings (
    tenant_id   uuid NOT NULL,
    content_id  bigint NOT NULL,
    cube_id     uuid NOT NULL,
    reader      text NOT NULL,
    read_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, content_id),
    FOREIGN KEY (tenant_id, content_id) REFERENCES contents (tenant_id, id)
);
"""

GRAPH = """
-- A name seen in a cube, or (`split_off`) one of several who share a name and are told apart by `identities`. What a
-- name stands for at a revision is said there; everything else known of it follows from mentions and claims.
CREATE TABLE entities (
    tenant_id   uuid NOT NULL,
    cube_id     uuid NOT NULL,
    id          uuid NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 500),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 500),
    split_off   boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, cube_id, id),
    UNIQUE (tenant_id, cube_id, key),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);

-- From a text to whom it names, as spelled there. `type` is what the spelling's company made of it.
CREATE TABLE mentions (
    tenant_id   uuid NOT NULL,
    cube_id     uuid NOT NULL,
    content_id  bigint NOT NULL,
    entity_id   uuid NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL CHECK (type IN ('person', 'place', 'organisation', 'work', 'other')),
    confidence  real NOT NULL,
    PRIMARY KEY (tenant_id, content_id, entity_id, name),
    FOREIGN KEY (tenant_id, content_id) REFERENCES contents (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id, entity_id) REFERENCES entities (tenant_id, cube_id, id)
);
CREATE INDEX mentions_entity ON mentions (tenant_id, cube_id, entity_id, content_id);

-- What a text states: the slot it fills (subject and attribute in their one spelling) and with what. Where subject and
-- value are names it is a relation, an edge between entities. Its validity is that of the version that says it.
CREATE TABLE claims (
    tenant_id      uuid NOT NULL,
    cube_id        uuid NOT NULL,
    content_id     bigint NOT NULL,
    position       smallint NOT NULL,
    subject_key    text NOT NULL,
    attribute_key  text NOT NULL,
    subject_id     uuid,
    object_id      uuid,
    confidence     real NOT NULL,
    body           jsonb NOT NULL,
    PRIMARY KEY (tenant_id, content_id, position),
    FOREIGN KEY (tenant_id, content_id) REFERENCES contents (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id, subject_id) REFERENCES entities (tenant_id, cube_id, id),
    FOREIGN KEY (tenant_id, cube_id, object_id) REFERENCES entities (tenant_id, cube_id, id)
);
CREATE INDEX claims_slot ON claims (tenant_id, cube_id, subject_key, attribute_key);
CREATE INDEX claims_subject ON claims (tenant_id, cube_id, subject_id) WHERE subject_id IS NOT NULL;
CREATE INDEX claims_object ON claims (tenant_id, cube_id, object_id) WHERE object_id IS NOT NULL;

-- From a version to another memory. What it was made from is in `memory_sources`; what stands before and after it in
-- its session follows from the session.
CREATE TABLE links (
    tenant_id  uuid NOT NULL,
    cube_id    uuid NOT NULL,
    memory_id  uuid NOT NULL,
    version    integer NOT NULL,
    other_id   uuid NOT NULL,
    relation   text NOT NULL CHECK (relation IN ('supersedes', 'superseded-by', 'contradicts', 'similar')),
    PRIMARY KEY (tenant_id, cube_id, memory_id, version, other_id, relation),
    FOREIGN KEY (tenant_id, cube_id, memory_id, version)
        REFERENCES memory_versions (tenant_id, cube_id, memory_id, version),
    FOREIGN KEY (tenant_id, cube_id, other_id) REFERENCES memories (tenant_id, cube_id, id),
    CHECK (memory_id <> other_id)
);
CREATE INDEX links_down ON links (tenant_id, cube_id, other_id);

-- "This name means that entity", on a branch from one revision to another: everywhere, or within one memory.
CREATE TABLE identities (
    tenant_id      uuid NOT NULL,
    id             bigint GENERATED ALWAYS AS IDENTITY,
    cube_id        uuid NOT NULL,
    branch_id      integer NOT NULL,
    entity_id      uuid NOT NULL,
    memory_id      uuid,
    means_id       uuid NOT NULL,
    from_revision  integer NOT NULL,
    to_revision    integer CHECK (to_revision > from_revision),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, branch_id) REFERENCES branches (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id, entity_id) REFERENCES entities (tenant_id, cube_id, id),
    FOREIGN KEY (tenant_id, cube_id, means_id) REFERENCES entities (tenant_id, cube_id, id),
    FOREIGN KEY (tenant_id, cube_id, memory_id) REFERENCES memories (tenant_id, cube_id, id),
    FOREIGN KEY (tenant_id, cube_id, from_revision) REFERENCES revisions (tenant_id, cube_id, number)
);
CREATE INDEX identities_branch ON identities (tenant_id, branch_id, from_revision);
"""

TABLES = ("cursors", "readings", "entities", "mentions", "claims", "links", "identities")


def upgrade() -> None:
    op.execute(READINGS)
    op.execute(GRAPH)
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")
    op.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO memos_app")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
