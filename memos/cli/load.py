"""Settings for a command: the environment, what was typed, and a clear word when they make no sense."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memos.errors import Misconfigured
from memos.settings import Settings

SECRETS_DIR = "MEMOS_SECRETS_DIR"
"""A folder of files that are each named like a variable (`memos_secret`, `database_url`) and hold its value: secrets as
Docker and Kubernetes mount them. The environment, where it says something, goes before."""


def load_settings(data_dir: Path | None = None) -> Settings:
    """Raises `Misconfigured`, naming the variable but never its value, when one makes no sense."""
    typed: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir.expanduser().absolute()}
    folder = os.environ.get(SECRETS_DIR)
    if folder and not Path(folder).is_dir():
        raise Misconfigured(f"{SECRETS_DIR} names {folder}, which is no folder")
    if folder:
        typed["_secrets_dir"] = folder
    try:
        return Settings(**typed)
    except ValidationError as error:
        faults = "; ".join(f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors(include_input=False))
        raise Misconfigured(f"a setting makes no sense: {faults}") from None


def _variable(place: tuple[int | str, ...]) -> str:
    name = str(place[0]) if place else "?"
    return name if name.isupper() else f"MEMOS_{name.upper()}"


def program_version() -> str:
    """The installed version; 'unknown' when run from a tree that was never installed."""
    try:
        return importlib.metadata.version("memos")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
