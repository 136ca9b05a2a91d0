"""Nudges: told soon, never waited for, and lost without harm."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from memos.cache.nudge import BackgroundNudger
from memos.errors import Unavailable
from workers.messaging import make_celery
from workers.nudging import publisher

TENANT = uuid4()


class Broker:
    """Keeps what it is sent, once it is let; `down` makes it refuse."""

    def __init__(self) -> None:
        self.got: list[UUID] = []
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Semaphore(0)
        self.down = False

    def publish(self, _tenant_id: UUID, job_id: UUID, _kind: str) -> None:
        self.asked.release()
        self.open.wait()
        if self.down:
            raise Unavailable("the broker is down")
        self.got.append(job_id)


def test_nudges_arrive_in_order_and_closing_waits_for_them() -> None:
    broker = Broker()
    nudger = BackgroundNudger(broker.publish)
    ids = [uuid4() for _ in range(20)]
    for job_id in ids:
        nudger.nudge(TENANT, job_id, "index")
    nudger.close()
    assert broker.got == ids
    assert nudger.dropped == 0


def test_a_full_queue_drops_instead_of_waiting() -> None:
    broker = Broker()
    broker.open.clear()
    nudger = BackgroundNudger(broker.publish, most_waiting=2)
    nudger.nudge(TENANT, uuid4(), "index")
    broker.asked.acquire()  # the thread holds the first one; two more find room
    for _ in range(5):
        nudger.nudge(TENANT, uuid4(), "index")
    assert nudger.dropped == 3
    broker.open.set()
    nudger.close()
    assert len(broker.got) == 3


def test_a_broker_that_is_down_is_left_alone_for_a_while() -> None:
    broker = Broker()
    broker.down = True
    nudger = BackgroundNudger(broker.publish, pause_s=3_600)
    nudger.nudge(TENANT, uuid4(), "index")
    while nudger.dropped < 1:
        broker.asked.acquire(timeout=0.01)
    nudger.nudge(TENANT, uuid4(), "index")
    assert nudger.dropped == 2
    nudger.close()
    assert broker.got == []


def test_closing_without_a_nudge_starts_nothing() -> None:
    before = threading.active_count()
    BackgroundNudger(Broker().publish).close()
    assert threading.active_count() == before


class Rude:
    """A port that takes connections and hangs up at once, and counts them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0"
        self.calls = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.calls += 1
                connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


def test_a_publisher_asks_a_broker_that_is_away_once_and_then_leaves_it_alone() -> None:
    """With Celery's own patience it asked three times in six seconds, for each message."""
    rude = Rude()
    publish = publisher(make_celery(rude.url))
    with pytest.raises(Unavailable):
        publish(TENANT, uuid4(), "index")
    asked = rude.calls
    assert asked == 1
    nudger = BackgroundNudger(publish, pause_s=3_600)
    for _ in range(50):
        nudger.nudge(TENANT, uuid4(), "index")
    nudger.close(timeout_s=30)
    assert nudger.dropped == 50
    assert rude.calls <= asked + 2
    rude.close()
