"""The one error of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memos.errors import Misconfigured


class EmbeddedError(Misconfigured):
    """An embedded server cannot be started, reached or stopped. The message ends with what to do next."""

    code = "embedded_server"
    title = "An embedded server is not available"


@contextmanager
def explained(attempt: str, home: Path) -> Iterator[None]:
    """Turn what the operating system refuses during `attempt` ("start Valkey") into an EmbeddedError."""
    try:
        yield
    except PermissionError as error:
        raise EmbeddedError(
            f"Cannot {attempt}: {error}. The files under {home} belong to another user: run as the one who "
            "started it first, or choose another folder with --data-dir."
        ) from error
    except OSError as error:
        raise EmbeddedError(
            f"Cannot {attempt}: {error}. Check the free space and the health of the disk under {home} (a "
            "network disk may know no file locks), then try again."
        ) from error
