"""Commands that need no server: what they say when something is missing or makes no sense."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from memos.cli.servers import require_broker
from memos.errors import MemosError, Misconfigured, Unavailable
from tests.cli.conftest import memos


def test_help_names_every_command() -> None:
    said = memos("--help").stdout
    for name in (
        "serve",
        "api",
        "worker",
        "beat",
        "migrate",
        "keys",
        "eval",
        "doctor",
        "demo",
        "version",
        "export",
        "import",
        "backup",
        "restore",
        "reembed",
    ):
        assert name in said


def test_version_is_one_line() -> None:
    assert memos("version").stdout.startswith("memos ")


def test_a_setting_that_makes_no_sense_is_named_without_its_value() -> None:
    done = memos("worker", MEMOS_POOL_SIZE="many-secrets")
    assert done.returncode == 1
    assert "MEMOS_POOL_SIZE" in done.stderr
    assert "many-secrets" not in done.stderr


def test_parts_say_which_server_they_lack() -> None:
    assert "DATABASE_URL" in memos("api").stderr
    assert "REDIS_URL" in memos("beat").stderr
    lacking = memos(
        "migrate", MEMOS_APP_DATABASE_URL="postgresql://u:p@127.0.0.1:1/x", REDIS_URL="redis://127.0.0.1:1/0"
    )
    assert "DATABASE_URL" in lacking.stderr
    assert "Traceback" not in lacking.stderr


NOBODY = {"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("migrate",), ("keys", "list")])
def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = memos(*command, "--data-dir", str(tmp_path / "home"), **NOBODY)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_a_database_url_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    done = memos("serve", "--port", "0", "--data-dir", str(tmp_path / "home"), **NOBODY | {"DATABASE_URL": "hidden"})
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.parametrize(("url", "error"), [("hidden", Misconfigured), (NOBODY["REDIS_URL"], Unavailable)])
def test_a_broker_that_does_not_answer_is_named_at_the_start(url: str, error: type[MemosError]) -> None:
    with pytest.raises(error, match="REDIS_URL") as refused:
        require_broker(url)
    assert "hidden" not in refused.value.detail


def test_the_doctor_of_an_empty_directory_says_what_to_do(tmp_path: Path) -> None:
    done = memos("doctor", "--data-dir", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "memos serve" in done.stdout
    assert not (tmp_path / "nothing").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = memos("serve", "--port", str(port), "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr


def test_benchmarks_are_listed_and_unknown_ones_refused() -> None:
    assert "locomo" in memos("eval").stdout
    done = memos("eval", "nonsense", "--data", "x")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_a_demo_on_a_running_service_needs_a_key() -> None:
    done = memos("demo", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "--key" in done.stdout
