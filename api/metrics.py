"""What Prometheus sees. A registry per app, so that importing registers nothing and two apps do not mix."""

from __future__ import annotations

from collections.abc import Iterable, Sized

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from memos.metering import meters
from memos.store import jobs, webhooks
from memos.store.engine import Database

# From a point read to a slow bulk write; a search is expected between 5 and 50 ms.
BUCKETS_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

log = structlog.get_logger("memos.api")


class Metrics:
    """Requests by route template, so the number of series is bounded by the number of routes."""

    def __init__(self, database: Database) -> None:
        pool = database.engine.pool
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(Queues(database))
        self.in_flight = Gauge("memos_requests_in_flight", "Requests being answered", registry=self.registry)
        if isinstance(pool, QueuePool):
            connections = Gauge("memos_connections_in_use", "Database connections in use", registry=self.registry)
            connections.set_function(pool.checkedout)
            room = Gauge("memos_connections_limit", "Database connections there may be", registry=self.registry)
            room.set_function(pool.size)
        self._latency = Histogram(
            "memos_request_seconds",
            "Time to answer, by route template",
            ["method", "route", "status"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        # Looking a child up by label takes a lock; the handful in use is remembered here.
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def watch(self, feeds: Sized, database: Database) -> None:
        """Also show the open feeds, and what waits for webhooks or was given up."""
        opened = Gauge("memos_feeds_open", "Event feeds open in this process", registry=self.registry)
        opened.set_function(lambda: len(feeds))
        self.registry.register(Deliveries(database))

    def observe(self, method: str, route: str, status: int, elapsed_s: float) -> None:
        labels = (method, route, status)
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._latency.labels(method, route, str(status))
        child.observe(elapsed_s)

    def exposition(self) -> bytes:
        """The text format Prometheus scrapes: ours, and what this process counts about its work."""
        return generate_latest(self.registry) + meters().exposition()


class Deliveries(Collector):
    """Messages of all tenants that wait for a webhook or were given up, read when somebody looks. Without a database
    there is nothing to tell, and the other measurements stand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Named beforehand, so that registering does not ask the database."""
        return self._families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth, oldest = self._families()
        try:
            found = webhooks.depths(self._database)
        except SQLAlchemyError as error:
            log.warning("deliveries_not_measured", error=type(error).__name__)
            return []
        for state, deliveries, oldest_s in found:
            depth.add_metric([state], deliveries)
            oldest.add_metric([state], oldest_s)
        return [depth, oldest]

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily("memos_deliveries", "Webhook messages that wait or were given up", labels=["state"]),
            GaugeMetricFamily(
                "memos_deliveries_oldest_seconds", "How long the oldest has been due, or dead", labels=["state"]
            ),
        )


class Queues(Collector):
    """Jobs of all tenants by kind and state, read when somebody looks: of the state of the queue there is no other
    copy that could be wrong. Without a database there is nothing to tell, and the other measurements stand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Named beforehand, so that registering does not ask the database."""
        return self._families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth, oldest = self._families()
        try:
            found = jobs.depths(self._database)
        except SQLAlchemyError as error:
            log.warning("queues_not_measured", error=type(error).__name__)
            return []
        for row in found:
            depth.add_metric([row.kind, row.state], row.jobs)
            oldest.add_metric([row.kind, row.state], row.oldest_s)
        return [depth, oldest]

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        labels = ["kind", "state"]
        return (
            GaugeMetricFamily("memos_jobs", "Jobs that wait, run or have failed", labels=labels),
            GaugeMetricFamily(
                "memos_jobs_oldest_seconds",
                "How long the oldest has been due, has run, or has been failed",
                labels=labels,
            ),
        )
