"""Decodes a message body into an envelope, a handler and the view that it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from messaging.codec import Codec, JsonCodec, first_mistake
from messaging.consuming.consumer import Consumer, Handler
from messaging.consuming.fast_decoder import KnownHead, envelope_of, usual
from messaging.envelope import PROBE, Envelope
from messaging.errors import CodecError
from messaging.projection import READING, Projection
from messaging.transport import Delivery

__all__ = ["Decoder", "ProbeReceived", "Read", "envelope"]

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}")


Read = tuple[Handler, BaseModel, Envelope | str]
"""Who handles it, the view that it is given, and the envelope, or the body that has it."""

MOST_GLANCES = 4
"""Heads that are tried, one after the other, before a message is looked at in full."""


def envelope(read: Read) -> Envelope:
    """The envelope of what was read. Its data is None where nobody was said to look at it."""
    found = read[2]
    if isinstance(found, Envelope):
        return found
    said = usual(found)
    return JsonCodec().decode(found) if said is None else envelope_of(said[3], None)


class ProbeReceived(Exception):
    """The message is a probe of `messaging doctor`, for no handler."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope.id)
        self.envelope = envelope


@dataclass(frozen=True, slots=True)
class _Known:
    """A handler that has read a message before: nothing about it is asked again."""

    handler: Handler
    version: str
    view_of: Callable[[str], BaseModel]
    watched: bool


class Decoder:
    """Reads deliveries for one consumer.

    Calling it raises `CodecError` for what can never be handled: a body that cannot be read, a
    type without handler, a newer version, data that the view refuses. And `ProbeReceived`.

    watched  somebody beside the handlers looks at envelopes.
    """

    __slots__ = ("_chances", "_codec", "_consumer", "_glances", "_known", "_plain", "_watched")

    def __init__(self, consumer: Consumer, codec: Codec, *, watched: bool) -> None:
        self._consumer = consumer
        self._codec = codec
        # Only the library's own codec is known to write as `usual` reads.
        self._plain = type(codec) is JsonCodec
        self._watched = watched
        self._known: dict[str, _Known] = {}
        self._glances: tuple[tuple[KnownHead, _Known], ...] = ()
        self._chances = 16
        """How often it is tried to make another one: where heads differ in more, none will do."""

    def __call__(self, delivery: Delivery) -> Read:
        if self._plain:
            # A message with any mistake is looked at thoroughly: there the reason is found.
            try:
                body = delivery.body
                for glance, known in self._glances:
                    data = glance(body)
                    if data is not None:
                        return known.handler, known.view_of(data), body
                read = self._quickly(body)
                if read is not None:
                    return read
            except Exception:  # noqa: BLE001, S110 - it comes again below, where it can be told
                pass
        return self._thoroughly(delivery)

    def _quickly(self, body: str) -> Read | None:
        """For a message as this library writes it."""
        said = usual(body)
        if said is None:
            return None
        type, version, data, head = said
        known = self._known.get(type) or self._meet(type)
        if known is None or version != known.version:
            return None
        view = known.view_of(data)
        if known.watched:  # else nobody sees the envelope's data
            return known.handler, view, envelope_of(head, from_json(data, allow_inf_nan=False))
        if self._chances and len(self._glances) < MOST_GLANCES:
            self._chances -= 1
            glance = KnownHead.like(head)
            if glance is not None:
                self._glances += ((glance, known),)
        return known.handler, view, body

    def _meet(self, type: str) -> _Known | None:
        handler = self._consumer.handlers.get(type)
        if handler is None:
            return None
        known = self._known[type] = _Known(
            handler,
            str(_shape(handler)),
            _reader_of(handler.view),
            self._watched or handler.envelope is not None,
        )
        return known

    def _thoroughly(self, delivery: Delivery) -> Read:
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
        data = handler.event.bring_up(envelope.data, envelope.version, since=_shape(handler))
        return handler, _validated(handler.view, data), envelope


def _reader_of(view: type[BaseModel]) -> Callable[[str], BaseModel]:
    """What makes a `view` of its data as JSON text, as `READING` says."""
    # Straight to the validator, which looks at no options, and with each keyword in its place: a
    # partial would make a dict of them for every message.
    read = view.__pydantic_validator__.validate_json
    return lambda data: read(data, extra="ignore", by_name=True, by_alias=False)


def _shape(handler: Handler) -> int:
    """The version since which the handler's view has its present shape."""
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
        # Through JSON text, so that a strict view reads dates and decimals as it would on the wire.
        return view.model_validate_json(to_json(data), **READING)
    except ValidationError as error:
        raise CodecError(first_mistake(error, model=view) + _instead(data)) from None
    except PydanticSerializationError:
        raise CodecError("data: not text in UTF-8") from None


def _instead(data: Any) -> str:
    """What data is that holds no fields at all."""
    if data is None:
        return "; it is missing or null"
    if isinstance(data, str) and data.lstrip().startswith("{"):
        return "; it is JSON inside of a JSON string: the producer encoded it twice"
    return ""


def _safe(name: str) -> str:
    # A foreign type name goes into the reason only if it looks like one.
    return name if _TYPE.fullmatch(name) else "not shown: it does not look like a type"
