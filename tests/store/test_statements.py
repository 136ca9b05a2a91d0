"""Statements on their way to the driver: names become its placeholders, and values come back as each reader expects."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from memos.rules.access import Principal
from memos.wiring import App


def test_only_names_become_parameters(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        row = tx.row(
            "SELECT CAST(:word AS text) AS word, 'a1' ~ '^[[:alnum:]]+$' AS posix, '7'::int AS shorthand, '100%' AS percent, "
            "to_char(make_time(9, 5, 0), 'HH24:MI') AS clock, CAST(:word AS text) || :word_2 AS both",
            word="it's 5% :word",
            word_2="!",
        )
    assert row == {
        "word": "it's 5% :word",
        "posix": True,
        "shorthand": 7,
        "percent": "100%",
        "clock": "09:05",
        "both": "it's 5% :word!",
    }


def test_every_statement_knows_its_tenant(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        assert tx.scalar("SELECT CAST(:tenant AS uuid)") == owner.tenant_id
        assert tx.scalar("SELECT 1 WHERE :tenant IS NULL") is None
        assert tx.row("SELECT 1 AS one WHERE :tenant IS NULL") is None
        assert tx.rows("SELECT n FROM generate_series(1, 2) AS n WHERE :tenant IS NOT NULL") == [{"n": 1}, {"n": 2}]


def test_a_real_by_name_is_as_written_and_by_position_as_stored(app: App, owner: Principal) -> None:
    """What is hashed and shown must not depend on how four bytes of it widen to eight."""
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert tx.rows("SELECT CAST(0.1 AS real) AS trust") == [{"trust": 0.1}]
        [(stored,)] = tx.tuples("SELECT CAST(0.1 AS real) AS trust")
    assert stored != 0.1
    assert stored == pytest.approx(0.1)


def test_what_the_database_refuses_is_an_error_everybody_expects(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(DBAPIError) as refused:
        tx.run("SELECT 1 / CAST(:n AS integer)", n=0)
    assert "division by zero" in str(refused.value.orig)
    with app.database.transaction(owner.tenant_id) as tx:
        assert tx.run("SELECT n FROM generate_series(1, 3) AS n") == 3
