"""The first key: made once, written to `owner.key` for its owner alone, shown once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memos.cli.banner import KEY_FILE
from memos.embedded.directories import write_private
from memos.errors import Misconfigured
from memos.rules.access import MIN_KEY_LENGTH, new_key
from memos.settings import Settings
from memos.store import tenants


@dataclass(frozen=True, slots=True)
class OwnerKey:
    """`fresh` when this call made it known to the database. `path` is where it can be read, if anywhere."""

    fresh: bool
    path: Path | None


def ensure_owner_key(owner_url: str, data_dir: Path, preset: str | None) -> OwnerKey:
    """See to it that somebody can get in. Call once the database is migrated.

    A preset key (`MEMOS_OWNER_KEY`) is registered, whatever else exists. Without one, a database without a working key
    gets the one in `owner.key`, or a new one that is written there.
    """
    path = data_dir / KEY_FILE
    known = kept_key(data_dir)
    if preset is None and tenants.has_keys(owner_url):
        return OwnerKey(fresh=False, path=path if known else None)
    key = preset or known or new_key()
    if len(key) < MIN_KEY_LENGTH:
        raise Misconfigured(
            f"MEMOS_OWNER_KEY has {len(key)} characters; a key that opens everything needs {MIN_KEY_LENGTH}"
        )
    if known is None:
        # Written first: a key that only the database knows, as a hash, would be lost with this process.
        data_dir.mkdir(parents=True, exist_ok=True)
        write_private(path, key + "\n")
    fresh = tenants.bootstrap(owner_url, key)
    return OwnerKey(fresh=fresh, path=path if known in (None, key) else None)


def kept_key(data_dir: Path) -> str | None:
    """The key in `owner.key`, if there is such a file. Raises `Misconfigured` when it cannot be read."""
    try:
        return (data_dir / KEY_FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"{data_dir / KEY_FILE} cannot be read: {error}") from error


def console_key(settings: Settings, data_dir: Path) -> str | None:
    """The key a command at the console may use: the preset one, or the one kept."""
    return settings.owner_key.get_secret_value() if settings.owner_key else kept_key(data_dir)
