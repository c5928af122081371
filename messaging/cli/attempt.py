"""`messaging try`: one test event, published so that it reaches one service and no other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from messaging.cli import names, screen
from messaging.cli.options import CodecName, Json, TopologyName, flag
from messaging.cli.project import chosen_codec, connected, deployment_if_any, require_topic
from messaging.errors import AccessDenied, ConfigurationError, PublishError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from messaging.codec import Codec
    from messaging.consuming.consumer import Consumer, Handler
    from messaging.contract.subscribers import Subscriber
    from messaging.settings import Settings
    from messaging.transport import Outgoing

__all__ = ["try_service"]

_HERE = ("127.0.0.1", "localhost", "::1")


def try_service(
    service: Annotated[
        str, typer.Argument(metavar="MODULE:SERVICE", help="The consumer class of the service.")
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='The data; "-" reads it. Else it is made up.'),
    ] = None,
    type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Which event, if the service handles several."),
    ] = None,
    yes: Annotated[bool, flag("--yes", "Even if the topic is not on this machine.")] = False,
    codec: CodecName = None,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Publish a test event that reaches one service and no other.

    It is published to the topic in the form of the service's view, and addressed to that service
    alone: no producer is needed, and no other queue gets it. Data that the view cannot read is
    refused before anything is sent; so is an event that the service's subscription would not let
    through.

    [bold]Example:[/bold] messaging try biblioteca.servico:Biblioteca
    """
    consumer = names.consumer_class(service, "the service")
    handler = _handler(consumer, type)
    view = _view(handler, data)
    _, settings = deployment_if_any(topology)
    require_topic(settings)
    if not yes and not _is_here(settings):
        raise ConfigurationError(
            "the topic is not on this machine, and the service would take a test event for a real "
            "one; --yes publishes it all the same"
        )
    message = _message(consumer, handler, view, chosen_codec(codec))
    _publish(message, settings, consumer.service, handler.event.event_type)
    said = {"id": message.id, "type": handler.event.event_type, "service": consumer.service}
    if json:
        screen.data(said)
    else:
        screen.line(f"published {said['type']} {said['id']} for {said['service']} alone")


def _handler(consumer: type[Consumer], type: str | None) -> Handler:
    handlers = consumer.handlers
    if not handlers:
        raise ConfigurationError(
            f"{consumer.__qualname__} handles no event: mark a method of it with @handles"
        )
    known = ", ".join(sorted(handlers))
    if type is None and len(handlers) > 1:
        raise ConfigurationError(f"which event? Give --type: {known}")
    if type is not None and type not in handlers:
        raise ConfigurationError(
            f"--type {type!r}: {consumer.__qualname__} does not handle it; it handles {known}"
        )
    return handlers[type] if type is not None else next(iter(handlers.values()))


def _view(handler: Handler, data: str | None) -> BaseModel:
    """The data as the service would receive it."""
    from pydantic import ValidationError

    from messaging.codec import first_mistake
    from messaging.projection import READING

    text = _made_up(handler) if data is None else sys.stdin.read() if data == "-" else data
    try:
        return handler.view.model_validate_json(text, **READING)
    except ValidationError as error:
        raise ConfigurationError(
            f"--data is not what {handler.view.__qualname__} reads: "
            f"{first_mistake(error, model=handler.view)}"
        ) from None


def _made_up(handler: Handler) -> bytes:
    from pydantic_core import to_json

    from messaging.contract.examples import example_of
    from messaging.contract.schema import schema_of

    made = example_of(handler.view, schema_of(handler.view))
    if made is None:
        raise ConfigurationError(
            f"no data could be made up that {handler.view.__qualname__} reads; give --data, or "
            'give its fields examples: Field(examples=["..."])'
        )
    return to_json(made)


def _message(
    consumer: type[Consumer], handler: Handler, view: Any, codec: Codec | None
) -> Outgoing:
    from messaging.clock import SYSTEM_CLOCK, utc
    from messaging.codec import JsonCodec
    from messaging.doctor.probe import sealed
    from messaging.envelope import Envelope, new_id
    from messaging.event import as_text
    from messaging.projection import Projection

    event, subject = handler.event, handler.event.event_subject
    envelope = Envelope(
        id=new_id(),
        source="/messaging-try",
        type=event.event_type,
        version=view.version if isinstance(view, Projection) else event.event_version,
        time=utc(SYSTEM_CLOCK.now()),
        subject=as_text(getattr(view, subject, None)) if subject else None,
        audience=(consumer.service,),
    )
    data = view.__pydantic_serializer__.to_json(view, by_alias=False)
    group = None if event.event_group is None else "messaging-try"
    return sealed(envelope, data, codec or JsonCodec(), type=event.event_type, group=group)


def _publish(message: Outgoing, settings: Settings, service: str, type: str) -> None:
    with connected(settings) as broker:
        topic = broker.topic()
        try:
            heard = _is_heard(topic.subscribers(), broker.queue(service).name, service, type)
        except AccessDenied:
            screen.note("who subscribes may not be listed here, so the filter was not looked at")
        else:
            if not heard:
                raise PublishError(
                    f"the topic would drop it: no subscription lets {type} through to {service}; "
                    "run `messaging topology apply` with the service's topology"
                )
        for failure in topic.publish([message]):
            raise PublishError(f"the topic did not accept it: {failure.code}: {failure.message}")


def _is_heard(subscribers: Iterable[Subscriber], queue: str, service: str, type: str) -> bool:
    """Whether the queue may get the event; of a filter that cannot be read nobody knows."""
    return any(
        type in one.types and service in one.audience if one.is_ours else one.endpoint == queue
        for one in subscribers
    )


def _is_here(settings: Settings) -> bool:
    return urlsplit(settings.broker_url or settings.endpoint_url or "").hostname in _HERE
