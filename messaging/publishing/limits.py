"""Explains why an event cannot be sent: which field is at fault, and what is wrong with it.

Only used for errors, so it need not be fast.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from messaging.dead_letters.reason import OUTSIDE_XML
from messaging.errors import EventTooLarge, InvalidCharacters, PublishError
from messaging.event import Event

__all__ = ["check_texts", "too_large", "unwritable"]


def unwritable(event: Event, error: PydanticSerializationError) -> PublishError:
    """The error for an `event` that cannot be written as JSON. `error`'s own text is omitted,
    because it quotes the value."""
    fields = ((name, getattr(event, name)) for name in type(event).model_fields)
    return _outside_xml(event, fields) or PublishError(
        f"{_unwritable(event)} cannot be written as JSON, or holds what is not of its type: "
        f"{type(error).__name__}"
    )


def check_texts(event: Event, fields: Collection[str] | None) -> None:
    """Raise `InvalidCharacters` if a string in `fields` (None: all) has a character that SNS
    refuses."""
    sent = event.model_dump(mode="json", by_alias=False)
    names = sent if fields is None else sorted(fields)
    if refused := _outside_xml(event, ((name, sent.get(name)) for name in names)):
        raise refused


def too_large(
    event: Event, audience: tuple[str, ...], fields: Collection[str] | None, size: int, limit: int
) -> EventTooLarge:
    """The error for a copy of `size` bytes, if the topic accepts `limit`."""
    written = event.model_dump(mode="json", by_alias=False)
    lengths = {
        name: sum(len(t.encode()) for _, t in _texts(written.get(name), name))
        for name in (written if fields is None else fields)
    }
    largest = max(lengths, key=lambda name: lengths[name], default="")
    return EventTooLarge(
        f"{type(event).__qualname__} for {', '.join(audience)} needs {size:,} bytes as one "
        f"message, and the topic takes {limit:,}; its largest field is {largest!r} with "
        f"{lengths.get(largest, 0):,} bytes: publish where it is kept instead of what it holds, "
        "give the publisher codec=ClaimCheck(store), or raise the topic's MaximumMessageSize (at "
        "most 1,048,576) and MESSAGING_MAX_BYTES"
    )


def _unwritable(event: Event) -> str:
    kind = type(event)
    for name in kind.model_fields:
        try:
            event.__pydantic_serializer__.to_json(event, include={name}, warnings="error")
        except PydanticSerializationError:
            return f"{kind.__qualname__}.{name}"
    return kind.__qualname__


def _outside_xml(event: Event, written: Iterable[tuple[str, Any]]) -> InvalidCharacters | None:
    """What is wrong with the first of the fields that holds what SNS refuses."""
    for name, value in written:
        field = f"{type(event).__qualname__}.{name}"
        for _, text in _texts(value, field):
            if found := OUTSIDE_XML.search(text):
                # Name a nested field only if the value itself shows it; its JSON may not show which
                # keys are names.
                deeper = _texts(getattr(event, name), field)
                paths = (path for path, text in deeper if OUTSIDE_XML.search(text))
                return InvalidCharacters(
                    f"{next(paths, field)} holds U+{ord(found.group()):04X} at position "
                    f"{found.start()}: outside XML 1.0, which is all that SNS and SQS take; remove "
                    "it before publishing"
                )
    return None


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each string in `value`, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name, None), f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _texts(key, f"{path}[key]")  # a key is data, and not shown
            yield from _texts(member, f"{path}[key]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, member in enumerate(value):
            yield from _texts(member, f"{path}[{index}]")
