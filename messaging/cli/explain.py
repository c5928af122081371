"""`messaging explain`: which services receive an event, with which fields, and its monthly cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import HOST, deployment
from messaging.errors import ConfigurationError
from messaging.projection import EVERYONE

if TYPE_CHECKING:
    from messaging.contract.catalogue import View
    from messaging.contract.prices import Prices
    from messaging.event import Event
    from messaging.topology import Topology

__all__ = ["explain"]

_TOGETHER = 10


def explain(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The event, like aluno.cadastrado.")],
    topology: TopologyName = None,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="The event's class. Else looked for in what the topology loads.",
        ),
    ] = None,
    events: Annotated[int, typer.Option(min=0, metavar="N", help="Events in a month.")] = 100_000,
    publish_price: Annotated[
        float | None,
        typer.Option(min=0, metavar="USD", help="Of a million publishes to SNS, in your region."),
    ] = None,
    request_price: Annotated[
        float | None,
        typer.Option(min=0, metavar="USD", help="Of a million requests to SQS, in your region."),
    ] = None,
    json: Json = False,
) -> None:
    """Show who receives an event, which fields each service gets, and what a month of it costs.

    Makes no requests: it reads the code. Sizes are those of a generated example; give fields
    examples of typical length: Field(examples=["..."]). The cost is a range: from ten events per
    request to one.

    [bold]Example:[/bold] messaging explain aluno.cadastrado --events 100000
    """
    wanted, settings = deployment(topology)
    wanted = wanted.prefixed(settings.prefix)
    kind = _event(type, event, wanted)
    found: dict[str, Any] = {
        "type": type,
        "version": kind.event_version,
        "topic": wanted.topic.name,
    }
    found |= _who(kind, wanted)
    found["cost"] = _cost(found["copies"], wanted, events, _prices(publish_price, request_price))
    if json:
        screen.data(found)
    else:
        _show(found)


def _event(named: str, said: str | None, topology: Topology) -> type[Event]:
    from messaging.cli import names

    if said is not None:
        one = names.event(said, "--event")
        if one.event_type != named:
            raise ConfigurationError(f"--event {said}: its type is {one.event_type}, not {named}")
        return one
    project = HOST.get().project()
    if project.event is not None:
        names.event(project.event, f"event in {project.file}:")
    loaded = list(_declared())
    found = [one for one in loaded if one.event_type == named]
    if not found:
        handled = {one for each in topology.subscriptions for one in each.types}
        known = sorted(handled | {one.event_type for one in loaded})
        raise ConfigurationError(
            f"no event {named!r} is declared in what the topology loads; known are "
            f"{', '.join(known) or 'none'}. One of another module: --event module:NAME"
        )
    if len(found) > 1:
        declared = " and ".join(sorted(f"{one.__module__}:{one.__qualname__}" for one in found))
        raise ConfigurationError(f"which {named}? {declared} are declared; say --event module:NAME")
    return found[0]


def _declared() -> Iterator[type[Event]]:
    """All event classes that have been imported."""
    from messaging.event import Event

    waiting = [Event]
    while waiting:
        for one in waiting.pop().__subclasses__():
            waiting.append(one)
            if one.event_type:
                yield one


def _who(kind: type[Event], topology: Topology) -> dict[str, Any]:
    from messaging.contract.catalogue import catalogue_of

    views = catalogue_of([kind], topic=topology.topic.name).views
    subscribed = [
        one for one in topology.services if kind.event_type in topology.subscription(one).types
    ]
    services = {
        service: {
            "queue": topology.queue(service).name,
            "view": view.name,
            "version": view.version,
            "fields": list(view.fields),
            "personal": [field for field in view.fields if view.personal(field)],
        }
        for service in subscribed
        for view in views
        if view.serves(service)
    }
    named = {one for view in views for one in view.audience} - {EVERYONE}
    return {
        "services": services,
        "not_here": sorted(named - set(services)),
        "copies": _copies(kind, views, services),
    }


def _copies(
    kind: type[Event], views: Sequence[View], services: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The messages that one event is sent as if no view declines it, each with an example's
    size."""
    from messaging.projection import Projection, all_copies

    # A view that overrides `wanted` may decline a copy.
    declining = {
        name
        for view in cast("list[type[Projection]]", kind.__projections__)
        if getattr(view.wanted, "__func__", None) is not getattr(Projection.wanted, "__func__", 0)
        for name in view.audience
    }
    copies = []
    for copy in all_copies(kind):
        view = next(one for one in views if set(one.audience) <= set(copy.audience))
        copies.append(
            {
                "audience": list(copy.audience),
                "bytes": _size(kind, view, copy.audience),
                "received_by": [
                    one for one in services if one in copy.audience or EVERYONE in copy.audience
                ],
                "may_be_declined_by": [one for one in copy.audience if one in declining],
            }
        )
    return copies


