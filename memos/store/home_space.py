"""The home space of a database: the model of every cube that was not moved to another one, written down once."""

from __future__ import annotations

from sqlalchemy import text

from memos.errors import Misconfigured
from memos.store.schema import owner_connection


def settle(owner_url: str, model: str, fingerprint: str) -> None:
    """Write down the configured model at the first start; later, see that it is still the one the vectors are of.

    Another one may become the home when every cube that holds anything has moved to it. Raises `Misconfigured` before: its
    vectors would be compared with those of the former model, and nobody would notice but by bad answers.
    """
    with owner_connection(owner_url) as connection, connection.begin():
        connection.execute(text("LOCK TABLE embedding_home IN EXCLUSIVE MODE"))
        home = connection.execute(text("SELECT model, fingerprint FROM embedding_home")).one_or_none()
        if home is not None and home.fingerprint != fingerprint:
            left = connection.execute(
                text("SELECT total, names FROM memos_cubes_elsewhere(:home)"), {"home": fingerprint}
            ).one()
            if left.total:
                raise Misconfigured(_refusal(home.model, model, left.total, left.names))
        connection.execute(
            text(
                "INSERT INTO embedding_home (model, fingerprint) VALUES (:model, :fingerprint) "
                "ON CONFLICT (only_one) DO UPDATE SET model = :model, fingerprint = :fingerprint"
            ),
            {"model": model, "fingerprint": fingerprint},
        )


def _refusal(before: str, wanted: str, total: int, names: list[str]) -> str:
    shown = ", ".join(names) + (", ..." if total > len(names) else "")
    if before == wanted:
        return f"the vectors of {total} cubes ({shown}) were made when the model {wanted!r} was another one: restore its files."
    return (
        f"the vectors of {total} cubes ({shown}) are those of the model {before!r}, and MEMOS_EMBEDDER names {wanted!r}. Set "
        f"MEMOS_EMBEDDER={before} again; to change the model, move the cubes first: 'memos reembed --model {wanted} --activate'."
    )
