"""`messaging doctor`: finds what would go wrong, and says how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from messaging.cli import screen
from messaging.cli.contract import WhatServicesRead, events_at, needs_at, tell
from messaging.cli.options import CodecName, Json, TopologyName, flag
from messaging.cli.project import chosen_codec, connected, deployment_if_any, require_topic
from messaging.printable import printable

if TYPE_CHECKING:
    from messaging.codec import Codec
    from messaging.contract.check import Finding
    from messaging.contract.needs import Needs
    from messaging.doctor import Diagnosis
    from messaging.settings import Settings
    from messaging.topology import Topology

__all__ = ["doctor"]


def doctor(
    events: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE[:EVENT]]", help="What is published: held against who subscribes."
        ),
    ] = None,
    topology: TopologyName = None,
    needs: WhatServicesRead = None,
    strict: Annotated[bool, flag("--strict", "Exit 1 for warnings and what was not seen.")] = False,
    send: Annotated[bool, flag("--send", "Send a probe to each service, and time it.")] = False,
    codec: CodecName = None,
    json: Json = False,
) -> None:
    """Say what would go wrong between the topic and the services, with the remedy.

    Checks topic, subscriptions, queues, policies, keys and Lambda mappings, as far as the role's
    permissions allow, and changes nothing. On RabbitMQ it checks exchange, queues, bindings, dead
    letters and events without a subscriber, and lists what RabbitMQ does not report. With a module
    of events, it also compares the events that would be published with the subscriptions. If all is
    well, a note on standard error says that nothing was found. Exits with 1 if there is an error.

    --send publishes a marked message for each service, which no handler sees: a worker deletes it
    and logs its id. If no worker takes it, doctor removes it, but only if the queue was empty.

    [bold]Example:[/bold] messaging doctor --topology consumers:TOPOLOGY
    """
    wanted, settings = deployment_if_any(topology)
    require_topic(settings)
    failed = False
    if wanted is not None:
        failed = _examined(wanted, settings, strict=strict, json=json)
        if send and failed:
            screen.note("no probe was sent: put right first what was found")
        elif send:
            failed = _probed(wanted, settings, chosen_codec(codec), json=json)
    elif send:
        raise typer.BadParameter("--send to whom? Give --topology MODULE:NAME")
    if events is not None:
        tell(_told(events, settings, needs_at(needs or ())), json)
    elif wanted is None:
        raise typer.BadParameter("nothing to check: pass --topology MODULE:NAME, or the events")
    if failed:
        raise typer.Exit(1)


def _told(events: str, settings: Settings, needs: list[Needs]) -> list[Finding]:
    from messaging.contract.catalogue import catalogue_of
    from messaging.contract.subscribers import check_subscribers

    declared = events_at(events)
    with connected(settings) as broker:
        subscribers = broker.topic().subscribers()
    return check_subscribers(catalogue_of(declared, topic=""), subscribers, needs)


def _examined(wanted: Topology, settings: Settings, *, strict: bool, json: bool) -> bool:
    """Print each finding as it is found; returns True if the exit code should be 1."""
    from messaging.doctor import examine, not_told

    severities = set()
    for one in examine(wanted, settings):
        severities.add(one.severity)
        _tell(one, json)
    if not severities:
        services = ", ".join(wanted.services) or "none"
        screen.note(
            f"nothing found on topic {wanted.topic.name}; services looked at: {services}. "
            "What waits and what is in flight: messaging status"
        )
    for unseen in not_told(settings):
        screen.note(f"not checked, because the broker does not report them: {unseen}")
    return "error" in severities or (strict and bool(severities))


_ENDS: Mapping[str, str] = {
    "arrived": "in the queue after {arrived:.3f} s; no worker took it within {grace:g} s",
    "taken": "in the queue after {arrived:.3f} s; a worker took it",
    "not seen": "taken by a worker, whose log names it, or lost: see `messaging doctor`",
    "left": "left to the workers, whose log names it: the queue holds other messages",
    "refused": "the topic refused it: {code}",
    "dead-lettered": "dead-lettered: a worker runs a version that knows no probes",
    "undelivered": "the topic could not deliver it to the queue",
}


def _probed(wanted: Topology, settings: Settings, codec: Codec | None, *, json: bool) -> bool:
    """Send the probes and print their results; returns True if one failed."""
    from messaging.doctor.probe import GRACE, probe

    failed = False
    with connected(settings) as broker:
        for hop in probe(wanted, broker, codec=codec):
            failed = failed or hop.failed
            if json:
                screen.data(hop.to_dict())
                continue
            end = _ENDS[hop.end].format(
                arrived=hop.arrived or 0.0, code=printable(hop.code), grace=GRACE
            )
            screen.line(
                f"probe {hop.id}: {hop.service}: the topic answered after {hop.published:.3f} s; "
                f"{end}"
            )
    return failed


def _tell(one: Diagnosis, json: bool) -> None:
    if json:
        screen.data(one.to_dict())
        return
    screen.line(printable(f"{one.severity} {one.name}: {one.where}: {one.said}. {one.remedy}"))
