"""Roots, launchers in processes of their own, and other users."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from memos.embedded import EmbeddedPostgres
from memos.embedded.accounts import Account, first_blocker
from tests.embedded.launchers import Launch, RunAs
from tests.servers import reachable_root, start_postgres

PROJECT = Path(__file__).resolve().parents[2]

# The interpreter may lie where another account cannot read it: all is imported before root is given up.
BECOME = """
import encodings.idna, os, sys
from pathlib import Path
import psycopg
import memos.embedded
from memos.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({gid}); os.setuid({uid})
root = Path(sys.argv[1])
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty root."""
    with reachable_root() as path:
        yield path


@pytest.fixture(scope="session")
def made() -> Iterator[Path]:
    """The folder of a PostgreSQL that was set up and stopped; copying it is cheaper than setting up another."""
    with reachable_root() as path:
        postgres = start_postgres(path)
        postgres.stop()
        yield postgres.home


@pytest.fixture
def postgres(root: Path, made: Path) -> EmbeddedPostgres:
    """A running PostgreSQL below `root`."""
    subprocess.run(["cp", "-a", made, root], check=True)  # -a keeps the account that owns the data
    return start_postgres(root)


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Run code in a process with `root` defined: `launch(root, code, prefix=(...))`; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(root: Path, code: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        imports = (
            "import sys; from pathlib import Path; root = Path(sys.argv[1])\n"
            "from memos.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey\n"
        )
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", imports + code, str(root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_as() -> RunAs:
    """Run code as another uid and return what it printed: `run_as(uid, code, root)`. Needs root."""

    def run(uid: int, code: str, root: Path) -> str:
        packages = Path(psycopg.__file__).parents[1]
        if blocker := first_blocker(packages, Account("plain", uid, uid)):
            pytest.skip(f"uid {uid} cannot read the packages below {blocker}")
        done = subprocess.run(
            [sys.executable, "-c", BECOME.format(uid=uid, gid=uid) + code, str(root)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
