"""What a database must be before anything is put into it."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from memos.errors import Misconfigured
from memos.store.schema import migrate, owner_connection


def test_a_database_that_is_not_utf8_is_refused_with_what_to_do(owner_url: str) -> None:
    with owner_connection(owner_url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("DROP DATABASE IF EXISTS ascii"))
        connection.execute(text("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"))
    url = make_url(owner_url).set(database="ascii").render_as_string(hide_password=False)
    with pytest.raises(Misconfigured, match=r"SQL_ASCII.*ENCODING 'UTF8'"):
        migrate(url, 64)
