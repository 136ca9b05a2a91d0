"""Command-line options that every benchmark shares."""

from __future__ import annotations

import argparse
import json
import secrets
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.server import Service, open_service


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """A parser with --out, --url and --key; `about` is the first paragraph of a module docstring."""
    made = argparse.ArgumentParser(
        prog=f"memos eval {name}",
        description=(about or "").split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), metavar="DIR", help="where the JSON file goes"
    )
    made.add_argument("--url", help="a running service instead of a fresh one (or MEMOS_URL)")
    made.add_argument("--key", help="its key (or MEMOS_KEY)")
    return made


def add_search_options(made: argparse.ArgumentParser) -> None:
    """Options that change what is asked of the service, passed on as they are."""
    made.add_argument("--policy", type=json_object, default={}, metavar="JSON", help="policy of the cubes made")
    made.add_argument(
        "--search",
        type=json_object,
        default={},
        metavar="JSON",
        help="extra fields of each search or context request",
    )
    made.add_argument(
        "--credit",
        choices=("turns", "sources"),
        default="turns",
        help="turns: only a returned turn counts; sources: a derived memory stands for the turns it cites, "
        "each of which then takes one place in the ranking",
    )
    made.add_argument(
        "--jobs-timeout", type=float, default=1800.0, metavar="S", help="how long background jobs may take"
    )


def service_of(arguments: argparse.Namespace) -> AbstractContextManager[Service]:
    return open_service(url=arguments.url, key=arguments.key)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, for the report: everything but the key."""
    return {name: value for name, value in vars(arguments).items() if name != "key"}


def cube_name(*parts: str) -> str:
    """A name that no earlier run on the same service used."""
    return "-".join(("bench", *parts, secrets.token_hex(4)))


def json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, not {text!r}")
    return value
