"""Traces by OpenTelemetry: where the time of a request or job went, across processes.

On when `OTEL_EXPORTER_OTLP_ENDPOINT` (or the one for traces alone) is set, and configured by the other variables of its
specification; it takes the extra `memos[otel]`. Off, a span is one comparison. Spans carry routes, kinds, ids and the
class of a statement (`SELECT heads`), never a text, a query, a parameter or the words of an exception.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Engine, event

from memos.errors import Misconfigured

SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CLASS = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([a-z_]{1,40})\b")
_VERB = re.compile(r"\s*([A-Z]{1,10})\b")

_OFF: AbstractContextManager[Any] = nullcontext()
_tracer: Any = None
_provider: Any = None


def configure_tracing(process: str, *, exporter: Any = None) -> bool:
    """Begin to trace this process, if a collector is named; whether it is. Call once, after any fork.

    `exporter` replaces the one that sends. Raises `Misconfigured` when a collector is named and the extra is missing.
    """
    global _tracer, _provider
    if exporter is None and not any(os.environ.get(name) for name in SWITCHES):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"{SWITCHES[0]} is set but OpenTelemetry is not installed: pip install 'memos[otel]', or unset it"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"memos-{process}"}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter()) if exporter is None else SimpleSpanProcessor(exporter)
    )
    _provider, _tracer = provider, provider.get_tracer("memos")
    return True


def stop_tracing() -> None:
    """Send what waits, and trace no more."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.shutdown()


def span(name: str, **attributes: str | float | bool) -> AbstractContextManager[Any]:
    """A step of the present request or job. Yields the span, or None when tracing is off."""
    return _OFF if _tracer is None else _spanning(name, None, attributes)


def request_span(name: str, headers: list[tuple[bytes, bytes]]) -> AbstractContextManager[Any]:
    """The span of a request, below the caller's own if it sent a `traceparent`."""
    if _tracer is None:
        return _OFF
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {k.decode("latin-1"): v.decode("latin-1") for k, v in headers if k in {b"traceparent", b"tracestate"}}
    return _spanning(name, TraceContextTextMapPropagator().extract(carrier), {})


@contextmanager
def _spanning(name: str, context: Any, attributes: Mapping[str, str | float | bool]) -> Iterator[Any]:
    from opentelemetry.trace import Status, StatusCode

    with _tracer.start_as_current_span(
        name, context=context, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            # The kind only: the words may quote a memory.
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def trace_statements(engine: Engine) -> None:
    """A span for each statement of this engine, named by its class. Does nothing while tracing is off."""

    @event.listens_for(engine, "before_cursor_execute")
    def _begin(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: bool) -> None:
        if _tracer is not None and context is not None:
            context.memos_span = _tracer.start_span(
                f"db {class_of(statement)}", attributes={"db.system.name": "postgresql"}
            )

    @event.listens_for(engine, "after_cursor_execute")
    def _end(_c: Any, _cursor: Any, _statement: str, _p: Any, context: Any, _many: bool) -> None:
        if (begun := getattr(context, "memos_span", None)) is not None:
            begun.end()

    @event.listens_for(engine, "handle_error")
    def _failed(error: Any) -> None:
        if (begun := getattr(error.execution_context, "memos_span", None)) is not None:
            from opentelemetry.trace import Status, StatusCode

            begun.set_status(Status(StatusCode.ERROR, type(error.original_exception).__name__))
            begun.end()


def statement_span(statement: str) -> AbstractContextManager[Any]:
    """The same for a statement that goes past the engine, straight to the driver."""
    if _tracer is None:
        return nullcontext()
    return _spanning(f"db {class_of(statement)}", None, {"db.system.name": "postgresql"})


def class_of(statement: str) -> str:
    """The verb and the first table: all that a trace says of a statement."""
    verb, table = _VERB.match(statement), _CLASS.search(statement)
    return " ".join(part[1] for part in (verb, table) if part is not None) or "statement"
