"""What the demo prints: progress bars on stderr, and a table on stdout at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

__all__ = ["Bars", "print_table"]

EVERY = 0.2
"""Seconds between two drawings."""


class Bars:
    """One bar for the publisher and one for each service; without a terminal, their last state."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._progress = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(34),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._tasks = {name: self._progress.add_task(name, total=None, note="") for name in names}
        self._drawn = 0.0

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def due(self) -> bool:
        """True if it is time to look again: drawing costs more than what is drawn."""
        return time.monotonic() - self._drawn >= EVERY

    def set(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """`done` of `total` (None: not known yet)."""
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def draw(self) -> None:
        """Show what was set."""
        self._progress.refresh()
        self._drawn = time.monotonic()


def print_table(services: Mapping[str, Mapping[str, Any]]) -> None:
    """Expected, handled, rejected and dead-lettered for each service, and what it received."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("service")
    for name in ("expected", "handled", "rejected", "dead letters"):
        table.add_column(name, justify="right")
    table.add_column("fields it received", overflow="fold")
    for name, counts in services.items():
        table.add_row(
            name,
            *(f"{counts[key]:,}" for key in ("expected", "handled", "rejected", "dead_lettered")),
            ", ".join(counts["fields"]),
        )
    Console().print(table)
