"""A drill: a cube is exported, wiped and imported; then the whole service is backed up and restored elsewhere. Each time the
questions must get the same answers with the same scores, and every revision its hash.

A cube of up to 4,000 memories (and as many derived ones) is compared exactly. Beyond, an approximate vector graph answers, which
is built anew by an import: there a few answers may differ in their tail, and the report names them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from benchmarks.client import MemosClient
from benchmarks.corpus import Questions, memories
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, progress
from benchmarks.server import PLACES, Service, new_key, served

CUBE = "moved"
SEED = "restore"
NOW = "2030-01-01T00:00:00Z"
JOBS_S = 900.0
T = TypeVar("T")


@dataclass(slots=True)
class Moved:
    """One way out and in again. `answers` of `asked` questions were the same in every score."""

    way: str
    out_s: float
    in_s: float
    n_bytes: int
    asked: int
    answers: int
    revisions: int
    hashes: int
    erased_found: int
    doctor: int
    differing: list[dict[str, Any]]


@dataclass(slots=True)
class State:
    """What must come back."""

    answers: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)


def main(argv: Sequence[str]) -> int:
    made = parser("restore", __doc__)
    made.add_argument("--memories", type=int, default=1_000, metavar="N")
    made.add_argument("--questions", type=int, default=100, metavar="N")
    arguments = made.parse_args(argv)
    report = Report("restore", settings=settings_of(arguments), out_dir=arguments.out)
    moves = drill(arguments.memories, arguments.questions)
    report.table(
        "out, wiped, and in again",
        ("way", "out", "in", "bytes", "same answers", "same hashes", "erased found", "doctor"),
        [
            (m.way, f"{m.out_s:.1f} s", f"{m.in_s:.1f} s", f"{m.n_bytes:,}", f"{m.answers}/{m.asked}",
             f"{m.hashes}/{m.revisions}", str(m.erased_found), "ok" if m.doctor == 0 else f"exit {m.doctor}")
            for m in moves
        ],
    )  # fmt: skip
    report.figures = {move.way: asdict(move) for move in moves}
    for name, faults in (
        ("questions answered otherwise", sum(m.asked - m.answers for m in moves)),
        ("revisions with another hash", sum(m.revisions - m.hashes for m in moves)),
        ("erased texts found in a file", sum(m.erased_found for m in moves)),
        ("doctor", sum(m.doctor for m in moves)),
    ):
        report.goal(name, faults, "<=", 0)
    report.finish()
    return 0 if all(m.hashes == m.revisions and not m.erased_found and not m.doctor for m in moves) else 1


def drill(n_memories: int, n_questions: int, serve: Sequence[str] | None = None) -> list[Moved]:
    """Run it; `serve` replaces the command `memos serve`."""
    home = Path(tempfile.mkdtemp(prefix="memos-restore-")).resolve()
    home.chmod(0o755)
    (home / "data").mkdir()
    key = new_key()
    try:
        with progress("Moving house", 4) as step, served(home / "data", key, serve) as service:
            client = MemosClient(service.url, service.key, timeout_s=600)
            secret = _fill(client, n_memories)
            questions = Questions(SEED, n_memories).take(n_questions)
            state = _state(client, questions)
            step()
            moves = [_packaged(service, client, state, home, secret, vectors=vectors) for vectors in (True, False)]
            step(2)
            backup, out_s = _timed(
                lambda: _memos("backup", home / "all.tar", "--with-keys", "--data-dir", home / "data")
            )
            _require(backup)
        _, in_s = _timed(lambda: _require(_memos("restore", home / "all.tar", "--data-dir", home / "elsewhere")))
        with served(home / "elsewhere", key, serve) as service:
            client = MemosClient(service.url, service.key, timeout_s=600)
            moves.append(_compared("backup", state, client, service, out_s, in_s, home / "all.tar", b""))
        step()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return moves


def _fill(client: MemosClient, count: int) -> str:
    """A cube with a past, and the text that was erased from it."""
    client.create_cube(CUBE)
    corpus = list(memories(SEED, count))
    for start in range(0, count, 100):
        part = corpus[start : start + 100]
        client.add_messages(CUBE, part[0].session_id, [memory.message() for memory in part])
    facts = client.add_memories(CUBE, [{"kind": "fact", "content": f"Locker {n} opens with a key"} for n in range(20)])
    for memory_id, _ in facts.memories[:10]:
        client.edit_memory(CUBE, memory_id, f"The lock was changed in {memory_id[:8]}")
    before = client.call("GET", f"/v1/cubes/{CUBE}")["revision"]
    client.call("POST", f"/v1/cubes/{CUBE}/rollback", {"to": 3})
    client.call("POST", f"/v1/cubes/{CUBE}/rollback", {"to": before})
    secret = "The combination is quetzalcoatl nineteen"
    erased = client.add_memories(CUBE, [{"kind": "fact", "content": secret}])
    client.call("POST", f"/v1/cubes/{CUBE}/forget", {"memory_ids": [memory_id for memory_id, _ in erased.memories]})
    client.wait_for_jobs(timeout_s=JOBS_S)
    return secret


def _state(client: MemosClient, questions: Sequence[str]) -> State:
    state = State()
    for question in questions:
        found = client.call("POST", f"/v1/cubes/{CUBE}/search", {"query": question, "now": NOW, "limit": 10})
        state.answers[question] = [(i["memory_id"], i["version"], i["content"], i["score"]) for i in found["items"]]
    cursor = ""
    while True:
        page = client.call("GET", f"/v1/cubes/{CUBE}/revisions?limit=200{cursor}")
        state.hashes |= {revision["revision"]: revision["hash"] for revision in page["items"]}
        if page["next_cursor"] is None:
            return state
        cursor = f"&cursor={page['next_cursor']}"


def _packaged(service: Service, client: MemosClient, state: State, home: Path, secret: str, *, vectors: bool) -> Moved:
    """Out over HTTP, as an operator elsewhere would; in at the console, which knows no largest body."""
    file = home / "package.memos"

    def out() -> None:
        with httpx.stream(
            "POST", f"{service.url}/v1/cubes/{CUBE}/export", json={"vectors": vectors}, timeout=600,
            headers={"Authorization": f"Bearer {service.key}"},
        ) as answer, file.open("wb") as target:  # fmt: skip
            answer.raise_for_status()
            target.writelines(answer.iter_bytes())

    _, out_s = _timed(out)
    client.delete_cube(CUBE)
    _, in_s = _timed(lambda: _require(_memos("import", file, "--data-dir", home / "data")))
    client.wait_for_jobs(timeout_s=JOBS_S)
    way = f"package {'with' if vectors else 'without'} vectors"
    return _compared(way, state, client, service, out_s, in_s, file, secret.encode())


def _compared(
    way: str, state: State, client: MemosClient, service: Service, out_s: float, in_s: float, file: Path, secret: bytes
) -> Moved:
    found = _state(client, list(state.answers))
    return Moved(
        way=way,
        out_s=out_s,
        in_s=in_s,
        n_bytes=file.stat().st_size,
        asked=len(state.answers),
        answers=sum(found.answers[question] == answer for question, answer in state.answers.items()),
        revisions=len(state.hashes),
        hashes=sum(found.hashes.get(number) == link for number, link in state.hashes.items()),
        erased_found=int(bool(secret) and secret in file.read_bytes()),
        doctor=_memos("doctor", "--json", "--data-dir", service.data_dir).returncode,
        differing=[
            {"question": question, "before": answer, "after": found.answers[question]}
            for question, answer in state.answers.items()
            if found.answers[question] != answer
        ],
    )


def _memos(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    command = [sys.executable, "-m", "memos.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, check=False)


def _require(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started
