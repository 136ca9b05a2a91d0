"""File locks that survive nothing but the processes holding them.

`flock` locks belong to the open file, not to the process: a child that inherits the descriptor holds the lock
too, and it is gone when the last copy is closed, by whatever death. Servers inherit theirs (see the package's
docstring).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.05


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Lock `path` at once: a descriptor that holds the lock until it is closed, or None when others hold it.

    Raises OSError when the file cannot be opened or its file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def wait_lock(path: Path, timeout_s: float) -> int | None:
    """The exclusive lock on `path`, waited for at most `timeout_s` seconds; None when the time is over."""
    deadline = time.monotonic() + timeout_s
    while (descriptor := try_lock(path)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
    return descriptor


def unlock(descriptor: int) -> None:
    """Give the lock up, also for children that inherited the descriptor by a plain fork."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
