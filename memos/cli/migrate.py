"""`memos migrate`: the schema, and somebody who can get in."""

from __future__ import annotations

from contextlib import nullcontext

from memos.cli.owner_key import ensure_owner_key
from memos.cli.parents import die_with_parent
from memos.cli.servers import reachable
from memos.errors import Misconfigured
from memos.settings import Settings
from memos.store import home_space
from memos.store.schema import expected_revision
from memos.store.schema import migrate as migrate_schema
from memos.store.widening import widen as widen_vectors
from memos.wiring import data_dir, embedder_of


def migrate(settings: Settings) -> str:
    """Migrate to the newest revision for the configured embedder; what was done, for a person.

    Raises `Misconfigured` for a server that is too old, and for vectors of another width or another model.
    """
    die_with_parent()
    home = data_dir(settings)
    with nullcontext(settings) if settings.database_url else reachable(settings) as named:
        if named.database_url is None:
            raise Misconfigured("set DATABASE_URL to the login that owns the schema: the app's own may not change it")
        url = named.database_url.get_secret_value()
        embedder = embedder_of(named)
        dimensions = embedder.dimensions
        login = settings.app_database_url
        migrate_schema(url, dimensions, login.get_secret_value() if login else None)
        home_space.settle(url, embedder.name, embedder.fingerprint)
        preset = settings.owner_key.get_secret_value() if settings.owner_key else None
        key = ensure_owner_key(url, home, preset)
    said = f"The database is at revision {expected_revision()}, for vectors of {dimensions} dimensions."
    if key.fresh:
        said += f" The owner key is {f'in {key.path}' if key.path else 'the one in MEMOS_OWNER_KEY'}."
    return said


def widen(settings: Settings) -> str:
    """Make the stored vectors as wide as `MEMOS_VECTOR_WIDTH`; what was done, for a person.

    Raises `Misconfigured` without a width or for one that cannot be, and `Conflict` while the service runs.
    """
    width = settings.vector_width
    if width is None:
        raise Misconfigured("set MEMOS_VECTOR_WIDTH to the dimensions of the model you want to move to")
    with nullcontext(settings) if settings.database_url else reachable(settings) as named:
        if named.database_url is None:
            raise Misconfigured("set DATABASE_URL to the login that owns the schema: the app's own may not change it")
        before = widen_vectors(named.database_url.get_secret_value(), width)
    if before == width:
        return f"The vectors have {width} dimensions already."
    return (
        f"The vectors had {before} dimensions and have {width} now. Keep MEMOS_VECTOR_WIDTH={width} set and start the service; "
        "then move the cubes with 'memos reembed --model ... --activate', and set MEMOS_EMBEDDER when all have moved."
    )
