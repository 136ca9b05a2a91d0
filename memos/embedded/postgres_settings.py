"""How the embedded PostgreSQL is tuned: for two cores shared with the service, short queries, and vectors."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from memos.embedded.failure import EmbeddedError

DEFAULTS: Mapping[str, str] = {
    # Reachable from this machine only. A socket's path would be limited to 107 bytes.
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    # Memory. Sessions are few and short; building an HNSW graph is what needs room (about 1 kB for each
    # vector).
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "256MB",
    "autovacuum_work_mem": "64MB",
    # Docker gives /dev/shm 64 MB, too little for a parallel HNSW build.
    "dynamic_shared_memory_type": "mmap",
    # Two cores: a build may take both, a search takes one, for starting a helper costs more than a search.
    "max_worker_processes": "8",
    "max_parallel_workers": "2",
    "max_parallel_maintenance_workers": "1",
    "max_parallel_workers_per_gather": "0",
    "io_workers": "2",
    # Planner. Disks are solid, and compiling a query of 2 ms takes 50 ms.
    "random_page_cost": "1.1",
    "effective_io_concurrency": "100",
    "jit": "off",
    # Without it a filtered HNSW search for 50 rows returned 2.
    "hnsw.iterative_scan": "strict_order",
    # Loaded once instead of in each new session.
    "shared_preload_libraries": "pg_stat_statements,vector",
    "pg_stat_statements.track_utility": "off",
    # Durability: what was acknowledged is on disk. Checkpoints are rare because bulk loads write much.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_buffers": "16MB",
    "min_wal_size": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # After a crash, one call per file system instead of one per file.
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
    # Eager: a version superseded is a dead or dying row, and bulk loads need statistics at once.
    "autovacuum_naptime": "15s",
    "autovacuum_max_workers": "2",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "1000",
    # The log must not hold what was erased from the tables: no statements, no row contents.
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "lc_messages": "C",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "default_text_search_config": "pg_catalog.english",
}

_HEADER = "# Written anew by memos at each start; lasting changes go through ALTER SYSTEM.\n"


def render(settings: Mapping[str, str]) -> str:
    """The text of `postgresql.conf`. Raises EmbeddedError for what cannot be written there."""
    lines = []
    for name, value in settings.items():
        if not name.replace("_", "").replace(".", "").isalnum() or "\n" in value or "\\" in value:
            raise EmbeddedError(f"{name}={value!r} cannot be a PostgreSQL setting. Correct it and start again.")
        quoted = value.replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    return _HEADER + "".join(lines)
