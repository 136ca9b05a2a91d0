"""Real servers for tests: embedded PostgreSQL and Valkey, without durability, where any account can go.

with reachable_root() as root:
    postgres, valkey = start_postgres(root), start_valkey(root)
    ...
    postgres.stop()
    valkey.stop()
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memos.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey
from memos.embedded.locks import try_lock

# Nothing has to survive a power cut here; everything else is as in production.
FAST_POSTGRES = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
FAST_VALKEY = {"appendonly": "no"}

_PREFIX = "memos-test-"
_PLENTY_BYTES = 4_000_000_000


def start_postgres(tmp_root: Path) -> EmbeddedPostgres:
    """A started PostgreSQL below `tmp_root`, which comes from `reachable_root`. Call `.stop()` at the end."""
    postgres = EmbeddedPostgres(tmp_root, settings=FAST_POSTGRES)
    postgres.start()
    return postgres


def start_valkey(tmp_root: Path) -> EmbeddedValkey:
    """A started Valkey below `tmp_root`, which comes from `reachable_root`. Call `.stop()` at the end."""
    valkey = EmbeddedValkey(tmp_root, settings=FAST_VALKEY)
    valkey.start()
    return valkey


@contextmanager
def reachable_root() -> Iterator[Path]:
    """A temporary folder that servers can live in; at the end they are stopped and it is removed.

    pytest's own are 0700, which the account that root becomes for the servers cannot enter. What test runs that were
    killed left behind is cleared away first: a lock beside each folder says whether its run still lives.
    """
    parent = Path(_parent()).resolve()
    for lock in parent.glob(f"{_PREFIX}*.lock"):
        _clear_abandoned(lock)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    root.chmod(0o755)
    draft, lock = root.with_suffix(".draft"), root.with_suffix(".lock")
    held = try_lock(draft)
    assert held is not None
    draft.rename(lock)  # only now can others see it, locked
    try:
        yield root
    finally:
        end_servers(root)
        shutil.rmtree(root, ignore_errors=True)
        lock.unlink()
        os.close(held)


def end_servers(root: Path) -> None:
    """End every server below `root`, without a last checkpoint: nothing there is worth one."""
    for home in sorted({found.parent for found in root.rglob("server.lock")}):
        kind = EmbeddedPostgres if home.name == "postgres" else EmbeddedValkey
        server = kind(home.parent)
        if pid := server.pid():
            os.kill(pid, signal.Signals[kind.hard])
        server.stop(force=True)


def _clear_abandoned(lock: Path) -> None:
    with suppress(OSError, EmbeddedError):  # another user's, or another worker clears it
        if (held := try_lock(lock)) is not None:
            end_servers(lock.with_suffix(""))
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
            os.close(held)


def _parent() -> str:
    """Memory, where it is plenty and may hold programs: a cluster is 42 MB of files, made and removed often."""
    with suppress(OSError):
        memory = os.statvfs("/dev/shm")
        plenty = memory.f_bavail * memory.f_frsize > _PLENTY_BYTES
        if plenty and not memory.f_flag & os.ST_NOEXEC and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return "/tmp" if os.geteuid() == 0 else tempfile.gettempdir()
