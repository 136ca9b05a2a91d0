"""Child processes kept alive: restarted with a growing pause when one dies, given up when it keeps dying, and replaced on
demand: the new one is ready before the old one is asked to go."""

from __future__ import annotations

import os
import select
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
# A replacement that is not ready by then is given up, and what runs stays.
READY_WITHIN_S = 120.0
# A predecessor that has not ended by then is killed; more than its drain and grace, and a job of usual length.
LEAVE_WITHIN_S = 60.0
READY_FD = "MEMOS_READY_FD"
"""Where a child that was given this variable says that it is ready, by writing anything (see `api.server`)."""

log = structlog.get_logger("memos.serve")


class GaveUp(MemosError):
    """A part of the service cannot be kept running."""

    code = "gave_up"
    title = "A part of the service keeps failing"


@dataclass(slots=True)
class _Successor:
    """A replacement that is not ready yet. `says` is the end of a pipe on which it will tell."""

    process: subprocess.Popen[bytes]
    says: int
    until: float


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    hands_down: tuple[int, ...] = ()
    restart_at: float | None = None
    deaths: deque[float] = field(default_factory=deque)
    successor: _Successor | None = None


class Supervisor:
    """Not thread-safe: start, `tick` a few times a second, and `stop` from the main thread, whose death ends the children."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._children: list[_Child] = []
        self._leaving: list[tuple[subprocess.Popen[bytes], float]] = []
        self._to_replace: deque[_Child] = deque()

    def start(self, name: str, *arguments: str, hands_down: tuple[int, ...] = ()) -> None:
        """Run `memos NAME ARGUMENTS` from now on. `hands_down` are file descriptors it is to have."""
        command = [sys.executable, "-m", "memos.cli", name, *arguments]
        self._children.append(_Child(name, command, self._spawn(command, hands_down), hands_down))

    def pids(self) -> dict[str, int]:
        return {child.name: child.process.pid for child in self._children}

    def tick(self) -> None:
        """Restart who has died, and go on with replacing. Raises `GaveUp` when one keeps dying."""
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is not None:
                if now >= child.restart_at:
                    child.restart_at = None
                    child.process = self._spawn(child.command, child.hands_down)
            elif child.successor is not None:
                self._succeed(child, child.successor, now)
            elif (code := child.process.poll()) is not None:
                self._died(child, code, now)
        if self._to_replace and not self.replacing:
            self._begin_replacing(self._to_replace.popleft(), now)
        self._see_off(now)

    @property
    def replacing(self) -> bool:
        return any(child.successor is not None for child in self._children)

    def replace(self) -> None:
        """Replace every part by a fresh process, one after the other, in the `tick`s to come. Those that share a socket
        overlap: the new one takes requests before the old one stops to. A replacement that fails changes nothing."""
        self._to_replace = deque(self._children)

    def restart(self) -> None:
        """Stop all, and let the next `tick`s start them with the environment as it is then."""
        self.stop()
        for child in self._children:
            child.restart_at = 0.0

    def stop(self, *, hurry: bool = False) -> None:
        """End all of them, gracefully unless in a `hurry`. Returns when they are gone."""
        self._to_replace.clear()
        processes = [child.process for child in self._children] + [process for process, _ in self._leaving]
        for child in self._children:
            if child.successor is not None:
                processes.append(child.successor.process)
                os.close(child.successor.says)
                child.successor = None
        self._leaving = []
        for number, patience_s in STEPS[2:] if hurry else STEPS:
            alive = [process for process in processes if process.poll() is None]
            for process in alive:
                with suppress(ProcessLookupError):
                    process.send_signal(number)
            deadline = time.monotonic() + patience_s
            for process in alive:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))

    # ------------------------------------------------------------ replacing

    def _begin_replacing(self, child: _Child, now: float) -> None:
        if child.restart_at is not None:
            return  # it is being started anew in any case
        if not child.hands_down:
            # Work comes to these by the broker: while one is away it waits, and nobody notices.
            self._let_go(child.process, now)
            child.restart_at = now
            return
        says, told = os.pipe()
        try:
            process = self._spawn(child.command, (*child.hands_down, told), {READY_FD: str(told)})
        finally:
            os.close(told)
        child.successor = _Successor(process, says, now + READY_WITHIN_S)
        log.info("part_replacing", part=child.name, old=child.process.pid, new=process.pid)

    def _succeed(self, child: _Child, successor: _Successor, now: float) -> None:
        """Whether the new one is ready, has failed, or needs more time."""
        spoken = bool(select.select([successor.says], [], [], 0)[0])
        if spoken and os.read(successor.says, 64):
            old, child.process, child.successor = child.process, successor.process, None
            os.close(successor.says)
            child.deaths.clear()
            log.info("part_replaced", part=child.name, old=old.pid, new=child.process.pid)
            self._let_go(old, now)
        elif spoken or now > successor.until:
            child.successor = None
            os.close(successor.says)
            self._let_go(successor.process, now)
            log.error("part_not_replaced", part=child.name, consequence="the process that ran goes on")

    def _let_go(self, process: subprocess.Popen[bytes], now: float) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        self._leaving.append((process, now + LEAVE_WITHIN_S))

    def _see_off(self, now: float) -> None:
        for process, until in self._leaving:
            if process.poll() is None and now > until:
                process.kill()
        self._leaving = [(process, until) for process, until in self._leaving if process.poll() is None]

    # ------------------------------------------------------------ dying and being born

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

    def _spawn(
        self, command: Sequence[str], hands_down: tuple[int, ...], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop the parts in order.
        return subprocess.Popen(
            command,
            env=self.environment | {PARENT: str(os.getpid())} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # what is said to people on standard output is ours to say
            start_new_session=True,
            pass_fds=hands_down,
        )
