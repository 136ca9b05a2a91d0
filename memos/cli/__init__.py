"""The `memos` command. Light to import: what a command needs is imported when it runs."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point. An error of ours is one sentence for a person; any other is a defect and keeps its traceback."""
    from memos.cli.commands import cli
    from memos.errors import MemosError

    try:
        cli()
    except MemosError as error:
        sys.stderr.write(f"memos: {error.detail}\n")
        sys.exit(1)
