"""Reads messages that this library wrote, without parsing their data.

`JsonCodec.encode` writes a document's members in one order, the data last and as it is. So one
regular expression reads all that stands before the data, and what is between that and the last
brace is the data if it is one JSON value, which the validator of the view finds out: nobody has
to make a dict of it. The `Envelope` is made only when somebody looks. And heads of one type's
messages differ in little, so what is the same in the next a `KnownHead` only compares.

Whatever is not as usual is None here, and read by the codec, which also says what is wrong. Both
give the same for whatever both can read (`tests/consuming/test_fast_decoder.py`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from messaging.envelope import Envelope

__all__ = ["KnownHead", "Usual", "envelope_of", "traceparent_of", "usual"]

# Without escapes and without what JSON must escape; a lone surrogate is no text in UTF-8.
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


Usual = tuple[str, str, str, re.Match[str]]
"""Type; version, in decimal digits; data, JSON whose syntax nobody has checked; the whole head."""


def usual(body: str) -> Usual | None:
    """What `body` says if it is as this library writes it, else None."""
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


def _beyond_json(data: str) -> bool:
    """pydantic-core reads NaN and Infinity, which are no JSON, where it validates."""
    # For one letter memory is searched faster than for a word.
    return ("N" in data and "NaN" in data) or ("I" in data and "Infinity" in data)


class KnownHead:
    """Reads a message whose head differs in id, time, subject and traceparent only from one that
    `usual` has read; in half of its time.

    Calling it gives the data, as `usual` does; None, or a `ValueError`: ask `usual`.
    """

    __slots__ = ("_data", "_middle", "_time", "_zone")

    def __init__(self, middle: str) -> None:
        self._middle = middle
        """What stands between id and time."""
        self._time = _END + len(middle)
        self._zone = self._time + len("2026-11-24T12:00:00.000000")
        self._data = self._zone + len(_TAIL)

    @classmethod
    def like(cls, found: re.Match[str]) -> KnownHead | None:
        """For heads like this one, if the library itself made its id and its time."""
        glance = cls(found.string[_END : max(_END, found.start(5))])
        return None if glance(found.string) is None else glance

    def __call__(self, body: str) -> str | None:
        zone = self._zone
        if not (
            body.startswith(self._middle, _END) and body.startswith(_FRONT) and body[-1] == "}"
        ):
            return None
        shape, trace = _SHAPE, ""
        if body.startswith(_TAIL, zone):
            data = body[self._data : -1]
        else:
            if body.startswith(_SUBJECT, zone):
                begin = zone + len(_SUBJECT)
                end = body.find('"', begin)
                subject = body[begin:end]
                if end <= begin or not subject.isprintable() or "\\" in subject:
                    return None
            elif body.startswith("Z", zone):
                end = zone + 1
            else:
                return None
            if body.startswith(_TRACED, end):
                shape, begin = _SHAPE_TRACED, end + len(_TRACED)
                end = begin + _TRACE_LENGTH
                trace = body[begin:end]
            if not body.startswith(_AFTER, end):
                return None
            data = body[end + len(_AFTER) : -1]
        time = body[self._time : zone]
        if (body[_ID:_END] + time + trace).encode().translate(_AS_ZERO) != shape:
            return None
        _parsed(time)
        return None if ("N" in data or "I" in data) and _beyond_json(data) else data


def traceparent_of(body: str) -> str | None:
    """The traceparent in a body that `usual` or a `KnownHead` has read, if it is as long as it
    should be and neither tracestate nor baggage comes with it: then the data is next."""
    # As a rule the data is an object. For one letter memory is searched faster than for a word.
    end = body.find("{", _SHORTEST) - _AFTER_LENGTH
    if body[end : end + _AFTER_LENGTH] != _AFTER:
        end = body.find(_AFTER, 0, _HEAD_BYTES)  # what is in the data is not of the head
    begin = end - _TRACE_LENGTH
    return body[begin:end] if body[begin - _TRACED_LENGTH : begin] == _TRACED else None


_SHORTEST = 100
"""Characters: no head is shorter."""
_HEAD_BYTES = 2_000
"""Of a body, where a traceparent is looked for: a longer head is read as a whole."""


def _said(**extensions: str | None) -> dict[str, str]:
    return {name: one for name, one in extensions.items() if one is not None}


_FRONT = '{"specversion":"1.0","id":"'
_ID, _END = len(_FRONT), len(_FRONT) + 36
"""Where a UUID begins and ends."""
_TAIL, _SUBJECT, _AFTER = 'Z","data":', 'Z","subject":"', '","data":'
_TRACED, _TRACE_LENGTH = '","traceparent":"', 55
_AFTER_LENGTH, _TRACED_LENGTH = len(_AFTER), len(_TRACED)
_SHAPE = b"00000000-0000-0000-0000-0000000000000000-00-00T00:00:00.000000"
"""A UUID and a time, without a difference between their digits."""
_SHAPE_TRACED = _SHAPE + b"00-00000000000000000000000000000000-0000000000000000-00"
_AS_ZERO = bytes.maketrans(b"123456789abcdef", b"0" * 15)


def envelope_of(head: re.Match[str], data: Any) -> Envelope:
    """The envelope of a head that `usual` has found, with this as its data."""
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
