"""Governance: who may see what, in which calling context; what is set aside, held, limited, shared and rotated.

Revision ID: 0006
Revises: 0005

Two restrictive policies carry most of it. A transaction names how secret a memory its caller may meet (`memos.sight` for
versions, `memos.clearance` for their texts; absent means everything, as for workers), and the database leaves out the
rest, whatever statement asks. What is in quarantine counts as more secret than any label, so only a review sees it.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The numbers are `memos.rules.access.rank`; 8 is quarantine, above every label and below "everything".
SIGHT = """
CREATE FUNCTION memos_clearance() RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(nullif(current_setting('memos.clearance', true), ''), '99')::smallint $$;
CREATE FUNCTION memos_sight() RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(nullif(current_setting('memos.sight', true), ''), '99')::smallint $$;
CREATE FUNCTION memos_label(sensitivity text, quarantined boolean) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (CASE WHEN quarantined THEN 8 ELSE
        CASE sensitivity WHEN 'public' THEN 0 WHEN 'normal' THEN 1 WHEN 'personal' THEN 2 ELSE 3 END END)::smallint $$;

ALTER TABLE memory_versions ADD COLUMN quarantined boolean NOT NULL DEFAULT false;
CREATE INDEX versions_quarantined ON memory_versions (tenant_id, cube_id, memory_id)
    WHERE quarantined AND to_revision IS NULL;
CREATE TRIGGER lifecycle_quarantine BEFORE UPDATE OF quarantined ON memory_versions FOR EACH ROW
    EXECUTE FUNCTION memos_check_amendment();

-- How secret a text is now: a label put on a memory today also covers what it said yesterday.
ALTER TABLE contents ADD COLUMN label smallint NOT NULL DEFAULT 1;

CREATE FUNCTION memos_label_contents() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh WHERE version > 1 OR quarantined OR sensitivity <> 'normal') THEN
        UPDATE contents c SET label = w.label FROM (
            SELECT DISTINCT ON (v.tenant_id, v.content_id) v.tenant_id, v.content_id,
                greatest(f.label, memos_label(v.sensitivity, v.quarantined)) AS label
            FROM (SELECT DISTINCT ON (tenant_id, cube_id, memory_id) tenant_id, cube_id, memory_id,
                      memos_label(sensitivity, false) AS label
                  FROM fresh WHERE version > 1 OR quarantined OR sensitivity <> 'normal'
                  ORDER BY tenant_id, cube_id, memory_id, version DESC) f
            JOIN memory_versions v ON v.tenant_id = f.tenant_id AND v.cube_id = f.cube_id AND v.memory_id = f.memory_id
            WHERE v.content_id IS NOT NULL ORDER BY v.tenant_id, v.content_id, v.version DESC) w
        WHERE c.tenant_id = w.tenant_id AND c.id = w.content_id AND c.label <> w.label;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER label_contents AFTER INSERT ON memory_versions REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION memos_label_contents();

CREATE POLICY sight ON memory_versions AS RESTRICTIVE FOR SELECT
    USING (memos_label(sensitivity, quarantined) <= (SELECT memos_sight()));
CREATE POLICY sight ON contents AS RESTRICTIVE FOR SELECT USING (label <= (SELECT memos_clearance()));
"""

TABLES = """
-- Why a version was set aside, and what a review made of it. Reasons name families of patterns, never the text.
CREATE TABLE quarantine (
    tenant_id    uuid NOT NULL,
    cube_id      uuid NOT NULL,
    memory_id    uuid NOT NULL,
    version      integer NOT NULL,
    branch       text NOT NULL,
    key_id       uuid,
    trust_class  text NOT NULL,
    score        real NOT NULL,
    reasons      text[] NOT NULL,
    at           timestamptz NOT NULL,
    outcome      text CHECK (outcome IN ('released', 'rejected')),
    reviewed_by  uuid,
    reviewed_at  timestamptz,
    note         text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, cube_id, memory_id, version),
    FOREIGN KEY (tenant_id, cube_id, memory_id) REFERENCES memories (tenant_id, cube_id, id)
);

-- What the writes of a source have come to: evidence for a Beta distribution, once for long and once for lately.
CREATE TABLE source_trust (
    tenant_id    uuid NOT NULL REFERENCES tenants (id),
    key_id       uuid NOT NULL,
    trust_class  text NOT NULL,
    good         double precision NOT NULL,
    bad          double precision NOT NULL,
    recent_good  double precision NOT NULL,
    recent_bad   double precision NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key_id, trust_class)
) WITH (fillfactor = 70);

