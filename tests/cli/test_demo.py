"""`make demo`, end to end: it shows what it promises, succeeds, and leaves nothing behind."""

from __future__ import annotations

import json

from memos.demo.run import CONVERSATION
from tests.cli.conftest import memos


def test_the_demo_shows_what_it_promises() -> None:
    done = memos("demo", COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(CONVERSATION.read_text())
    for question in story["questions"]:
        assert question in done.stdout
    assert done.stdout.count("route: ") == len(story["questions"]) + 3
    fact = story["fact"]
    assert f"- {fact['content']}" in done.stdout
    assert f"+ {fact['corrected']}" in done.stdout
    now, past, rolled_back = done.stdout.split(f"? {fact['question']}")[1:]
    assert fact["corrected"] in now
    assert fact["content"] in past
    assert fact["content"] in rolled_back
    assert "rollback" in rolled_back
    now, before = done.stdout.split("? Where does Ana live?")[1:]
    assert "Porto" in now
    superseded = next(line for line in before.splitlines() if line.startswith("Ana lives in Lisbon"))
    assert superseded.split()[-2:] == ["2026-03-02", "2026-06-01"]
    assert "~ merged" in done.stdout
    assert "0 of" in done.stdout.split("Asked for the code afterwards:")[1].splitlines()[0]
    assert "The receipt holds." in done.stdout


def test_the_conversation_is_as_long_as_promised() -> None:
    story = json.loads(CONVERSATION.read_text())
    assert len(story["sessions"]) == 5
    assert sum(len(session["turns"]) for session in story["sessions"]) == 60
    assert len(story["questions"]) == 4
