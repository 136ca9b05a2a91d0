"""`memos serve` from its first start to its last: one test for each life of one data directory, in order."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import psutil

from tests.cli.conftest import Serving, eventually, memos, processes_of


def write(serving: Serving, text: str) -> None:
    done = serving.call("POST", "/v1/cubes/diary/memories", {"items": [{"kind": "fact", "content": text}]})
    assert done["revision"]


def found(serving: Serving, query: str) -> list[str]:
    answer = serving.call("POST", "/v1/cubes/diary/search", {"query": query})
    return [item["content"] for item in answer["items"]]


def part(serving: Serving, name: str) -> psutil.Process | None:
    """The process of a part, not one it has forked."""
    for process in psutil.Process(serving.process.pid).children():
        with suppress(psutil.Error):  # it has just died
            if process.cmdline()[3:4] == [name]:
                return process
    return None


def test_first_life(root: Path, serve: Callable[..., Serving]) -> None:
    """Ready with a key of its own, alone on its directory, examined, stopped without a trace."""
    serving = serve()
    serving.wait_until_ready()
    key_file = serving.data_dir / "owner.key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert serving.said().count(serving.key) == 1
    assert serving.call("GET", "/readyz")
    with urllib.request.urlopen(f"{serving.url}/metrics", timeout=30) as measured:  # a scraper beside it has no key
        assert b"memos_connections_limit" in measured.read()

    assert serving.call("POST", "/v1/cubes", {"name": "diary"})
    write(serving, "The ferry leaves at noon.")

    second = memos("serve", "--data-dir", str(serving.data_dir), "--port", "0")
    assert second.returncode == 1
    assert f"process {serving.process.pid}" in second.stderr
    assert serving.url in second.stderr

    made = memos("keys", "create", "--scopes", "read", "--name", "reader", "--data-dir", str(serving.data_dir))
    reader = made.stdout.strip()
    assert reader.startswith("mk_")
    assert reader not in made.stderr
    assert serving.call("GET", "/v1/cubes/diary", key=reader)
    assert not serving.call("POST", "/v1/cubes", {"name": "forbidden"}, key=reader)

    check = memos("doctor", "--json", "--data-dir", str(serving.data_dir))
    report = json.loads(check.stdout)
    assert report["ok"], report
    assert check.returncode == 0

    # No secret stands on a command line, where every user of the machine could read it.
    state = [json.loads(path.read_text())["password"] for path in serving.data_dir.glob("*/state.json")]
    lines = " ".join(" ".join(p.cmdline()) for p in processes_of(serving.data_dir))
    assert len(state) == 2
    assert not [secret for secret in (*state, serving.key) if secret in lines]

    assert serving.stop() == 0
    assert "memos has stopped" in serving.said()
    assert processes_of(serving.data_dir) == []


def test_second_life(root: Path, serve: Callable[..., Serving]) -> None:
    """What was stored is there, what dies is replaced, and when all is killed nothing is left behind."""
    serving = serve()
    serving.wait_until_ready()
    assert serving.key not in serving.said()
    assert found(serving, "when does the ferry leave") == ["The ferry leaves at noon."]

    for name in ("worker", "api"):
        victim = eventually(partial(part, serving, name), f"there is no {name}")
        victim.kill()
        eventually(partial(another, serving, name, victim.pid), f"{name} was not replaced")
    eventually(lambda: answers(serving), "the API did not come back")

    for program in ("valkey-server", "postgres"):
        victims = running(serving, program)
        oldest = min(victims, key=lambda p: p.create_time())
        oldest.kill()
        eventually(partial(replaced, serving, program, oldest.pid), f"{program} stayed dead")
    eventually(lambda: answers(serving), "the API did not find its servers again")
    write(serving, "The lighthouse is closed on Mondays.")

    os.kill(serving.process.pid, signal.SIGKILL)
    serving.process.wait()
    eventually(lambda: not processes_of(serving.data_dir), "something outlived its killed supervisor")


def test_third_life(root: Path, serve: Callable[..., Serving]) -> None:
    """After the kill everything acknowledged is there; a preset key opens it too, and is never shown."""
    preset = "mk_preset-by-the-operator"
    serving = serve(MEMOS_OWNER_KEY=preset)
    serving.wait_until_ready()
    assert sorted(found(serving, "when is the lighthouse closed, when does the ferry leave")) == [
        "The ferry leaves at noon.",
        "The lighthouse is closed on Mondays.",
    ]
    assert serving.call("GET", "/v1/cubes/diary", key=preset)
    assert preset not in serving.said()
    for process in psutil.Process(serving.process.pid).children():
        assert "MEMOS_OWNER_KEY" not in process.environ() or "warden" in process.cmdline()[2]
    serving.process.send_signal(signal.SIGINT)
    assert serving.process.wait(60) == 0


def answers(serving: Serving) -> bool:
    try:
        return bool(serving.call("GET", "/readyz") and serving.call("GET", "/v1/cubes/diary"))
    except OSError:
        return False


def another(serving: Serving, name: str, pid: int) -> bool:
    now = part(serving, name)
    return now is not None and now.pid != pid


def running(serving: Serving, program: str) -> list[psutil.Process]:
    """Processes of a server; those that end while we look are not among them."""
    found = []
    for process in processes_of(serving.data_dir):
        with suppress(psutil.NoSuchProcess):
            if process.name() == program:
                found.append(process)
    return found


def replaced(serving: Serving, program: str, pid: int) -> bool:
    now = running(serving, program)
    return bool(now) and pid not in [p.pid for p in now] and answers(serving)


def test_fourth_life(root: Path, serve: Callable[..., Serving]) -> None:
    """Every part is replaced while callers call: each call is answered, and nothing that was written is lost."""
    serving = serve(MEMOS_DRAIN_S="0.5")
    serving.wait_until_ready()
    before = {name: eventually(partial(part, serving, name), name).pid for name in ("api", "worker", "beat")}
    stop, answered, lost = threading.Event(), [], []

    def call(number: int) -> None:
        written = 0
        with httpx.Client(
            base_url=serving.url, headers={"Authorization": f"Bearer {serving.key}"}, timeout=30
        ) as client:
            while not stop.is_set():
                text = f"Caller {number} wrote number {written}."
                body = {"items": [{"kind": "fact", "content": text}]}
                try:
                    done = client.post("/v1/cubes/diary/memories", json=body)
                except httpx.TransportError as error:
                    lost.append(repr(error))
                    continue
                (answered if done.status_code == 201 else lost).append(text)
                written += 1

    callers = [threading.Thread(target=call, args=[number]) for number in range(4)]
    for caller in callers:
        caller.start()
    told = memos("restart", "--data-dir", str(serving.data_dir))
    assert told.returncode == 0, told.stderr
    for name, pid in before.items():
        eventually(partial(another, serving, name, pid), f"{name} was not replaced")
    eventually(lambda: not psutil.pid_exists(before["api"]), "the old API stays")
    so_far = len(answered)
    eventually(lambda: len(answered) > so_far + 10, "the new API does not answer")
    stop.set()
    for caller in callers:
        caller.join()
    assert lost == []
    kept = serving.call("GET", "/v1/cubes/diary")["counts"]["memories"]
    assert kept == len(answered) + 2
    assert serving.stop() == 0
    assert memos("restart", "--data-dir", str(serving.data_dir)).returncode == 1
