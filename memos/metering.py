"""What a process counts about its own work, for Prometheus: recalls, models, caches, jobs, messages.

One set of meters a process, made when it is first asked for, so that importing this registers nothing. Labels take few
values, all of our own making: no tenant, no cube, nothing a caller sent. `/metrics` of the API shows them beside its own;
a worker serves them on `MEMOS_WORKER_METRICS`, summed over the processes it has forked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from memos.tracing import span

# From a cached vector to a slow statement.
STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
RECALL_BUCKETS_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)
JOB_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800)


class Meters:
    """The meters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stages = Histogram(
            "memos_stage_seconds",
            "Steps of the work: embed, candidates, rank, second_look, times, heirs",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self.recalls = Histogram(
            "memos_recall_seconds",
            "Searches and contexts, by the channels that took part and the budget of the route",
            ["door", "channels", "budget"],
            buckets=RECALL_BUCKETS_S,
            registry=self.registry,
        )
        self.escalations = Counter(
            "memos_recall_second_looks", "Recalls that were not sure enough and looked again", registry=self.registry
        )
        self.caches = Counter(
            "memos_cache_lookups",
            "Lookups in a process's own caches: keys (who is calling), vectors",
            ["cache", "outcome"],
            registry=self.registry,
        )
        self.llm_calls = Counter("memos_llm_calls", "Calls of the language model", ["outcome"], registry=self.registry)
        self.llm_tokens = Counter("memos_llm_tokens", "Tokens read and written", ["direction"], registry=self.registry)
        self.llm_seconds = Counter("memos_llm_seconds", "Time waited for the model", registry=self.registry)
        self.llm_dollars = Counter("memos_llm_cost_dollars", "At the prices in the settings", registry=self.registry)
        self.jobs = Histogram(
            "memos_job_seconds",
            "Attempts at jobs, by how they ended",
            ["kind", "state"],
            buckets=JOB_BUCKETS_S,
            registry=self.registry,
        )
        self.webhooks = Counter(
            "memos_webhook_posts", "Messages sent to webhooks, by how it went", ["outcome"], registry=self.registry
        )

    def exposition(self) -> bytes:
        """The text format Prometheus scrapes."""
        return generate_latest(self.registry)


_lock = threading.Lock()
_meters: Meters | None = None


def meters() -> Meters:
    """Those of this process."""
    global _meters
    if _meters is None:
        with _lock:
            if _meters is None:
                _meters = Meters()
    return _meters


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure a step, and show it in the trace of the request or job it belongs to. `name` is a constant."""
    started = time.perf_counter()
    try:
        with span(name):
            yield
    finally:
        meters().stages.labels(name).observe(time.perf_counter() - started)