-- A cube shared with a key or a tenant, of this tenant or another. See memos_use_grant.
CREATE TABLE grants (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    cube_id       uuid NOT NULL,
    ability       text NOT NULL CHECK (ability IN ('recall', 'read', 'write')),
    to_key        uuid,
    to_tenant     uuid,
    purpose       text,
    expires_at    timestamptz,
    max_uses      integer CHECK (max_uses > 0),
    uses          integer NOT NULL DEFAULT 0,
    last_used_at  timestamptz,
    created_by    uuid NOT NULL,
    created_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id),
    CHECK ((to_key IS NULL) <> (to_tenant IS NULL))
);
CREATE INDEX grants_cube ON grants (cube_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_to_key ON grants (to_key) WHERE revoked_at IS NULL AND to_key IS NOT NULL;
CREATE INDEX grants_to_tenant ON grants (to_tenant) WHERE revoked_at IS NULL AND to_tenant IS NOT NULL;

-- Legal hold on a cube, or on one memory of it.
CREATE TABLE holds (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    cube_id      uuid NOT NULL,
    memory_id    uuid,
    reason       text NOT NULL,
    placed_by    uuid NOT NULL,
    placed_at    timestamptz NOT NULL,
    released_by  uuid,
    released_at  timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id, memory_id) REFERENCES memories (tenant_id, cube_id, id)
);
CREATE INDEX holds_active ON holds (tenant_id, cube_id, memory_id) WHERE released_at IS NULL;

-- Limits of a tenant (`tenant`) or a key (its id), and how much of them is used.
CREATE TABLE quotas (
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    subject       text NOT NULL,
    rate_per_s    real CHECK (rate_per_s > 0),
    burst         integer CHECK (burst > 0),
    max_memories  bigint CHECK (max_memories >= 0),
    max_bytes     bigint CHECK (max_bytes >= 0),
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject)
);
CREATE TABLE quota_usage (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    subject    text NOT NULL,
    memories   bigint NOT NULL DEFAULT 0,
    bytes      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, subject)
) WITH (fillfactor = 50);

ALTER TABLE api_keys ADD COLUMN clearance text NOT NULL DEFAULT 'secret'
        CHECK (clearance IN ('public', 'normal', 'personal', 'secret')),
    ADD COLUMN previous_hash bytea UNIQUE CHECK (length(previous_hash) = 32),
    ADD COLUMN previous_until timestamptz,
    ADD COLUMN rotated_at timestamptz;
ALTER TABLE cubes ADD COLUMN retained_at timestamptz;
"""

GUARDS = """
-- The last line of a hold: what is held is not emptied, whoever asks.
CREATE FUNCTION memos_check_hold() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM holds h WHERE h.tenant_id = OLD.tenant_id AND h.cube_id = OLD.cube_id AND h.released_at IS NULL
        AND (h.memory_id IS NULL OR h.memory_id = OLD.id)) THEN
        RAISE check_violation USING CONSTRAINT = 'held', MESSAGE = format('memory %s is under legal hold', OLD.id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER memories_held BEFORE UPDATE OF erased_at ON memories FOR EACH ROW
    WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL) EXECUTE FUNCTION memos_check_hold();
