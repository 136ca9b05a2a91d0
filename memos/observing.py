"""Logs: one line an event, JSON or for a terminal, with the request's or job's id; never what a memory says.

Our own events carry ids and numbers. Errors are the risk: the text of a foreign exception may quote the value that broke
it, so of those only the kind and the places are logged. Lines of libraries go through the same renderer.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from memos.errors import MemosError
from memos.settings import Settings

# Below a warning these say only that they do their work: a line per task, per tick, per request.
QUIET = (
    "uvicorn",
    "celery",
    "kombu",
    "amqp",
    "alembic",
    "httpx",
    "httpcore",
    "asyncio",
    "filelock",
    "urllib3",
    "opentelemetry",
)
_MOST_FRAMES = 16
_MOST_CAUSES = 4


def configure_logging(settings: Settings, *, process: str, stream: TextIO | None = None) -> None:
    """Send everything this process logs to `stream` (standard error). Call once, at the start of a process."""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"process": process, **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
        _error_without_text,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *name: _NamedLogger(stream, *name),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


class _NamedLogger(structlog.WriteLogger):
    """Writes whole lines, and knows its name."""

    def __init__(self, stream: TextIO, name: str = "memos") -> None:
        super().__init__(stream)
        self.name = name


def _error_without_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_described(error))
    return event


def _described(error: BaseException) -> Iterator[str]:
    """The error and what caused it: kinds and places, and the words only where they are ours or the system's."""
    current: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if current is None:
            return
        yield type(current).__qualname__ + _words(current)
        for frame in traceback.extract_tb(current.__traceback__)[-_MOST_FRAMES:]:
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if current is not None:
            yield "caused by"


def _words(error: BaseException) -> str:
    if isinstance(error, MemosError):
        return f": {error.detail}"
    if isinstance(error, OSError):
        return f": {error}"
    state: Any = getattr(getattr(error, "orig", error), "sqlstate", None)
    return f" (SQLSTATE {state})" if state else ""
