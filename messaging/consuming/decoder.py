"""Decodes a message body into an envelope, a handler and the view that it takes, by any codec."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from messaging.codec import Codec, first_mistake
from messaging.consuming.consumer import Consumer, Handler
from messaging.envelope import PROBE, Envelope
from messaging.errors import CodecError
from messaging.projection import READING, Projection
from messaging.transport import Delivery

__all__ = ["Decoder", "ProbeReceived", "Read", "shape_of"]

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}")

Read = tuple[Handler, BaseModel, Envelope | str, str | None]
"""Who handles it, the view that it is given, and the envelope, or the body that has it. Of a
message as this library writes them also its traceparent, or "" if there is none or if tracestate or
baggage comes with it; of others None."""


class ProbeReceived(Exception):
    """The message is a probe of `messaging doctor`, not meant for a handler."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope.id)
        self.envelope = envelope


class Decoder:
    """Reads deliveries for one consumer.

    Calling it raises `CodecError` for messages that can never be handled: an unreadable body, a
    type without a handler, a newer version, or data that the view refuses. It raises
    `ProbeReceived` for probes.
    """

    def __init__(self, consumer: Consumer, codec: Codec) -> None:
        self._consumer = consumer
        self._codec = codec

    def __call__(self, delivery: Delivery) -> Read:
        envelope = self._codec.decode(delivery.body)
        handler = self._consumer.handlers.get(envelope.type)
        service = self._consumer.service
        if handler is None:
            if envelope.type == PROBE:
                raise ProbeReceived(envelope)
            raise CodecError(
                f"type: {service} has no handler for this event type ({_safe(envelope.type)})"
            )
        if envelope.data is None and "dataref" in envelope.extensions:
            raise CodecError(
                f"dataref: the data stands in a store that {service} was not given; "
                "give its worker codec=ClaimCheck(store)"
            )
        if issubclass(handler.view, Projection) and handler.view.pinned:
            _check_pinned(handler.view, envelope.version)
        data = handler.event.bring_up(envelope.data, envelope.version, since=shape_of(handler))
        return handler, _validated(handler.view, data), envelope, None


def shape_of(handler: Handler) -> int:
    """The version in which the handler's view got its present shape."""
    view = handler.view
    return view.version if issubclass(view, Projection) else handler.event.event_version


def _check_pinned(view: type[Projection], version: int) -> None:
    if version > view.version:
        raise CodecError(
            f"dataversion: {view.event.event_type} version {version} is newer than version "
            f"{view.version}, to which {view.__qualname__} is pinned"
        )


def _validated(view: type[BaseModel], data: Any) -> BaseModel:
    try:
        # Through JSON text, so that a strict view reads dates and decimals as from a message.
        return view.model_validate_json(to_json(data), **READING)
    except ValidationError as error:
        raise CodecError(first_mistake(error, model=view) + _instead(data)) from None
    except PydanticSerializationError:
        raise CodecError("data: not text in UTF-8") from None


def _instead(data: Any) -> str:
    """Data without any fields."""
    if data is None:
        return "; it is missing or null"
    if isinstance(data, str) and data.lstrip().startswith("{"):
        return "; it is JSON inside of a JSON string: the producer encoded it twice"
    return ""


def _safe(name: str) -> str:
    # A foreign type name is quoted in the reason only if it looks like one.
    return name if _TYPE.fullmatch(name) else "not shown: it does not look like a type"
