"""Dashboards and alerts name only what the service measures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from api.app import create_app
from memos.embedded.processes import free_port
from memos.metering import meters
from memos.wiring import App
from tests.conftest import OWNER_KEY, Servers

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BY_PROMETHEUS = {"up"}
_WORDS = {
    "sum", "by", "rate", "max", "histogram_quantile", "increase", "deriv", "changes", "and", "le", "job", "kind", "state",
    "route", "stage", "door", "channels", "status", "cache", "outcome", "direction", "instance",
}  # fmt: skip


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of every alert and panel."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    found = [(r["alert"], r["expr"]) for group in rules["groups"] for r in group["rules"]]
    board = json.loads((DEPLOY / "grafana" / "memos.json").read_text())
    return found + [(p["title"], t["expr"]) for p in board["panels"] for t in p["targets"]]


def metrics_of(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\{[^}]*\}', " ", expression)
    return set(re.findall(r"\b[a-z_]+[a-z]\b", bare)) - _WORDS


@pytest.fixture(scope="module")
def exposed(app: App) -> dict[str, str]:
    """Names of all samples that /metrics can show, and their types."""
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as client:
        text = client.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    names = dict(types)
    for name, kind in types.items():
        if kind == "histogram":
            names |= {f"{name}_{suffix}": "sample" for suffix in ("bucket", "count", "sum")}
    return names


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_that_is_named_exists(where: str, expression: str, exposed: dict[str, str]) -> None:
    named = metrics_of(expression)
    assert named, expression
    missing = named - BY_PROMETHEUS - exposed.keys()
    assert not missing, where


def test_labels_that_are_named_exist(app: App) -> None:
    """Of our own meters: what is selected or grouped by is a label."""
    known = {"le", "job", "instance", "method", "route", "status", "kind", "state"}
    for meter in vars(meters()).values():
        known |= set(getattr(meter, "_labelnames", ()))
    for where, expression in expressions():
        used = set(re.findall(r'([a-z_]+)\s*(?:=~|!=|!~|=)"', expression))
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            used |= {name.strip() for name in grouped.split(",")}
        assert used <= known, where


def test_every_meter_of_ours_is_named_by_convention_and_shown(exposed: dict[str, str]) -> None:
    """`memos_` first, units last; counters end in `_total`; nothing is measured that no dashboard or alert shows."""
    shown = set().union(*(metrics_of(expression) for _, expression in expressions()))
    for name, kind in exposed.items():
        if not name.startswith("memos_") or kind == "sample" or name.endswith("_created"):
            continue
        assert kind != "counter" or name.endswith("_total"), name
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert {name, f"{name}_bucket", f"{name}_count"} & shown, f"{name} is on no dashboard"


def test_every_alert_says_what_to_do() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    names: list[str] = []
    for group in rules["groups"]:
        for rule in group["rules"]:
            names.append(rule["alert"])
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", ["prometheus.yml", "one-machine.yml"])
def test_the_scrape_configuration_loads_the_rules(file: str) -> None:
    config: Any = yaml.safe_load((DEPLOY / "prometheus" / file).read_text())
    assert config["rule_files"]
    for name in config["rule_files"]:
        assert (DEPLOY / "prometheus" / name).exists()
    assert {job["job_name"] for job in config["scrape_configs"]} == {"memos-api", "memos-worker"}


def test_a_worker_serves_what_its_processes_measure(app: App, owner_url: str, servers: Servers, owner: Any) -> None:
    from memos.store import jobs

    port = free_port(None)
    environment = {
        "DATABASE_URL": owner_url, "REDIS_URL": servers.redis_url, "MEMOS_EMBEDDER": "fake:64",
        "MEMOS_DATA_DIR": str(servers.root), "PYTHONPATH": str(ROOT), "MEMOS_WORKER_METRICS": f"127.0.0.1:{port}",
    }  # fmt: skip
    from workers.messaging import make_celery
    from workers.nudging import celery_nudger

    nudger = celery_nudger(make_celery(servers.redis_url))
    with subprocess.Popen(
        [sys.executable, "-m", "memos.cli", "worker"], env=os.environ | environment, start_new_session=True
    ) as worker:
        try:
            with app.database.transaction(owner.tenant_id) as tx:
                job_id = jobs.promise(tx, "index", payload={"branch": "main"})
            nudger.nudge(owner.tenant_id, job_id, "index")
            deadline, text = time.monotonic() + 90, ""
            while 'memos_job_seconds_count{kind="index",state="succeeded"} 1.0' not in text:
                assert time.monotonic() < deadline, text
                threading.Event().wait(0.2)
                try:
                    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
                except httpx.TransportError:
                    continue
        finally:
            worker.terminate()
            assert worker.wait(60) == 0
            nudger.close()
