"""The transport: a slot is free again although the broker was away when its message was acknowledged."""

from __future__ import annotations

import pytest
from kombu import Connection
from redis import ConnectionError as RedisConnectionError

from tests.conftest import Servers
from workers.messaging import make_celery


def test_a_message_that_could_not_be_acknowledged_holds_no_slot(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery = make_celery(servers.redis_url)
    with Connection(servers.redis_url, transport=celery.conf.broker_transport) as connection:
        queue = connection.SimpleQueue("slots")
        queue.put("a hint")
        message = queue.get(timeout=10)
        qos = message.channel.qos
        qos.prefetch_count = 1
        assert not qos.can_consume()

        def away(*_: object) -> None:
            raise RedisConnectionError("the broker is away")

        monkeypatch.setattr(qos, "_remove_from_indices", away)
        with pytest.raises(RedisConnectionError):
            message.ack()
        assert qos.can_consume()
        queue.close()
