"""Who runs the servers: root, a plain user, a nameless one, and one after the other."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from memos.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey
from memos.embedded.wheels import wheel_folder
from tests.embedded.launchers import OTHER_CONTAINER, Launch, RunAs, result
from tests.servers import FAST_POSTGRES, start_postgres, start_valkey

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

NOBODY = 65_534
NAMELESS = 54_321
Service = type[EmbeddedPostgres] | type[EmbeddedValkey]
BOTH = pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])


def own(root: Path, uid: int) -> None:
    os.chown(root, uid, uid)


def test_root_does_not_run_servers_as_root(root: Path) -> None:
    for service in (start_postgres(root), start_valkey(root)):
        server = psutil.Process(service.pid())
        assert 0 not in server.uids()
        assert 0 not in server.gids()
        assert service.data.stat().st_mode & 0o777 == 0o700
        assert service.data.stat().st_uid == server.uids().real
        assert (service.home / "state.json").stat().st_uid == 0
        assert service.home.stat().st_uid == 0, "the server cannot replace our files"


@BOTH
def test_run_as_names_the_account_once_and_the_data_keeps_it(root: Path, kind: Service) -> None:
    settings = FAST_POSTGRES if kind is EmbeddedPostgres else {}
    named = kind(root, run_as="nobody", settings=settings)
    named.start()
    assert psutil.Process(named.pid()).uids().real == NOBODY
    named.stop()
    later = kind(root, settings=settings)
    later.start()
    assert psutil.Process(later.pid()).uids().real == NOBODY


@BOTH
def test_data_below_a_private_home_is_refused_with_a_better_place(root: Path, kind: Service) -> None:
    private = root / "home"
    private.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"cannot enter .*/home\b.*/var/lib/memos"):
        kind(private / "data").start()
    assert list(private.iterdir()) == []
    assert private.stat().st_mode & 0o777 == 0o700, "whose folder it is decides who may enter"


@BOTH
def test_programs_below_a_private_home_are_copied_once(
    root: Path, kind: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = root / "home"
    private.mkdir(mode=0o700)
    wheel = wheel_folder(kind.package, kind.instead)
    for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, private / folder.name, symlinks=True)
    monkeypatch.syspath_prepend(private)
    monkeypatch.delitem(sys.modules, kind.package, raising=False)  # a pytest plugin of the wheel imports it
    service = kind(root / "data", settings=FAST_POSTGRES if kind is EmbeddedPostgres else {})
    old = os.umask(0o077)
    try:
        service.start()
    finally:
        os.umask(old)
    program = Path(psutil.Process(service.pid()).exe())
    assert program.is_relative_to(service.home / "programs")
    assert program.name == kind.program
    copied_at = program.stat().st_ctime_ns
    service.stop()
    service.start()
    assert program.stat().st_ctime_ns == copied_at


@BOTH
@pytest.mark.parametrize("withheld", ["chown", "setuid"])
def test_a_container_without_capabilities_is_told_which(
    root: Path, kind: Service, withheld: str, launch: Launch
) -> None:
    setpriv = shutil.which("setpriv")
    if not setpriv:
        pytest.skip("setpriv is not installed")
    attempt = OTHER_CONTAINER.replace("EmbeddedPostgres", kind.__name__)
    said = result(launch(root, attempt, prefix=(setpriv, "--bounding-set", f"-{withheld}")))
    assert said.startswith("refused")
    assert withheld.upper() in said
    assert "plain user" in said


CYCLE = """
for kind, settings in ((EmbeddedPostgres, {"fsync": "off"}), (EmbeddedValkey, {})):
    service = kind(root / "data", settings=settings, timeout_s=30)
    url, pid = service.start(), service.pid()
    assert pid and os.stat(f"/proc/{pid}").st_uid == os.getuid()
    assert service.home.stat().st_mode & 0o777 == 0o700
    service.stop()
    assert service.pid() is None
    assert service.start() == url
    service.stop()
print("done")
"""


def test_a_user_without_a_name_is_told_what_to_do(root: Path, run_as: RunAs) -> None:
    own(root, NAMELESS)
    attempt = """
try:
    EmbeddedPostgres(root).start()
except EmbeddedError as error:
    print(error)
EmbeddedValkey(root).start()
EmbeddedValkey(root).stop()
"""
    said = run_as(NAMELESS, attempt, root)
    assert f"uid {NAMELESS}" in said
    assert "/etc/passwd" in said
    assert "DATABASE_URL" in said


def test_the_files_of_another_user_are_reported(root: Path, run_as: RunAs) -> None:
    start_postgres(root).stop()
    start_valkey(root).stop()
    attempt = """
for kind in (EmbeddedPostgres, EmbeddedValkey):
    for verb in ("start", "stop", "url"):
        try:
            getattr(kind(root), verb)()
        except EmbeddedError as error:
            print(error)
"""
    said = run_as(NOBODY, attempt, root).splitlines()
    assert len(said) == 6
    assert all("belong" in line and "--data-dir" in line for line in said)


def test_a_plain_user_needs_nothing_from_root_who_may_take_over_as_that_user(root: Path, run_as: RunAs) -> None:
    own(root, NOBODY)
    assert run_as(NOBODY, CYCLE, root) == "done\n"
    for kind in (EmbeddedPostgres, EmbeddedValkey):
        service = kind(root / "data", settings=FAST_POSTGRES if kind is EmbeddedPostgres else {})
        service.start()
        assert psutil.Process(service.pid()).uids().real == NOBODY


def test_a_user_without_a_home_is_asked_for_a_folder(root: Path, run_as: RunAs) -> None:
    attempt = """
from memos.embedded import default_data_dir
os.environ.pop("HOME", None)
try:
    default_data_dir()
except EmbeddedError as error:
    print(error)
"""
    assert "--data-dir" in run_as(NAMELESS, attempt, root)
