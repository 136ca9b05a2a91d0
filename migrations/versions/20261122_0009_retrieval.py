"""What ranking needs of a candidate, on one row; and derived memories kept apart from what they were made from.

Revision ID: 0009
Revises: 0008

A search reads hundreds of candidates and shows ten. So `heads` holds what ranking asks of each, and the wide rows of
`memory_versions` and `contents` are read for those ten only.

A derived memory with a source at hand is *folded*: the source speaks for itself. Folded memories have a vector graph, posting
lists and term counts of their own, so that facts read out of a conversation neither slow its search nor make its words common.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FEATURES = """
ALTER TABLE contents ADD COLUMN asks boolean NOT NULL GENERATED ALWAYS AS
    (coalesce(text, '') ~ U&'[?\\061f\\ff1f\\037e\\055e]') STORED;
ALTER TABLE heads
    ADD COLUMN folded     boolean NOT NULL DEFAULT false,
    ADD COLUMN kind       text NOT NULL DEFAULT 'turn',
    ADD COLUMN session_id text COLLATE "C",
    ADD COLUMN ordinal    integer,
    ADD COLUMN name       text,
    ADD COLUMN role       text,
    ADD COLUMN trust      real NOT NULL DEFAULT 1,
    ADD COLUMN valid_from timestamptz,
    ADD COLUMN valid_to   timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN asks       boolean NOT NULL DEFAULT false,
    ADD COLUMN label      smallint NOT NULL DEFAULT 1,
    ADD COLUMN length     integer NOT NULL DEFAULT 0,
    ADD COLUMN terms      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN counts     smallint[] NOT NULL DEFAULT '{}';
ALTER TABLE branches
    ADD COLUMN folded_count integer NOT NULL DEFAULT 0 CHECK (folded_count BETWEEN 0 AND live_count),
    ADD COLUMN folded_terms bigint NOT NULL DEFAULT 0 CHECK (folded_terms BETWEEN 0 AND term_total);
ALTER TABLE postings ADD COLUMN folded boolean NOT NULL DEFAULT false;
ALTER TABLE terms ADD COLUMN folded boolean NOT NULL DEFAULT false;
"""

# Tables whose owner is held to their policies too; for the time of the move it must see every tenant's rows.
MOVED = ("heads", "postings", "terms", "branches", "contents", "memory_versions", "memory_sources")

MOVE = """
UPDATE heads h SET kind = v.kind, session_id = v.session_id, ordinal = v.ordinal, name = v.name,
    role = v.role, trust = v.trust, valid_from = v.valid_from, valid_to = v.valid_to, expires_at = v.expires_at,
    asks = c.asks, label = c.label, length = c.length, terms = c.terms, counts = c.counts,
    folded = v.origin <> 'direct' AND EXISTS (SELECT 1 FROM memory_sources s
        JOIN heads o ON o.tenant_id = s.tenant_id AND o.branch_id = h.branch_id AND o.memory_id = s.source_memory_id
        WHERE s.tenant_id = v.tenant_id AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version)
FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
WHERE v.tenant_id = h.tenant_id AND v.id = h.version_id;
ALTER TABLE heads ALTER COLUMN kind DROP DEFAULT;
UPDATE postings p SET folded = true FROM heads h
WHERE h.folded AND h.tenant_id = p.tenant_id AND h.branch_id = p.branch_id AND h.version_id = p.version_id;
ALTER TABLE postings DROP CONSTRAINT postings_pkey,
    ADD PRIMARY KEY (tenant_id, branch_id, folded, term, impact, version_id);
ALTER TABLE terms DROP CONSTRAINT terms_pkey, ADD PRIMARY KEY (tenant_id, branch_id, folded, term);
DELETE FROM terms;
INSERT INTO terms (tenant_id, branch_id, folded, term, documents)
    SELECT tenant_id, branch_id, folded, term, count(*) FROM postings GROUP BY 1, 2, 3, 4;
UPDATE branches b SET folded_count = f.n, folded_terms = f.terms FROM (
    SELECT tenant_id, branch_id, count(*) AS n, sum(length) AS terms FROM heads WHERE folded GROUP BY 1, 2) f
WHERE f.tenant_id = b.tenant_id AND f.branch_id = b.id;
DROP INDEX heads_hnsw;
CREATE INDEX heads_hnsw ON heads USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)
    WHERE indexed AND NOT folded;
CREATE INDEX heads_hnsw_folded ON heads USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)
    WHERE indexed AND folded;
CREATE INDEX heads_session ON heads (tenant_id, branch_id, session_id, ordinal) INCLUDE (version_id)
    WHERE ordinal IS NOT NULL AND NOT folded;
"""

# Who may meet a memory is told by its own row here too, by one comparison, which a plan repeats for every way of finding it.
SIGHT = """
DROP POLICY sight ON heads;
CREATE POLICY sight ON heads AS RESTRICTIVE FOR SELECT
    USING (label <= (SELECT least(memos_sight(), memos_clearance())));
CREATE FUNCTION memos_label_heads() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE heads h SET label = NEW.label FROM memory_versions v
    WHERE v.tenant_id = NEW.tenant_id AND v.content_id = NEW.id AND v.to_revision IS NULL
        AND h.tenant_id = v.tenant_id AND h.branch_id = v.branch_id AND h.version_id = v.id AND h.label <> NEW.label;
    RETURN NULL;
END $$;
-- A package comes in through a door of the system's, which labels as it writes.
GRANT SELECT, UPDATE (label) ON heads TO memos_system;
CREATE TRIGGER label_heads AFTER UPDATE OF label ON contents FOR EACH ROW
    WHEN (OLD.label <> NEW.label) EXECUTE FUNCTION memos_label_heads();
"""


def upgrade() -> None:
    op.execute(FEATURES)
    for table in MOVED:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(MOVE)
    for table in MOVED:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(SIGHT)


def downgrade() -> None:
    raise RuntimeError("0009 moved the indexes of the present; restore a backup to go back")
