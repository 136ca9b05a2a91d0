"""What a benchmark leaves behind: tables on stdout, progress on stderr, and one JSON file with everything.

The file holds the settings, the machine, the figures, the goals and the raw rows, so a figure can be
recomputed later. Raw rows hold ids, ranks and times and never a text of a data set: they may be kept where
its licence would not allow it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# The width of a table when the output is not a terminal, so that a log or a pipe keeps whole columns.
PLAIN_WIDTH = 140


class Step(Protocol):
    """Moves a progress bar on by `amount`."""

    def __call__(self, amount: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure against its bound; `relation` is `>=` or `<=`."""

    name: str
    value: float
    relation: str
    bound: float

    @property
    def met(self) -> bool:
        """False for NaN too: what was not measured is not met."""
        return self.value >= self.bound if self.relation == ">=" else self.value <= self.bound


class Report:
    """Collects one run. `figures` and `raw` take anything JSON can hold, dataclasses included."""

    def __init__(self, name: str, *, settings: dict[str, Any], out_dir: Path) -> None:
        self.name = name
        self.settings = settings
        self.out_dir = out_dir
        self.figures: dict[str, Any] = {}
        self.raw: list[Any] = []
        self.notes: list[str] = []
        self.goals: list[Goal] = []
        self.started_at = datetime.now(UTC)
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self._console = Console(width=width)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print one table; the first column is a name, the others are figures."""
        table = Table(title=title, title_justify="left")
        for place, column in enumerate(columns):
            table.add_column(column, justify="left" if place == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def note(self, sentence: str) -> None:
        """Something a reader of the figures has to know; printed and kept, once however often it is true."""
        if sentence in self.notes:
            return
        self.notes.append(sentence)
        self._console.print(f"note: {sentence}", markup=False, highlight=False)

    def goal(self, name: str, value: float, relation: str, bound: float) -> None:
        self.goals.append(Goal(name, value, relation, bound))

    def finish(self) -> Path:
        """Print the goals, write the file and say where it lies."""
        if self.goals:
            rows = [
                (
                    goal.name,
                    figure(goal.value),
                    f"{goal.relation} {goal.bound:g}",
                    "met" if goal.met else "missed",
                )
                for goal in self.goals
            ]
            self.table("Goals", ("figure", "measured", "goal", ""), rows)
        self.out_dir.mkdir(parents=True, exist_ok=True)
        path = self.out_dir / f"{self.name}-{self.started_at:%Y%m%dT%H%M%S%fZ}.json"
        path.write_text(_written(_plain(self._document())))
        self._console.print(f"written to {path}", markup=False, highlight=False)
        return path

    def _document(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "started_at": self.started_at.isoformat(),
            "finished_at": datetime.now(UTC).isoformat(),
            "machine": machine(),
            "settings": self.settings,
            "notes": self.notes,
            "figures": self.figures,
            "goals": [{**dataclasses.asdict(goal), "met": goal.met} for goal in self.goals],
            "raw": self.raw,
        }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Step]:
    """A bar on stderr for one long step; `total=None` when nobody knows how long."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total)

        def step(amount: int = 1) -> None:
            bar.advance(task, amount)

        yield step


def figure(value: float, digits: int = 3) -> str:
    """A number for a table; a dash for what was not measured."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _written(document: dict[str, Any]) -> str:
    """JSON that a person can read: indented, but each raw row on one line, of which there may be thousands."""
    head = json.dumps({**document, "raw": []}, indent=1, allow_nan=False)
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in document["raw"])
    return head.removesuffix("[]\n}") + f"[\n  {rows}\n ]\n}}\n"


def _plain(value: Any) -> Any:
    """JSON has neither dataclasses nor NaN: objects become dictionaries, NaN becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({item.name: getattr(value, item.name) for item in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path | datetime):
        return str(value)
    return value
