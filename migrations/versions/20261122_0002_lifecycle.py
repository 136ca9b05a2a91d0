"""Lifecycle: no version that history does not allow, decisions with their reasons, and proof of what was erased.

Revision ID: 0002
Revises: 0001

The state graph of a memory as rows, and triggers that let nothing else happen, whoever writes: a new version must
follow from what its branch showed before; what is written stays as it is, except that a version may end, be recalled for
the first time, or be erased in full. The rows are those of `memos.rules.lifecycle` when this was written (a test compares
them); a change of the graph is a migration of its own.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EDGES = (
    ("activated", "archived", "archive"),
    ("activated", "expired", "expire"),
    ("activated", "frozen", "freeze"),
    ("activated", "merged", "merge"),
    ("archived", "activated", "recall"),
    ("archived", "activated", "restore"),
    ("archived", "expired", "expire"),
    ("archived", "frozen", "freeze"),
    ("expired", "activated", "restore"),
    ("frozen", "activated", "unfreeze"),
    ("frozen", "archived", "unfreeze"),
    ("frozen", "generated", "unfreeze"),
    ("frozen", "merged", "unfreeze"),
    ("generated", "activated", "link"),
    ("generated", "activated", "recall"),
    ("generated", "activated", "restore"),
    ("generated", "archived", "archive"),
    ("generated", "expired", "expire"),
    ("generated", "frozen", "freeze"),
    ("generated", "merged", "merge"),
    ("merged", "activated", "restore"),
    ("merged", "archived", "archive"),
    ("merged", "frozen", "freeze"),
)
STATES = ("generated", "activated", "merged", "archived", "expired", "frozen")
# A rollback or a merge of branches states again what was reached legally before: anywhere, but not out of frozen.
RESTATEMENTS = tuple(
    (before, after, action)
    for before in STATES
    if before != "frozen"
    for after in STATES
    if after != before
    for action in ("rollback", "branch_merge")
)

TABLES = """
CREATE TABLE lifecycle_edges (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    action      text NOT NULL,
    PRIMARY KEY (from_state, to_state, action)
);

-- Every change of a memory's state, written by the triggers below. `revision` is null where history was not written:
-- a first recall. The reason is the revision's.
CREATE TABLE transitions (
    tenant_id   uuid NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    cube_id     uuid NOT NULL,
    memory_id   uuid NOT NULL,
    version     integer NOT NULL,
    branch_id   integer NOT NULL,
    revision    integer,
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    action      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX transitions_memory ON transitions (tenant_id, cube_id, memory_id, id);

-- What the workers decided about a memory, from what inputs, by which policy, and what came of it.
CREATE TABLE decisions (
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    cube_id         uuid NOT NULL,
    branch          text NOT NULL,
    job_id          uuid,
    kind            text NOT NULL,
    memory_id       uuid,
    outcome         text NOT NULL,
    score           double precision,
    inputs          jsonb NOT NULL DEFAULT '{}',
    reason          text NOT NULL DEFAULT '',
    policy_version  text NOT NULL,
    applied         boolean NOT NULL,
    revision        integer,
    decided_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);
CREATE INDEX decisions_cube ON decisions (tenant_id, cube_id, id);
CREATE INDEX decisions_memory ON decisions (tenant_id, cube_id, memory_id) WHERE memory_id IS NOT NULL;
CREATE INDEX decisions_age ON decisions (tenant_id, decided_at);

-- A receipt outlives its cube: it is what remains of an erasure. Without a body the erasure has not happened yet.
CREATE TABLE receipts (
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    id            uuid NOT NULL,
    cube_id       uuid NOT NULL,
    job_id        uuid NOT NULL,
    requested_by  uuid,
    requested_at  timestamptz NOT NULL,
    signed_at     timestamptz,
    public_key    bytea CHECK (length(public_key) = 32),
    body          jsonb,
    PRIMARY KEY (tenant_id, id),
    CHECK ((body IS NULL) = (signed_at IS NULL) AND (body IS NULL) = (public_key IS NULL))
);

-- Keyed hashes of erased texts, kept only where a cube's policy refuses their return. Worthless without the secret.
CREATE TABLE erasure_marks (
    tenant_id  uuid NOT NULL,
    cube_id    uuid NOT NULL,
    mark       bytea NOT NULL CHECK (length(mark) = 32),
    key_id     bytea NOT NULL,
    made_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, cube_id, mark),
    FOREIGN KEY (tenant_id, cube_id) REFERENCES cubes (tenant_id, id)
);
"""

COLUMNS = """
ALTER TABLE memories ADD COLUMN erased_at timestamptz;
-- The last recalls (newest first, at most eight) and a count of all that halves every two weeks: enough for every policy.
ALTER TABLE usage ADD COLUMN recent timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN weighted_recalls real NOT NULL DEFAULT 0,
    ADD COLUMN tier text NOT NULL DEFAULT 'plaintext' CHECK (tier IN ('plaintext', 'activation'));
