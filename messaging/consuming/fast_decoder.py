"""Reads messages that this library wrote, without parsing their data.

`JsonCodec.encode` writes a document's members in a fixed order, with the data last. So one regular
expression reads everything before the data, and the text between that and the last brace is the
data, provided that it is one JSON value, which the view's validator checks: no dict is created. The
`Envelope` is only created when it is used. And since the heads of one type's messages differ in few
places, a `KnownHead` only compares the rest.

Any other message is read by `Decoder`, which also says what is wrong. Both return the same for a
message that both can read (`tests/consuming/test_fast_decoder.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from messaging.codec import Codec, JsonCodec
from messaging.consuming.consumer import Consumer, Handler
from messaging.consuming.decoder import Decoder, Read, shape_of
from messaging.envelope import Envelope
from messaging.transport import Delivery

__all__ = [
    "FastDecoder",
    "KnownHead",
    "Usual",
    "decoder_for",
    "envelope",
    "envelope_of",
    "traceparent_in",
    "usual",
]

MOST_HEADS = 4
"""Maximum number of heads that are tried in turn before a message is read in full."""

# Without escapes and characters that JSON must escape; a lone surrogate is not valid UTF-8.
_TEXT = r'"([^"\\\x00-\x1f\ud800-\udfff]+)"'
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z"
_HEAD = re.compile(
    rf'{{"specversion":"1\.0","id":{_TEXT},"source":{_TEXT},"type":{_TEXT}'
    r',"dataversion":([1-9][0-9]{0,8}),"datacontenttype":"application/json"'
    rf'(?:,"time":"({_TIME})")?(?:,"subject":{_TEXT})?(?:,"traceparent":{_TEXT})?'
    rf'(?:,"tracestate":{_TEXT})?(?:,"baggage":{_TEXT})?,"data":'
)
_match = _HEAD.match
_parsed = datetime.fromisoformat

_FRONT = '{"specversion":"1.0","id":"'
_END = len(_FRONT) + 36
"""Where a UUID ends."""
_TRACE_LENGTH = 55
# A repetition takes as long as twenty single characters, and a branch that begins with the letter
# in which it differs is left at once. Between the two goes the text between id and time.
_DIGITS = "-".join(("[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2)) + "T" + ":".join(["[0-9]" * 2] * 3)
_KNOWN = (
    re.escape(_FRONT) + "[0-9a-f-]{36}",
    (
        rf'({_DIGITS}\.{"[0-9]" * 6})Z","(?:subject":{_TEXT.replace("(", "(?:")},"|)'
        rf'(?:traceparent":"([0-9a-f-]{{{_TRACE_LENGTH}}})","|)data":(.*)}}'
    ),
)


Usual = tuple[str, str, str, re.Match[str]]
"""Type; version, in decimal digits; data, as unchecked JSON; the whole head."""


def usual(body: str) -> Usual | None:
    """Read `body` if it is in the form that this library writes, otherwise return None."""
    found = _match(body)
    if found is None or body[-1] != "}":
        return None
    type, version, time = found.group(3, 4, 5)
    data = body[found.end() : -1]
    if _beyond_json(data):
        return None
    if time is not None:
        try:
            _parsed(time)
        except ValueError:  # the 30th of February
            return None
    return type, version, data, found


def traceparent_in(head: re.Match[str]) -> str:
    """The traceparent in a head that `usual` returned; "" if it does not have the right length, or
    if tracestate or baggage comes with it."""
    alone = head[8] is None and head[9] is None
    traceparent: str = head[7] or ""
    return traceparent if alone and len(traceparent) == _TRACE_LENGTH else ""


def _beyond_json(data: str) -> bool:
    """Refuse NaN and Infinity, which are not JSON, but which pydantic-core reads when it
    validates."""
    # Searching memory for one letter is faster than for a word.
    return ("N" in data and "NaN" in data) or ("I" in data and "Infinity" in data)


class KnownHead:
    """Reads a message whose head differs only in id, time, subject and traceparent from one that
    `usual` has read, in half the time.

    Calling it returns the data, as `usual` does, and the traceparent, "" if there is none. If it
    returns None or raises `ValueError`, use `usual`.
    """

    __slots__ = ("_match",)

    def __init__(self, middle: str) -> None:
        # One expression for the whole head: each call of a string's method would take as long as
        # comparing fifty characters does.
        self._match = re.compile(re.escape(middle).join(_KNOWN), re.DOTALL).fullmatch

    @classmethod
    def like(cls, found: re.Match[str]) -> KnownHead | None:
        """Create one for heads like this, if the library itself generated its id and time."""
        known_head = cls(found.string[_END : max(_END, found.start(5))])
        return None if known_head(found.string) is None else known_head

    def __call__(self, body: str) -> tuple[str, str] | None:
        found = self._match(body)
        if found is None:
            return None
        time, trace, data = found.groups("")
        _parsed(time)
        return None if ("N" in data or "I" in data) and _beyond_json(data) else (data, trace)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a handler that has read a message before."""

    handler: Handler
    version: str
    view_of: Callable[[str], BaseModel]
    watched: bool


