"""What the servers stand on: locks, accounts, folders, state, settings."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from memos.embedded import EmbeddedError, EmbeddedValkey, default_data_dir
from memos.embedded.accounts import Account, choose_account, first_blocker
from memos.embedded.directories import make_home, require_safe, write_private
from memos.embedded.locks import try_lock, unlock, wait_lock
from memos.embedded.postgres_settings import DEFAULTS, render
from memos.embedded.processes import belongs, free_port, signal_all
from memos.embedded.state import State, load_state, new_password, save_state
from memos.embedded.wheels import wheel_folder
from memos.errors import MemosError

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_an_embedded_error_is_one_of_ours() -> None:
    assert issubclass(EmbeddedError, MemosError)
    assert EmbeddedError.status == 500


def test_an_exclusive_lock_is_held_once(tmp_path: Path) -> None:
    held = try_lock(tmp_path / "lock")
    assert held is not None
    assert try_lock(tmp_path / "lock") is None
    assert try_lock(tmp_path / "lock", shared=True) is None
    assert wait_lock(tmp_path / "lock", 0.1) is None
    unlock(held)
    again = wait_lock(tmp_path / "lock", 0.1)
    assert again is not None
    os.close(again)


def test_shared_locks_go_together_and_keep_exclusive_ones_out(tmp_path: Path) -> None:
    first, second = try_lock(tmp_path / "lock", shared=True), try_lock(tmp_path / "lock", shared=True)
    assert first is not None
    assert second is not None
    unlock(first)
    assert try_lock(tmp_path / "lock") is None
    unlock(second)


def test_a_lock_lives_with_the_child_that_inherited_it_and_dies_with_it(tmp_path: Path) -> None:
    held = try_lock(tmp_path / "lock")
    assert held is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=(held,))
    os.close(held)
    assert try_lock(tmp_path / "lock") is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    free = try_lock(tmp_path / "lock")
    assert free is not None
    os.close(free)


def test_root_keeps_its_data_where_other_accounts_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/memos")


def test_a_plain_user_keeps_data_in_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == tmp_path / ".local" / "share" / "memos"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_dir() == tmp_path / ".local" / "share" / "memos"
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_data_dir() == Path("/somewhere/memos")


def test_the_topmost_closed_folder_is_named(tmp_path: Path) -> None:
    stranger = Account("stranger", 54_321, 54_321)
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    blocker = first_blocker(closed / "inside" / "missing", stranger)
    assert blocker is not None
    assert closed.is_relative_to(blocker)
    assert first_blocker(Path("/usr/bin"), stranger) is None


@pytest.mark.parametrize(
    ("mode", "owner_may", "group_may", "others_may"),
    [
        (0o711, True, True, True),
        (0o601, False, False, True),
        (0o710, True, True, False),
        (0o701, True, False, True),
    ],
)
def test_each_is_judged_by_its_own_bits(
    root: Path, mode: int, owner_may: bool, group_may: bool, others_may: bool
) -> None:
    path = root / "folder"
    path.mkdir()
    path.chmod(mode)
    uid, gid = path.stat().st_uid, path.stat().st_gid
    assert (first_blocker(path, Account("owner", uid, 54_321)) is None) is owner_may
    assert (first_blocker(path, Account("group", 54_321, gid)) is None) is group_may
    assert (first_blocker(path, Account("other", 54_321, 54_321)) is None) is others_may


@ROOT_ONLY
@pytest.mark.parametrize("wanted", ["no-such-account", "root"])
def test_an_account_that_cannot_serve_is_refused_with_advice(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"{wanted}.*useradd"):
        choose_account(wanted, tmp_path / "data")


@ROOT_ONLY
def test_who_owns_the_data_keeps_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 54_321, 54_322)
    assert choose_account("nobody", data) == Account("uid 54321", 54_321, 54_322)


@ROOT_ONLY
def test_new_folders_are_open_to_the_account_whatever_the_umask(root: Path) -> None:
    account = Account("stranger", 54_321, 54_321)
    old = os.umask(0o077)
    try:
        make_home(root / "new" / "deep" / "home", account)
    finally:
        os.umask(old)
    assert first_blocker(root / "new" / "deep" / "home", account) is None


def test_a_plain_users_folder_is_private(tmp_path: Path) -> None:
    make_home(tmp_path / "new" / "home", None)
    assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ['a"b', "a$HOME", "a`b", "a\\b", "a\nb"])
def test_paths_that_no_quoting_survives_are_refused(name: str) -> None:
    with pytest.raises(EmbeddedError, match="Rename the folder"):
        require_safe(Path("/tmp") / name)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file.draft").symlink_to(victim)
    (tmp_path / "file").symlink_to(victim)
    write_private(tmp_path / "file", "secret")
    assert victim.read_text() == "precious"
    assert (tmp_path / "file").read_text() == "secret"
    assert (tmp_path / "file").lstat().st_mode & 0o777 == 0o600


def test_state_survives_and_its_damage_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert load_state(path) == State()
    state = State(new_password(), 4321, created=True, ending=True)
    save_state(path, state)
    assert load_state(path) == state
    for damage in ("", "{", "[]", '{"password": "x"}', '{"password": "x", "port": "y", "created": true}'):
        path.write_text(damage)
        assert load_state(path) == State()


def test_a_pid_alone_proves_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        name = Path(f"/proc/{child.pid}/exe").resolve().name if Path("/proc/self").exists() else "sleep"
        assert belongs(child.pid, name, tmp_path.resolve())
        assert not belongs(child.pid, "postgres", tmp_path.resolve())
        assert not belongs(child.pid, name, tmp_path.resolve() / "other")
    finally:
        child.kill()
        # Not waited for yet: a zombie is no living process.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not belongs(child.pid, name, tmp_path.resolve())
        child.wait()
    assert not belongs(child.pid, name, tmp_path.resolve())
    signal_all([child.pid], "SIGKILL")  # gone already: no error


def test_a_free_port_is_kept_and_a_taken_one_is_left() -> None:
    port = free_port(None)
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) != port


def test_settings_are_quoted() -> None:
    assert "log_line_prefix = 'it''s %m'\n" in render({"log_line_prefix": "it's %m"})
    assert "fsync = 'on'\n" in render(DEFAULTS)


@pytest.mark.parametrize(
    ("name", "value"), [("jit\nfsync", "off"), ("jit", "off\nfsync = off"), ("a b", "c"), ("", "x")]
)
def test_settings_that_would_become_others_are_refused(name: str, value: str) -> None:
    with pytest.raises(EmbeddedError, match="Correct it"):
        render({name: value})


def test_a_platform_without_a_program_names_the_ways_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(EmbeddedError, match=r"REDIS_URL.*docker-compose"):
        EmbeddedValkey(root).start()


WINDOWS = """
import signal, sys
import psutil, psycopg, redis  # they look at the platform for themselves
sys.platform = "win32"
sys.modules["fcntl"] = sys.modules["pwd"] = None
del signal.SIGQUIT, signal.SIGKILL
from pathlib import Path
from memos.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey, default_data_dir
print(default_data_dir())
for kind in (EmbeddedPostgres, EmbeddedValkey):
    try:
        kind(Path("nowhere")).start()
    except EmbeddedError as error:
        print(error)
"""


def test_windows_is_told_the_ways_out() -> None:
    said = subprocess.run(
        [sys.executable, "-c", WINDOWS], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    ).stdout
    assert "DATABASE_URL" in said
    assert "REDIS_URL" in said


def test_a_missing_wheel_names_the_ways_out() -> None:
    with pytest.raises(EmbeddedError, match=r"DATABASE_URL.*docker-compose"):
        wheel_folder("no_such_wheel", "DATABASE_URL")