ALTER TABLE cubes ADD COLUMN decayed_at timestamptz, ADD COLUMN promoted_at timestamptz;
ALTER TABLE memory_versions
    ADD CONSTRAINT versions_begin_live CHECK (version > 1 OR state IN ('generated', 'activated') OR action = 'import'),
    ADD CONSTRAINT versions_frozen_from CHECK (state <> 'frozen' OR state_before IS NOT NULL);
-- The cube moves behind the key: with both in front of other columns, a planner without statistics (a fresh database)
-- took this index for any look at a memory of a cube, and read the whole cube.
DROP INDEX versions_dedup;
CREATE INDEX versions_dedup ON memory_versions (tenant_id, dedup_key, cube_id);
CREATE INDEX versions_merged_into ON memory_versions (tenant_id, cube_id, merged_into) WHERE merged_into IS NOT NULL;
"""

# The functions name their schema, so that nobody's temporary table stands in for ours; and plan once per session, which
# matters for statements that touch thousands of rows. They run as whoever writes, under the same row-level security.
SETTINGS = "SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan"

FUNCTIONS = """
CREATE FUNCTION memos_log_transition(v memory_versions, was text, action text, revision integer) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO public.transitions (tenant_id, cube_id, memory_id, version, branch_id, revision, from_state, to_state, action)
    VALUES (v.tenant_id, v.cube_id, v.memory_id, v.version, v.branch_id, revision, was, v.state, action)
$$;

-- What a branch showed of a memory just before a revision: its own version, or that of the branch it was forked from.
CREATE FUNCTION memos_shown_before(v memory_versions) RETURNS memory_versions LANGUAGE plpgsql STABLE AS $$
DECLARE
    found memory_versions;
BEGIN
    -- Nearly always the writer names it, and this very revision has ended it.
    SELECT * INTO found FROM memory_versions o WHERE o.tenant_id = v.tenant_id AND o.id = v.previous_id;
    IF found.cube_id = v.cube_id AND found.memory_id = v.memory_id AND found.branch_id = v.branch_id
        AND found.to_revision = v.from_revision THEN
        RETURN found;
    END IF;
    WITH RECURSIVE line AS (
        SELECT b.id, b.base_branch_id, b.fork_revision, v.from_revision - 1 AS cap, 0 AS depth
        FROM branches b WHERE b.tenant_id = v.tenant_id AND b.id = v.branch_id
        UNION ALL
        SELECT p.id, p.base_branch_id, p.fork_revision, least(l.cap, l.fork_revision), l.depth + 1
        FROM line l JOIN branches p ON p.tenant_id = v.tenant_id AND p.id = l.base_branch_id)
    SELECT o.* INTO found
    FROM (SELECT * FROM memory_versions m WHERE m.tenant_id = v.tenant_id AND m.cube_id = v.cube_id
          AND m.memory_id = v.memory_id OFFSET 0) o  -- first the few versions of the memory, whatever the planner thinks
    JOIN line l ON l.id = o.branch_id
    WHERE o.from_revision <= l.cap AND (o.to_revision IS NULL OR o.to_revision > l.cap)
    ORDER BY l.depth, o.version DESC LIMIT 1;
    RETURN found;
END $$;

CREATE FUNCTION memos_check_version() RETURNS trigger LANGUAGE plpgsql {settings} AS $$
DECLARE
    was memory_versions := memos_shown_before(NEW);
    restates boolean := NEW.action IN ('rollback', 'branch_merge');
