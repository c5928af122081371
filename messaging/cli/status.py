"""The room of `messaging status`: how full each queue is, and what lies among the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import deployment

if TYPE_CHECKING:
    from messaging.transport import QueueDepth

__all__ = ["status"]


def status(topology: TopologyName = None, json: Json = False) -> None:
    """Show each queue: visible, in flight, delayed, oldest, dead letters, undelivered.

    Exits with 1 when a queue is missing. The numbers are SQS's own, approximate for about a
    minute. "Undelivered" is what SNS could not hand to the queue.

    [bold]Example:[/bold] messaging status --json
    """
    from messaging.aws import connect
    from messaging.errors import NotFound

    wanted, settings = deployment(topology)
    depths: dict[str, QueueDepth | None] = {}
    broker = connect(settings)
    try:
        for service in wanted.services:
            try:
                depths[service] = broker.queue(service).depth()
            except NotFound:
                depths[service] = None
    finally:
        broker.close()
    named = wanted.prefixed(settings.prefix)
    queues = {service: named.queue(service).name for service in wanted.services}
    if json:
        screen.data(
            {
                "topic": named.topic.name,
                "queues": [
                    {"service": service, "queue": queues[service], "missing": depth is None}
                    | (depth._asdict() if depth else {})
                    for service, depth in depths.items()
                ],
            }
        )
    else:
        _show(named.topic.name, depths)
    if missing := [queues[service] for service, depth in depths.items() if depth is None]:
        screen.error(f"missing: {', '.join(missing)}; create them with: messaging topology apply")
        raise typer.Exit(1)


def _show(topic: str, depths: dict[str, QueueDepth | None]) -> None:
    # SQS itself does not tell the age; a queue that does not is no reason for an empty column.
    aged = any(depth is not None and depth.oldest is not None for depth in depths.values())
    titles = ["service", ">visible", ">in flight", ">delayed", ">dead letters", ">undelivered"]
    screen.table(
        f"Topic {topic}",
        [*titles, *([">oldest"] if aged else [])],
        [[service, *_cells(depth, aged)] for service, depth in depths.items()],
    )


def _cells(depth: QueueDepth | None, aged: bool) -> list[str]:
    if depth is None:
        return ["[red]missing[/]"]
    cells = [
        str(depth.visible),
        str(depth.in_flight),
        str(depth.delayed),
        _alarming(depth.dead_letters),
        _alarming(depth.undelivered),
    ]
    if aged:
        cells.append("" if depth.oldest is None else f"{depth.oldest:.0f} s")
    return cells


def _alarming(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "0"
