"""`memos migrate`: the schema, and somebody who can get in."""

from __future__ import annotations

from memos.cli.owner_key import ensure_owner_key
from memos.cli.parents import die_with_parent
from memos.cli.servers import owned
from memos.settings import Settings
from memos.store import home_space
from memos.store.schema import expected_revision
from memos.store.schema import migrate as migrate_schema
from memos.wiring import data_dir, embedder_of


def migrate(settings: Settings) -> str:
    """Migrate to the newest revision for the configured embedder; what was done, for a person.

    Raises `Misconfigured` for a server that is too old, and for vectors of another width or another model.
    """
    die_with_parent()
    home = data_dir(settings)
    with owned(settings) as (named, url):
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