BEGIN
    IF was.id IS NULL OR was.tombstone OR was.erased_at IS NOT NULL THEN
        -- The branch did not show the memory. It may come (back) alive, or as it was legally somewhere before.
        IF NOT NEW.tombstone AND NEW.state NOT IN ('generated', 'activated') AND NEW.action <> 'import'
            AND NOT (restates AND EXISTS (SELECT 1 FROM memory_versions o WHERE o.tenant_id = NEW.tenant_id
                AND o.cube_id = NEW.cube_id AND o.memory_id = NEW.memory_id AND o.state = NEW.state AND NOT o.tombstone))
        THEN
            RAISE check_violation USING CONSTRAINT = 'lifecycle', MESSAGE = format('%s cannot bring back memory %s as %s',
                NEW.action, NEW.memory_id, NEW.state);
        END IF;
        RETURN NEW;
    END IF;
    NEW.previous_id := was.id;
    IF was.state = 'frozen' AND (NEW.tombstone OR NEW.action <> 'unfreeze' OR NEW.state = 'frozen') THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle',
            MESSAGE = format('memory %s is frozen: no %s before it is unfrozen', NEW.memory_id, NEW.action);
    END IF;
    IF NEW.tombstone THEN
        RETURN NEW;
    END IF;
    IF was.state = 'activated' AND NEW.state = 'generated' THEN
        -- Recalled since the writer read it, or before what it restates: what has been recalled stays so.
        NEW.state := 'activated';
    END IF;
    IF was.state = NEW.state THEN
        IF was.state = 'expired' AND NOT restates THEN
            RAISE check_violation USING CONSTRAINT = 'lifecycle',
                MESSAGE = format('memory %s has expired: restore it before any %s', NEW.memory_id, NEW.action);
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM lifecycle_edges e
                   WHERE e.from_state = was.state AND e.to_state = NEW.state AND e.action = NEW.action) THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle', MESSAGE = format('%s cannot take memory %s from %s to %s',
            NEW.action, NEW.memory_id, was.state, NEW.state);
    END IF;
    IF was.state = 'frozen' AND NEW.state <> was.state_before THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle', MESSAGE = format(
            'unfreezing leads memory %s back to %s, not to %s', NEW.memory_id, was.state_before, NEW.state);
    END IF;
    IF restates AND NEW.state NOT IN ('generated', 'activated') AND NOT EXISTS (
        SELECT 1 FROM memory_versions o WHERE o.tenant_id = NEW.tenant_id AND o.cube_id = NEW.cube_id
            AND o.memory_id = NEW.memory_id AND o.state = NEW.state AND NOT o.tombstone) THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle',
            MESSAGE = format('%s restates a state memory %s never had: %s', NEW.action, NEW.memory_id, NEW.state);
    END IF;
    IF NEW.action = 'freeze' THEN
        NEW.state_before := was.state;
    END IF;
    PERFORM memos_log_transition(NEW, was.state, NEW.action, NEW.from_revision);
    RETURN NEW;
END $$;

-- A version is history: it may be recalled for the first time, or erased in full. Everything else is a new version.
CREATE FUNCTION memos_check_amendment() RETURNS trigger LANGUAGE plpgsql {settings} AS $$
DECLARE
    recalled memory_versions := OLD;
    erased memory_versions := OLD;
BEGIN
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    recalled.state := 'activated';
    IF OLD.state = 'generated' AND OLD.to_revision IS NULL AND OLD.erased_at IS NULL AND NEW IS NOT DISTINCT FROM recalled THEN
        PERFORM memos_log_transition(NEW, OLD.state, 'recall', NULL);
        RETURN NEW;
    END IF;
    IF OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL THEN
        IF OLD.state = 'frozen' AND OLD.to_revision IS NULL AND NOT OLD.tombstone AND EXISTS (SELECT 1 FROM branches b
            WHERE b.tenant_id = OLD.tenant_id AND b.id = OLD.branch_id AND b.deleted_at IS NULL) THEN
            RAISE check_violation USING CONSTRAINT = 'lifecycle',
                MESSAGE = format('memory %s is frozen: no erasure before it is unfrozen', OLD.memory_id);
        END IF;
        erased.erased_at := NEW.erased_at;
        erased.created_at := OLD.recorded_at;
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{{}}', '{{}}', NULL, NULL, NULL
        INTO erased.dedup_key, erased.external_id, erased.session_id, erased.ordinal, erased.role, erased.name, erased.title,
            erased.source, erased.valid_from, erased.valid_to, erased.expires_at, erased.tags, erased.metadata,
            erased.merged_into, erased.fingerprint, erased.salt;
        IF NEW IS NOT DISTINCT FROM erased THEN
            RETURN NEW;
        END IF;
        RAISE check_violation USING CONSTRAINT = 'lifecycle',
            MESSAGE = format('an erasure takes the whole header of memory %s and nothing else', OLD.memory_id);
    END IF;
    RAISE check_violation USING CONSTRAINT = 'lifecycle',
        MESSAGE = format('version %s of memory %s is history and cannot be changed', OLD.version, OLD.memory_id);
END $$;

CREATE FUNCTION memos_check_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE check_violation USING CONSTRAINT = 'lifecycle',
        MESSAGE = format('version %s of memory %s has ended; when cannot be changed', OLD.version, OLD.memory_id);
END $$;

