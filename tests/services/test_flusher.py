"""What is gathered in memory for the database: seen by whoever flushes, and one tenant's trouble stays its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils
from structlog.testing import capture_logs

from memos.rules.access import Principal
from memos.services.trace_buffer import TraceBuffer
from memos.store import traces
from memos.store.traces import Trace
from memos.wiring import App

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def make(owner: Principal) -> Trace:
    return Trace(
        id=uuid_utils.uuid7(), door="search", asked_at=NOON, key_id=owner.key_id, cube_ids=[], memory_ids=[],
        request={"query": "where?"}, revisions={}, route={}, items=[], dropped=[], answer_hash=bytes(32), weights="1",
        took_ms=1.0,
    )  # fmt: skip


def there(app: App, tenant_id: UUID, trace: Trace) -> bool:
    with app.database.transaction(tenant_id) as tx:
        return traces.find(tx, trace.id) is not None


def held_up(trace: Trace, started: threading.Event, go_on: threading.Event) -> Callable[[], Trace]:
    def written() -> Trace:
        started.set()
        assert go_on.wait(timeout=30)
        return trace

    return written


def test_a_flush_waits_for_what_another_thread_is_writing(app: App, owner: Principal) -> None:
    buffer, trace = TraceBuffer(app.database), make(owner)
    started, go_on = threading.Event(), threading.Event()
    buffer.add(owner.tenant_id, held_up(trace, started, go_on))
    background = threading.Thread(target=buffer.flush)
    background.start()
    assert started.wait(timeout=30)
    seen: list[bool] = []

    def read() -> None:
        buffer.flush()
        seen.append(there(app, owner.tenant_id, trace))

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(timeout=0.2)  # one that does not wait is done by now, and has seen nothing
    go_on.set()
    for thread in (background, reader):
        thread.join(timeout=30)
    assert seen == [True]


def test_what_is_added_during_a_flush_waits_for_the_next(app: App, owner: Principal) -> None:
    buffer, first, second = TraceBuffer(app.database), make(owner), make(owner)
    started, go_on = threading.Event(), threading.Event()
    buffer.add(owner.tenant_id, held_up(first, started, go_on))
    background = threading.Thread(target=buffer.flush)
    background.start()
    assert started.wait(timeout=30)
    buffer.add(owner.tenant_id, lambda: second)  # a search does not wait for the writing
    go_on.set()
    background.join(timeout=30)
    assert [there(app, owner.tenant_id, one) for one in (first, second)] == [True, False]
    buffer.flush()
    assert there(app, owner.tenant_id, second)


def test_what_one_tenant_cannot_write_costs_no_other(app: App, owner: Principal) -> None:
    buffer, lost, kept = TraceBuffer(app.database), make(owner), make(owner)
    gone = uuid_utils.uuid7()
    buffer.add(gone, lambda: lost)
    buffer.add(owner.tenant_id, lambda: kept)
    with capture_logs() as logs:
        buffer.flush()
    assert [(line["event"], line["tenant"], line["error"]) for line in logs] == [
        ("buffer_lost", str(gone), "IntegrityError")
    ]
    assert there(app, owner.tenant_id, kept)
