"""The demo's chapter on the activation tier: memory as a stored KV cache, restored by a process that never saw it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from memos.demo.client import Client, Json
from memos.demo.service import Service, model_dir
from memos.encoders.kv_engines import SMOLLM2
from memos.encoders.smollm2 import gguf_file
from memos.errors import MemosError, Misconfigured, Unavailable
from memos.kv import ActivationPlan, KVClient
from memos.rules.kv_layout import CHUNK_TOKENS

CODEC = "int8"
"""Answers from it are the same here; int4 is half the size, within its gate, and words an answer differently."""
BUDGET_TOKENS = 1_200
ASK_WITHIN_S = 180.0
EDITED_AT = 0.6
"""Where in the prefix the edited memory stands, as a share of its tokens."""


def remember_and_restore(console: Console, service: Service, story: Json, *, name: str) -> None:
    """Build the cache of a cube's memory, answer from it elsewhere, edit a memory, build what that invalidated."""
    try:
        gguf_file()
    except Misconfigured as missing:
        console.print(f"[yellow]Skipped:[/] {missing.detail}.")
        return
    with Client(service, name) as writer, KVClient(service.url, service.key, timeout_s=ASK_WITHIN_S) as client:
        try:
            _fill(writer, story)
            job = client.promote(name, SMOLLM2, codecs=[CODEC], budget_tokens=BUDGET_TOKENS)
            with _fresh_engine(service, name, story["activation"]["prompt"]) as process:
                with console.status(
                    "The worker loads a small language model, computes the cache, checks its codec ..."
                ):
                    built = client.finished(job, within_s=ASK_WITHIN_S)
                _show_built(console, built)
                with console.status("A fresh process asks ..."):
                    said = _asked(process)
        except MemosError as refused:
            console.print(f"[yellow]Skipped:[/] {refused.detail}")
            return
        _show_answers(console, story["activation"]["prompt"], said)
        _edit(console, writer, client, story["activation"])


def _fill(writer: Client, story: Json) -> None:
    writer.create("What two friends said, as one prefix")
    turns = [turn for session in story["sessions"] for turn in session["turns"]]
    writer.remember_facts([f"{turn['name']} said: {turn['content']}" for turn in turns])


def _show_built(console: Console, built: Json) -> None:
    gate: Json = built.get("codecs", {}).get(CODEC) or {}
    measured = f"; {CODEC} keeps {gate['top1']:.1%} of its predictions (KL {gate['kl']:.0e})" if "top1" in gate else ""
    console.print(
        f"[green]✓[/] {built['n_tokens']} tokens of memory are a KV cache of {built['chunks']} chunks, "
        f"{built['bytes'] / 1e6:.1f} MB{measured}."
    )


@contextmanager
def _fresh_engine(service: Service, cube: str, prompt: str) -> Iterator[subprocess.Popen[str]]:
    """An engine in another process, loading its model while the worker builds; it asks when told to."""
    arguments = [service.url, cube, str(model_dir()), str(BUDGET_TOKENS), prompt]
    process = subprocess.Popen(
        [sys.executable, "-m", "memos.demo.fresh_engine", *arguments],
        env={**os.environ, "MEMOS_KEY": service.key, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _asked(process: subprocess.Popen[str]) -> Json:
    """What it answered. Raises Unavailable when it did not."""
    try:
        out, complaints = process.communicate("go\n", timeout=ASK_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the fresh process did not answer within {ASK_WITHIN_S:.0f} s") from error
    if process.returncode:
        raise Unavailable(f"the fresh process failed: {complaints[-1_000:]}")
    said: Json = json.loads(out.splitlines()[-1])
    return said


def _show_answers(console: Console, prompt: str, said: Json) -> None:
    console.print(f"A process that never saw this memory (pid {said['pid']}) is asked to go on from it:\n")
    console.print(f"[bold]?[/] {prompt.strip()}")
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("CPU prefill", f"{said['prefill_ms']:.0f} ms", said["prefilled_text"].strip())
    table.add_row(said["way"], f"{said['restore_ms']:.0f} ms", said["restored_text"].strip())
    console.print(table)
    if said["reason"]:
        console.print(f"[yellow]It was not restored:[/] {said['reason']}")
        return
    ratio = said["prefill_ms"] / said["restore_ms"]
    same = "the same answer, token for token" if said["same"] else "an answer that differs"
    console.print(
        f"[green]✓[/] First token {ratio:.1f} times sooner than a CPU prefill, {said['cached_tokens']} of "
        f"{said['prompt_tokens']} tokens restored over HTTP, {same}.\n"
    )


def _edit(console: Console, writer: Client, client: KVClient, edit: Json) -> None:
    """Change one memory; what stood before it stays valid, and only the rest is built again."""
    before = client.plan(writer.name, SMOLLM2, budget_tokens=BUDGET_TOKENS)
    writer.edit(_standing_at(before, EDITED_AT), edit["content"], edit["reason"])
    after = client.plan(writer.name, SMOLLM2, budget_tokens=BUDGET_TOKENS)
    valid = client.lookup(writer.name, SMOLLM2, plan_id=after.plan_id).matched_tokens
    console.print(f"A memory in the middle is edited: {edit['reason']}. The cache, chunk by chunk:")
    console.print(f"  {_chunks(before, valid)}")
    client.finished(client.promote(writer.name, SMOLLM2, codecs=[CODEC], budget_tokens=BUDGET_TOKENS))
    again = client.lookup(writer.name, SMOLLM2, plan_id=after.plan_id)
    console.print(
        f"[green]✓[/] {valid} tokens before it stay valid; only the {again.total_tokens - valid} behind them were "
        f"computed again: {again.matched_tokens} of {again.total_tokens} are stored now."
    )


def _standing_at(plan: ActivationPlan, share: float) -> str:
    """The memory that stands at this share of the prefix."""
    at = share * len(plan.token_ids or ())
    standing = [item for item in plan.items if item.tokens is not None and item.tokens[0] <= at]
    return (standing or list(plan.items))[-1].memory_id


def _chunks(plan: ActivationPlan, valid: int) -> str:
    n_tokens = len(plan.token_ids or ())
    marks = []
    for start in range(0, n_tokens, CHUNK_TOKENS):
        end = min(start + CHUNK_TOKENS, n_tokens)
        marks.append(f"[green]{start}-{end} valid[/]" if end <= valid else f"[red]{start}-{end} invalid[/]")
    return "  ".join(marks)
