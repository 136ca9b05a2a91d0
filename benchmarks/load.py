"""Load: a hundred users for ten minutes, nine recalls to one write, each thinking between calls; in the middle every
process of the service is replaced (`--restart`).

A closed loop: a user calls, waits for the answer, then thinks for a time drawn from an exponential distribution (cut at
four means). With the defaults, 100 users and 10 s, about nine calls a second are asked of the service, half of what two
cores answer when they do nothing else; the users share those cores. Nobody tries again: whatever is not answered with
success is an error. At the end every message that was acknowledged is looked for.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from benchmarks.client import ApiError, MemosClient
from benchmarks.corpus import Questions, memories
from benchmarks.metrics import Latency
from benchmarks.options import cube_name, parser, service_of, settings_of
from benchmarks.report import Report, progress
from benchmarks.series import Series
from benchmarks.server import Service

SEED = "load"
CONTEXT_SHARE = 1 / 3
"""Of the recalls: contexts of 1,000 tokens; the others are searches for ten."""
MESSAGES_IN_A_WRITE = 2
TIMEOUT_S = 30.0
SAMPLE_EVERY_S = 2.0
AROUND_S = 15.0
"""Calls that begin this long after the restart was asked for are also reported by themselves."""
POOL, WAITING = "memos_connections_in_use", "queued"


@dataclass(slots=True)
class User:
    """What one user did: (kind, begun at, milliseconds) of each answer, errors by what they were, and what the service
    has promised to keep."""

    number: int
    cube: str
    answers: list[tuple[str, float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)

    @property
    def session(self) -> str:
        return f"user-{self.number}"


def main(argv: Sequence[str]) -> int:
    made = parser("load", __doc__)
    made.add_argument("--minutes", type=float, default=10.0, metavar="M")
    made.add_argument("--users", type=int, default=100, metavar="N")
    made.add_argument("--think", type=float, default=10.0, metavar="S", help="mean time a user thinks between calls")
    made.add_argument("--writes", type=float, default=0.1, metavar="SHARE", help="of the calls that are writes")
    made.add_argument("--cubes", type=int, default=10, metavar="N", help="shared evenly by the users")
    made.add_argument("--size", type=int, default=1_000, metavar="N", help="memories in each cube beforehand")
    made.add_argument("--restart", action="store_true", help="replace all processes in the middle")
    made.add_argument("--jobs-timeout", type=float, default=1800.0, metavar="S")
    arguments = made.parse_args(argv)
    report = Report("load", settings=settings_of(arguments), out_dir=arguments.out)
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        cubes = [str(client.create_cube(cube_name("load", str(n)))["id"]) for n in range(arguments.cubes)]
        _fill(client, cubes, arguments.size, arguments.jobs_timeout)
        users = [User(number, cubes[number % len(cubes)]) for number in range(arguments.users)]
        with Series(service.pid, service.data_dir, every_s=SAMPLE_EVERY_S, probe=lambda: _probe(service)) as series:
            restarted_s, elapsed_s = _run(service, users, arguments)
        drained_s = client.wait_for_jobs(timeout_s=arguments.jobs_timeout)
        lost = sum(_lost(client, user) for user in users)
        for cube in cubes:
            client.delete_cube(cube)
    _publish(report, users, series, elapsed_s, restarted_s, lost, drained_s)
    report.finish()
    return 0 if all(goal.met for goal in report.goals) else 1


# ---------------------------------------------------------------- before


def _fill(client: MemosClient, cubes: Sequence[str], size: int, jobs_timeout_s: float) -> None:
    with progress("Filling the cubes", size * len(cubes)) as step:
        for number, cube in enumerate(cubes):
            for start in range(0, size, 100):
                part = list(memories(f"{SEED}-{number}", min(100, size - start), first=start))
                client.add_messages(cube, f"before-{start}", [memory.message() for memory in part])
                step(len(part))
    with progress("Waiting for background jobs", None) as step:
        client.wait_for_jobs(timeout_s=jobs_timeout_s, waiting=step)


# ---------------------------------------------------------------- meanwhile


def _run(service: Service, users: Sequence[User], arguments: Any) -> tuple[float | None, float]:
    """When the restart was asked for (None without one), and how long all took, both in seconds from the start."""
    stop, began = threading.Event(), time.monotonic()
    threads = [
        threading.Thread(target=_user, args=(service, user, began, stop, arguments), daemon=True) for user in users
    ]
    for thread in threads:
        thread.start()
    seconds = arguments.minutes * 60
    restarted_s = None
    with progress(f"{len(users)} users", round(seconds)) as step:
        while (elapsed := time.monotonic() - began) < seconds:
            if arguments.restart and restarted_s is None and elapsed >= seconds / 2:
                restarted_s = elapsed
                _restart(service)
            time.sleep(min(1.0, seconds - elapsed))
            step()
    stop.set()
    for thread in threads:
        thread.join()
    return restarted_s, time.monotonic() - began


def _restart(service: Service) -> None:
    """What `memos restart` does."""
    if service.pid is None:
        raise SystemExit("memos eval load: --restart needs a service that this run starts")
    psutil.Process(service.pid).send_signal(signal.SIGUSR2)


def _user(service: Service, user: User, began: float, stop: threading.Event, arguments: Any) -> None:
    dice = random.Random(f"{SEED}/{user.number}")
    questions = Questions(f"{SEED}-{user.number % arguments.cubes}", 100_000)
    with MemosClient(service.url, service.key, timeout_s=TIMEOUT_S) as client:
        # They do not all come in at the same moment.
        while not stop.wait(min(dice.expovariate(1 / arguments.think), 4 * arguments.think)):
            kind = "write" if dice.random() < arguments.writes else "recall"
            if kind == "recall":
                kind = "context" if dice.random() < CONTEXT_SHARE else "search"
            started = time.monotonic()
            try:
                _call(client, user, kind, questions)
            except ApiError as error:
                user.errors[f"{kind}: {error.status}"] += 1
            except httpx.TransportError as error:
                user.errors[f"{kind}: {type(error).__name__}"] += 1
            else:
                user.answers.append((kind, started - began, (time.monotonic() - started) * 1_000))


def _call(client: MemosClient, user: User, kind: str, questions: Questions) -> None:
    if kind == "write":
        first = len(user.acknowledged)
        said = memories(f"{SEED}-said-{user.number}", MESSAGES_IN_A_WRITE, first=first)
        messages = [memory.message() | {"external_id": f"u{user.number}-{memory.number}"} for memory in said]
        # Not `add_messages`, which waits out a refusal: here that is an error.
        client.call("POST", f"/v1/cubes/{user.cube}/messages", {"session_id": user.session, "messages": messages})
        user.acknowledged += [str(message["external_id"]) for message in messages]
    elif kind == "context":
        client.context(user.cube, questions.take(1)[0], budget_tokens=1_000)
    else:
        client.search(user.cube, questions.take(1)[0], limit=10)


def _probe(service: Service) -> dict[str, float]:
    """Connections in use in one API process, and jobs that wait (up to 200 are counted)."""
    headers = {"Authorization": f"Bearer {service.key}"}
    found: dict[str, float] = {}
    try:
        with httpx.Client(base_url=service.url, headers=headers, timeout=TIMEOUT_S) as http:
            for line in http.get("/metrics").text.splitlines():
                if line.startswith(f"{POOL} "):
                    found[POOL] = float(line.split()[1])
            found[WAITING] = float(len(http.get("/v1/jobs?state=queued&limit=200").json().get("items", ())))
    except httpx.TransportError:
        found["unanswered"] = 1.0
    return found


# ---------------------------------------------------------------- afterwards


def _lost(client: MemosClient, user: User) -> int:
    """Acknowledged messages of a user that are not there."""
    there: set[str] = set()
    path = f"/v1/cubes/{user.cube}/memories?session_id={user.session}&limit=200"
    cursor = ""
    while True:
        page = client.call("GET", path + cursor)
        there.update(str(item["external_id"]) for item in page["items"])
        if page["next_cursor"] is None:
            return len(set(user.acknowledged) - there)
        cursor = f"&cursor={page['next_cursor']}"


def _publish(
    report: Report,
    users: Sequence[User],
    series: Series,
    elapsed_s: float,
    restarted_s: float | None,
    lost: int,
    drained_s: float,
) -> None:
    answers = [answer for user in users for answer in user.answers]
    errors: Counter[str] = sum((user.errors for user in users), Counter())
    groups = {kind: [ms for k, _, ms in answers if k == kind] for kind in ("search", "context", "write")}
    groups["all"] = [ms for _, _, ms in answers]
    if restarted_s is not None:
        ends = restarted_s + AROUND_S
        groups[f"all, within {AROUND_S:.0f} s of the restart"] = [
            ms for _, t, ms in answers if restarted_s <= t <= ends
        ]
    latencies = {kind: Latency.of(samples) for kind, samples in groups.items()}
    report.table(
        f"{len(users)} users for {elapsed_s / 60:.1f} minutes, {len(answers) / elapsed_s:.1f} calls a second",
        ("", "answers", "p50 ms", "p95 ms", "p99 ms", "worst ms"),
        [
            (kind, f"{of.count}", f"{of.p50_ms:.0f}", f"{of.p95_ms:.0f}", f"{of.p99_ms:.0f}", f"{of.max_ms:.0f}")
            for kind, of in latencies.items()
        ],
    )
    trends = series.trends()
    report.table(
        "Memory, after warm-up",
        ("process", "minutes", "first MiB", "last MiB", "MiB a minute", "growth", "noise", ""),
        [
            (f"{t.kind} {t.pid or ''}", f"{t.stretch_s / 60:.1f}", f"{t.first_mib:.1f}", f"{t.last_mib:.1f}",
             f"{t.slope_mib_per_min:+.2f}", f"{t.growth_mib:+.1f}", f"{t.noise_mib:.1f}", t.judgement)
            for t in trends
        ],
    )  # fmt: skip
    pool = max((p[POOL] for p in series.probed if POOL in p), default=float("nan"))
    waiting = [p[WAITING] for p in series.probed if WAITING in p]
    acknowledged = sum(len(user.acknowledged) for user in users)
    report.figures |= {
        "latency": latencies, "errors": dict(errors), "calls_per_s": len(answers) / elapsed_s, "trends": trends,
        "acknowledged_messages": acknowledged, "lost": lost, "restart_at_s": restarted_s,
        "connections_in_use_most": pool, "jobs_waiting_most": max(waiting, default=float("nan")),
        "jobs_drained_after_s": drained_s,
    }  # fmt: skip
    report.note(f"{acknowledged} messages were acknowledged and looked for afterwards.")
    report.note(f"Most connections in use: {pool:.0f}; most jobs waiting: {max(waiting, default=0):.0f}; all done "
                f"{drained_s:.0f} s after the last call.")  # fmt: skip
    for name, number in sorted(errors.items()):
        report.note(f"error: {number} x {name}")
    report.goal("errors", sum(errors.values()), "<=", 0)
    report.goal("acknowledged messages that are not there", lost, "<=", 0)
    report.goal("processes whose memory grows", sum(t.judgement == "grows" for t in trends), "<=", 0)
    report.raw = [
        *({"kind": kind, "at_s": round(at_s, 2), "ms": round(ms, 2)} for kind, at_s, ms in answers),
        *({"process": kind, "pid": pid, "samples": [(round(t, 1), round(s, 2)) for t, s in line]}
          for (kind, pid), line in series.lines.items()),
        {"probed": series.probed},
    ]  # fmt: skip
