"""`memos doctor`: the examination as a table, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from redis import Redis
from rich.console import Console
from rich.table import Table

from memos.cli.owner_key import console_key
from memos.cli.servers import reachable
from memos.errors import MemosError
from memos.services.doctor import Patient, examine
from memos.services.findings import Finding, Verdict, fail
from memos.settings import Settings
from memos.store.engine import Database
from memos.wiring import connections_of, data_dir, embedder_of, login_url

# A count over a large cube takes longer than any request may.
STATEMENT_TIMEOUT_S = 3_600.0
COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Examine and report. The exit code: 1 when something fails, else 0."""
    console = Console(stderr=as_json, highlight=False)
    with console.status("Examining ..."):
        findings = list(_findings(settings, repair=repair))
    healthy = all(finding.verdict is not Verdict.FAIL for finding in findings)
    if as_json:
        sys.stdout.write(json.dumps({"ok": healthy, "findings": [asdict(f) for f in findings]}, indent=2) + "\n")
    else:
        console.print(_table(findings))
        console.print("[green]All is well.[/]" if healthy else "[bold red]Something has to be done.[/]")
    return 0 if healthy else 1


def _findings(settings: Settings, *, repair: bool) -> Iterator[Finding]:
    try:
        with reachable(settings) as named, _patient(named) as patient:
            yield from examine(patient, repair=repair)
    except MemosError as error:
        yield fail("servers", error.detail, "see the message; then run 'memos doctor' again")


@contextmanager
def _patient(settings: Settings) -> Iterator[Patient]:
    patient_settings = settings.model_copy(update={"statement_timeout_s": STATEMENT_TIMEOUT_S, "pool_size": 2})
    database = Database(login_url(settings), patient_settings, application_name="memos-doctor")
    redis = Redis.from_url(settings.redis_url.get_secret_value()) if settings.redis_url else None
    try:
        yield Patient(
            database=database,
            owner_url=settings.database_url.get_secret_value() if settings.database_url else None,
            redis=redis,
            embedder_name=settings.embedder,
            embedder=lambda: embedder_of(settings),
            data_dir=data_dir(settings),
            owner_key=console_key(settings, data_dir(settings)),
            connections=connections_of(settings),
            kv_dir=settings.kv_dir,
        )
    finally:
        database.close()
        if redis is not None:
            redis.close()


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("Check", no_wrap=True)
    table.add_column("Finding", overflow="fold")
    for finding in findings:
        said = finding.detail + (f"\n[dim]→ {finding.advice}[/]" if finding.advice else "")
        table.add_row(f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]", finding.check, said)
    return table
