"""Child processes kept alive: restarted with a growing pause when one dies, given up when it keeps dying."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from memos.cli.parents import PARENT
from memos.errors import MemosError

# Five deaths within two minutes are a habit: the sixth start would end the same way.
MOST_DEATHS = 5
WITHIN_S = 120.0
FIRST_PAUSE_S = 0.5
# Who does not end when asked is asked harder: SIGTERM, SIGQUIT (Celery: drop the job), SIGKILL.
STEPS = ((signal.SIGTERM, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

log = structlog.get_logger("memos.serve")


class GaveUp(MemosError):
    """A part of the service cannot be kept running."""

    code = "gave_up"
    title = "A part of the service keeps failing"


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    restart_at: float | None = None
    deaths: deque[float] = field(default_factory=deque)


class Supervisor:
    """Not thread-safe: start, `tick` a few times a second, and `stop` from the main thread, whose death ends the children."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._children: list[_Child] = []

    def start(self, name: str, *arguments: str) -> None:
        """Run `memos NAME ARGUMENTS` from now on."""
        command = [sys.executable, "-m", "memos.cli", name, *arguments]
        self._children.append(_Child(name, command, self._spawn(command)))

    def pids(self) -> dict[str, int]:
        return {child.name: child.process.pid for child in self._children}

    def tick(self) -> None:
        """Restart who has died. Raises `GaveUp` when one keeps dying."""
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is not None:
                if now >= child.restart_at:
                    child.restart_at = None
                    child.process = self._spawn(child.command)
            elif (code := child.process.poll()) is not None:
                self._died(child, code, now)

    def restart(self) -> None:
        """Stop all, and let the next `tick`s start them with the environment as it is then."""
        self.stop()
        for child in self._children:
            child.restart_at = 0.0

    def stop(self, *, hurry: bool = False) -> None:
        """End all of them, gracefully unless in a `hurry`. Returns when they are gone."""
        for number, patience_s in STEPS[2:] if hurry else STEPS:
            alive = [child.process for child in self._children if child.process.poll() is None]
            for process in alive:
                with suppress(ProcessLookupError):
                    process.send_signal(number)
            deadline = time.monotonic() + patience_s
            for process in alive:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))

    def _died(self, child: _Child, code: int, now: float) -> None:
        child.deaths.append(now)
        while child.deaths[0] < now - WITHIN_S:
            child.deaths.popleft()
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if len(child.deaths) >= MOST_DEATHS:
            raise GaveUp(
                f"'memos {child.name}' ended {MOST_DEATHS} times within {WITHIN_S:.0f} s, at last with {ending}. Its own "
                "words stand above; 'memos doctor' may know more."
            )
        pause_s = FIRST_PAUSE_S * 2 ** (len(child.deaths) - 1)
        log.warning("part_ended", part=child.name, ending=ending, restart_in_s=pause_s)
        child.restart_at = now + pause_s

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop the parts in order.
        return subprocess.Popen(
            command,
            env=self.environment | {PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # what is said to people on standard output is ours to say
            start_new_session=True,
        )
