"""`messaging canary`: sends marked messages to services, once or periodically."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from messaging.cli import screen
from messaging.cli.options import CodecName, Json, TopologyName
from messaging.cli.project import chosen_codec, connected, deployment_if_any, require_topic
from messaging.cli.signals import EndedBySignals
from messaging.printable import printable

if TYPE_CHECKING:
    from messaging.codec import Codec
    from messaging.connecting import ServiceBroker
    from messaging.topology import Topology

__all__ = ["canary"]


def canary(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="Services of the topology; by default all."),
    ] = None,
    topology: TopologyName = None,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds after which it is sent again, until Ctrl-C or SIGTERM."),
    ] = None,
    codec: CodecName = None,
    json: Json = False,
) -> None:
    """Send a marked message to services; their workers report how long it took.

    It goes through the topic, the filter and the queue to a worker, which deletes it without
    calling a handler, logs its id, and reports its delay as messaging.worker.probe_delay and the
    time since then as messaging.worker.probe_age. This command receives nothing. It exits with 1 if
    the topic refused a message; with --every it reports that, and goes on with the next.

    [bold]Example:[/bold] messaging canary bi --topology consumers:TOPOLOGY --every 60
    """
    wanted, settings = deployment_if_any(topology)
    require_topic(settings)
    if wanted is None:
        raise typer.BadParameter("to whom? Give --topology MODULE:NAME")
    words = chosen_codec(codec)
    with connected(settings) as broker:
        sent = partial(_sent, wanted, broker, services or (), words, json)
        if every is not None:
            _again_and_again(sent, every)
        elif sent():
            raise typer.Exit(1)


def _again_and_again(sent: Callable[[], object], every: float) -> None:
    from messaging.clock import SYSTEM_CLOCK
    from messaging.errors import TransportError

    with EndedBySignals():
        while True:
            began = SYSTEM_CLOCK.monotonic()
            try:
                sent()
            except TransportError as error:
                if not error.retryable:
                    raise
                screen.error(printable(f"not sent, trying again in {every:g} s: {error}"))
            SYSTEM_CLOCK.sleep(max(0.0, began + every - SYSTEM_CLOCK.monotonic()))


def _sent(
    wanted: Topology,
    broker: ServiceBroker,
    services: Sequence[str],
    codec: Codec | None,
    json: bool,
) -> bool:
    """Print the result for each service; returns True if any message was refused."""
    from messaging.doctor.probe import send

    refused = False
    for hop in send(wanted, broker, services=services, codec=codec):
        refused = refused or hop.failed
        if json:
            screen.data(hop.to_dict())
        else:
            end = f"refused: {printable(hop.code)}" if hop.failed else "sent"
            screen.line(f"canary {hop.id}: {hop.service}: {end}, {hop.published:.3f} s")
    return refused
