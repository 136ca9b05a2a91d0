"""The database itself keeps the state graph: whatever is written by hand, as the owner of every table, must follow it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import make_url

from memos.errors import MemosError
from memos.rules.access import Principal
from memos.rules.lifecycle import Action, State, Touch, check_touch, check_transition, transition_sql_rows
from memos.services import branch
from memos.wiring import App
from tests.services.running import fact, make_cube, write

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTIONS = [*(action.value for action in Action), "write", "link"]
# From `activated`, by acts that every rule allows.
WAYS = {
    "generated": [("write", "generated")],
    "activated": [],
    "merged": [("merge", "merged")],
    "archived": [("archive", "archived")],
    "expired": [("expire", "expired")],
    "frozen": [("freeze", "frozen")],
}
_numbers = itertools.count(1)


class ByHand:
    """Versions of one memory, written with nothing but SQL. Every revision exists before it is needed."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], memory_id: UUID) -> None:
        self.connection = connection
        self.memory_id = memory_id

    @property
    def last(self) -> dict[str, Any]:
        row = self.connection.execute(
            "SELECT * FROM memory_versions WHERE memory_id = %s ORDER BY version DESC LIMIT 1", [self.memory_id]
        ).fetchone()
        assert row is not None
        return row

    def write(self, action: str, state: str, **fields: Any) -> dict[str, Any]:
        """A new version on the same branch, ending the last one. `fields` replace what would be copied from it."""
        row = self.last
        with self.connection.transaction():
            number = self.revision(row)
            self.connection.execute("UPDATE memory_versions SET to_revision = %s WHERE id = %s", [number, row["id"]])
            return self.insert(row | {"action": action, "state": state, "from_revision": number} | fields)

    def insert(self, row: dict[str, Any]) -> dict[str, Any]:
        fresh = row | {"version": self.last["version"] + 1, "to_revision": None, "erased_at": None, "previous_id": None}
        names = [name for name in fresh if name not in ("id", "metadata")]
        made = self.connection.execute(
            f"INSERT INTO memory_versions ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) RETURNING *",
            [fresh[name] for name in names],
        ).fetchone()
        assert made is not None
        return made

    def revision(self, row: dict[str, Any]) -> int:
        made = self.connection.execute(
            "INSERT INTO revisions (tenant_id, cube_id, number, branch_id, kind, created_at, added, changed, removed, changes, "
            "hash) SELECT tenant_id, cube_id, (SELECT max(number) + 1 FROM revisions WHERE cube_id = %(cube)s), branch_id, "
            "'hand', created_at, 0, 1, 0, changes, hash FROM revisions WHERE cube_id = %(cube)s ORDER BY number LIMIT 1 "
            "RETURNING number",
            {"cube": row["cube_id"]},
        ).fetchone()
        assert made is not None
        return int(made["number"])

    def allows(self, action: str, state: str, **fields: Any) -> bool:
        """Whether the database takes the version; nothing of it stays."""
        try:
            with self.connection.transaction(force_rollback=True):
                self.write(action, state, **fields)
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.errors.CheckViolation:
            return False
        return True

    def refuses(self, statement: str, *values: object) -> str:
        """Run it; the text of the refusal, or a failed test."""
        with pytest.raises(psycopg.errors.CheckViolation) as refused, self.connection.transaction():
            self.connection.execute(statement, values)
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return str(refused.value)


