"""Worker bookkeeping: turns between tenants, and how much waits.

Revision ID: 0010
Revises: 0009

Whose turn it is, is asked each time a job is claimed, so it must not read what waits: a step in an index per tenant that
has work, however many jobs it has. `memos_due_jobs` looked at the oldest jobs of all and let tenants take turns among
those, so that whoever queued a hundred thousand hid everybody else's.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# The tenant first: a tenant's oldest job, and the next tenant, are one step each. What a scan shows of a job is in it.
INDEXES = """
CREATE INDEX jobs_turns ON jobs (tenant_id, run_after, id) INCLUDE (kind) WHERE state = 'queued';
CREATE INDEX jobs_dead ON jobs (kind, finished_at) WHERE state = 'failed';
DROP INDEX jobs_due;
-- Queued rows come and go: what the queue leaves behind is swept early, or every look at its head walks over it.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
"""

# Tenants with queued jobs, by jumping from one to the next in the index.
WAITING = """
    WITH RECURSIVE waiting AS (
        (SELECT j.tenant_id FROM jobs j WHERE j.state = 'queued' ORDER BY j.tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT j.tenant_id FROM jobs j WHERE j.state = 'queued' AND j.tenant_id > w.tenant_id
                ORDER BY j.tenant_id LIMIT 1)
        FROM waiting w WHERE w.tenant_id IS NOT NULL
    )"""

DUE = f"""
CREATE OR REPLACE FUNCTION memos_due_jobs(most integer) RETURNS TABLE (tenant_id uuid, job_id uuid, kind text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    {WAITING}, due AS (
        SELECT w.tenant_id, j.id, j.kind, j.run_after AS since FROM waiting w CROSS JOIN LATERAL (
            SELECT q.id, q.kind, q.run_after FROM jobs q
            WHERE q.tenant_id = w.tenant_id AND q.state = 'queued' AND q.run_after <= now()
            ORDER BY q.run_after, q.id LIMIT most) j
        UNION ALL
        (SELECT j.tenant_id, j.id, j.kind, j.lease_until FROM jobs j
         WHERE j.state = 'running' AND j.lease_until <= now() ORDER BY j.lease_until LIMIT most)
    )
    SELECT d.tenant_id, d.id, d.kind FROM due d
    ORDER BY row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.since, d.id), d.since LIMIT most
$$;
"""

# Who has least running goes first; between equals the lot decides, which needs no memory of whose turn it was last.
TURNS = f"""
CREATE FUNCTION memos_job_turns(most integer) RETURNS TABLE (tenant_id uuid)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    {WAITING}, candidates AS (
        SELECT w.tenant_id FROM waiting w WHERE EXISTS (
            SELECT 1 FROM jobs q
            WHERE q.tenant_id = w.tenant_id AND q.state = 'queued' AND q.run_after <= now())
        UNION
        SELECT j.tenant_id FROM jobs j WHERE j.state = 'running' AND j.lease_until <= now()
    ), held AS (
        SELECT j.tenant_id, count(*) AS running FROM jobs j
        WHERE j.state = 'running' AND j.lease_until > now() GROUP BY j.tenant_id
    )
    SELECT c.tenant_id FROM candidates c LEFT JOIN held h ON h.tenant_id = c.tenant_id
    ORDER BY coalesce(h.running, 0), random() LIMIT most
$$;
"""

# For /metrics: what waits, runs, or failed and waits for a person. What has ended well is no queue, and may be much.
DEPTHS = """
CREATE FUNCTION memos_job_depths() RETURNS TABLE (kind text, state text, jobs bigint, oldest_s double precision)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT j.kind, 'queued', count(*), greatest(0, extract(epoch FROM now() - min(j.run_after)))::double precision
    FROM jobs j WHERE j.state = 'queued' GROUP BY j.kind
    UNION ALL
    SELECT j.kind, 'running', count(*), extract(epoch FROM now() - min(j.started_at))::double precision
    FROM jobs j WHERE j.state = 'running' GROUP BY j.kind
    UNION ALL
    SELECT j.kind, 'failed', count(*), extract(epoch FROM now() - min(j.finished_at))::double precision
    FROM jobs j WHERE j.state = 'failed' GROUP BY j.kind
$$;
"""
# When a memory was last said again. Two values of a slot in turn, A, B, A, leave A and B as they are (A is a repeat), and
# whoever reconciles them later must know that A was the last word.
SAID = "ALTER TABLE usage ADD COLUMN said_at timestamptz"
NEW_DOORS = ("memos_job_turns(integer)", "memos_job_depths()")


def upgrade() -> None:
    for part in (INDEXES, DUE, TURNS, DEPTHS, SAID):
        op.execute(part)
    for signature in NEW_DOORS:
        op.execute(f"ALTER FUNCTION {signature} OWNER TO memos_system")
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO memos_app")


def downgrade() -> None:
    """The indexes, and the functions that need them; the older way of taking turns does not come back."""
    for signature in NEW_DOORS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("ALTER TABLE usage DROP COLUMN said_at")
    op.execute("CREATE INDEX jobs_due ON jobs (run_after) WHERE state = 'queued'")
    op.execute("DROP INDEX jobs_turns, jobs_dead")
    op.execute("ALTER TABLE jobs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay)")
