"""The port of a service: a bound socket that the API processes share, so that one may go while another takes over."""

from __future__ import annotations

import socket
import time

from memos.errors import Misconfigured

# Who was just killed may take a moment to let go of its port.
PATIENCE_S = 3.0
_LOOK_EVERY_S = 0.2


def bound(host: str, port: int) -> socket.socket:
    """A socket with the port; 0 takes a free one. Nobody listens on it yet, so callers are refused until a process is
    ready; after that the port stays taken for as long as the socket is open, also while that process is replaced.

    Raises `Misconfigured` when the port cannot be had.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return _bind(family, address)
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() > deadline:
                raise Misconfigured(
                    f"port {port} on {host} cannot be had: {error.strerror or error}. Choose another with --port "
                    "(0 takes a free one)."
                ) from error
            time.sleep(_LOOK_EVERY_S)


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
