"""The embedded Valkey: start, adopt, stop, and every failure we know of."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from memos.embedded import EmbeddedError, EmbeddedValkey, processes, service
from memos.embedded.state import load_state, save_state
from tests.embedded.launchers import OTHER_CONTAINER, Launch, namespaces, result, servers_in
from tests.servers import reachable_root, start_valkey


def started(root: Path) -> EmbeddedValkey:
    """With its log of writes, as in production."""
    valkey = EmbeddedValkey(root)
    valkey.start()
    return valkey


def client(valkey: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url(), decode_responses=True)


def test_start_adopt_stop_and_start_again(root: Path) -> None:
    valkey = EmbeddedValkey(root)
    assert valkey.pid() is None
    with pytest.raises(EmbeddedError, match="memos serve"):
        valkey.url()
    url, pid = valkey.start(), valkey.pid()
    assert url == valkey.url()
    assert pid is not None
    with client(valkey) as connection:
        connection.set("kept", "7")

    assert valkey.start() == url
    other = EmbeddedValkey(root)
    assert (other.start(), other.pid()) == (url, pid), "a second server on this data would diverge"
    other.stop()
    assert valkey.pid() == pid, "the first launcher still uses it"

    valkey.stop()
    assert valkey.pid() is None
    assert servers_in(valkey.data) == []
    valkey.stop()
    assert valkey.start() == url, "the port is remembered"
    with client(valkey) as connection:
        assert connection.get("kept") == "7"


def test_how_it_is_set_up(root: Path) -> None:
    valkey = started(root)
    with client(valkey) as connection:
        assert connection.info("server")["valkey_version"].startswith("9.")
        shown = connection.config_get("*")
    assert shown["appendonly"] == "yes"
    assert shown["maxmemory-policy"] == "noeviction"
    assert shown["bind"] == "127.0.0.1"
    assert shown["save"] == ""


def test_settings_override_the_defaults(root: Path) -> None:
    valkey = start_valkey(root)
    with client(valkey) as connection:
        assert connection.config_get("appendonly")["appendonly"] == "no"


def test_the_password_is_asked_for_and_kept_private(root: Path) -> None:
    valkey = started(root)
    password = valkey.url().partition("//:")[2].partition("@")[0]
    with redis.Redis.from_url(valkey.url().replace(password, "guess")) as stranger:
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
    assert (root / "valkey" / "state.json").stat().st_mode & 0o777 == 0o600
    assert password not in " ".join(psutil.Process(valkey.pid()).cmdline())


def test_any_sane_path_will_do(root: Path) -> None:
    assert started(root / ("a space, a quote's, ünïcödé " + "x" * 120)).pid() is not None


def test_racing_launchers_share_one_server(root: Path, launch: Launch) -> None:
    racers = [launch(root, "print(EmbeddedValkey(root).start())") for _ in range(3)]
    assert len({result(racer) for racer in racers}) == 1
    valkey = EmbeddedValkey(root)
    assert [server.pid for server in servers_in(valkey.data)] == [valkey.pid()]


def test_a_kill_while_writing_loses_nothing_acknowledged(root: Path) -> None:
    valkey = started(root)
    acknowledged: list[int] = []
    begun = threading.Event()

    def write() -> None:
        with client(valkey) as connection:
            try:
                for n in range(10_000_000):
                    connection.rpush("rows", n)
                    acknowledged.append(n)
                    if n == 500:
                        begun.set()
            except redis.ConnectionError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(30)
    psutil.Process(valkey.pid()).kill()
    writer.join(30)
    assert not writer.is_alive()

    valkey.start()
    with client(valkey) as connection:
        kept = connection.lrange("rows", 0, -1)
    assert [str(n) for n in acknowledged] == kept[: len(acknowledged)]
    assert len(acknowledged) > 500


def test_a_record_cut_short_by_a_power_failure_costs_only_itself(root: Path) -> None:
    valkey = started(root)
    with client(valkey) as connection:
        connection.set("first", "1")
        connection.set("last", "2")
    valkey.stop()
    log = next(valkey.data.rglob("*.incr.aof"))
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 3)
    valkey.start()
    with client(valkey) as connection:
        assert connection.mget("first", "last") == ["1", None]


def test_a_damaged_log_is_reported_with_the_servers_words(root: Path) -> None:
    valkey = started(root)
    with client(valkey) as connection:
        connection.mset({str(n): "x" for n in range(100)})
    valkey.stop()
    log = next(valkey.data.rglob("*.incr.aof"))
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedError, match=r"did not start:(.|\n)*Bad file format(.|\n)*move .* away"):
        valkey.start()
    assert valkey.pid() is None


def test_a_bad_setting_is_named(root: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"no-such-setting(.|\n)*server\.log"):
        EmbeddedValkey(root, settings={"no-such-setting": "1"}).start()
    with pytest.raises(EmbeddedError, match="line break"):
        EmbeddedValkey(root, settings={"save": '""\nrequirepass x'}).start()
    assert started(root).pid() is not None


def test_a_taken_port_is_left_and_the_new_one_remembered(root: Path) -> None:
    valkey = started(root)
    url = valkey.url()
    valkey.stop()
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))):
        moved = valkey.start()
    assert moved != url
    valkey.stop()
    assert valkey.start() == moved


def test_a_port_lost_at_the_last_moment_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        stolen = thief.getsockname()[1]
        offers = iter([stolen, stolen, processes.free_port(None)])
        monkeypatch.setattr(service, "free_port", lambda _kept: next(offers))
        valkey = started(root)
    assert f":{stolen}/" not in valkey.url()
    assert [server.pid for server in servers_in(valkey.data)] == [valkey.pid()]


def test_stopping_does_not_wait_for_clients(root: Path) -> None:
    valkey = started(root)
    with client(valkey) as connection:
        waiting = threading.Thread(target=_wait_for_work, args=(connection,))
        waiting.start()
        while not connection.client_list(_type="normal"):
            pass
        valkey.stop()
        waiting.join(30)
    assert not waiting.is_alive()
    assert valkey.pid() is None


def _wait_for_work(connection: redis.Redis) -> None:
    with pytest.raises(redis.ConnectionError):
        connection.blpop("queue", 30)


def test_a_server_that_hangs_is_ended_hard(root: Path) -> None:
    valkey = started(root)
    server = psutil.Process(valkey.pid())
    server.suspend()
    EmbeddedValkey(root, timeout_s=0.5).stop(force=True)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert valkey.start()


def test_a_server_that_does_not_answer_is_not_doubled(root: Path) -> None:
    valkey = started(root)
    server = psutil.Process(valkey.pid())
    server.suspend()
    try:
        with pytest.raises(EmbeddedError, match=f"does not answer.*kill -TERM {server.pid}"):
            EmbeddedValkey(root, timeout_s=0.5).start()
        assert [found.pid for found in servers_in(valkey.data)] == [server.pid]
    finally:
        server.resume()


def test_a_password_lost_under_a_running_server_says_how_to_go_on(root: Path) -> None:
    valkey = started(root)
    (root / "valkey" / "state.json").unlink()
    with pytest.raises(EmbeddedError, match=f"password.*lost.*kill -TERM {valkey.pid()}"):
        EmbeddedValkey(root, timeout_s=0.5).start()
    valkey.stop()
    assert valkey.start()


def test_a_server_whose_launcher_was_killed_while_stopping_it_is_not_adopted(root: Path) -> None:
    valkey = started(root)
    pid, state = valkey.pid(), root / "valkey" / "state.json"
    save_state(state, replace(load_state(state), ending=True))
    other = EmbeddedValkey(root)
    other.start()
    assert other.pid() not in {None, pid}
    assert not load_state(state).ending


def test_another_container_on_the_same_volume_is_refused(root: Path, launch: Launch) -> None:
    valkey = started(root)
    other = OTHER_CONTAINER.replace("EmbeddedPostgres", "EmbeddedValkey")
    said = result(launch(root, other, prefix=namespaces("pid", "net")))
    assert said.startswith("refused")
    assert "another container" in said
    assert "REDIS_URL" in said
    assert [server.pid for server in servers_in(valkey.data)] == [valkey.pid()]
    assert result(launch(root, other, prefix=namespaces("pid"))) == f"served {valkey.url()}"


def test_a_killed_launcher_leaves_a_server_that_the_next_one_owns(root: Path, launch: Launch) -> None:
    launcher = launch(root, "import time; EmbeddedValkey(root).start(); print('up', flush=True); time.sleep(60)")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "up\n"
    launcher.kill()
    launcher.wait()
    valkey = EmbeddedValkey(root)
    pid = valkey.pid()
    valkey.start()
    assert valkey.pid() == pid
    valkey.stop()
    assert valkey.pid() is None


def test_what_a_killed_test_run_left_behind_is_cleared_by_the_next(root: Path, launch: Launch) -> None:
    code = """
import time
from tests.servers import reachable_root, start_valkey
with reachable_root() as left:
    print(left, start_valkey(left).pid(), flush=True)
    time.sleep(60)
"""
    run = launch(root, code)
    assert run.stdout is not None
    left, pid = run.stdout.readline().split()
    with reachable_root():
        assert psutil.pid_exists(int(pid)), "its run lives"
    run.kill()
    run.wait()
    with reachable_root():
        assert not Path(left).exists()
        assert EmbeddedValkey(Path(left)).pid() is None
