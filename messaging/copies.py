"""The room that turns one event into its copies: one encoded message for each distinct view."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from messaging.clock import SYSTEM_CLOCK, Clock, utc
from messaging.codec import Codec, JsonCodec
from messaging.deadletter import OUTSIDE_XML
from messaging.envelope import Envelope, new_id
from messaging.errors import EventError, EventTooLarge, InvalidCharacters, PublishError
from messaging.event import Event, as_text
from messaging.projection import Copy, views
from messaging.transport import Attribute, Outgoing

__all__ = ["Encoder"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html, of both of its FIFO ids
_FIFO_ID = re.compile("[!-~]{1,128}")


class Encoder:
    """Encodes events for one topic; whatever cannot be sent is an error here, before any call.

    source     the CloudEvents source, a URI reference: "/cadastro".
    max_bytes  what the topic takes for one message: UTF-8 bytes of body and attributes.
    """

    def __init__(
        self,
        *,
        source: str,
        max_bytes: int,
        codec: Codec | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not source or OUTSIDE_XML.search(source):
            raise EventError(f"source={source!r}: a URI reference, like '/cadastro'")
        self._source = source
        self._max_bytes = max_bytes
        self._codec = codec or JsonCodec()
        self._clock = clock
        # The attributes of a type and an audience never change: made once, measured once.
        self._attributes: dict[
            tuple[str, tuple[str, ...]], tuple[Mapping[str, Attribute], int]
        ] = {}

    def __call__(
        self,
        event: Event,
        *,
        id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> list[Outgoing]:
        """The messages of `event`: one per distinct view, none if every view declined it.

        Raises `EventTooLarge` and `InvalidCharacters`, which name the field.
        """
        kind: type[Any] = type(event)
        if not issubclass(kind, Event) or not kind.event_type:
            raise EventError(
                f"{kind.__qualname__} cannot be published: declare it with "
                "`class Name(Event, type=..., version=...)`"
            )
        _check_context(id, time, traceparent)
        wanted = views(event)
        if not wanted:
            return []
        chosen = id or new_id()
        moment = time or utc(self._clock.now())
        group = kind.group_of(event)
        return [self._message(event, copy, chosen, moment, traceparent, group) for copy in wanted]

    def _message(
        self,
        event: Event,
        copy: Copy,
        id: str,
        time: datetime,
        traceparent: str | None,
        group: str | None,
    ) -> Outgoing:
        kind = type(event)
        envelope = Envelope(
            id=id,
            source=self._source,
            type=kind.event_type,
            version=kind.event_version,
            time=time,
            subject=_subject(event, copy),
            traceparent=traceparent,
            audience=copy.audience,
        )
        data = _data(event, copy)
        body = self._codec.encode(envelope, data)
        _check_characters(body, event, copy)
        if len(body) < len(data):  # the codec keeps the data elsewhere, where it is read as well
            _check_characters(data.decode(), event, copy)
        attributes, size = self._attributes_of(kind.event_type, copy.audience)
        size += len(body) if body.isascii() else len(body.encode())
        if size > self._max_bytes:
            raise EventTooLarge(_too_large(event, copy, size, self._max_bytes))
        return Outgoing(
            id=id,
            body=body,
            attributes=attributes,
            size=size,
            group=None if group is None else _group(kind, copy, group),
            # The copies of one event must not be taken for repetitions of each other.
            deduplication=None if group is None else _fifo_id(f"{id}:{copy.audience[0]}"),
        )

    def _attributes_of(
        self, type: str, audience: tuple[str, ...]
    ) -> tuple[Mapping[str, Attribute], int]:
        known = self._attributes.get((type, audience))
        if known is None:
            attributes = {
                "type": Attribute.string(type),
                "audience": Attribute.array(audience),
            }
            size = sum(value.size(name) for name, value in attributes.items())
            known = self._attributes[type, audience] = (attributes, size)
        return known


def _check_context(id: str | None, time: datetime | None, traceparent: str | None) -> None:
    if id is not None and (not id or len(id) > 100 or not id.isprintable()):
        raise EventError("id: 1 to 100 printable characters, the same whenever the event is sent")
    if time is not None and time.tzinfo is None:
        raise EventError("time: an aware datetime is needed; use datetime.now(UTC)")
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        raise EventError("traceparent: not of the form of W3C Trace Context (00-<32>-<16>-01)")


def _subject(event: Event, copy: Copy) -> str | None:
    name = event.event_subject
    # A field that a view does not declare does not reach its service by another door.
    if name is None or (copy.fields is not None and name not in copy.fields):
        return None
    return as_text(getattr(event, name))


def _group(kind: type[Event], copy: Copy, group: str) -> str:
    # Every service reads the MessageGroupId, so one that may not see the field gets a digest.
    shown = copy.fields is None or kind.event_group in copy.fields
    return _fifo_id(group) if shown else _digest(group)


def _fifo_id(text: str) -> str:
    return text if _FIFO_ID.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _data(event: Event, copy: Copy) -> bytes:
    include = None if copy.fields is None else set(copy.fields)
    try:
        # A value that is not of its field's type (model_copy and model_construct let it in) would
        # be a warning that quotes it, and a dead letter in every queue.
        return event.__pydantic_serializer__.to_json(
            event, include=include, by_alias=False, warnings="error"
        )
    except PydanticSerializationError as error:
        for name in type(event).model_fields:
            place = f"{type(event).__qualname__}.{name}"
            for _, text in _texts(getattr(event, name), place):
                if found := OUTSIDE_XML.search(text):
                    raise InvalidCharacters(_invalid(getattr(event, name), place, found)) from None
        raise PublishError(
            f"{_unwritable(event)} cannot be written as JSON, or holds what is not of its type: "
            f"{type(error).__name__}"
        ) from None  # its text quotes the value


def _unwritable(event: Event) -> str:
    kind = type(event)
    for name in kind.model_fields:
        try:
            event.__pydantic_serializer__.to_json(event, include={name}, warnings="error")
        except PydanticSerializationError:
            return f"{kind.__qualname__}.{name}"
    return kind.__qualname__


def _check_characters(body: str, event: Event, copy: Copy) -> None:
    # JSON writes control characters as escapes, which SNS would take; a consumer that sends the
    # text on, or stores it, would be refused there. So the text itself is looked at, but only
    # where an escape or a character beyond ASCII says that there is something to see.
    if "\\" not in body and (body.isascii() or not OUTSIDE_XML.search(body)):
        return
    sent = event.model_dump(mode="json", by_alias=False)
    for name in sent if copy.fields is None else sorted(copy.fields):
        place = f"{type(event).__qualname__}.{name}"
        for _, written in _texts(sent.get(name), place):
            if found := OUTSIDE_XML.search(written):
                raise InvalidCharacters(_invalid(getattr(event, name), place, found))


def _invalid(value: object, place: str, found: re.Match[str]) -> str:
    # Deeper where the field itself shows it; what it is written as may not say what is a name.
    paths = (path for path, text in _texts(value, place) if OUTSIDE_XML.search(text))
    return (
        f"{next(paths, place)} holds U+{ord(found.group()):04X} at position {found.start()}: "
        "outside XML 1.0, which is all that SNS and SQS take; remove it before publishing"
    )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each text in `value`, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name, None), f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _texts(key, f"{path}[key]")  # a key is data, and not told
            yield from _texts(member, f"{path}[key]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, member in enumerate(value):
            yield from _texts(member, f"{path}[{index}]")


def _too_large(event: Event, copy: Copy, size: int, limit: int) -> str:
    fields = event.model_dump(mode="json", by_alias=False)
    names = fields if copy.fields is None else copy.fields
    lengths = {
        name: sum(len(t.encode()) for _, t in _texts(fields.get(name), name)) for name in names
    }
    largest = max(lengths, key=lambda name: lengths[name], default="")
    return (
        f"{type(event).__qualname__} for {', '.join(copy.audience)} needs {size:,} bytes as one "
        f"message, and the topic takes {limit:,}; its largest field is {largest!r} with "
        f"{lengths.get(largest, 0):,} bytes: publish where it is kept instead of what it holds, "
        "give the publisher codec=ClaimCheck(store), or raise the topic's MaximumMessageSize (at "
        "most 1,048,576) and MESSAGING_MAX_BYTES"
    )
