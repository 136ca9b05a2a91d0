"""Where the servers live on disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from memos.embedded.accounts import Account, first_blocker, hand_over
from memos.embedded.failure import EmbeddedError

_SYSTEM_DIR = Path("/var/lib/memos")
# `pg_ctl` hands paths to a shell between double quotes, so these would not survive.
_UNSAFE = frozenset('"$`\\\n\r')


def default_data_dir() -> Path:
    """`/var/lib/memos` for root, whose home others cannot enter; else `memos` in the user's data folder.

    Raises EmbeddedError when the user has neither a home nor XDG_DATA_HOME.
    """
    if sys.platform != "win32" and os.geteuid() == 0:
        return _SYSTEM_DIR
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    if configured.is_absolute():  # the XDG specification has relative values ignored
        return configured / "memos"
    try:
        return Path.home() / ".local" / "share" / "memos"
    except RuntimeError:
        raise EmbeddedError("This user has no home folder. Set HOME, or name a folder with --data-dir.") from None


def make_home(home: Path, account: Account | None) -> None:
    """Create the folder of one server, enterable by `account`; private to the launcher without one.

    Permissions of folders that already exist, other than `home` itself, are never touched: they are someone's
    choice. Raises EmbeddedError when the path cannot work, OSError when it cannot be made.
    """
    require_safe(home)
    if account is None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise EmbeddedError(
                f"{home} belongs to another user. Start as uid {home.stat().st_uid}, who created it, "
                "or choose another folder with --data-dir."
            )
        return
    if blocker := first_blocker(home.parent, account):
        raise EmbeddedError(
            f"Running as root, the server runs as {account.name!r}, who cannot enter {blocker}. Use "
            f"{_SYSTEM_DIR} or another --data-dir all of whose parents others may enter (chmod o+x {blocker} "
            "would do here), or start as a plain user."
        )
    for folder in (*reversed(home.parents), home):
        if not folder.exists() or folder == home:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # whatever the umask says: the account has to pass


def require_safe(path: Path) -> None:
    """Raise EmbeddedError for a path that a shell or a configuration file could not hold between quotes."""
    if _UNSAFE.intersection(str(path)):
        raise EmbeddedError(
            f"The path {str(path)!r} holds a quote, dollar, backtick, backslash or line break, which the "
            "server's own tools cannot pass on. Rename the folder or choose another."
        )


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace `path` atomically by `text`, synced, readable by `account` (else the launcher) alone.

    The folder may belong to `account`, so a planted link is never followed.
    """
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if account:
            hand_over(descriptor, account)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut could undo the renaming, and others before it in this folder
    finally:
        os.close(folder)
