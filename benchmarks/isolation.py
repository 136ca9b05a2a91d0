"""Isolation: random probes of every route and page, by tenants that aim at what belongs to another.

`memos eval isolation --requests 100000`. A probe names a route, an attacker (another tenant's key with every scope, or
a key of the victim's own tenant that is bound to another cube) and something of the victim's, in the path, the query,
the body or the cursor; or it names nothing foreign but a name that both have. It leaks when the answer holds a token of
another tenant, or succeeds on a foreign id. At the end every victim's cube must stand at the revision it stood at.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.routing import Route

from api import openapi
from benchmarks.isolation_world import House, caller, furnish, head_of, running_app
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, figure, progress

TOKEN = re.compile(r"canary[0-9a-f]{12}")
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
AT_ONCE = 8
# What acts on the caller's own tenant when nothing foreign is named in it, and may succeed there.
HARMLESS_BY_NAME = frozenset({"GET", "POST search", "POST context"})
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Target:
    """A route as probes need it. `body` is an example of what it takes."""

    method: str
    path: str
    body: Any
    content_type: str | None
    query: tuple[str, ...]

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)


@dataclass(frozen=True, slots=True)
class Probe:
    target: Target
    victim: House
    key: str
    attacker: House
    path: str
    query: dict[str, str]
    body: Any
    foreign: bool
    """Whether it names something that is not the attacker's: then nothing but a refusal is right."""


@dataclass(frozen=True, slots=True)
class Leak:
    how: str
    method: str
    path: str
    status: int


def targets(api: FastAPI) -> list[Target]:
    """Every route that is served: those of the document with their bodies, and the pages beside them."""
    found: list[Target] = []
    for path, methods in openapi.document(api)["paths"].items():
        for method, operation in methods.items():
            contents: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
            kind = next(iter(contents), None)
            media = contents.get(kind, {}) if kind else {}
            query = tuple(p["name"] for p in operation.get("parameters", ()) if p["in"] == "query")
            found.append(Target(method.upper(), path, media.get("example"), kind, query))
    known = {(target.method, target.path) for target in found}
    for route in api.routes:
        if isinstance(route, Route):
            found += [
                Target(m, route.path, None, None, ())
                for m in sorted(route.methods or ())
                if (m, route.path) not in known
            ]
    return found


def probe(chance: random.Random, every: Sequence[Target], houses: Sequence[House]) -> Probe:
    """One random attempt."""
    target = chance.choice(every)
    victim, attacker = chance.sample(list(houses), 2)
    inside = chance.random() < 0.1 and "cube" in target.parameters
    key = victim.bound_key if inside else attacker.key
    by_name = not inside and "cube" in target.parameters and chance.random() < 0.1 and _harmless(target)
    given: dict[str, str] = {}
    for name in target.parameters:
        given[name] = chance.choice(victim.known.get(name) or victim.known["memory_id"])
    if by_name:
        given["cube"] = "shared"
    query = {}
    for name in target.query:
        if name in ("center", "from", "to"):
            query[name] = chance.choice(victim.known["center"]) if name == "center" else "0" if name == "from" else "1"
        elif name == "cursor" and chance.random() < 0.3:
            query[name] = chance.choice(victim.known["memory_id"])
        elif name in ("q", "session_id", "tag") and chance.random() < 0.3:
            query[name] = victim.token
        elif name == "cube" and chance.random() < 0.5:
            query[name] = victim.cube_id
        elif name == "memory_id" and chance.random() < 0.5:
            query[name] = chance.choice(victim.known["memory_id"])
    asker = victim if inside else attacker
    body = _aimed(target.body, victim, asker, chance)
    names_foreign = not by_name and any(name not in ("name", "subject") for name in given)
    return Probe(
        target, victim, key, victim if inside else attacker, _filled(target.path, given), query, body, names_foreign
    )


def _harmless(target: Target) -> bool:
    return target.method == "GET" or target.path.endswith(("/search", "/context"))


def _filled(path: str, given: dict[str, str]) -> str:
    return _PARAMETER.sub(lambda match: given[match[1]].replace(" ", "%20"), path)


def _aimed(value: Any, victim: House, asker: House, chance: random.Random, name: str = "") -> Any:
    """An example body with the victim's things where it names things."""
    if isinstance(value, dict):
        return {key: _aimed(inner, victim, asker, chance, key) for key, inner in value.items()}
    if isinstance(value, list):
        if name == "cubes":
            return [victim.cube_id]
        if name in ("memory_ids", "entities"):
            return [chance.choice(victim.known["memory_id" if name == "memory_ids" else "entity_id"])]
        return [_aimed(inner, victim, asker, chance, name) for inner in value]
    match name:
        case "cube":
            return victim.cube_id
        case "tenant":
            return victim.tenant_id
        case "query":
            # Signed, because whoever asks may read in the own traces what was asked, and in nobody else's.
            return f"{asker.token} asks: what is the word {victim.token}?"
        case "memory_id" | "into" | "to_key":
            known = {"into": "entity_id", "to_key": "key_id"}.get(name, name)
            return chance.choice(victim.known[known])
    return value


