"""Launchers in processes of their own: what they print, what they leave behind, and containers around them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

Launch = Callable[..., "subprocess.Popen[str]"]
RunAs = Callable[[int, str, Path], str]

OTHER_CONTAINER = """
try:
    print("served", EmbeddedPostgres(root, timeout_s=1).start())
except EmbeddedError as error:
    print("refused", error)
"""


def namespaces(*kinds: str) -> tuple[str, ...]:
    """The prefix of a command that runs as in a container: with process ids, or a network, of its own."""
    command = ("unshare", "--fork", "--mount-proc", *(f"--{kind}" for kind in kinds))
    if shutil.which("unshare"):
        tried = subprocess.run([*command, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    pytest.skip("this machine does not let us make namespaces")


def result(process: subprocess.Popen[str]) -> str:
    """What a launched process printed, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def servers_in(data: Path) -> list[psutil.Process]:
    """Every process that works in `data` and whose parent does not."""
    found: dict[psutil.Process, int] = {}
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(data):
                found[process] = process.ppid()
        except psutil.Error:
            continue  # gone meanwhile: sessions come and go
    pids = {process.pid for process in found}
    return [process for process, parent in found.items() if parent not in pids]