@pytest.fixture
def connection(owner_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as opened:
        yield opened


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"hand-{next(_numbers)}"
    make_cube(app, owner, name, NOW)
    return name


@pytest.fixture
def memory(app: App, owner: Principal, cube: str, connection: psycopg.Connection[dict[str, Any]]) -> ByHand:
    return ByHand(connection, write(app, owner, cube, [fact("the safe is behind the painting")], NOW)[0])


def test_the_rows_are_those_of_the_rules(connection: psycopg.Connection[dict[str, Any]]) -> None:
    rows = connection.execute("SELECT from_state, to_state, action FROM lifecycle_edges").fetchall()
    assert sorted(tuple(row.values()) for row in rows) == transition_sql_rows()


def test_the_app_cannot_change_the_rows(app: App, owner: Principal) -> None:
    with pytest.raises(Exception, match="permission denied"), app.database.transaction(owner.tenant_id) as tx:
        tx.run("INSERT INTO lifecycle_edges VALUES ('frozen', 'archived', 'archive')")


@pytest.mark.parametrize("before", [state.value for state in State])
def test_the_database_agrees_with_the_rules_on_every_step(memory: ByHand, before: str) -> None:
    # A past in which every state was reached, so that a rollback has something to state again.
    memory.connection.execute("UPDATE memory_versions SET state = 'activated' WHERE memory_id = %s", [memory.memory_id])
    for action, state, back in (
        ("merge", "merged", "restore"), ("archive", "archived", "restore"), ("expire", "expired", "restore"),
        ("freeze", "frozen", "unfreeze"),
    ):  # fmt: skip
        memory.write(action, state)
        memory.write(back, "activated")
    if before == "generated":
        memory.connection.execute("ALTER TABLE memory_versions DISABLE TRIGGER lifecycle_version")
    for action, state in WAYS[before]:
        memory.write(action, state)
    memory.connection.execute("ALTER TABLE memory_versions ENABLE TRIGGER lifecycle_version")
    assert memory.last["state"] == before
    disagreements = [
        (action, after.value)
        for action in ACTIONS
        for after in State
        if memory.allows(action, after.value) != lawful(State(before), after, action)
    ]
    assert disagreements == []


def lawful(before: State, after: State, action: str) -> bool:
    """What the rules say, with an edit as a step that keeps the state."""
    try:
        if before is State.ACTIVATED and after is State.GENERATED:
            after = State.ACTIVATED  # what has been recalled stays so, by whatever act
        if before is after:
            if action in (Action.ROLLBACK, Action.BRANCH_MERGE):
                return before is not State.FROZEN
            check_touch(before, Touch.UPDATE)
        else:
            check_transition(before, after, action=Action(action), frozen_from=State.ACTIVATED)
    except (MemosError, ValueError):
        return False
    return True


def test_each_transition_is_logged_with_its_act(memory: ByHand) -> None:
    memory.connection.execute("UPDATE memory_versions SET state = 'activated' WHERE memory_id = %s", [memory.memory_id])
    memory.write("write", "activated")
    memory.write("freeze", "frozen")
    memory.write("unfreeze", "activated")
    memory.write("archive", "archived")
    rows = memory.connection.execute(
        "SELECT version, from_state, to_state, action, revision IS NULL AS in_place FROM transitions WHERE memory_id = %s "
        "ORDER BY id",
        [memory.memory_id],
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        (1, "generated", "activated", "recall", True),
        (3, "activated", "frozen", "freeze", False),
        (4, "frozen", "activated", "unfreeze", False),
        (5, "activated", "archived", "archive", False),
    ]


def test_unfreezing_leads_back_to_where_freezing_began_whatever_the_row_claims(memory: ByHand) -> None:
    memory.write("archive", "archived")
    memory.write("freeze", "frozen", state_before="activated")
    assert memory.last["state_before"] == "archived"
    assert not memory.allows("unfreeze", "activated")
    assert memory.allows("unfreeze", "archived")


def test_a_rollback_states_again_only_what_there_was(memory: ByHand) -> None:
    assert not memory.allows("rollback", "merged")
    memory.write("merge", "merged")
    memory.write("restore", "activated")
    assert memory.allows("rollback", "merged")


def test_a_memory_begins_alive(memory: ByHand) -> None:
    row = memory.last
    connection = memory.connection
    fresh = connection.execute("SELECT gen_random_uuid() AS id").fetchone()
    assert fresh is not None
    connection.execute(
        "INSERT INTO memories (tenant_id, cube_id, id) VALUES (%s, %s, %s)",
        [row["tenant_id"], row["cube_id"], fresh["id"]],
    )
    statement = (
        "INSERT INTO memory_versions (tenant_id, cube_id, memory_id, version, branch_id, from_revision, state, kind, action, "
        "created_at, commitment) VALUES (%s, %s, %s, 1, %s, 1, %s, 'fact', %s, now(), %s)"
    )
    values = [row["tenant_id"], row["cube_id"], fresh["id"], row["branch_id"]]
    memory.refuses(statement, *values, "archived", "write", row["commitment"])
    with connection.transaction(force_rollback=True):
        connection.execute(statement, [*values, "archived", "import", row["commitment"]])


def test_frozen_can_neither_be_removed_nor_hidden_nor_erased(memory: ByHand) -> None:
    frozen = memory.write("freeze", "frozen")
    assert "cannot be removed" in memory.refuses(
        "UPDATE memory_versions SET to_revision = %s WHERE id = %s", frozen["from_revision"] + 1, frozen["id"]
    )
    assert not memory.allows("tombstone", "frozen", tombstone=True)
    assert "no erasure" in memory.refuses(ERASE, memory.memory_id)


def test_a_branch_inherits_the_frost_of_its_base(app: App, owner: Principal, cube: str, memory: ByHand) -> None:
    memory.write("freeze", "frozen")
    number = memory.last["from_revision"]
    memory.connection.execute(
        "UPDATE branches SET head_revision = %s WHERE cube_id = %s", [number, memory.last["cube_id"]]
    )
    memory.connection.execute("UPDATE cubes SET last_revision = %s WHERE id = %s", [number, memory.last["cube_id"]])
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="exp", from_=None, base="main", now=NOW)
    forked = memory.connection.execute(
        "SELECT id FROM branches WHERE name = 'exp' AND cube_id = %s", [memory.last["cube_id"]]
    ).fetchone()
    assert forked is not None
    for action, state in (
        ("write", "activated"),
        ("write", "frozen"),
        ("archive", "archived"),
        ("rollback", "generated"),
    ):
        fresh = memory.last | {"branch_id": forked["id"], "action": action, "state": state}
        fresh["from_revision"] = memory.revision(fresh)
        with pytest.raises(psycopg.errors.CheckViolation), memory.connection.transaction():
            memory.insert(fresh)
    with memory.connection.transaction(force_rollback=True):
        fresh = memory.last | {"branch_id": forked["id"], "action": "unfreeze", "state": "generated"}
        fresh["from_revision"] = memory.revision(fresh)
        memory.insert(fresh)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "'archived'"), ("state", "'frozen'"), ("tombstone", "true"), ("content_id", "NULL"), ("kind", "'turn'"),
        ("tags", "'{a}'"), ("metadata", "'{\"a\": 1}'"), ("trust", "0.1"), ("priority", "0.9"), ("commitment", "sha256('x')"),
        ("fingerprint", "NULL"), ("salt", "NULL"), ("created_at", "now()"), ("recorded_at", "now()"), ("action", "'x'"),
        ("from_revision", "2"), ("previous_id", "7"), ("merged_into", "memory_id"), ("expires_at", "now()"),
        ("erased_at", "now()"), ("version", "9"), ("id", "id + 1000000"),
    ],
)  # fmt: skip
def test_what_is_written_stays_as_it_is(memory: ByHand, column: str, value: str) -> None:
    memory.refuses(f"UPDATE memory_versions SET {column} = {value} WHERE memory_id = %s", memory.memory_id)


