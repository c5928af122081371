"""The report: medians of the runs, as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.roster import FAST, RAW

__all__ = ["Figure", "figures", "markdown", "ratios"]

Runs = Sequence[Mapping[str, Any]]
Row = tuple[str, str]
"""A subject and its Python."""


class Figure:
    """One figure of several runs: its median, with the least and the most beside it."""

    def __init__(self, values: Iterable[float]) -> None:
        self.values = sorted(values)

    @property
    def median(self) -> float:
        return median(self.values) if self.values else math.nan

    def __str__(self) -> str:
        if not self.values:
            return ""
        low, high = _number(self.values[0]), _number(self.values[-1])
        middle = _number(self.median)
        return middle if low == high else f"{middle} ({low} to {high})"


def figures(runs: Runs, work: str, name: str) -> dict[Row, Figure]:
    """The figure `name` of `work` by subject and Python, in the order of their first run."""
    found: dict[Row, list[float]] = {}
    for one in runs:
        if one["work"] == work and one.get(name) is not None:
            found.setdefault((one["subject"], one["python"]), []).append(float(one[name]))
    return {row: Figure(values) for row, values in found.items()}


def ratios(runs: Runs, name: str = "cpu_us") -> dict[str, float]:
    """How many times the CPU of this library (fast transport) the others take, same Python."""
    found = {}
    for other in (RAW, "fanferro", "fanferro, CloudEvents"):
        for work, theirs in (("publish", "publish"), ("consume", _consuming(other))):
            # fanferro has async handlers only: it is set beside ours of either kind.
            for mine in dict.fromkeys((work, theirs)):
                us, them = figures(runs, mine, name), figures(runs, theirs, name)
                for (subject, python), figure in them.items():
                    ours = us.get((FAST, python))
                    if subject == other and ours is not None:
                        key = f"{other}, {theirs} : {FAST}, {mine} (Python {python})"
                        found[key] = figure.median / ours.median
    return found


def _consuming(other: str) -> str:
    return "consume" if other == RAW else "consume-async"


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report."""
    runs: Runs = results["runs"]
    parts = [_sitting(results), _ratios(runs), *_tables(runs), _bills(runs), _growth(runs)]
    parts += [_drains(runs), _starts(results.get("starts", {}))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sitting(results: Mapping[str, Any]) -> str:
    machine, lines = results["machine"], []
    lines.append(
        f"Measured on {results['date']} with `{results['command']}`: {machine['cpu']}, "
        f"{machine['cpus']} processors, {machine['system']}, load {machine['load']} at the start."
    )
    for name, versions in results["versions"].items():
        said = ", ".join(f"{package} {version}" for package, version in versions.items())
        lines.append(f"- {name}: {said}")
    return "\n".join([lines[0], "", *lines[1:]])


def _ratios(runs: Runs) -> str:
    lines = [f"| {what} | {times:.2f} |" for what, times in ratios(runs).items()]
    if not lines:
        return ""
    title = "### How many times the CPU of this library"
    return "\n".join([title, "", "| CPU of each event | times |", "|---|---:|", *lines])


def _tables(runs: Runs) -> Iterable[str]:
    yield _table(
        "CPU microseconds for each event: the client's, and those of the canned server beside it",
        runs,
        {
            "publish": ("publish", "cpu_us"),
            "consume, sync": ("consume", "cpu_us"),
            "consume, async": ("consume-async", "cpu_us"),
            "server, publish": ("publish", "server_cpu_us"),
        },
    )
    yield _table(
        "The same with a processor for each: what it takes to wake the other one is the client's",
        runs,
        {
            "publish": ("publish-apart", "cpu_us"),
            "consume, sync": ("consume-apart", "cpu_us"),
            "consume, async": ("consume-async-apart", "cpu_us"),
        },
    )
    yield _table(
        "Requests for each event (one queue)",
        runs,
        {
            "publish": ("publish", "requests"),
            "consume, sync": ("consume", "requests"),
            "consume, async": ("consume-async", "requests"),
        },
    )
    yield _table(
        "Instructions for each event, user space",
        runs,
        {
            "publish": ("publish", "instructions"),
            "consume, sync": ("consume", "instructions"),
            "consume, async": ("consume-async", "instructions"),
        },
    )
    yield _table(
        "A handler that waits 20 ms, ten at once: events a second, and CPU microseconds of each",
        runs,
        {
            "sync, events/s": ("wait", "wall_us"),
            "sync, CPU": ("wait", "cpu_us"),
            "async, events/s": ("wait-async", "wall_us"),
            "async, CPU": ("wait-async", "cpu_us"),
        },
        {"wall_us": lambda microseconds: 1e6 / microseconds},
    )
    yield _table(
        "Milliseconds from publish to handler, one event at a time, 100 a second",
        runs,
        {"p50": ("latency", "p50_ms"), "p99": ("latency", "p99_ms")},
    )
    yield _table(
        "MiB of memory: before the first event, and the most while it consumes",
        runs,
        {
            "sync, idle": ("consume", "idle_rss"),
            "sync, busy": ("consume", "peak_rss"),
            "async, idle": ("consume-async", "idle_rss"),
            "async, busy": ("consume-async", "peak_rss"),
        },
    )
    yield _table(
        "Through ministack to four services, publisher and consumers in one process",
        runs,
        {"events/s": ("end-to-end", "wall_us"), "CPU us an event": ("end-to-end", "cpu_us")},
        {"wall_us": lambda microseconds: 1e6 / microseconds},
    )


def _table(
    title: str,
    runs: Runs,
    columns: Mapping[str, tuple[str, str]],
    change: Mapping[str, Callable[[float], float]] | None = None,
) -> str:
    """One table; empty when nobody has a figure for it."""
    cells: dict[Row, dict[str, Figure]] = {}
    for column, (work, name) in columns.items():
        turn = (change or {}).get(name)
        for row, figure in figures(runs, work, name).items():
            shown = Figure(map(turn, figure.values)) if turn else figure
            cells.setdefault(row, {})[column] = shown
    if not cells:
        return ""
    lines = [f"### {title}", "", f"| | Python | {' | '.join(columns)} |"]
    lines.append("|---|---|" + "---:|" * len(columns))
    for (subject, python), row_cells in sorted(cells.items(), key=lambda item: item[0][1]):
        shown_cells = " | ".join(str(row_cells.get(column, "")) for column in columns)
        lines.append(f"| {subject} | {python} | {shown_cells} |")
    return "\n".join(lines)


def _bills(runs: Runs) -> str:
    """What AWS bills by: requests for an event that four services get."""
    lines = []
    for work, what, floor in (("bill", "whole", 0.9), ("bill-views", "four views", 1.2)):
        for one in (one for one in runs if one["work"] == work):
            parts = [
                one.get(action, 0)
                for action in (
                    "PublishBatch",
                    "ReceiveMessage",
                    "DeleteMessageBatch",
                    "ChangeMessageVisibilityBatch",
                )
            ]
            shown = " | ".join(f"{part:.3f}" for part in (*parts, sum(parts)))
            over = f"{(sum(parts) / floor - 1) * 100:+.1f} %"
            lines.append(f"| {one['subject']}, {what} | {shown} | {floor} | {over} |")
    if not lines:
        return ""
    head = "| | publish | receive | delete | lease | total | floor | over it |"
    title = "### Requests for each event delivered to four queues at backlog"
    return "\n".join([title, "", head, "|---|" + "---:|" * 7, *lines])


def _growth(runs: Runs) -> str:
    lines = [
        f"| {one['work'].removeprefix('growth-')} | {one['events']:,} | {one['cpu_us']:.1f} "
        f"| {one['wall_us']:.1f} | {one['peak_rss']:.0f} |"
        for one in runs
        if one["work"].startswith("growth-")
    ]
    if not lines:
        return ""
    head = "| | events | CPU us an event | wall us an event | most MiB |"
    return "\n".join(["### Growth", "", head, "|---|---:|---:|---:|---:|", *lines])


def _drains(runs: Runs) -> str:
    lines = [
        f"- {one['subject']}: stopped in {one['seconds'] * 1000:.0f} ms with ten handlers at work; "
        f"{one['acknowledged']} acknowledged, {one['released']} given back, {one['lost']} neither."
        for one in runs
        if one["work"] == "drain"
    ]
    return "\n".join(["### Stopping under load", "", *lines]) if lines else ""


def _starts(starts: Mapping[str, float]) -> str:
    if not starts:
        return ""
    lines = [f"| {name} | {taken:.0f} |" for name, taken in starts.items()]
    head = "| milliseconds from start to exit, the interpreter's own included | |"
    return "\n".join(["### Starting", "", head, "|---|---:|", *lines])


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