class FastDecoder:
    """Reads deliveries for one consumer, as a `Decoder` with a `JsonCodec` does.

    watched  something other than the handlers reads envelopes.
    """

    __slots__ = ("_chances", "_consumer", "_known", "_known_heads", "_thoroughly", "_watched")

    def __init__(self, consumer: Consumer, *, watched: bool) -> None:
        self._consumer = consumer
        self._thoroughly = Decoder(consumer, JsonCodec())
        self._watched = watched
        self._known: dict[str, _Known] = {}
        self._known_heads: tuple[tuple[KnownHead, _Known], ...] = ()
        self._chances = 16
        """Attempts left to create another one: if heads differ in more, none will help."""

    def __call__(self, delivery: Delivery) -> Read:
        # A message with any error is read again by `Decoder`, which finds the reason.
        try:
            body = delivery.body
            for known_head, known in self._known_heads:
                found = known_head(body)
                if found is not None:
                    data, traceparent = found
                    return known.handler, known.view_of(data), body, traceparent
            read = self._quickly(body)
            if read is not None:
                return read
        except Exception:  # noqa: BLE001, S110 - raised again below, with its reason
            pass
        return self._thoroughly(delivery)

    def _quickly(self, body: str) -> Read | None:
        """Read a message in the form that this library writes."""
        said = usual(body)
        if said is None:
            return None
        type, version, data, head = said
        known = self._known.get(type) or self._meet(type)
        if known is None or version != known.version:
            return None
        view = known.view_of(data)
        if known.watched:  # otherwise nothing reads the envelope's data
            seen = envelope_of(head, from_json(data, allow_inf_nan=False))
            return known.handler, view, seen, traceparent_in(head)
        if self._chances and len(self._known_heads) < MOST_HEADS:
            self._chances -= 1
            known_head = KnownHead.like(head)
            if known_head is not None:
                self._known_heads += ((known_head, known),)
        return known.handler, view, body, traceparent_in(head)

    def _meet(self, type: str) -> _Known | None:
        handler = self._consumer.handlers.get(type)
        if handler is None:
            return None
        known = self._known[type] = _Known(
            handler,
            str(shape_of(handler)),
            _reader_of(handler.view),
            self._watched or handler.envelope is not None,
        )
        return known


def _reader_of(view: type[BaseModel]) -> Callable[[str], BaseModel]:
    """The function that creates a `view` from JSON text, with the options of `READING`."""
    # The validator is called directly, which skips pydantic's options, and with literal keywords: a
    # partial would build a dict of them for every message.
    read = view.__pydantic_validator__.validate_json
    return lambda data: read(data, extra="ignore", by_name=True, by_alias=False)


def decoder_for(consumer: Consumer, codec: Codec, *, watched: bool) -> Callable[[Delivery], Read]:
    """The decoder for the deliveries of `consumer`."""
    # Only the library's own codec is known to write the form that `usual` reads.
    if type(codec) is JsonCodec:
        return FastDecoder(consumer, watched=watched)
    return Decoder(consumer, codec)


def envelope(read: Read) -> Envelope:
    """The envelope of a message that was read. Its data is None if nothing was to read it."""
    found = read[2]
    if isinstance(found, Envelope):
        return found
    head = _match(found)  # the rest has been checked
    return JsonCodec().decode(found) if head is None else envelope_of(head, None)


def _said(**extensions: str | None) -> dict[str, str]:
    return {name: one for name, one in extensions.items() if one is not None}


def envelope_of(head: re.Match[str], data: Any) -> Envelope:
    """The envelope of a head that `usual` has read, with this data."""
    id, source, type, version, time, subject, traceparent, tracestate, baggage = head.groups()
    return Envelope(
        id=id,
        source=source,
        type=type,
        version=int(version),
        time=None if time is None else _parsed(time),
        subject=subject,
        traceparent=traceparent,
        extensions=None
        if tracestate is None and baggage is None
        else _said(tracestate=tracestate, baggage=baggage),
        data=data,
    )
