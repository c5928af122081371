"""The demo's output: progress bars on stderr, and tables and a trace on stdout at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from examples._otlp import Seen

__all__ = ["Bars", "print_health", "print_table", "print_trace"]

EVERY = 0.2
"""Seconds between two redraws."""


class Bars:
    """One bar for the publisher and one for each service; without a terminal, only their last
    state."""

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
        """True when a redraw is due: redrawing costs more than the work that it shows."""
        return time.monotonic() - self._drawn >= EVERY

    def set(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """Set `done` of `total` (None: not known yet)."""
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def draw(self) -> None:
        """Redraw the bars."""
        self._progress.refresh()
        self._drawn = time.monotonic()


def print_table(services: Mapping[str, Mapping[str, Any]]) -> None:
    """Expected, handled, rejected and dead-lettered for each service, and its fields."""
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


def print_trace(spans: Sequence[Seen]) -> None:
    """One trace as a tree: each span's service, when it started after the first, and how long it
    took. No event data."""
    lines = list(_lines(spans))
    first = min((one.began for one in spans), default=0.0)
    width = max((len(text) for text, _ in lines), default=0)
    services = max((len(one.service) for one in spans), default=0)
    print(f"trace {spans[0].trace if spans else 'of nothing: no span was received'}")
    for text, one in lines:
        after = f"+{1000 * (one.began - first):.1f} ms"
        took = f"{1000 * (one.ended - one.began):.1f} ms"
        failed = "  error" if one.failed else ""
        print(f"{text:{width}}  {one.service:{services}}  {after:>11}  {took:>10}{failed}")
    print()


def _lines(spans: Sequence[Seen]) -> Iterator[tuple[str, Seen]]:
    known = {one.id for one in spans}
    children: dict[str, list[Seen]] = {}
    for one in sorted(spans, key=lambda one: (one.began, one.service)):
        children.setdefault(one.parent if one.parent in known else "", []).append(one)

    def below(parent: str, before: str) -> Iterator[tuple[str, Seen]]:
        those = children.get(parent, [])
        for one in those:
            last = one is those[-1]
            branch = "" if not parent else "└─ " if last else "├─ "
            yield f"{before}{branch}{one.name}", one
            yield from below(one.id, before + ("" if not parent else "   " if last else "│  "))

    return below("", "")


def print_health(services: Mapping[str, Mapping[str, Any]]) -> None:
    """Each service's response to a probe."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("service", "live", "ready", "state"):
        table.add_column(name)
    for name in ("received", "in flight"):
        table.add_column(name, justify="right")
    for name, said in services.items():
        facts = said["ready"]["services"].get(name, {})
        answers = ("yes" if said[page]["ok"] else "no" for page in ("live", "ready"))
        counts = (f"{facts.get(key, 0):,}" for key in ("received", "in_flight"))
        table.add_row(name, *answers, str(facts.get("state", "")), *counts)
    Console().print(table)
