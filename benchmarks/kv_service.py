"""A service with the activation tier on, a cube of enough memory, and its caches built: what the HTTP parts measure."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import MemosClient
from benchmarks.options import cube_name
from benchmarks.report import Report, progress
from benchmarks.server import Service, open_service
from memos.encoders.kv_engines import SMOLLM2
from memos.kv import ActivationPlan, KVClient

FACT_CHARS = 900
ROOM_TOKENS = 600
"""A plan is this much longer than the longest prefix asked for: the question comes from its tail."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """A cube whose plan is stored in `codecs`; `token_ids` is the plan's prefix."""

    service: Service
    client: KVClient
    cube: str
    model: str
    plan: ActivationPlan

    @property
    def token_ids(self) -> tuple[int, ...]:
        assert self.plan.token_ids is not None
        return self.plan.token_ids


@contextmanager
def promoted(
    report: Report, text: str, *, n_tokens: int, codecs: Sequence[str], models: Path, blobs: str, model: str = SMOLLM2
) -> Iterator[Promoted]:
    """Facts cut from `text` until the plan has `n_tokens` and some, each codec built by the service's own worker."""
    environment = {"MEMOS_KV_MODEL": model, "MEMOS_MODEL_DIR": str(models.resolve()), "MEMOS_KV_BLOBS": blobs}
    with (
        open_service(environment=environment) as service,
        MemosClient(service.url, service.key) as writer,
        KVClient(service.url, service.key, timeout_s=120) as client,
    ):
        cube = cube_name("kv")
        writer.create_cube(cube)
        budget = n_tokens + ROOM_TOKENS
        # Four characters a token is a little more text than the budget takes.
        pieces = textwrap.wrap(" ".join(text.split())[: budget * 5], FACT_CHARS)
        writer.add_memories(cube, [{"kind": "fact", "content": piece} for piece in pieces])
        # Following jobs (extraction) may still write: what they add must not change the plan between two codecs.
        _settled(client)
        with progress("the service builds and checks caches", len(codecs)) as step:
            for codec in codecs:
                began = time.perf_counter()
                job = client.promote(cube, model, codecs=[codec], budget_tokens=budget)
                result = client.finished(job)
                report.figures[f"build.{codec}"] = {**result, "wall_s": time.perf_counter() - began}
                step()
        yield Promoted(service, client, cube, model, client.plan(cube, model, budget_tokens=budget))


def _settled(client: KVClient, *, within_s: float = 120.0) -> None:
    """Wait until no job waits or runs."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(client.ask("GET", f"/v1/jobs?state={state}").get("items") for state in ("queued", "running")):
            return
        time.sleep(0.2)
