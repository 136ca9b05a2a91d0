"""The server of one API process, and how it comes and goes without losing a request.

It comes: the model is loaded and a search would be answered before it takes its first connection; then it says so on the
descriptor in `MEMOS_READY_FD`, so that who started it can let its predecessor go. It goes, on SIGTERM: `/readyz` says
503, feeds end, and every answer asks the caller to connect anew; after a while no connection is taken any more, and what
runs ends. With a socket that was handed down (`fd`), connections that wait meanwhile are taken by the others that hold it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import begin_draining

READY_FD = "MEMOS_READY_FD"
READY = b"ready\n"
# Requests that run when connections are no longer taken get this long.
GRACE_S = 10
# Longer than balancers keep an idle connection (60 s is usual), so that it is they who close it: a server that closes
# one at the moment a request arrives on it loses that request.
KEEP_ALIVE_S = 75

log = structlog.get_logger("memos.api")


def run(api: FastAPI, *, host: str, port: int, fd: int | None, drain_s: float) -> bool:
    """Serve until SIGTERM or SIGINT. Whether it ever started. `fd` is a bound socket, used instead of host and port."""
    config = uvicorn.Config(
        api,
        host=host,
        port=port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,  # ours has the route, the key and the request id
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = Server(config, api, drain_s)
    # uvicorn raises the signal again when it has stopped; the default answer would end us before we close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopping)
    server.run(None if fd is None else [_handed_down(fd)])
    return server.started


class Server(uvicorn.Server):
    """uvicorn's, with a beginning and an end of our own."""

    def __init__(self, config: uvicorn.Config, api: FastAPI, drain_s: float) -> None:
        super().__init__(config)
        self._api = api
        self._drain_s = drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and (descriptor := os.environ.pop(READY_FD, None)) is not None:
            with suppress(OSError):  # nobody waits for it any more
                os.write(int(descriptor), READY)
                os.close(int(descriptor))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        begin_draining(self._api)
        log.info("draining", connections=len(self.server_state.connections), drain_s=self._drain_s)
        ends = time.monotonic() + self._drain_s
        # A second signal means: in a hurry.
        while time.monotonic() < ends and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def _handed_down(fd: int) -> socket.socket:
    handed = socket.socket(fileno=fd)
    handed.set_inheritable(False)
    handed.setblocking(False)
    return handed


def _already_stopping(_number: int, _frame: FrameType | None) -> None:
    """The server has seen it."""
