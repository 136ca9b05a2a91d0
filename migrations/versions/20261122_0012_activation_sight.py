"""Caches are as secret as the most secret memory in them, and slot files of other engines are kept beside them.

Revision ID: 0012
Revises: 0011

`sight` is the highest label (`memos.rules.access.rank`) of the memories a plan or a chunk holds, ancestors included; a
reader cleared for less does not meet the row. When a label is raised, or a memory set aside, everything computed at or after
it goes in the same statement, whoever wrote it; the blobs, which nothing names any more, are collected.

Jobs of the tier have a lane of their own (`memos.rules.lanes`): the questions of migration 0010, asked of one lane.
"""

from __future__ import annotations

from collections.abc import Callable

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# What is stored today was made of memories that were public or normal: 1 is right or too strict.
SIGHT = """
ALTER TABLE kv_plans ADD COLUMN sight smallint NOT NULL DEFAULT 1;
ALTER TABLE kv_chunks ADD COLUMN sight smallint NOT NULL DEFAULT 1;
"""

# A slot file is opaque: which memories its tokens came from is all that is known of it.
SLOT_FILES = """
CREATE TABLE kv_slot_files (
    tenant_id      uuid NOT NULL,
    id             uuid NOT NULL,
    cube_id        uuid NOT NULL,
    profile        text NOT NULL CHECK (profile ~ '^[0-9a-f]{64}$'),
    source_digest  text NOT NULL CHECK (source_digest ~ '^[0-9a-f]{64}$'),
    tokens_sha256  text NOT NULL CHECK (tokens_sha256 ~ '^[0-9a-f]{64}$'),
    n_tokens       integer NOT NULL CHECK (n_tokens > 0),
    blob           bytea NOT NULL CHECK (length(blob) = 32),
    n_bytes        bigint NOT NULL CHECK (n_bytes > 0),
    sha256         bytea NOT NULL CHECK (length(sha256) = 32),
    wire_bytes     bigint NOT NULL CHECK (wire_bytes > 0),
    sight          smallint NOT NULL,
    uploaded_by    uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, cube_id, profile, source_digest),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX kv_slot_files_blob ON kv_slot_files (tenant_id, cube_id, blob);

CREATE TABLE kv_slot_file_memories (
    tenant_id     uuid NOT NULL,
    slot_file_id  uuid NOT NULL,
    memory_id     uuid NOT NULL,
    version       integer NOT NULL,
    PRIMARY KEY (tenant_id, slot_file_id, memory_id, version),
    FOREIGN KEY (tenant_id, slot_file_id) REFERENCES kv_slot_files (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX kv_slot_file_memories_memory ON kv_slot_file_memories (tenant_id, memory_id);
"""

# As the owner, because whoever imports a package writes labels too, and has no rights on caches.
WITHDRAW = """
CREATE FUNCTION memos_withdraw_caches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE kv_plans p SET sight = NEW.label FROM kv_plan_items i WHERE i.tenant_id = NEW.tenant_id
        AND i.memory_id = NEW.memory_id AND p.tenant_id = i.tenant_id AND p.id = i.plan_id AND p.sight < NEW.label;
    DELETE FROM kv_slot_files f USING kv_slot_file_memories m WHERE m.tenant_id = NEW.tenant_id
        AND m.memory_id = NEW.memory_id AND f.tenant_id = m.tenant_id AND f.id = m.slot_file_id;
    WITH RECURSIVE tainted (key) AS (
        SELECT key FROM kv_chunk_memories WHERE tenant_id = NEW.tenant_id AND memory_id = NEW.memory_id UNION
        SELECT k.key FROM kv_chunks k JOIN tainted t ON k.tenant_id = NEW.tenant_id AND k.parent_key = t.key)
    DELETE FROM kv_chunks k USING tainted t WHERE k.tenant_id = NEW.tenant_id AND k.key = t.key;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION memos_withdraw_caches() FROM PUBLIC;
CREATE TRIGGER withdraw_caches AFTER UPDATE OF label ON contents FOR EACH ROW
    WHEN (NEW.label > OLD.label) EXECUTE FUNCTION memos_withdraw_caches();
"""
LANES = {"kv": "q.kind LIKE 'kv.%'", "main": "q.kind NOT LIKE 'kv.%'"}
LANE_INDEX = """
CREATE INDEX jobs_turns_kv ON jobs (tenant_id, run_after, id) INCLUDE (kind) WHERE state = 'queued' AND kind LIKE 'kv.%'
"""


