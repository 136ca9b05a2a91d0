"""Sending to addresses that strangers gave: to the open internet only, in bounded time, following nobody elsewhere.

A name is resolved here and every address it stands for is looked at; the connection goes to the very address that was
looked at, so that a name cannot mean another one a moment later (DNS rebinding). TLS still verifies the name. Nothing of
an answer is kept but its status, redirects are answers like others, and proxies of the environment are not asked.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore

from memos.rules.webhooks import is_public

# Of a status line and headers; more is no answer to a webhook.
_MOST_ANSWER_BYTES = 64 * 2**10

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Sent:
    """How it went: a status, or why there is none. `error` is one of our own words, never the endpoint's."""

    status: int | None
    error: str | None
    took_ms: float

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Forbidden(Exception):
    """The name stands for an address that may not be called."""


class Sender:
    """Posts bodies; as a context it keeps connections between posts. Not thread-safe."""

    def __init__(self, *, timeout_s: float, private: bool, resolve: Resolve | None = None) -> None:
        """`timeout_s` bounds one post as a whole, from resolving to the answer. `private` allows every address."""
        self._timeout_s = timeout_s
        self._network = _Network(private, resolve or addresses)
        self._pool = httpcore.ConnectionPool(
            max_connections=1, max_keepalive_connections=1, network_backend=self._network, retries=0
        )

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Never raises for what the other side does or fails to do."""
        started = time.perf_counter()
        self._network.deadline = time.monotonic() + self._timeout_s
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        status, error = None, None
        try:
            with self._pool.stream(
                "POST", url, headers=list(headers.items()), content=body, extensions={"timeout": timeouts}
            ) as answer:
                status = answer.status
        except Forbidden:
            error = "forbidden_address"
        except httpcore.TimeoutException:
            error = "timeout"
        except httpcore.ConnectError as failure:
            error = "tls" if isinstance(failure.__cause__, ssl.SSLError) else "unreachable"
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError):
            error = "broken_answer"
        return Sent(status, error, round((time.perf_counter() - started) * 1_000, 1))


def addresses(host: str, port: int) -> list[str]:
    """What a name stands for. Raises `OSError` when it stands for nothing."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class _Network(httpcore.NetworkBackend):
    """Connects to what was looked at, and gives every operation what is left of the time."""

    def __init__(self, private: bool, resolve: Resolve) -> None:
        self.deadline = 0.0
        self._private = private
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError("the name stands for no address") from error
        if not self._private and not all(is_public(address) for address in found):
            raise Forbidden
        failure: Exception = httpcore.ConnectError("no address")
        for address in found:
            try:
                stream = self._sockets.connect_tcp(address, port, self.left(timeout), local_address, socket_options)
                return _Stream(stream, self)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    def left(self, timeout: float | None) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole exchange is over")
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection that ends with the deadline, however slowly the other side talks, and reads only so much."""

    def __init__(self, inner: httpcore.NetworkStream, network: _Network) -> None:
        self._inner = inner
        self._network = network
        self._read = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._read > _MOST_ANSWER_BYTES:
            raise httpcore.ReadError("the answer does not end")
        data = self._inner.read(max_bytes, self._network.left(timeout))
        self._read += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._read = 0  # a new exchange on a kept connection
        self._inner.write(buffer, self._network.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._network.left(timeout)), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
