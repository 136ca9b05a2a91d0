"""Messages over Valkey, by Kombu's transport with one mend: a worker that outlived its broker works on.

A message that is acknowledged while Valkey is away raises, and Kombu keeps the slot it held. When that happens to the
last slot, the worker asks for nothing more, so it never notices that its connection is dead, and waits for ever (seen in
`memos eval jobs`: two processes, Valkey killed while both were busy). The slot is given back here; the next question to
the broker then fails, and Celery connects anew. Nothing is lost by it: a message is a hint, the row is the promise.
"""

from __future__ import annotations

from kombu.transport import redis, virtual


class ForgivingQoS(redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


class ForgivingChannel(redis.Channel):
    QoS = ForgivingQoS


class Transport(redis.Transport):
    Channel = ForgivingChannel
