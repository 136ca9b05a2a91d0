"""What the two servers have in common: who may start, who uses, who still lives, and how a server ends."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from memos.embedded.accounts import Account, choose_account, hand_over
from memos.embedded.directories import make_home
from memos.embedded.failure import EmbeddedError, explained
from memos.embedded.locks import try_lock, unlock, wait_lock
from memos.embedded.processes import free_port, holders, reap, signal_all
from memos.embedded.state import State, load_state, save_state
from memos.embedded.wheels import no_wheel

_POLL_S = 0.05
_START_ATTEMPTS = 3  # a server may be killed while it is started
_PORT_ATTEMPTS = 5
_HARD_STOP_S = 10.0
# A backend of a killed PostgreSQL notices at its next wait; one that only computes never does.
_ORPHAN_GRACE_S = 5.0
# A dying process gives up its memory, and with it its name, a moment before its locks. Who holds one for
# longer without being seen is in another container, where our signals do not go.
_UNSEEN_S = 2.0
_LOG_LIMIT_BYTES = 10_000_000
_REPORT_CHARS = 3_000


class EmbeddedService(ABC):
    """One server on one data directory. Constructing it touches nothing; `start` starts it or adopts it."""

    name: ClassVar[str]
    title: ClassVar[str]
    program: ClassVar[str]  # name of the executable, by which a process is recognised
    package: ClassVar[str]
    instead: ClassVar[str]  # variable naming an external server
    data_name: ClassVar[str]
    gentle: ClassVar[str]  # signal to end now, keep everything, and not wait for clients
    hard: ClassVar[str]  # signal to end at once; what was acknowledged is still kept

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        run_as: str | None = None,
        timeout_s: float = 60,
    ) -> None:
        """`root` is the project's data directory; the server lives in a folder of its own below it.

        `settings` override the server's defaults when it is started, not when it is adopted. `run_as` names
        the account a launcher that is root becomes for a new data directory. `timeout_s` bounds each wait, in
        seconds.
        """
        self.home = Path(root).expanduser().resolve() / self.name
        self.data = self.home / self.data_name
        self.log = self.home / "server.log"
        self._settings = dict(settings or {})
        self._run_as = run_as
        self._timeout_s = timeout_s
        self._account: Account | None = None
        self._use: int | None = None  # descriptor of our shared lock on users.lock

    def start(self) -> str:
        """Start the server, or adopt the one that runs here, and return its URL. Idempotent.

        Raises EmbeddedError, with what to do next, when neither works.
        """
        if sys.platform == "win32":
            raise EmbeddedError(no_wheel(self.package, self.instead))
        with explained(f"start {self.title}", self.home):
            self._account = choose_account(self._run_as, self.data)
            make_home(self.home, self._account)
            with self._turn():
                for _ in range(_START_ATTEMPTS):
                    self._bring_up()
                    if self._prepare():
                        break
                else:
                    raise EmbeddedError(self._why_not_started(self._report_since(0)))
                if self._use is None:
                    self._use = try_lock(self._users_lock, shared=True)
        return self.url()

    def stop(self, *, force: bool = False) -> None:
        """Stop using the server, and end it unless another launcher uses it (or `force`). Idempotent.

        Connected clients are cut off: end the workers first. Raises EmbeddedError when it will not end.
        """
        with explained(f"stop {self.title}", self.home):
            if not self.home.is_dir():
                return
            with self._turn():
                self._leave()
                if force or not self._in_use():
                    self._shut_down()

    @abstractmethod
    def url(self) -> str:
        """The URL of the server, with its password. Raises EmbeddedError before the first start."""

    @abstractmethod
    def pid(self) -> int | None:
        """The process id of the server; None when it does not run or cannot be seen from here."""

    @abstractmethod
    def _launch(self, life: int, port: int) -> str:
        """Start the server on `port`, holding the lock `life`; '' when it serves, else what it said."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server at the remembered port answers to the remembered password."""

    @abstractmethod
    def _lay_out(self, life: int) -> None:
        """Make the data directory ready for a start, creating it the first time."""

    @abstractmethod
    def _prepare(self) -> bool:
        """Do what a running server needs before it is of use; False when it was lost meanwhile."""

    @property
    def _users_lock(self) -> Path:
        return self.home / "users.lock"

    @property
    def _state_file(self) -> Path:
        return self.home / "state.json"

    def _state(self) -> State:
        return load_state(self._state_file)

    def _remember(self, state: State) -> None:
        save_state(self._state_file, state)

    def _known_state(self) -> tuple[str, int]:
        """Password and port of a server that has been started at least once."""
        with explained(f"reach {self.title}", self.home):
            state = self._state()
        if not state.password or state.port is None:
            raise EmbeddedError(f"{self.title} was never started in {self.home}. Run 'memos serve' first.")
        return state.password, state.port

    def _bring_up(self) -> None:
        """Adopt a server that answers, or launch one when nobody holds the data; until then wait."""
        begun = time.monotonic()
        while True:
            life = self._claim()
            if life is not None:
                try:
                    self._lay_out(life)
                    self._open_log()
                    self._launch_on_some_port(life)
                finally:
                    os.close(life)
                return
            if self._state().ending:
                signal_all(self._seen(), self.gentle)  # its launcher was killed before or after doing so
            elif self._answers():
                return
            waited_s = time.monotonic() - begun
            if waited_s > self._timeout_s:
                raise EmbeddedError(self._why_stuck())
            if waited_s > _ORPHAN_GRACE_S:
                self._end_orphans()
            time.sleep(_POLL_S)

    def _launch_on_some_port(self, life: int) -> None:
        for _ in range(_PORT_ATTEMPTS):
            port = free_port(self._state().port)
            # Written first, so that a launcher after us finds the server even if we are killed here.
            self._remember(replace(self._state(), port=port, ending=False))
            report = self._launch(life, port)
            if not report:
                return
            if "Address already in use" not in report:
                raise EmbeddedError(self._why_not_started(report))
            self._remember(replace(self._state(), port=None))
        raise EmbeddedError(
            f"{self.title} lost {_PORT_ATTEMPTS} ports in a row to other programs. Start again, or set "
            f"{self.instead} to an external server."
        )

    def _shut_down(self) -> None:
        for what, patience_s in ((self.gentle, self._timeout_s), (self.hard, _HARD_STOP_S)):
            if victims := self._seen():
                self._remember(replace(self._state(), ending=True))
            signal_all(victims, what)
            deadline = time.monotonic() + (patience_s if victims else _UNSEEN_S)
            while time.monotonic() < deadline:
                life = self._claim()
                if life is not None:
                    self._remember(replace(self._state(), ending=False))
                    os.close(life)
                    for victim in victims:
                        reap(victim)
                    return
                time.sleep(_POLL_S)
        raise EmbeddedError(self._why_stuck())

    def _seen(self) -> list[int]:
        """The server, or what is left of one that was killed, as far as it can be seen from here."""
        return [pid] if (pid := self.pid()) else holders(self.program, self.data)

    def _claim(self) -> int | None:
        """The lock of a living server, if none lives; None also when one was started by hand, without it."""
        life = try_lock(self.home / "server.lock")
        if life is not None and holders(self.program, self.data):
            os.close(life)
            return None
        return life

    @abstractmethod
    def _end_orphans(self) -> None:
        """End processes that outlived their killed server and block its restart."""

    def _leave(self) -> None:
        if self._use is not None:
            unlock(self._use)
            self._use = None

    def _in_use(self) -> bool:
        alone = try_lock(self._users_lock)
        if alone is None:
            return True
        os.close(alone)
        return False

    @contextmanager
    def _turn(self) -> Iterator[None]:
        turn = wait_lock(self.home / "turn.lock", self._timeout_s)
        if turn is None:
            raise EmbeddedError(
                f"Another launcher has been starting or stopping {self.title} in {self.home} for "
                f"{self._timeout_s:.0f} s. Wait for it, or end it (see 'fuser {self.home / 'turn.lock'}'), "
                "and try again."
            )
        try:
            yield
        finally:
            os.close(turn)

    def _open_log(self) -> None:
        """Make the log writable for the server, and keep one predecessor when it has grown."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(0o640)
        if self._account:
            hand_over(self.log, self._account)

    def _report_since(self, size: int) -> str:
        with self.log.open("rb") as file:
            file.seek(size)
            return file.read().decode("utf-8", "replace")[-_REPORT_CHARS:]

    def _why_not_started(self, report: str) -> str:
        return (
            f"{self.title} did not start:\n{report.strip()[-_REPORT_CHARS:]}\n"
            f"The whole log is {self.log}. If the data is damaged, restore a backup, or move {self.data} "
            "away to begin empty."
        )

    def _why_stuck(self) -> str:
        seen = holders(self.program, self.data)
        if not seen:
            return (
                f"{self.title} on {self.data} is held by a process that cannot be seen from here, probably "
                "in another container or on another machine that shares the volume. Stop it there, give this "
                f"one its own --data-dir, or let both use one server through {self.instead}."
            )
        if not self._state().password:
            return (
                f"{self.title} (process {seen[0]}) runs on {self.data}, but its password, kept in "
                f"{self._state_file}, is lost. End it with 'kill -{self.gentle[3:]} {seen[0]}' and "
                "start again: it gets a new one."
            )
        return (
            f"{self.title} (process {', '.join(map(str, seen))}) holds {self.data} but does not answer. It "
            f"may still be recovering: read {self.log}, wait, and try again. If it hangs, end it with "
            f"'kill -{self.gentle[3:]} {seen[0]}'."
        )