def test_when_a_version_ended_cannot_be_changed(memory: ByHand) -> None:
    first = memory.last
    memory.write("write", "generated")
    for value in ("NULL", "to_revision + 5"):
        memory.refuses(f"UPDATE memory_versions SET to_revision = {value} WHERE id = %s", first["id"])


ERASE = (
    "UPDATE memory_versions SET erased_at = now(), created_at = recorded_at, dedup_key = NULL, external_id = NULL, "
    "session_id = NULL, ordinal = NULL, role = NULL, name = NULL, title = NULL, source = NULL, valid_from = NULL, "
    "valid_to = NULL, expires_at = NULL, tags = '{}', metadata = '{}', merged_into = NULL, fingerprint = NULL, salt = NULL "
    "WHERE memory_id = %s"
)


def test_an_erasure_is_whole_and_final(memory: ByHand) -> None:
    assert "the whole header" in memory.refuses(
        ERASE.replace("metadata = '{}', ", "metadata = '{\"a\": 1}', "), memory.memory_id
    )
    assert "the whole header" in memory.refuses(ERASE.replace("salt = NULL", "state = 'archived'"), memory.memory_id)
    memory.connection.execute(ERASE, [memory.memory_id])
    for change in ("erased_at = NULL", "title = 'back'", "state = 'activated'"):
        memory.refuses(f"UPDATE memory_versions SET {change} WHERE memory_id = %s", memory.memory_id)
    memory.connection.execute("UPDATE memory_versions SET to_revision = 2 WHERE memory_id = %s", [memory.memory_id])


def test_a_text_can_be_erased_but_not_changed(memory: ByHand) -> None:
    memory.refuses("UPDATE contents SET text = 'something else' WHERE memory_id = %s", memory.memory_id)
    memory.refuses(
        "UPDATE contents SET text = NULL, sha256 = NULL, erased_at = now() WHERE memory_id = %s", memory.memory_id
    )
    whole = "text = NULL, sha256 = NULL, embedding = NULL, terms = '{}', counts = '{}', erased_at = now()"
    memory.connection.execute(f"UPDATE contents SET {whole} WHERE memory_id = %s", [memory.memory_id])
    memory.refuses("UPDATE contents SET text = 'back', erased_at = NULL WHERE memory_id = %s", memory.memory_id)
