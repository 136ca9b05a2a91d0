"""`memos demo`: load a conversation, ask, correct a fact, compare, look back, roll back.

Each chapter takes the client and the console and needs nothing from the others, except that the first one fills the cube.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from memos.demo.activation import remember_and_restore
from memos.demo.client import Client, Json
from memos.demo.closer import look_closer
from memos.demo.lifecycle import tidy_and_forget
from memos.demo.service import Service, fresh, running
from memos.errors import MemosError

CONVERSATION = Path(__file__).with_name("conversation.json")
TURN_EVERY = timedelta(seconds=40)
SHOWN = 3  # answers to a question


def demo(url: str | None, key: str | None) -> int:
    """The walk, in the terminal. The exit code."""
    console = Console(highlight=False)
    started = time.monotonic()
    story = json.loads(CONVERSATION.read_text(encoding="utf-8"))
    try:
        with ExitStack() as ending:
            if url is None:
                with console.status("Starting a fresh service: PostgreSQL, Valkey, API, worker ..."):
                    service = ending.enter_context(fresh())
                console.print(f"[green]✓[/] A fresh service is ready after {time.monotonic() - started:.1f} s.")
                ending.callback(console.print, "\nStopping the service and removing its data ...")
            else:
                service = running(url, key)
            with Client(service, f"demo-{secrets.token_hex(3)}") as client:
                load(console, client, story)
                ask(console, client, story["questions"])
                correct(console, client, story["fact"])
                look_closer(console, client, story["closer"])
            tidy_and_forget(console, service)
            activate(console, service, story)
    except MemosError as error:
        console.print(f"[bold red]The demo stops:[/] {error.detail}")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    console.print(f"[green]✓[/] Done in {time.monotonic() - started:.0f} s. [bold]memos serve[/] keeps one running.")
    return 0


# ---------------------------------------------------------------- chapters


def load(console: Console, client: Client, story: Json) -> None:
    """A conversation of several sessions, and a document."""
    _title(console, "1. Remember", story["about"])
    client.create(story["about"])
    turns = sum(len(session["turns"]) for session in story["sessions"])
    with _progress(console) as progress:
        task = progress.add_task("turns", total=turns)
        for session in story["sessions"]:
            client.remember(session["session_id"], _messages(session))
            progress.advance(task, len(session["turns"]))
        task = progress.add_task("document", total=1)
        passages = len(client.remember_document(story["document"])["memories"])
        progress.advance(task)
    cube = client.cube()
    console.print(
        f"[green]✓[/] {turns} turns of {len(story['sessions'])} sessions and {passages} passages of a document; "
        f"the cube is at revision {cube['revision']}."
    )


def ask(console: Console, client: Client, questions: list[str]) -> None:
    """Questions, answered by what was said, with scores and the route that was taken."""
    _title(console, "2. Ask", "No language model is asked: the service finds what was said, and says how.")
    for question in questions:
        _show_answer(console, question, client.search(question, limit=SHOWN))


def correct(console: Console, client: Client, fact: Json) -> None:
    """A fact is corrected, compared, looked up in the past, and rolled back."""
    _title(console, "3. Correct, compare, look back, roll back", "Every change is a revision; none is ever lost.")
    noted = client.remember_fact(fact["content"])
    before: int = noted["revision"]
    client.edit(noted["memories"][0]["id"], fact["corrected"], fact["reason"])
    after: int = client.cube()["revision"]
    console.print(f"The fact of revision {before} was corrected in revision {after}: {fact['reason']}. The diff:")
    for change in client.diff(before, after)["changed"]:
        console.print(f"  [red]- {change['before']['content']}[/]")
        console.print(f"  [green]+ {change['after']['content']}[/]")
    console.print()
    question = fact["question"]
    _show_answer(console, f"{question}  [dim](now)[/]", client.search(question, limit=1))
    _show_answer(console, f"{question}  [dim](as of revision {before})[/]", client.search(question, limit=1, at=before))
    rolled = client.rollback(before, "the railway took it back")
    console.print(f"Rolled back to revision {before}; that is revision {rolled['revision']}, for history goes on.\n")
    _show_answer(console, f"{question}  [dim](now, after the rollback)[/]", client.search(question, limit=1))
    _show_history(console, client)


def activate(console: Console, service: Service, story: Json) -> None:
    """Memory as a stored KV cache."""
    _title(
        console, "8. Activate", "What an engine would compute from this memory each time is computed once, and kept."
    )
    remember_and_restore(console, service, story, name=f"demo-kv-{secrets.token_hex(3)}")


# ---------------------------------------------------------------- showing


def _title(console: Console, title: str, about: str) -> None:
    console.print()
    console.rule(f"[bold]{title}[/]", align="left")
    console.print(f"[dim]{about}[/]\n")


def _show_answer(console: Console, question: str, answer: Json) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(justify="right", style="cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for item in answer["items"]:
        table.add_row(f"{item['score']:.3f}", _origin(item), _excerpt(item["content"], question))
    console.print(f"[bold]?[/] {question}")
    console.print(table)
    route = answer["route"]
    how = f"{' + '.join(route['channels'])}, {route['budget']} budget, {answer['took_ms']:.0f} ms: {route['reason']}"
    console.print(f"[dim]  route: {how}[/]\n")


def _excerpt(content: str, question: str) -> str:
    """Of several paragraphs the one that shares most words with the question: a terminal is not a page."""
    asked = set(question.lower().split())
    paragraphs = [p for p in content.split("\n\n") if p.strip()]
    best = max(paragraphs, key=lambda p: len(asked & set(p.lower().split())))
    return best if len(paragraphs) == 1 else f"... {best} ..."


def _origin(item: Json) -> str:
    source = item["source"]
    day = f"{datetime.fromisoformat(source['created_at']):%d %b}"
    who = source.get("name") or source.get("title") or item["kind"]
    return f"{day}  {who}"


def _show_history(console: Console, client: Client) -> None:
    table = Table(title="The last revisions", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("Revision", "Kind", "Added", "Changed", "Removed", "Reason", "Hash"):
        table.add_column(column)
    for r in client.revisions():
        numbers = [str(r[name]) for name in ("added", "changed", "removed")]
        table.add_row(str(r["revision"]), r["kind"], *numbers, r["reason"], r["hash"][:12])
    console.print(table)


def _messages(session: Json) -> list[Json]:
    """Turns with the times they were said at."""
    begun = datetime.fromisoformat(session["starts_at"])
    return [
        {"role": "user", **turn, "created_at": (begun + i * TURN_EVERY).isoformat()}
        for i, turn in enumerate(session["turns"])
    ]


def _progress(console: Console) -> Progress:
    columns: list[Any] = [TextColumn("{task.description:10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()]
    return Progress(*columns, console=console)
