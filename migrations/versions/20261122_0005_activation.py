"""The activation tier: plans, and the KV caches computed from them.

Revision ID: 0005
Revises: 0004

A cache can be turned back into the text it was computed from, so all of this is memory content: it belongs to the tenant,
goes with its cube, and with any memory it contains. A chunk's address hangs on its parent's, so what follows a memory is
found by walking from parent to child, and `kv_chunk_memories` only has to say where each memory itself stands.
The blobs lie elsewhere (a folder, or `kv_blobs` here), sealed with their cube's key from `kv_deks`.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCOPES = "ARRAY['read', 'write', 'freeze', 'erase', 'admin', 'kv']"
OLD_SCOPES = "ARRAY['read', 'write', 'freeze', 'erase', 'admin']"

PLANS = """
CREATE TABLE kv_models (
    tenant_id        uuid NOT NULL REFERENCES tenants (id),
    model_key        text NOT NULL CHECK (model_key ~ '^[0-9a-f]{64}$'),
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- What its caches look like: dtype and, per group, layers, heads, head size, window.
    spec             jsonb NOT NULL,
    bytes_per_token  integer NOT NULL CHECK (bytes_per_token > 0),
    -- Seconds as measured by `kv.calibrate`; figures of each codec on this tenant's own text, by the name of the codec.
    prefill          jsonb,
    load             jsonb,
    gates            jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, model_key)
);

CREATE TABLE kv_plans (
    tenant_id      uuid NOT NULL,
    id             uuid NOT NULL,
    cube_id        uuid NOT NULL,
    branch_id      integer NOT NULL,
    model_key      text NOT NULL,
    -- Of the ordered memory versions, the opening and the budget: what the plan is made of.
    source_digest  text NOT NULL CHECK (source_digest ~ '^[0-9a-f]{64}$'),
    token_ids      integer[] NOT NULL,
    tokens_digest  bytea NOT NULL CHECK (length(tokens_digest) = 32),
    -- The branch's head when it was last found to be the plan; later revisions may have changed it.
    seen_revision  integer NOT NULL,
    state          text NOT NULL DEFAULT 'current' CHECK (state IN ('current', 'stale')),
    promoted       boolean NOT NULL DEFAULT false,
    pinned         boolean NOT NULL DEFAULT false,
    budget_tokens  integer NOT NULL,
    codecs         text[] NOT NULL DEFAULT '{}',
    -- The last uses, newest first; the second inside a day is what gets a plan built.
    uses           timestamptz[] NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, cube_id, branch_id, model_key, source_digest),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id),
    FOREIGN KEY (tenant_id, model_key) REFERENCES kv_models (tenant_id, model_key)
);

CREATE TABLE kv_plan_items (
    tenant_id    uuid NOT NULL,
    plan_id      uuid NOT NULL,
    position     integer NOT NULL,
    memory_id    uuid NOT NULL,
    version      integer NOT NULL,
    token_start  integer NOT NULL,
    token_end    integer NOT NULL CHECK (token_end >= token_start),
    PRIMARY KEY (tenant_id, plan_id, position),
    FOREIGN KEY (tenant_id, plan_id) REFERENCES kv_plans (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX kv_plan_items_memory ON kv_plan_items (tenant_id, memory_id);
"""

CHUNKS = """
CREATE TABLE kv_chunks (
    tenant_id     uuid NOT NULL,
    key           bytea NOT NULL CHECK (length(key) = 32),
    cube_id       uuid NOT NULL,
    model_key     text NOT NULL,
    -- The key of the chunk before it, or the root of the chain.
    parent_key    bytea NOT NULL CHECK (length(parent_key) = 32),
    start         integer NOT NULL CHECK (start >= 0),
    n_tokens      integer NOT NULL CHECK (n_tokens BETWEEN 1 AND 256),
    uses_per_day  double precision NOT NULL DEFAULT 0,
    last_used_at  timestamptz,
    -- The policy clock (Greedy-Dual-Size-Frequency) at its last use.
    clock         double precision NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id),
    FOREIGN KEY (tenant_id, model_key) REFERENCES kv_models (tenant_id, model_key)
) WITH (fillfactor = 80);
CREATE INDEX kv_chunks_parent ON kv_chunks (tenant_id, parent_key) INCLUDE (key);
-- Lookup asks for short chunks behind each of a prefix's keys; behind the root stands the first chunk of every plan.
CREATE INDEX kv_chunks_tails ON kv_chunks (tenant_id, parent_key) WHERE n_tokens < 256;
CREATE INDEX kv_chunks_cube ON kv_chunks (tenant_id, cube_id);

CREATE TABLE kv_chunk_memories (
    tenant_id  uuid NOT NULL,
    key        bytea NOT NULL,
    memory_id  uuid NOT NULL,
    version    integer NOT NULL,
    PRIMARY KEY (tenant_id, key, memory_id, version),
    FOREIGN KEY (tenant_id, key) REFERENCES kv_chunks (tenant_id, key) ON DELETE CASCADE
);
CREATE INDEX kv_chunk_memories_memory ON kv_chunk_memories (tenant_id, memory_id);

CREATE TABLE kv_objects (
    tenant_id    uuid NOT NULL,
    key          bytea NOT NULL,
    grp          text NOT NULL CHECK (grp IN ('full', 'swa')),
    codec        text NOT NULL CHECK (length(codec) BETWEEN 1 AND 32),
    cube_id      uuid NOT NULL,
    -- What lies in the blob store, sealed; and what a caller gets, opened.
    blob         bytea NOT NULL CHECK (length(blob) = 32),
    n_bytes      bigint NOT NULL CHECK (n_bytes > 0),
    sha256       bytea NOT NULL CHECK (length(sha256) = 32),
    wire_bytes   bigint NOT NULL CHECK (wire_bytes > 0),
    state        text NOT NULL CHECK (state IN ('quarantine', 'verified')),
    gate         jsonb,
    uploaded_by  uuid,
    verified_at  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key, grp, codec),
    FOREIGN KEY (tenant_id, key) REFERENCES kv_chunks (tenant_id, key) ON DELETE CASCADE
);
CREATE INDEX kv_objects_cube ON kv_objects (tenant_id, cube_id, blob);
"""

KEEPING = """
CREATE TABLE kv_deks (
    tenant_id   uuid NOT NULL,
    cube_id     uuid NOT NULL,
    -- AES-256-GCM under the service's master key, bound to tenant and cube.
    wrapped     bytea NOT NULL CHECK (length(wrapped) = 60),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, cube_id),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);

