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
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memos.embedded import EmbeddedPostgres, EmbeddedValkey

# Nothing has to survive a power cut here; everything else is as in production.
FAST_POSTGRES = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
FAST_VALKEY = {"appendonly": "no"}

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
    """A temporary folder that servers can live in, removed at the end.

    pytest's own are 0700, which the account that root becomes for the servers cannot enter.
    """
    root = Path(tempfile.mkdtemp(prefix="memos-test-", dir=_parent())).resolve()
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _parent() -> str:
    """Memory, where it is plenty and may hold programs: a cluster is 42 MB of files, made and removed often."""
    with suppress(OSError):
        memory = os.statvfs("/dev/shm")
        plenty = memory.f_bavail * memory.f_frsize > _PLENTY_BYTES
        if plenty and not memory.f_flag & os.ST_NOEXEC and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return "/tmp" if os.geteuid() == 0 else tempfile.gettempdir()