"""

AUTHENTICATE = """
DROP FUNCTION memos_authenticate(bytea);
CREATE FUNCTION memos_authenticate(key_hash bytea) RETURNS TABLE (
    tenant_id uuid, tenant_name text, operator boolean, key_id uuid, scopes text[], cube_ids uuid[], clearance text,
    granted uuid[], limits jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id, t.name, t.operator, k.id, k.scopes, k.cube_ids, k.clearance,
        ARRAY(SELECT DISTINCT g.cube_id FROM grants g WHERE g.revoked_at IS NULL
              AND (g.to_key = k.id OR (g.to_tenant = t.id AND k.cube_ids IS NULL))
              AND NOT (g.tenant_id = t.id AND (k.cube_ids IS NULL OR g.cube_id = ANY(k.cube_ids)))
              AND (g.expires_at IS NULL OR g.expires_at > now()) AND (g.max_uses IS NULL OR g.uses < g.max_uses)),
        (SELECT jsonb_agg(jsonb_build_array(q.subject, q.rate_per_s, q.burst)) FROM quotas q
         WHERE q.tenant_id = t.id AND q.subject IN ('tenant', k.id::text) AND q.rate_per_s IS NOT NULL)
    FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
    WHERE (k.hash = key_hash OR (k.previous_hash = key_hash AND k.previous_until > now()))
        AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;
"""

# The one way from a tenant's identity to another's: the caller has become its own tenant, its key is alive, and a grant
# names the key or the tenant. A key needs none where it is at home anyway. One use is taken; the answer says under whose
# identity to go on, with what ability.
GRANTED = """
CREATE FUNCTION memos_use_grant(wanted uuid, by_key uuid, abilities text[], called_for text)
    RETURNS TABLE (tenant_id uuid, tenant_name text, grant_id uuid, ability text)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE grants g SET uses = g.uses + 1, last_used_at = now() FROM tenants t
    WHERE t.id = g.tenant_id AND (g.tenant_id, g.id) = (
        SELECT c.tenant_id, c.id FROM grants c
        JOIN api_keys k ON k.tenant_id = memos_tenant() AND k.id = by_key AND k.revoked_at IS NULL
        WHERE c.cube_id = wanted AND c.ability = ANY(abilities) AND c.revoked_at IS NULL
            AND (c.to_key = k.id OR (c.to_tenant = k.tenant_id AND k.cube_ids IS NULL))
            AND NOT (c.tenant_id = k.tenant_id AND (k.cube_ids IS NULL OR c.cube_id = ANY(k.cube_ids)))
            AND (c.purpose IS NULL OR c.purpose = called_for)
            AND (c.expires_at IS NULL OR c.expires_at > now()) AND (c.max_uses IS NULL OR c.uses < c.max_uses)
        ORDER BY c.max_uses IS NOT NULL, c.id LIMIT 1 FOR UPDATE OF c)
    RETURNING g.tenant_id, t.name, g.id, g.ability
$$;
CREATE FUNCTION memos_received_grants(by_key uuid) RETURNS SETOF grants
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.* FROM grants c JOIN api_keys k ON k.tenant_id = memos_tenant() AND k.id = by_key
    WHERE c.revoked_at IS NULL AND (c.to_key = k.id OR (c.to_tenant = k.tenant_id AND k.cube_ids IS NULL))
        AND NOT (c.tenant_id = k.tenant_id AND (k.cube_ids IS NULL OR c.cube_id = ANY(k.cube_ids)))
        AND (c.expires_at IS NULL OR c.expires_at > now()) AND (c.max_uses IS NULL OR c.uses < c.max_uses) ORDER BY c.id
$$;
"""
DOORS = ("memos_authenticate(bytea)", "memos_use_grant(uuid, uuid, text[], text)", "memos_received_grants(uuid)")

# Row-level security binds the owner too: each tenant's rows are counted as that tenant.
COUNTED = """
DO $$
DECLARE t uuid;
BEGIN
    FOR t IN SELECT tenant_id FROM memos_tenant_ids() LOOP
        PERFORM set_config('memos.tenant_id', t::text, true);
        INSERT INTO quota_usage (tenant_id, subject, memories, bytes)
        SELECT t, 'tenant', (SELECT count(*) FROM memories m WHERE m.tenant_id = t AND m.erased_at IS NULL),
            (SELECT coalesce(sum(octet_length(c.text)), 0) FROM contents c WHERE c.tenant_id = t);
        UPDATE contents c SET label = memos_label(v.sensitivity, false) FROM memory_versions v
        WHERE c.tenant_id = t AND v.tenant_id = t AND v.content_id = c.id AND v.sensitivity <> 'normal';
    END LOOP;
    PERFORM set_config('memos.tenant_id', '', true);
END $$;
"""

TENANT_TABLES = ("quarantine", "source_trust", "grants", "holds", "quotas", "quota_usage")


def upgrade() -> None:
    op.execute(SIGHT)
    op.execute(TABLES)
    op.execute(GUARDS)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")
    for table in ("grants", "quotas"):
        op.execute(f"GRANT SELECT ON {table} TO memos_system")
        op.execute(f"CREATE POLICY system_read ON {table} FOR SELECT TO memos_system USING (true)")
    op.execute("GRANT UPDATE ON grants TO memos_system")
    op.execute("CREATE POLICY system_use ON grants FOR UPDATE TO memos_system USING (true) WITH CHECK (true)")
    op.execute(COUNTED)
    op.execute(AUTHENTICATE)
    op.execute(GRANTED)
    for signature in DOORS:
        op.execute(f"ALTER FUNCTION {signature} OWNER TO memos_system")
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO memos_app")


def downgrade() -> None:
    for table in ("memory_versions", "contents"):
        op.execute(f"DROP POLICY sight ON {table}")
    op.execute("DROP TRIGGER label_contents ON memory_versions; DROP TRIGGER lifecycle_quarantine ON memory_versions")
    op.execute("DROP TRIGGER memories_held ON memories")
    op.execute("DROP FUNCTION memos_use_grant(uuid, uuid, text[], text)")
    op.execute("DROP FUNCTION memos_received_grants(uuid)")
    op.execute(BEFORE)
    op.execute("DROP FUNCTION memos_label_contents(); DROP FUNCTION memos_check_hold()")
    op.execute("ALTER TABLE contents DROP COLUMN label")
    op.execute("ALTER TABLE memory_versions DROP COLUMN quarantined")
    op.execute("ALTER TABLE cubes DROP COLUMN retained_at")
    op.execute(
        "ALTER TABLE api_keys DROP COLUMN clearance, DROP COLUMN previous_hash, DROP COLUMN previous_until, "
        "DROP COLUMN rotated_at"
    )
    op.execute("DROP FUNCTION memos_label(text, boolean); DROP FUNCTION memos_sight(); DROP FUNCTION memos_clearance()")
    for table in TENANT_TABLES:
        op.execute(f"DROP TABLE {table}")


BEFORE = """
DROP FUNCTION memos_authenticate(bytea);
CREATE FUNCTION memos_authenticate(key_hash bytea) RETURNS TABLE (
    tenant_id uuid, tenant_name text, operator boolean, key_id uuid, scopes text[], cube_ids uuid[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id, t.name, t.operator, k.id, k.scopes, k.cube_ids
    FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
    WHERE k.hash = key_hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;
ALTER FUNCTION memos_authenticate(bytea) OWNER TO memos_system;
REVOKE ALL ON FUNCTION memos_authenticate(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION memos_authenticate(bytea) TO memos_app;
"""
