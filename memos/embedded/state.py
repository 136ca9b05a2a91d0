"""What a launcher must remember for the next one: the server's password and port, in `state.json` (0600)."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from memos.embedded.directories import write_private


@dataclass(frozen=True, slots=True)
class State:
    """`created` says that data once existed, so that its absence is a loss and not a first start.

    `ending` says that a launcher set out to end the server: one that still answers is not to be adopted.
    """

    password: str = ""
    port: int | None = None
    created: bool = False
    ending: bool = False


def load_state(path: Path) -> State:
    """The remembered state; an empty one when the file is missing or was damaged. Raises PermissionError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        port = None if found["port"] is None else int(found["port"])
        return State(str(found["password"]), port, bool(found["created"]), bool(found.get("ending")))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return State()


def save_state(path: Path, state: State) -> None:
    """Write `state` so that a crash leaves either the old file or the new one."""
    write_private(path, json.dumps(asdict(state)))


def new_password() -> str:
    """192 random bits in characters that need no quoting in a URL, in SQL or in a configuration file."""
    return secrets.token_urlsafe(24)