def _waiting(lane: str) -> str:
    """Tenants with queued jobs of a lane, by jumping from one to the next in the index."""
    return f"""WITH RECURSIVE waiting AS (
            (SELECT q.tenant_id FROM jobs q WHERE q.state = 'queued' AND {lane} ORDER BY q.tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT q.tenant_id FROM jobs q WHERE q.state = 'queued' AND {lane} AND q.tenant_id > w.tenant_id
                    ORDER BY q.tenant_id LIMIT 1)
            FROM waiting w WHERE w.tenant_id IS NOT NULL)"""


def _due(lane: str) -> str:
    return f"""RETURN QUERY {_waiting(lane)}, due AS (
            SELECT w.tenant_id, j.id, j.kind, j.run_after AS since FROM waiting w CROSS JOIN LATERAL (
                SELECT q.id, q.kind, q.run_after FROM jobs q
                WHERE q.tenant_id = w.tenant_id AND q.state = 'queued' AND {lane} AND q.run_after <= now()
                ORDER BY q.run_after, q.id LIMIT most) j
            UNION ALL
            (SELECT q.tenant_id, q.id, q.kind, q.lease_until FROM jobs q
             WHERE q.state = 'running' AND {lane} AND q.lease_until <= now() ORDER BY q.lease_until LIMIT most))
        SELECT d.tenant_id, d.id, d.kind FROM due d
        ORDER BY row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.since, d.id), d.since LIMIT most;"""


def _turns(lane: str) -> str:
    return f"""RETURN QUERY {_waiting(lane)}, candidates AS (
            SELECT w.tenant_id FROM waiting w WHERE EXISTS (
                SELECT 1 FROM jobs q WHERE q.tenant_id = w.tenant_id AND q.state = 'queued' AND {lane} AND q.run_after <= now())
            UNION
            SELECT q.tenant_id FROM jobs q WHERE q.state = 'running' AND {lane} AND q.lease_until <= now()
        ), held AS (
            SELECT q.tenant_id, count(*) AS running FROM jobs q
            WHERE q.state = 'running' AND {lane} AND q.lease_until > now() GROUP BY q.tenant_id)
        SELECT c.tenant_id FROM candidates c LEFT JOIN held h ON h.tenant_id = c.tenant_id
        ORDER BY coalesce(h.running, 0), random() LIMIT most;"""


def _by_lane(body: Callable[[str], str]) -> str:
    return f"""#variable_conflict use_column
    BEGIN
        IF lane = 'kv' THEN {body(LANES["kv"])}
        ELSE {body(LANES["main"])}
        END IF;
    END"""


LANE_DOORS = f"""
CREATE FUNCTION memos_due_jobs(most integer, lane text) RETURNS TABLE (tenant_id uuid, job_id uuid, kind text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ {_by_lane(_due)} $$;
CREATE FUNCTION memos_job_turns(most integer, lane text) RETURNS TABLE (tenant_id uuid)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$ {_by_lane(_turns)} $$;
"""
DOORS = ("memos_due_jobs(integer, text)", "memos_job_turns(integer, text)")
SEEN = ("kv_plans", "kv_chunks", "kv_slot_files")
TENANT_TABLES = ("kv_slot_files", "kv_slot_file_memories")


def upgrade() -> None:
    op.execute(SIGHT)
    op.execute(SLOT_FILES)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")
    for table in SEEN:
        op.execute(
            f"CREATE POLICY sight ON {table} AS RESTRICTIVE FOR SELECT USING (sight <= (SELECT memos_clearance()))"
        )
    op.execute(WITHDRAW)
    op.execute(LANE_INDEX)
    op.execute(LANE_DOORS)
    for signature in DOORS:
        op.execute(f"ALTER FUNCTION {signature} OWNER TO memos_system")
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO memos_app")


def downgrade() -> None:
    for signature in DOORS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP INDEX jobs_turns_kv")
    op.execute("DROP TRIGGER withdraw_caches ON contents")
    op.execute("DROP FUNCTION memos_withdraw_caches()")
    for table in SEEN:
        op.execute(f"DROP POLICY sight ON {table}")
    op.execute("DROP TABLE kv_slot_file_memories, kv_slot_files")
    op.execute("ALTER TABLE kv_plans DROP COLUMN sight")
    op.execute("ALTER TABLE kv_chunks DROP COLUMN sight")
