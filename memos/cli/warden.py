"""The warden: what stops the embedded servers when `memos serve` could not.

PostgreSQL and Valkey are daemons, so that a crash of ours is not a crash of theirs. `memos serve` stops them; if it is
killed, the warden reads the end of its pipe and does so instead. It needs next to no memory until then.

    python -m memos.cli.warden DATA_DIR postgres valkey
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# The parts heard of the death at the same moment; requests they are answering get this long.
GRACE_S = 2.0
RELEASE = b"released\n"


class Warden:
    """The side of `memos serve`. As a context: on an orderly way out the warden is told to do nothing."""

    def __init__(self, data_dir: Path, servers: list[str]) -> None:
        self._command = [sys.executable, "-m", "memos.cli.warden", str(data_dir), *servers]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Warden:
        if len(self._command) > 4:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):  # it may have been killed; there is nothing left to tell it
            self._process.communicate(RELEASE, timeout=10)


def main(data_dir: Path, names: list[str]) -> None:
    """Wait for the end of standard input; unless released first, stop the named servers if nobody else uses them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == RELEASE:
        return
    time.sleep(GRACE_S)
    from memos.embedded import EmbeddedPostgres, EmbeddedValkey

    for kind in (EmbeddedValkey, EmbeddedPostgres):
        if kind.name in names:
            kind(data_dir).stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
