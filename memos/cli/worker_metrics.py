"""A worker's measurements, over HTTP: summed over the processes it forks, which each write theirs into a shared folder."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile

from memos.errors import Misconfigured

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def serve_worker_metrics(address: str) -> None:
    """Serve `/metrics` on HOST:PORT from a thread, until the process ends. Call before anything is measured.

    Raises `Misconfigured` when the address makes no sense or cannot be had.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise Misconfigured(f"MEMOS_WORKER_METRICS is HOST:PORT, such as 0.0.0.0:9100, not {address!r}")
    # The library decides when it is first imported whether values are shared between processes.
    if "prometheus_client" in sys.modules:
        raise RuntimeError("measurements were imported before the folder they are shared in was named")
    folder = os.environ[FOLDER] = tempfile.mkdtemp(prefix="memos-metrics-")
    ours = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == ours else None)

    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    try:
        start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise Misconfigured(f"MEMOS_WORKER_METRICS={address} cannot be had: {error.strerror or error}") from error
