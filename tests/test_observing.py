"""Logs: one line an event, with the ids that belong to it and without anything a memory says."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy.exc import IntegrityError

from memos.errors import Misconfigured
from memos.observing import configure_logging
from memos.settings import Settings

SECRET = "Ines moved to Faro"


@pytest.fixture
def lines() -> Iterator[Any]:
    """What was logged so far, decoded. Leaves logging as it was found."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    configure_logging(Settings(log_json=True), process="test", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_our_lines_carry_the_request_and_the_process(lines: Any) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("memos.access").info("request", status=200)
    (line,) = lines()
    assert line.items() >= {"event": "request", "status": 200, "request_id": "r-1", "process": "test"}.items()
    assert line["logger"] == "memos.access"
    assert line["level"] == "info"


def test_lines_of_libraries_look_the_same_and_chatter_is_left_out(lines: Any) -> None:
    logging.getLogger("celery.app.trace").info("Task received")
    logging.getLogger("somebody").info("said %s", "this")
    (line,) = lines()
    assert line.items() >= {"event": "said this", "logger": "somebody", "process": "test"}.items()


@pytest.mark.parametrize("foreign", [False, True])
def test_an_error_shows_where_it_happened_and_not_what_it_quotes(lines: Any, foreign: bool) -> None:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise IntegrityError(f"INSERT '{SECRET}'", {"text": SECRET}, Exception(SECRET)) from error
    except IntegrityError as error:
        if foreign:
            logging.getLogger("somebody").exception("failed")
        else:
            structlog.get_logger("memos").error("failed", exc_info=error)
    (line,) = lines()
    assert SECRET not in json.dumps(line)
    assert "IntegrityError" in line["exception"]
    assert "caused by\nValueError" in line["exception"]
    assert "test_observing.py" in line["exception"]


def test_our_own_errors_and_the_systems_keep_their_words(lines: Any) -> None:
    log = structlog.get_logger("memos")
    log.error("failed", exc_info=Misconfigured("set REDIS_URL"))
    log.error("failed", exc_info=FileNotFoundError(2, "No such file", "/x"))
    ours, systems = lines()
    assert "set REDIS_URL" in ours["exception"]
    assert "/x" in systems["exception"]


def test_a_terminal_gets_text() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_json=False), process="test", stream=stream)
    structlog.get_logger("memos").info("hello", n=1)
    structlog.reset_defaults()
    logging.getLogger().handlers = []
    assert "hello" in stream.getvalue()
    assert "n=1" in stream.getvalue()