CREATE TABLE kv_budgets (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    -- A cube, or the tenant itself for all of them together.
    scope_id   uuid NOT NULL,
    bytes_max  bigint CHECK (bytes_max >= 0),
    clock      double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, scope_id)
);

CREATE TABLE kv_outcomes (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    cube_id      uuid NOT NULL,
    model_key    text NOT NULL,
    at           timestamptz NOT NULL,
    category     text NOT NULL DEFAULT 'api' CHECK (category IN ('chat', 'api', 'agent')),
    loaded       boolean NOT NULL,
    used_tokens  integer NOT NULL CHECK (used_tokens >= 0),
    ttft_ms      real NOT NULL,
    saved_ms     real NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);
CREATE INDEX kv_outcomes_age ON kv_outcomes (tenant_id, at);

CREATE TABLE kv_blobs (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    owner       text NOT NULL CHECK (length(owner) BETWEEN 1 AND 64),
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),
    id          uuid NOT NULL,
    n_bytes     bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, owner, sha256),
    UNIQUE (tenant_id, id)
);

CREATE TABLE kv_blob_parts (
    tenant_id  uuid NOT NULL,
    blob_id    uuid NOT NULL,
    part       integer NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (tenant_id, blob_id, part),
    FOREIGN KEY (tenant_id, blob_id) REFERENCES kv_blobs (tenant_id, id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
-- Sealed bytes do not compress; and uncompressed ones can be read from the middle.
ALTER TABLE kv_blob_parts ALTER COLUMN data SET STORAGE EXTERNAL;
"""

TABLES = (
    "kv_models", "kv_plans", "kv_plan_items", "kv_chunks", "kv_chunk_memories", "kv_objects", "kv_deks", "kv_budgets",
    "kv_outcomes", "kv_blobs", "kv_blob_parts",
)  # fmt: skip


def upgrade() -> None:
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT IF EXISTS api_keys_scopes_check")
    op.execute(f"ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (scopes <@ {SCOPES})")
    # Whose key may do everything so far is meant to be able to do this too.
    # (The migrating owner may be bound by the policy like anybody else, so it steps aside for one statement.)
    op.execute("ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY")
    op.execute(f"UPDATE api_keys SET scopes = array_append(scopes, 'kv') WHERE scopes @> {OLD_SCOPES}")
    op.execute("ALTER TABLE api_keys FORCE ROW LEVEL SECURITY")
    op.execute(PLANS)
    op.execute(CHUNKS)
    op.execute(KEEPING)
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE api_keys SET scopes = array_remove(scopes, 'kv')")
    op.execute("ALTER TABLE api_keys FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_scopes_check")
    op.execute(f"ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (scopes <@ {OLD_SCOPES})")
