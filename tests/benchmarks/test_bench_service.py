"""Starting and stopping a service, watching its memory, and what happens when clients crowd it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.cli import BENCHMARKS, main
from benchmarks.concurrency import Tally, together
from benchmarks.options import json_object
from benchmarks.processes import MemoryWatch, kind_of, usage_rows
from benchmarks.report import Goal, Report, figure
from benchmarks.server import ServerError, open_service

# A stand-in for `memos serve`: takes the same options, answers /readyz, and leaves a child that survives it.
SERVE = """
import argparse, http.server, os, pathlib, subprocess, sys
made = argparse.ArgumentParser(); made.add_argument("--data-dir"); made.add_argument("--port", type=int)
arguments = made.parse_args()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=arguments.data_dir)
pathlib.Path(arguments.data_dir, "child").write_text(f"{child.pid} {os.environ['MEMOS_OWNER_KEY']}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def no_service_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMOS_URL", raising=False)


def test_a_service_is_started_watched_stopped_and_cleaned_up(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    with open_service(serve=[sys.executable, str(script)]) as service:
        assert httpx.get(f"{service.url}/readyz").is_success
        assert service.data_dir is not None
        child, key = (service.data_dir / "child").read_text().split()
        assert key == service.key
        with MemoryWatch(service.pid, service.data_dir, every_s=0.05) as watch:
            pass
        assert watch.peaks["other"].processes == 2
        assert watch.peaks["other"].rss_mib > 1
    assert not service.data_dir.exists()
    assert not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == psutil.STATUS_ZOMBIE
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/readyz")


def test_a_service_that_ends_says_why() -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('the database is on fire')"]
    with pytest.raises(ServerError, match="the database is on fire"), open_service(serve=failing):
        pass


def test_a_running_service_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOS_URL", "http://there")
    monkeypatch.setenv("MEMOS_KEY", "k")
    with open_service() as service:
        assert (service.url, service.key, service.pid) == ("http://there", "k", None)


@pytest.mark.parametrize(
    ("name", "cmdline", "kind"),
    [
        ("postgres", ["postgres: writer"], "postgres"),
        ("valkey-server", ["/x/valkey-server"], "valkey"),
        ("python", ["python", "-m", "celery", "worker"], "worker"),
        ("memos", ["/venv/bin/python", "/venv/bin/memos", "serve"], "supervisor"),
        ("python", ["/venv/bin/python", "-m", "memos.cli", "api", "--fd", "4"], "api"),
        ("python", ["/venv/bin/python", "-m", "memos.cli", "worker"], "worker"),
        ("python", ["/venv/bin/python", "-m", "memos.cli", "beat"], "beat"),
        ("python", ["/venv/bin/python", "-m", "memos.cli.warden", "/data", "postgres"], "warden"),
        ("python", ["/venv/bin/python", "-c", "from multiprocessing.resource_tracker import main"], "other"),
    ],
)
def test_processes_are_told_apart(name: str, cmdline: list[str], kind: str) -> None:
    assert kind_of(name, cmdline) == kind


def test_nothing_is_measured_of_a_service_elsewhere() -> None:
    with MemoryWatch(None, None) as watch:
        pass
    assert watch.peaks == {}
    assert usage_rows(watch.peaks) == []


def test_tallies_add_up() -> None:
    one, other = Tally(elapsed_ms=[1.0, 3.0]), Tally(elapsed_ms=[2.0], retried_writes=4)
    one.errors["503"] += 2
    both = together([one, other], seconds=1.5)
    assert (both.latency.count, both.latency.p50_ms, both.per_s) == (3, 2.0, 2.0)
    assert (both.errors, both.retried_writes) == ({"503": 2}, 4)


def test_concurrency_end_to_end(run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    document = run_benchmark("concurrency", "--seconds", "0.5", "--size", "150", "--searchers", "3")
    assert document["figures"]["search"]["latency"]["count"] > 0
    assert document["figures"]["add 5 messages"]["latency"]["count"] > 0
    assert all(goal["met"] for goal in document["goals"])
    assert document["figures"]["readable_afterwards"] is True
    assert fake_api.cubes == {}


def test_reports_hold_what_was_measured_and_what_was_not(tmp_path: Path, capsys: Any) -> None:
    report = Report("demo", settings={"data": tmp_path}, out_dir=tmp_path / "results")
    report.figures["nothing"] = math.nan
    report.raw = [{"ids": ["a", "b"]}, {"ids": []}]
    report.goal("enough", 0.9, ">=", 0.8)
    report.goal("not measured", math.nan, "<=", 1)
    report.note("[bold]not markup[/bold]")
    path = report.finish()
    document = json.loads(path.read_text())
    assert document["figures"] == {"nothing": None}
    assert document["raw"] == [{"ids": ["a", "b"]}, {"ids": []}]
    assert '{"ids": ["a", "b"]},\n' in path.read_text()
    assert [goal["met"] for goal in document["goals"]] == [True, False]
    assert document["settings"] == {"data": str(tmp_path)}
    assert document["machine"]["cpus"] >= 1
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "[bold]not markup[/bold]" in printed


def test_goals_and_figures() -> None:
    assert Goal("x", 1.0, "<=", 1.0).met
    assert not Goal("x", math.nan, "<=", 1.0).met
    assert figure(math.nan) == "-"
    assert figure(0.12345) == "0.123"


def test_the_command_line_lists_and_refuses(capsys: Any) -> None:
    assert main(["--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ["locomo"])
    assert main([]) == 2
    assert main(["nonsense"]) == 2
    assert "no benchmark 'nonsense'" in capsys.readouterr().err
    for name in BENCHMARKS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0


def test_json_options_take_objects_only() -> None:
    assert json_object('{"a": 1}') == {"a": 1}
    with pytest.raises(Exception, match="JSON object"):
        json_object("[1]")