-- At commit: a frozen version that has ended was unfrozen by the same revision.
CREATE FUNCTION memos_check_thaw() RETURNS trigger LANGUAGE plpgsql {settings} AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM memory_versions o WHERE o.tenant_id = NEW.tenant_id AND o.cube_id = NEW.cube_id
        AND o.memory_id = NEW.memory_id AND o.branch_id = NEW.branch_id AND o.from_revision = NEW.to_revision
        AND o.action = 'unfreeze') THEN
        RAISE check_violation USING CONSTRAINT = 'lifecycle',
            MESSAGE = format('memory %s is frozen: it cannot be removed before it is unfrozen', NEW.memory_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION memos_check_content() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.sha256 IS NULL AND NEW.embedding IS NULL
        AND NEW.terms = '{{}}' AND NEW.counts = '{{}}' THEN
        RETURN NEW;
    END IF;
    RAISE check_violation USING CONSTRAINT = 'lifecycle',
        MESSAGE = format('a text of memory %s is history: it can be erased in full, not changed', OLD.memory_id);
END $$;
"""

# Of the columns of a version only its end may be set alone; the list keeps the common update (ending) free of a call.
AMENDED = (
    "tenant_id", "id", "cube_id", "memory_id", "version", "branch_id", "from_revision", "tombstone", "state", "kind",
    "content_id", "dedup_key", "external_id", "session_id", "ordinal", "role", "name", "title", "source", "created_at",
    "valid_from", "valid_to", "expires_at", "priority", "sensitivity", "trust", "origin", "tags", "metadata", "merged_into",
    "action", "previous_id", "state_before", "fingerprint", "salt", "commitment", "recorded_at", "erased_at",
)  # fmt: skip

TRIGGERS = f"""
CREATE TRIGGER lifecycle_version BEFORE INSERT ON memory_versions FOR EACH ROW WHEN (NEW.version > 1)
    EXECUTE FUNCTION memos_check_version();
CREATE TRIGGER lifecycle_amendment BEFORE UPDATE OF {", ".join(AMENDED)} ON memory_versions FOR EACH ROW
    EXECUTE FUNCTION memos_check_amendment();
CREATE TRIGGER lifecycle_end BEFORE UPDATE OF to_revision ON memory_versions FOR EACH ROW
    WHEN (OLD.to_revision IS NOT NULL AND NEW.to_revision IS DISTINCT FROM OLD.to_revision)
    EXECUTE FUNCTION memos_check_end();
CREATE CONSTRAINT TRIGGER lifecycle_thaw AFTER UPDATE OF to_revision ON memory_versions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state = 'frozen' AND OLD.to_revision IS NULL AND NEW.to_revision IS NOT NULL)
    EXECUTE FUNCTION memos_check_thaw();
CREATE TRIGGER lifecycle_content BEFORE UPDATE OF text, sha256, erased_at, cube_id, memory_id ON contents FOR EACH ROW
    EXECUTE FUNCTION memos_check_content();
"""

TENANT_TABLES = ("transitions", "decisions", "receipts", "erasure_marks")


def upgrade() -> None:
    op.execute(TABLES)
    rows = ", ".join(str(row) for row in EDGES + RESTATEMENTS)
    op.execute(f"INSERT INTO lifecycle_edges (from_state, to_state, action) VALUES {rows}")
    op.execute("GRANT SELECT ON lifecycle_edges TO memos_app")
    op.execute(COLUMNS)
    op.execute(FUNCTIONS.format(settings=SETTINGS))
    op.execute(TRIGGERS)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} "
            "USING (tenant_id = (SELECT memos_tenant())) WITH CHECK (tenant_id = (SELECT memos_tenant()))"
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO memos_app")
    op.execute("REVOKE UPDATE ON transitions FROM memos_app")
    op.execute("REVOKE DELETE ON receipts FROM memos_app")
    op.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO memos_app")


def downgrade() -> None:
    for name, table in (
        ("version", "memory_versions"), ("amendment", "memory_versions"), ("end", "memory_versions"),
        ("thaw", "memory_versions"), ("content", "contents"),
    ):  # fmt: skip
        op.execute(f"DROP TRIGGER lifecycle_{name} ON {table}")
    for name in ("check_version()", "check_amendment()", "check_end()", "check_thaw()", "check_content()",
                 "shown_before(memory_versions)", "log_transition(memory_versions, text, text, integer)"):  # fmt: skip
        op.execute(f"DROP FUNCTION memos_{name}")
    op.execute("DROP INDEX versions_merged_into; DROP INDEX versions_dedup")
    op.execute("CREATE INDEX versions_dedup ON memory_versions (tenant_id, cube_id, dedup_key)")
    op.execute("ALTER TABLE memory_versions DROP CONSTRAINT versions_begin_live, DROP CONSTRAINT versions_frozen_from")
    op.execute("ALTER TABLE cubes DROP COLUMN decayed_at, DROP COLUMN promoted_at")
    op.execute("ALTER TABLE usage DROP COLUMN recent, DROP COLUMN weighted_recalls, DROP COLUMN tier")
    op.execute("ALTER TABLE memories DROP COLUMN erased_at")
    for table in ("erasure_marks", "receipts", "decisions", "transitions", "lifecycle_edges"):
        op.execute(f"DROP TABLE {table}")
