"""The room where a body becomes what a handler takes: its envelope, its handler, its view."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from messaging.codec import Codec, JsonCodec, first_mistake
from messaging.consumer import Consumer, Handler
from messaging.envelope import Envelope
from messaging.errors import CodecError
from messaging.transport import Delivery
from messaging.usual import usual

__all__ = ["Reader"]

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}")
_Read = tuple[Handler, Envelope, BaseModel]


class Reader:
    """Reads deliveries for one consumer.

    Calling it raises `CodecError` for what can never be handled: a body that cannot be read, a
    type without handler, a newer version, data that the view refuses.

    watched  somebody beside the handlers looks at envelopes.
    """

    __slots__ = ("_codec", "_consumer", "_plain", "_watched")

    def __init__(self, consumer: Consumer, codec: Codec, *, watched: bool) -> None:
        self._consumer = consumer
        self._codec = codec
        # Only the library's own codec is known to write as `usual` reads.
        self._plain = type(codec) is JsonCodec
        self._watched = watched

    def __call__(self, delivery: Delivery) -> _Read:
        read = self._quickly(delivery) if self._plain else None
        return read or self._thoroughly(delivery)

    def _quickly(self, delivery: Delivery) -> _Read | None:
        """For a message as this library writes it. None: it must be looked at thoroughly.

        So must one with any mistake: there the reason is found.
        """
        try:
            read = usual(delivery.body)
            if read is None:
                return None
            envelope, data = read
            handler = self._consumer.handlers.get(envelope.type)
            if handler is None or envelope.version != handler.event.event_version:
                return None
            view = _valid(handler.view, data)
            if self._watched or handler.envelope:  # else nobody sees the envelope's data
                envelope.__dict__["data"] = from_json(data, allow_inf_nan=False)
        except Exception:  # noqa: BLE001 - whatever it is, it comes again where it can be told
            return None
        return handler, envelope, view

    def _thoroughly(self, delivery: Delivery) -> _Read:
        envelope = self._codec.decode(delivery.body)
        handler = self._consumer.handlers.get(envelope.type)
        service = self._consumer.service
        if handler is None:
            raise CodecError(
                f"type: {service} has no handler for this event type ({_safe(envelope.type)})"
            )
        if envelope.data is None and "dataref" in envelope.extensions:
            raise CodecError(
                f"dataref: the data stands in a store that {service} was not given; "
                "give its worker codec=ClaimCheck(store)"
            )
        data = handler.event.bring_up(envelope.data, envelope.version)
        return handler, envelope, _validated(handler.view, data)


def _valid(view: type[BaseModel], data: str | bytes) -> BaseModel:
    # Straight to the validator: `model_validate_json` looks at its options each time.
    validated: BaseModel = view.__pydantic_validator__.validate_json(
        data, extra="ignore", by_name=True, by_alias=False
    )
    return validated


def _validated(view: type[BaseModel], data: Any) -> BaseModel:
    try:
        # Through JSON text, so that a strict view reads dates and decimals as it would on the wire.
        return _valid(view, to_json(data))
    except ValidationError as error:
        raise CodecError(first_mistake(error, model=view)) from None
    except PydanticSerializationError:
        raise CodecError("data: not text in UTF-8") from None


def _safe(name: str) -> str:
    # A foreign type name goes into the reason only if it looks like one.
    return name if _TYPE.fullmatch(name) else "not shown: it does not look like a type"