def judge(sent: Probe, answer: httpx.Response) -> Leak | None:
    """What is wrong with an answer; None when nothing is."""
    own = sent.attacker.token
    others = re.sub(rf"{own} asks: what is the word {TOKEN.pattern}\?", "", answer.text)
    told = set(TOKEN.findall(others)) - {own}
    told -= set(TOKEN.findall(str(sent.body) + str(sent.query) + sent.path))
    how = None
    if told:
        how = "another tenant's token in the answer"
    elif sent.foreign and answer.is_success and sent.key == sent.attacker.key:
        how = "success on what is another's"
    elif sent.foreign and answer.is_success and sent.key != sent.attacker.key:
        how = "a key bound to another cube got in"
    return None if how is None else Leak(how, sent.target.method, sent.target.path, answer.status_code)


async def _attack(
    client: httpx.AsyncClient, every: Sequence[Target], houses: list[House], n: int, seed: int
) -> dict[str, Any]:
    leaks: list[Leak] = []
    statuses: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    routes: Counter[str] = Counter()
    latencies: list[float] = []
    left = iter(range(n))
    with progress("probing", n) as step:

        async def run(chance: random.Random) -> None:
            for _ in left:
                sent = probe(chance, every, houses)
                headers = {"Authorization": f"Bearer {sent.key}"}
                kind: dict[str, Any] = {}
                if sent.body is not None:
                    kind = {"content": sent.body} if isinstance(sent.body, str) else {"json": sent.body}
                    if sent.target.content_type and isinstance(sent.body, str):
                        headers["Content-Type"] = sent.target.content_type
                started = time.perf_counter()
                answer = await client.request(sent.target.method, sent.path, params=sent.query, headers=headers, **kind)
                latencies.append((time.perf_counter() - started) * 1_000)
                statuses[str(answer.status_code)] += 1
                routes[f"{sent.target.method} {sent.target.path}"] += 1
                if answer.status_code >= 500:
                    errors[f"{sent.target.method} {sent.target.path} {answer.status_code}"] += 1
                if (leak := judge(sent, answer)) is not None:
                    leaks.append(leak)
                step()

        await asyncio.gather(*(run(random.Random(seed * 1_000 + k)) for k in range(AT_ONCE)))
    return {"leaks": leaks, "statuses": statuses, "errors": errors, "routes": routes, "latencies": latencies}


async def _run(requests: int, houses: int, seed: int) -> dict[str, Any]:
    with running_app() as (app, api):
        async with caller(api) as client:
            every = targets(api)
            made = await furnish(app, client, houses)
            started = time.perf_counter()
            found = await _attack(client, every, made, requests, seed)
            found["elapsed_s"] = time.perf_counter() - started
            found["targets"] = len(every)
            for house in made:
                if await head_of(client, house) != house.head:
                    found["leaks"].append(Leak("somebody changed a cube of another tenant", "-", house.name, 0))
                mine = await client.post(
                    f"/v1/cubes/{house.cube_id}/search",
                    json={"query": house.token, "limit": 5},
                    headers={"Authorization": f"Bearer {house.key}"},
                )
                if set(TOKEN.findall(mine.text)) != {house.token}:
                    found["leaks"].append(Leak("a tenant's own memories are not what they were", "-", house.name, 0))
            return found


def main(argv: Sequence[str]) -> int:
    made = parser("isolation", __doc__)
    made.add_argument("--requests", type=int, default=100_000, metavar="N", help="probes to send")
    made.add_argument("--tenants", type=int, default=20, metavar="N", help="tenants that attack one another")
    made.add_argument("--seed", type=int, default=1)
    arguments = made.parse_args(argv)
    report = Report("isolation", settings=settings_of(arguments), out_dir=arguments.out)
    found = asyncio.run(_run(arguments.requests, arguments.tenants, arguments.seed))
    leaks: list[Leak] = found["leaks"]
    latencies = sorted(found["latencies"])
    rate = arguments.requests / found["elapsed_s"]
    report.figures = {
        "requests": arguments.requests,
        "leaks": len(leaks),
        "server_errors": sum(found["errors"].values()),
        "routes": found["targets"],
        "routes_probed": len(found["routes"]),
        "statuses": dict(sorted(found["statuses"].items())),
        "elapsed_s": round(found["elapsed_s"], 1),
        "requests_per_s": round(rate, 1),
        "p50_ms": round(latencies[len(latencies) // 2], 2),
        "p95_ms": round(latencies[int(len(latencies) * 0.95)], 2),
    }
    report.raw = [*leaks[:1_000], *({"error": name, "n": n} for name, n in found["errors"].items())]
    report.table(
        f"{arguments.tenants} tenants, {arguments.requests:,} probes of {found['targets']} routes",
        ("answer", "times"),
        [(status, f"{n:,}") for status, n in sorted(found["statuses"].items())],
    )
    for leak in leaks[:MOST_SHOWN]:
        report.note(f"LEAK: {leak.how}: {leak.method} {leak.path} -> {leak.status}")
    for name, n in found["errors"].most_common(MOST_SHOWN):
        report.note(f"server error: {name}, {n} times")
    report.note(f"{figure(rate, 0)} requests/s, p95 {figure(report.figures['p95_ms'], 1)} ms")
    report.goal("leaks", float(len(leaks)), "<=", 0)
    report.goal("server errors", float(report.figures["server_errors"]), "<=", 0)
    report.finish()
    return 0 if not leaks else 1
