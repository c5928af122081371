"""The room of the usual message: this library's own envelope, read without taking its data apart.

`JsonCodec.encode` writes a document's members in one order, the data last and as it is. So one
regular expression reads all that stands before the data, and what is between that and the last
brace is the data if it is one JSON value, which the validator of the view finds out: nobody has
to make a dict of it. The `Envelope` is made only when somebody looks.

Whatever is not as usual is None here, and read by the codec, which also says what is wrong. Both
give the same for whatever both can read (`tests/test_usual.py`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from messaging.envelope import Envelope

__all__ = ["Usual", "envelope_of", "usual"]

# Without escapes and without what JSON must escape; a lone surrogate is no text in UTF-8.
_TEXT = r'"([^"\\\x00-\x1f\ud800-\udfff]+)"'
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z"
_HEAD = re.compile(
    rf'{{"specversion":"1\.0","id":{_TEXT},"source":{_TEXT},"type":{_TEXT}'
    r',"dataversion":([1-9][0-9]{0,8}),"datacontenttype":"application/json"'
    rf'(?:,"time":"({_TIME})")?(?:,"subject":{_TEXT})?(?:,"traceparent":{_TEXT})?,"data":'
)
_match = _HEAD.match


Usual = tuple[str, str, str, re.Match[str]]
"""Type; version, in decimal digits; data, JSON whose syntax nobody has checked; the whole head."""


def usual(body: str) -> Usual | None:
    """What `body` says if it is as this library writes it, else None."""
    found = _match(body)
    if found is None or body[-1] != "}":
        return None
    type, version, time = found.group(3, 4, 5)
    data = body[found.end() : -1]
    # pydantic-core reads NaN and Infinity, which are no JSON, where it validates.
    # For one letter memory is searched faster than for a word.
    if ("N" in data and "NaN" in data) or ("I" in data and "Infinity" in data):
        return None
    if time is not None:
        try:
            datetime.fromisoformat(time)
        except ValueError:  # the 30th of February
            return None
    return type, version, data, found


def envelope_of(head: re.Match[str], data: Any) -> Envelope:
    """The envelope of a head that `usual` has found, with this as its data."""
    id, source, type, version, time, subject, traceparent = head.groups()
    return Envelope(
        id=id,
        source=source,
        type=type,
        version=int(version),
        time=None if time is None else datetime.fromisoformat(time),
        subject=subject,
        traceparent=traceparent,
        data=data,
    )
