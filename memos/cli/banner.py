"""What `memos serve` says once it is ready."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

KEY_FILE = "owner.key"


def reachable_host(host: str) -> str:
    """Where to reach a server that listens on `host`: 'any address' is no address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def url(host: str, port: int) -> str:
    name = reachable_host(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def show(console: Console, host: str, port: int, data_dir: Path, *, key: str | None) -> None:
    """Where everything is, and `key` if this is the one time to show it."""
    base = url(host, port)
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim")
    lines.add_column(overflow="fold")
    lines.add_row("API", f"[bold]{base}[/]")
    lines.add_row("Docs", f"{base}/docs")
    lines.add_row("Admin", f"{base}/admin")
    if key is not None:
        lines.add_row("Owner key", f"[bold green]{key}[/]  (shown only now)")
    if (path := data_dir / KEY_FILE).exists():
        lines.add_row("Key file", str(path))
    lines.add_row("Data", str(data_dir))
    lines.add_row("Stop", f"Ctrl-C, or kill {os.getpid()}")
    if console.is_terminal:
        console.print(Panel(lines, title="memos is ready", title_align="left", expand=False))
    else:
        console.print("memos is ready")
        console.print(lines, soft_wrap=True)
