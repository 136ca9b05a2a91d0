"""A chapter of the demo: one question at each granularity, a context and what it left out, and a look into the graph."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memos.demo.client import Client, Json
from memos.errors import Unavailable

GRANULARITIES: Final = ("turn", "fact", "episode", "auto")
SHOWN: Final = 2
BUDGET_TOKENS: Final = 120
WIDTH: Final = 100
"""Characters of a memory: a table is for comparing."""
JOBS_WITHIN_S: Final = 120.0


def look_closer(console: Console, client: Client, story: Json) -> None:
    """Facts and episodes are made of the talk, then asked for; the graph shows whom they are about."""
    console.print()
    console.rule("[bold]4. One question, four granularities[/]", align="left")
    console.print("[dim]Workers have read the talk meanwhile: facts, episodes, a profile, who is who.[/]\n")
    for work in ("extract", "consolidate", "extract"):
        _finished(client, client.start(work))
    question = story["question"]
    console.print(f"[bold]?[/] {question}")
    _by_granularity(console, client, question)
    _context(console, client, question)
    _graph(console, client, story["entity"])


def _by_granularity(console: Console, client: Client, question: str) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("Asked for", "Score", "Found", ""):
        table.add_column(column, overflow="fold")
    routes = []
    for granularity in GRANULARITIES:
        answer = client.search(question, limit=SHOWN, granularity=granularity)
        for place, item in enumerate(answer["items"]):
            asked = granularity if place == 0 else ""
            table.add_row(f"[cyan]{asked}[/]", f"{item['score']:.3f}", item["kind"], escape(_short(item["content"])))
        route = answer["route"]
        routes.append(f"{granularity}: {' + '.join(route['channels'])}, {route['candidates']} candidates, "
                      f"{answer['took_ms']:.0f} ms, {route['reason']}")  # fmt: skip
    console.print(table)
    for line in routes:
        console.print(f"[dim]  {escape(line)}[/]")


def _context(console: Console, client: Client, question: str) -> None:
    packed = client.context(question, BUDGET_TOKENS)
    console.print(f"\n[bold]As a context[/] of at most {BUDGET_TOKENS} tokens ({packed['tokens']} used):")
    for line in packed["text"].splitlines():
        console.print(f"  [green]|[/] {escape(line)}")
    reasons = Counter(str(dropped["reason"]) for dropped in packed["dropped"])
    left_out = ", ".join(f"{count} for {reason}" for reason, count in sorted(reasons.items())) or "nothing"
    console.print(f"[dim]  left out: {left_out}[/]")


def _graph(console: Console, client: Client, name: str) -> None:
    found = [entity for entity in client.entities(name) if entity["name"] == name]
    if not found:
        console.print(f"[dim]Nobody called {name} was found in the talk.[/]")
        return
    known = client.entity(found[0]["id"])
    console.print(
        f"\n[bold]{name}[/] is a {known['type']}, named by {known['memories']} memories. What is said of {name}:"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("Who", "What", "", "Valid from", "to"):
        table.add_column(column, overflow="fold")
    for relation in known["relations"][:6]:
        ends = [_day(relation[end]) for end in ("valid_from", "valid_to")]
        table.add_row(*(escape(relation[part]) for part in ("subject", "attribute", "value")), *ends)
    console.print(table)
    graph = client.graph(name)
    edges = Counter(edge["relation"] for edge in graph["edges"])
    kinds = ", ".join(f"{count} {relation}" for relation, count in edges.most_common(6))
    groups = len({node["community"] for node in graph["nodes"]})
    console.print(f"[dim]  around {name}: {len(graph['nodes'])} nodes in {groups} communities; edges: {kinds}[/]")


def _finished(client: Client, job: Json) -> None:
    """Wait for a job. Raises `Unavailable` when no worker ends it."""
    deadline = time.monotonic() + JOBS_WITHIN_S
    while job["state"] in ("queued", "running"):
        if time.monotonic() > deadline:
            raise Unavailable(f"the job {job['kind']} has not ended: is a worker running?")
        time.sleep(0.1)
        job = client.job(job["id"])
    if job["state"] != "succeeded":
        raise Unavailable(f"the job {job['kind']} {job['state']}: {job['error']}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} ..."


def _day(moment: str | None) -> str:
    return "" if moment is None else moment[:10]
