"""The isolation benchmark notices a leak when there is one, and finds none in a small run."""

from __future__ import annotations

import asyncio
import random

import httpx

from benchmarks import isolation
from benchmarks.isolation import Probe, Target, judge, probe
from benchmarks.isolation_world import House
from benchmarks.poison import alarmed, draft_of
from benchmarks.poison_cases import HARMLESS, INSTRUCTIONS


def house(n: int) -> House:
    made = House(f"tenant-{n}", f"id-{n}", f"key-{n}", f"bound-{n}", f"canary{n:012x}", cube_id=f"cube-{n}")
    made.known = {
        name: [f"{name}-{n}"]
        for name in ("cube", "memory_id", "name", "job_id", "key_id", "entity_id", "center", "subject", "grant_id")
    }
    return made


def answered(sent: Probe, status: int, text: str) -> isolation.Leak | None:
    return judge(sent, httpx.Response(status, text=text))


def test_what_leaks_is_called_a_leak() -> None:
    victim, attacker = house(1), house(2)
    target = Target("GET", "/v1/cubes/{cube}/memories", None, None, ())
    stranger = Probe(target, victim, attacker.key, attacker, "/v1/cubes/cube-1/memories", {}, None, foreign=True)
    assert answered(stranger, 404, "no such cube") is None
    assert answered(stranger, 404, f"no such cube {victim.token}") is not None
    assert answered(stranger, 200, "{}") is not None
    bound = Probe(target, victim, victim.bound_key, victim, "/v1/cubes/cube-1/memories", {}, None, foreign=True)
    assert answered(bound, 404, "no such cube") is None
    assert answered(bound, 200, victim.token) is not None
    own = Probe(target, victim, attacker.key, attacker, "/v1/cubes/shared/memories", {}, None, foreign=False)
    assert answered(own, 200, attacker.token) is None
    assert answered(own, 200, f"{attacker.token} {victim.token}") is not None


def test_probes_never_aim_at_what_the_attacker_has_itself() -> None:
    chance, houses = random.Random(3), [house(n) for n in range(4)]
    body = {"cube": "travel-agent", "memory_ids": ["x"], "query": "q"}
    target = Target("POST", "/v1/cubes/{cube}/forget", body, "application/json", ("cursor",))
    for _ in range(300):
        sent = probe(chance, [target], houses)
        assert sent.foreign
        assert sent.path == f"/v1/cubes/{sent.victim.cube_id}/forget"
        assert sent.body["memory_ids"] == sent.victim.known["memory_id"]
        assert sent.key in (sent.attacker.key, sent.victim.bound_key)


def test_a_small_run_finds_nothing() -> None:
    found = asyncio.run(isolation._run(60, 3, seed=5))
    assert found["leaks"] == []
    assert not found["errors"]


def test_planted_orders_are_noticed_and_ordinary_talk_is_not() -> None:
    noticed = sum(alarmed(draft_of(case.channel, case.planted)) for case in INSTRUCTIONS)
    assert noticed >= 0.75 * len(INSTRUCTIONS)
    assert not [text for channel, text in HARMLESS if alarmed(draft_of(channel, text))]
