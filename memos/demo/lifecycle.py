"""A chapter of the demo: a fact is superseded, a cube is tidied, and something is forgotten for good, with proof."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memos.demo.client import Client, Json
from memos.demo.service import Service
from memos.errors import Unavailable

SPRING: Final = "2026-03-02T10:00:00Z"
BETWEEN: Final = "2026-04-15T12:00:00Z"
SUMMER: Final = "2026-06-10T18:00:00Z"
TALK: Final[dict[str, tuple[str, list[str]]]] = {
    "spring": (SPRING, [
        "I live in Lisbon, two streets from the harbour.",
        "The ferry to the island leaves at nine from pier two.",
        "My sister Marta teaches physics in Coimbra.",
        "Please answer me in short sentences.",
        "The code of my bicycle lock is 4711, keep it for me.",
        "I play the cello in an amateur orchestra on Tuesdays.",
    ]),
    "summer": (SUMMER, [
        "I moved to Porto last week.",
        "The ferry to the island leaves at nine, from pier two.",
        "The orchestra here rehearses on Thursdays and needs a second cello.",
        "Marta visits me in August.",
    ]),
}  # fmt: skip
CODE: Final = "4711"
JOBS_WITHIN_S: Final = 60.0
WIDTH: Final = 110


def tidy_and_forget(console: Console, service: Service) -> None:
    """In a cube of its own: what the workers do with a few turns of two seasons."""
    with Client(service, f"demo-tidy-{secrets.token_hex(3)}") as client:
        client.create("What one person told an assistant, in spring and in summer")
        said: dict[str, str] = {}
        for session, (at, texts) in TALK.items():
            messages = [{"role": "user", "name": "Ana", "content": text, "created_at": at} for text in texts]
            written = client.remember(session, messages)["memories"]
            said.update(zip(texts, (memory["id"] for memory in written), strict=True))
        _supersede(console, client)
        _consolidate(console, client)
        _forget(console, client, next(memory_id for text, memory_id in said.items() if CODE in text))


def _supersede(console: Console, client: Client) -> None:
    _title(
        console,
        "Supersede",
        "Workers read facts from what was said. A later value closes the earlier one; none is lost.",
    )
    _done(client, client.in_cube("POST", "extract", {}))
    question = "Where does Ana live?"
    for about, asked in (("now", {}), (f"as of {BETWEEN[:10]}", {"as_of": BETWEEN})):
        found = client.search(question, limit=1, granularity="fact", **asked)["items"]
        answer = escape(found[0]["content"]) if found else "nothing"
        console.print(f"[bold]?[/] {question}  [dim]({about})[/]\n  {answer}")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("Fact", "True from", "until"):
        table.add_column(column)
    facts = client.in_cube("GET", "memories?kind=fact&limit=50")["items"]
    for fact in sorted(facts, key=lambda fact: str(fact["valid_from"])):
        if "Lisbon" in fact["content"] or "Porto" in fact["content"]:
            table.add_row(escape(fact["content"]), _day(fact["valid_from"]), _day(fact["valid_to"]))
    console.print(table)


def _consolidate(console: Console, client: Client) -> None:
    _title(
        console, "Consolidate", "One revision: near-duplicates merged, sessions summed up. A rollback would undo it."
    )
    before: int = client.cube()["revision"]
    job = _done(client, client.in_cube("POST", "consolidate", {}))
    after = job["revision"] or before
    diff = client.diff(before, after)
    console.print(f"Revision {before} to {after}:")
    for item in diff["added"]:
        console.print(f"  [green]+ {item['kind']:9}[/] {_short(item['content'])}")
    for change in diff["changed"]:
        state = change["after"]["state"]
        if state != change["before"]["state"]:
            console.print(f"  [yellow]~ {state:9}[/] {_short(change['before']['content'])}")
    for item in diff["removed"]:
        console.print(f"  [red]- {item['kind']:9}[/] {_short(item['content'])}")


def _forget(console: Console, client: Client, memory_id: str) -> None:
    _title(
        console, "Forget", "The content goes, and all that was made of it, from every revision. The receipt proves it."
    )
    wanted = {"memory_ids": [memory_id]}
    told = client.in_cube("POST", "forget", {**wanted, "dry_run": True})
    reasons = Counter(reached["why"] for reached in told["memories"])
    console.print(f"It would take {told['taken']} memories: " + ", ".join(f"{n} {why}" for why, n in reasons.items()))
    promised = client.in_cube("POST", "forget", {**wanted, "reason": "Ana asked for it"})
    _done(client, {"id": promised["job_id"]})
    hits = client.search("What is the code of the bicycle lock?", limit=10)["items"]
    left = sum(CODE in hit["content"] for hit in hits)
    console.print(f"Asked for the code afterwards: {left} of {len(hits)} memories found say it.")
    with tempfile.TemporaryDirectory(prefix="memos-receipt-") as folder:
        receipt, key = Path(folder) / "receipt.json", Path(folder) / "key.json"
        receipt.write_text(json.dumps(client.at(f"/v1/receipts/{promised['receipt_id']}")), encoding="utf-8")
        key.write_text(json.dumps(client.at("/v1/receipts/key")), encoding="utf-8")
        console.print("[dim]$ memos verify-receipt receipt.json --key key.json[/]")
        verified = subprocess.run(
            [sys.executable, "-m", "memos.cli", "verify-receipt", str(receipt), "--key", str(key)],
            capture_output=True,
            text=True,
            check=False,
        )
    if verified.returncode:
        raise Unavailable(f"the receipt does not hold: {verified.stderr.strip()}")
    console.print(escape(verified.stdout.rstrip()))


# ---------------------------------------------------------------- waiting and showing


def _done(client: Client, job: Json) -> Json:
    """The job once it has ended. Raises `Unavailable` when it failed or takes too long."""
    deadline = time.monotonic() + JOBS_WITHIN_S
    while time.monotonic() < deadline:
        found = client.at(f"/v1/jobs/{job['id']}")
        if found["state"] == "succeeded":
            return found
        if found["state"] in ("failed", "cancelled"):
            raise Unavailable(f"the job {found['kind']} has {found['state']}: {found['error']}")
        time.sleep(0.05)
    raise Unavailable(f"a job has not ended within {JOBS_WITHIN_S:.0f} s; is a worker running?")


def _title(console: Console, title: str, about: str) -> None:
    console.print()
    console.rule(f"[bold]{title}[/]", align="left")
    console.print(f"[dim]{about}[/]\n")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return escape(line if len(line) <= WIDTH else f"{line[:WIDTH]} ...")


def _day(moment: str | None) -> str:
    return "-" if moment is None else moment[:10]
