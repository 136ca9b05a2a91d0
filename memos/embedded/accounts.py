"""Whom the servers run as. PostgreSQL refuses root, and Valkey has no need of it."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from memos.embedded.failure import EmbeddedError

if sys.platform != "win32":
    import pwd

_CANDIDATES = ("postgres", "_postgres", "nobody")  # Debian and others; macOS; everywhere


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user of this machine."""

    name: str
    uid: int
    gid: int


def choose_account(wanted: str | None, data: Path) -> Account | None:
    """The account to become before running a server; None when the launcher is not root and stays who it is.

    Who owns existing data keeps it: PostgreSQL refuses the files of another owner, and a `postgres` account
    that was created after the first start must not shut us out of what `nobody` wrote.

    Raises EmbeddedError when no unprivileged account exists.
    """
    if os.geteuid() != 0:
        return None
    if data.is_dir() and (owner := data.stat()).st_uid != 0:
        return Account(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in (wanted,) if wanted else _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    tried = f"the account {wanted!r}" if wanted else f"any of the accounts {', '.join(_CANDIDATES)}"
    raise EmbeddedError(
        f"Running as root, the embedded servers need an unprivileged account, but {tried} does not exist or "
        "is root. Create one (useradd --system memos) and name it, or start as a plain user."
    )


def first_blocker(path: Path, account: Account) -> Path | None:
    """The topmost component of an absolute `path` that `account` may not enter or execute, if any.

    Judged by mode bits, as the account will run without supplementary groups; components that do not exist
    are skipped.
    """
    for part in (*reversed(path.parents), path):
        if not part.exists():
            return None
        status = part.stat()
        if status.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif status.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return part
    return None


def hand_over(path: Path | int, account: Account) -> None:
    """Make a path, or what a descriptor names, the property of `account`. Raises EmbeddedError when we may not."""
    try:
        os.chown(path, account.uid, account.gid)
    except PermissionError as error:
        raise EmbeddedError(
            f"Cannot hand files over to {account.name!r}: {error}. A container that runs as root needs the "
            "capabilities CHOWN, SETUID and SETGID; otherwise start as a plain user."
        ) from error


def require_name() -> None:
    """Raise EmbeddedError unless the launcher's uid has a name: `initdb` will not run for a nameless one."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL cannot be set up for uid {os.geteuid()}: it has no entry in /etc/passwd. Add one "
            f"(echo 'memos:x:{os.geteuid()}:{os.getegid()}::/tmp:/bin/sh' >> /etc/passwd), run the container "
            "as root or as a named user, or set DATABASE_URL to an external server."
        ) from None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
