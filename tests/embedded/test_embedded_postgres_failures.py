"""The embedded PostgreSQL on bad days: killed, half made, damaged, crowded out."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from memos.embedded import EmbeddedError, EmbeddedPostgres, processes, service
from memos.embedded.state import load_state, save_state
from tests.embedded.launchers import OTHER_CONTAINER, Launch, namespaces, result, servers_in
from tests.embedded.test_embedded_postgres import START, connect
from tests.servers import FAST_POSTGRES, start_postgres


def _write_until_cut(postgres: EmbeddedPostgres, acknowledged: list[int], begun: threading.Event) -> None:
    try:
        with connect(postgres) as connection:
            for n in range(1_000_000):
                connection.execute("INSERT INTO rows VALUES (%s)", [n])
                acknowledged.append(n)
                if n == 50:
                    begun.set()
    except psycopg.OperationalError:
        return


def test_a_kill_of_everything_while_writing_loses_nothing_acknowledged(root: Path) -> None:
    postgres = EmbeddedPostgres(root)  # durable, as in production
    postgres.start()
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE rows (n int PRIMARY KEY)")
    acknowledged: list[int] = []
    begun = threading.Event()
    writer = threading.Thread(target=_write_until_cut, args=(postgres, acknowledged, begun))
    writer.start()
    assert begun.wait(30)
    postmaster = psutil.Process(postgres.pid())
    for victim in (postmaster, *postmaster.children()):
        victim.kill()
    writer.join(30)
    assert not writer.is_alive()

    postgres.start()
    with connect(postgres) as connection:
        kept = {row[0] for row in connection.execute("SELECT n FROM rows")}
    assert set(acknowledged) <= kept
    assert len(acknowledged) > 50


def test_a_backend_that_outlives_its_killed_server_is_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_ORPHAN_GRACE_S", 1.0)
    postgres = start_postgres(root)
    # It only computes, so it would not notice for minutes that its server has died.
    busy = connect(postgres)
    pid = busy.info.backend_pid
    asking = threading.Thread(target=_ask_for_ever, args=(busy,))
    asking.start()
    while psutil.Process(pid).cpu_times().user < 0.2:
        time.sleep(0.02)
    psutil.Process(postgres.pid()).kill()
    postgres.start()
    asking.join(30)
    assert not asking.is_alive()
    assert [server.pid for server in servers_in(postgres.data)] == [postgres.pid()]


def _ask_for_ever(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT sum(a % 7) FROM generate_series(1, 99999) a, generate_series(1, 99999) b")
    connection.close()


def test_a_server_lost_while_it_is_prepared_is_started_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish, losses = EmbeddedPostgres._furnish, iter([True])

    def lose_then_furnish(postgres: EmbeddedPostgres) -> None:
        if next(losses, False):
            psutil.Process(postgres.pid()).kill()
        furnish(postgres)

    monkeypatch.setattr(EmbeddedPostgres, "_furnish", lose_then_furnish)
    with connect(start_postgres(root)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_whose_launcher_was_killed_while_stopping_it_is_not_adopted(
    postgres: EmbeddedPostgres,
) -> None:
    pid, state = postgres.pid(), postgres.home / "state.json"
    save_state(state, replace(load_state(state), ending=True))
    other = EmbeddedPostgres(postgres.home.parent, settings=FAST_POSTGRES)
    other.start()
    assert other.pid() not in {None, pid}
    assert not load_state(state).ending


def test_a_pid_file_that_names_a_stranger_is_not_believed(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (postgres.data / "postmaster.pid").write_text(f"{stranger.pid}\n{postgres.data}\n1\n5432\n")
        assert postgres.pid() is None
        postgres.stop()
        assert stranger.poll() is None, "stop must not touch it"
        postgres.start()
        assert postgres.pid() not in {None, stranger.pid}
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_left_and_the_new_one_remembered(postgres: EmbeddedPostgres) -> None:
    url = postgres.url()
    postgres.stop()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        moved = postgres.start()
    assert moved != url
    postgres.stop()
    assert postgres.start() == moved


def test_a_port_lost_at_the_last_moment_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        stolen = thief.getsockname()[1]
        offers = iter([stolen, stolen, processes.free_port(None)])
        monkeypatch.setattr(service, "free_port", lambda _kept: next(offers))
        postgres = start_postgres(root)
    assert f":{stolen}/" not in postgres.url()
    assert postgres.pid() is not None


def test_ports_lost_every_time_are_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        monkeypatch.setattr(service, "free_port", lambda _: thief.getsockname()[1])
        with pytest.raises(EmbeddedError, match="DATABASE_URL"):
            start_postgres(root)


def test_a_first_start_killed_half_way_is_begun_anew(root: Path, launch: Launch) -> None:
    draft = root / "postgres" / "data18.draft"
    launcher = launch(root, START)
    while not (draft / "PG_VERSION").exists():
        assert launcher.poll() is None
        time.sleep(0.005)
    launcher.kill()  # initdb itself lives on for a moment, holding the lock
    postgres = start_postgres(root)
    assert postgres.pid() is not None
    assert not draft.exists()


def test_a_killed_machines_half_cluster_is_begun_anew(root: Path) -> None:
    draft = root / "postgres" / "data18.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    assert start_postgres(root).pid() is not None
    assert not draft.exists()


@pytest.mark.parametrize("lost", ["PG_VERSION", "global/pg_control"])
def test_data_with_a_hole_is_reported_not_replaced(postgres: EmbeddedPostgres, lost: str) -> None:
    postgres.stop()
    (postgres.data / lost).unlink()
    with pytest.raises(EmbeddedError, match=r"damaged.*backup"):
        postgres.start()
    assert (postgres.data / "base").is_dir()


def test_data_that_cannot_be_read_is_reported_with_the_servers_words(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    control = postgres.data / "global" / "pg_control"
    control.write_bytes(b"\xff" * control.stat().st_size)
    with pytest.raises(EmbeddedError, match=r"did not start:(.|\n)*FATAL(.|\n)*backup"):
        postgres.start()
    assert postgres.pid() is None


def test_data_that_has_vanished_is_not_replaced_by_empty_data(root: Path, postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    shutil.rmtree(postgres.data)
    with pytest.raises(EmbeddedError, match=r"vanished.*state\.json"):
        postgres.start()
    (root / "postgres" / "state.json").unlink()
    postgres.start()
    assert postgres.pid() is not None


def test_a_lost_password_is_replaced_and_the_data_kept(root: Path, postgres: EmbeddedPostgres) -> None:
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    before = postgres.url()
    postgres.stop()
    (root / "postgres" / "state.json").unlink()
    assert postgres.start() != before
    with connect(postgres) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_password_lost_under_a_running_server_says_how_to_go_on(root: Path) -> None:
    pid = start_postgres(root).pid()
    (root / "postgres" / "state.json").write_text("not json")
    with pytest.raises(EmbeddedError, match=f"password.*lost.*kill -INT {pid}"):
        EmbeddedPostgres(root, timeout_s=0.5).start()


def test_a_hung_launcher_is_not_waited_for_for_ever(root: Path, launch: Launch) -> None:
    start_postgres(root)
    holding = "with EmbeddedPostgres(root)._turn(): print('mine', flush=True); time.sleep(60)"
    launcher = launch(root, f"import time\n{holding}")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "mine\n"
    with pytest.raises(EmbeddedError, match=r"Another launcher.*try again"):
        EmbeddedPostgres(root, timeout_s=0.3).start()


def test_a_server_that_will_not_end_gently_is_ended_hard(root: Path) -> None:
    postgres = EmbeddedPostgres(root, settings=FAST_POSTGRES)
    postgres.start()
    impatient = EmbeddedPostgres(root, timeout_s=0.5)
    postmaster = psutil.Process(postgres.pid())
    checkpointer = next(child for child in postmaster.children() if "checkpointer" in child.cmdline()[0])
    checkpointer.suspend()  # as on a disk that hangs: the last checkpoint does not end
    threading.Timer(1.5, checkpointer.resume).start()
    impatient.stop(force=True)
    assert postgres.pid() is None
    assert postgres.start()


def test_a_crowded_disk_is_reported(root: Path) -> None:
    (root / "postgres").write_text("a file where the folder should be")
    with pytest.raises(EmbeddedError, match=r"Cannot start PostgreSQL: .*try again"):
        EmbeddedPostgres(root).start()
    (root / "postgres").unlink()


def test_another_container_on_the_same_volume_is_refused(
    root: Path, postgres: EmbeddedPostgres, launch: Launch
) -> None:
    said = result(launch(root, OTHER_CONTAINER, prefix=namespaces("pid", "net")))
    assert said.startswith("refused")
    assert "another container" in said
    assert "DATABASE_URL" in said
    assert [server.pid for server in servers_in(postgres.data)] == [postgres.pid()]
    with connect(postgres) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_container_that_shares_the_network_adopts(root: Path, postgres: EmbeddedPostgres, launch: Launch) -> None:
    said = result(launch(root, OTHER_CONTAINER, prefix=namespaces("pid")))
    assert said == f"served {postgres.url()}"


def test_a_container_cannot_stop_what_it_cannot_see(root: Path, postgres: EmbeddedPostgres, launch: Launch) -> None:
    stopping = OTHER_CONTAINER.replace(".start()", ".stop(force=True)")
    said = result(launch(root, stopping, prefix=namespaces("pid", "net")))
    assert said.startswith("refused")
    assert postgres.pid() is not None
