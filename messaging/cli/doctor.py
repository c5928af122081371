"""`messaging doctor`: what a producer would send, compared with who subscribes to the topic."""

from __future__ import annotations

from messaging.cli.contract import Target, WhatServicesRead, events_at, needs_at, tell
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import deployment_if_any, require_topic

__all__ = ["doctor"]


def doctor(
    events: Target,
    topology: TopologyName = None,
    needs: WhatServicesRead = None,
    json: Json = False,
) -> None:
    """Compare what a producer would send with who subscribes to the topic.

    Changes nothing. Exits with 1 where a service would be told nothing, or too much. The topic is
    that of the topology or of MESSAGING_TOPIC.

    [bold]Example:[/bold] messaging doctor consumers.events --topology consumers:TOPOLOGY
    """
    from messaging.aws import connect
    from messaging.contract.catalogue import catalogue_of
    from messaging.contract.subscribers import check_subscribers

    declared, read = events_at(events), needs_at(needs or ())
    _, settings = deployment_if_any(topology)
    require_topic(settings)
    broker = connect(settings)
    try:
        subscribers = broker.topic().subscribers()
    finally:
        broker.close()
    tell(check_subscribers(catalogue_of(declared, topic=""), subscribers, read), json)