def _size(kind: type[Event], view: View, audience: tuple[str, ...]) -> int:
    """The size of the view's example as SNS counts it, in bytes: body and attributes."""
    from pydantic_core import to_json

    from messaging.clock import SYSTEM_CLOCK, utc
    from messaging.codec import JsonCodec
    from messaging.doctor.probe import sealed
    from messaging.envelope import Envelope, new_id
    from messaging.event import as_text

    if view.example is None:
        raise ConfigurationError(
            f"no example of {view.name} could be made up, so that its size is not known; give "
            'its fields examples: Field(examples=["..."])'
        )
    envelope = Envelope(
        id=new_id(),
        source="/messaging-explain",
        type=kind.event_type,
        version=view.version,
        time=utc(SYSTEM_CLOCK.now()),
        subject=as_text(view.example.get(view.subject)) if view.subject else None,
        audience=audience,
    )
    return sealed(envelope, to_json(view.example), JsonCodec(), type=kind.event_type).size


def _prices(publish: float | None, request: float | None) -> Prices:
    from messaging.contract.prices import PRICES

    said = {"publish": publish, "request": request}
    given: dict[str, Any] = {name: price for name, price in said.items() if price is not None}
    return replace(PRICES, **given, given=tuple(given))


def _cost(
    copies: Sequence[dict[str, Any]], topology: Topology, events: int, prices: Prices
) -> dict[str, Any] | None:
    from messaging.contract.prices import cost_of

    if topology.topic.fifo:
        return None  # also charged per gigabyte and per delivery
    sizes = [(one["bytes"], len(one["received_by"])) for one in copies]
    most = topology.topic.max_bytes
    alone, full = (
        asdict(cost_of(sizes, events=events, together=count, max_bytes=most, prices=prices))
        for count in (1, _TOGETHER)
    )
    return {"events": events, "at_least": full, "at_most": alone, "prices": asdict(prices)}


def _show(found: dict[str, Any]) -> None:
    screen.table(
        f"{found['type']} version {found['version']} on topic {found['topic']}",
        ["service", "queue", "view", "fields (* personal)"],
        [
            [
                service,
                one["queue"],
                f"{one['view']} v{one['version']}",
                ", ".join(field + "*" * (field in one["personal"]) for field in one["fields"]),
            ]
            for service, one in found["services"].items()
        ],
    )
    screen.table(
        "Copies of an example",
        ["audience", ">bytes", "received by", "may be declined by"],
        [
            [
                "every service" if one["audience"] == [EVERYONE] else ", ".join(one["audience"]),
                f"{one['bytes']:,}",
                ", ".join(one["received_by"]) or "no service of this topology",
                ", ".join(one["may_be_declined_by"]),
            ]
            for one in found["copies"]
        ],
    )
    if found["not_here"]:
        services = ", ".join(found["not_here"])
        screen.note(f"views of services that are not in this topology: {services}")
    if found["cost"] is None:
        screen.note(
            "the cost of a FIFO topic is not known here: it is charged by the gigabyte, too"
        )
        return
    _show_cost(found["cost"])


def _show_cost(cost: dict[str, Any]) -> None:
    low, high, prices = cost["at_least"], cost["at_most"], cost["prices"]
    screen.line(f"{cost['events']:,} events a month: {low['usd']:.2f} to {high['usd']:.2f} USD")
    screen.line(
        f"  SNS publishes of 64 KiB: {low['publishes']:,.0f} to {high['publishes']:,.0f}, "
        f"{prices['publish']:.2f} USD a million; deliveries to SQS are free"
    )
    screen.line(
        f"  SQS receives and deletes of 64 KiB: {low['requests']:,.0f} to "
        f"{high['requests']:,.0f}, {prices['request']:.2f} USD a million"
    )
    quoted = f"as third parties quoted AWS for {prices['region']} in {prices['date']}"
    origin = {
        0: f"prices {quoted}: --publish-price and --request-price take yours",
        1: f"the price that was not given is {quoted}",
        2: "prices as given",
    }[len(prices["given"])]
    screen.note(
        f"{origin}; without the free tier; empty receives and redelivered messages are not "
        "counted, declined copies are"
    )
