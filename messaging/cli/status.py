"""`messaging status`: the number of messages and dead letters of each queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import connected, deployment

if TYPE_CHECKING:
    from messaging.transport import QueueDepth

__all__ = ["status"]


def status(topology: TopologyName = None, json: Json = False) -> None:
    """Show each queue: visible, in flight, delayed, oldest, dead letters, undelivered.

    Exits with 1 if a queue is missing. The numbers are SQS's own, approximate for about a minute.
    "Oldest" is the age in seconds from CloudWatch, some minutes late ("-" if it has no figure, as
    on a local server). "Undelivered" counts messages that SNS could not deliver.

    [bold]Example:[/bold] messaging status --json
    """
    from messaging.errors import NotFound, TransportError

    wanted, settings = deployment(topology)
    depths: dict[str, QueueDepth | None] = {}
    unaged = ""
    with connected(settings) as broker:
        for service in wanted.services:
            try:
                depth = broker.queue(service).depth()
            except NotFound:
                depths[service] = None
                continue
            try:
                depths[service] = depth._replace(oldest=broker.oldest(service))
            except TransportError as error:
                # CloudWatch is another service with its own permission: the queue's own numbers are
                # still valid.
                unaged = str(error)
                depths[service] = depth
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
    if unaged:
        screen.note(f"the age of the oldest message is not known: {unaged}")
    if missing := [queues[service] for service, depth in depths.items() if depth is None]:
        screen.error(f"missing: {', '.join(missing)}; create them with: messaging topology apply")
        raise typer.Exit(1)


def _show(topic: str, depths: dict[str, QueueDepth | None]) -> None:
    screen.table(
        f"Topic {topic}",
        [
            *("service", ">visible", ">in flight", ">delayed", ">oldest"),
            *(">dead letters", ">undelivered"),
        ],
        [[service, *_cells(depth)] for service, depth in depths.items()],
    )


def _cells(depth: QueueDepth | None) -> list[object]:
    if depth is None:
        return [screen.marked("[red]missing[/]")]
    return [
        *depth[:3],
        "-" if depth.oldest is None else f"{depth.oldest:.0f} s",
        _alarming(depth.dead_letters),
        _alarming(depth.undelivered),
    ]


def _alarming(count: int) -> object:
    return screen.marked(f"[bold red]{count}[/]") if count else 0
