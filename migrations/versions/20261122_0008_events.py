"""Events: an outbox in the writer's transaction, webhooks, and what became of each delivery.

Revision ID: 0008
Revises: 0007

An event is numbered per stream (a cube, or the tenant itself) under a lock that is taken last and held only until the
commit, so the numbers have no gaps and their order is the order of the commits: who has read up to a number has missed
nothing. Streams are no foreign keys: that a cube was deleted is an event of that cube.

Webhooks' secrets are not here: they follow from the service's secret, the webhook's id and its generation.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE event_heads (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    stream_id  uuid NOT NULL,
    last       bigint NOT NULL,
    PRIMARY KEY (tenant_id, stream_id)
) WITH (fillfactor = 50);

CREATE TABLE events (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    stream_id   uuid NOT NULL,
    seq         bigint NOT NULL,
    id          uuid NOT NULL,
    kind        text NOT NULL CHECK (kind ~ '^[a-z]+[.][a-z_]+$'),
    created_at  timestamptz NOT NULL,
    -- Ids, names of kinds and numbers; never anything a memory says.
    data        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, stream_id, seq)
);
CREATE INDEX events_age ON events (tenant_id, created_at);

CREATE TABLE webhooks (
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    id            uuid NOT NULL,
    url           text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
    description   text NOT NULL DEFAULT '',
    kinds         text[] NOT NULL DEFAULT '{}',
    cube_ids      uuid[],
    active        boolean NOT NULL DEFAULT true,
    generation    integer NOT NULL DEFAULT 1,
    rotated_at    timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    paused_until  timestamptz,
    delivered_at  timestamptz,
    created_by    uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE deliveries (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    id          uuid NOT NULL,
    webhook_id  uuid NOT NULL,
    event_id    uuid NOT NULL,
    kind        text NOT NULL,
    -- The event as it is sent: it may outlive the row in `events`, and what is sent twice must be the same.
    body        jsonb NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts    jsonb NOT NULL DEFAULT '[]',
    tries       integer NOT NULL DEFAULT 0,
    next_at     timestamptz,
    created_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX deliveries_log ON deliveries (tenant_id, webhook_id, id);
CREATE INDEX deliveries_due ON deliveries (tenant_id, webhook_id, next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_ended ON deliveries (tenant_id, ended_at) WHERE state <> 'waiting';
CREATE INDEX deliveries_states ON deliveries (state) WHERE state <> 'delivered';
"""

# Doors for what is asked about all tenants at once: how far each stream is that somebody listens to, and how much waits
# for webhooks. Counts and ages, nothing else.
DOORS = """
CREATE FUNCTION memos_event_heads(tenants uuid[], streams uuid[])
    RETURNS TABLE (tenant_id uuid, stream_id uuid, last bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT h.tenant_id, h.stream_id, h.last FROM event_heads h
    JOIN unnest(tenants, streams) AS asked (tenant_id, stream_id) USING (tenant_id, stream_id)
$$;

CREATE FUNCTION memos_delivery_depths() RETURNS TABLE (state text, deliveries bigint, oldest_s double precision)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT state, count(*), greatest(0, extract(epoch FROM now() - min(coalesce(next_at, ended_at))))::double precision
    FROM deliveries WHERE state <> 'delivered' GROUP BY state
$$;
"""
SIGNATURES = ("memos_event_heads(uuid[], uuid[])", "memos_delivery_depths()")
GRANTS = {
    "event_heads": "SELECT, INSERT, UPDATE, DELETE",
    "events": "SELECT, INSERT, DELETE",  # what happened is not changed
    "webhooks": "SELECT, INSERT, UPDATE, DELETE",
    "deliveries": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    op.execute(TABLES)
    for table, granted in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT {granted} ON {table} TO memos_app")
    for table in ("event_heads", "deliveries"):
        op.execute(f"GRANT SELECT ON {table} TO memos_system")
        op.execute(f"CREATE POLICY system_read ON {table} FOR SELECT TO memos_system USING (true)")
    op.execute(DOORS)
    for signature in SIGNATURES:
        op.execute(f"ALTER FUNCTION {signature} OWNER TO memos_system")
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO memos_app")


def downgrade() -> None:
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    for table in reversed(GRANTS):
        op.execute(f"DROP TABLE {table}")
