"""The room of dead letters: how a reason travels beside a message, and is read again.

A dead letter keeps its body and its attributes. The reason stands beside them, in attributes:

    dead-letter-reason    String  why, at most 1,024 characters
    dead-letter-error     String  the type of the last exception; left out if there was none
    dead-letter-attempts  Number  receives so far
    dead-letter-time      String  RFC 3339, UTC
    dead-letter-queue     String  the queue it comes from

SQS takes 10 attributes with a message. Where these do not fit, one attribute `dead-letter` holds
the same as JSON, and original attributes that have no room left are in it, too.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from messaging.clock import utc
from messaging.transport import Attribute, DeadLetter

__all__ = ["MAX_ATTRIBUTES", "OUTSIDE_XML", "Note", "attributes", "read"]

MAX_ATTRIBUTES = 10
"""Attributes that SQS takes with one message, and that SNS hands on by raw delivery."""

MAX_REASON = 1024
"""Characters: a reason is a line for whoever is on call, and counts towards the size limit."""

OUTSIDE_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SNS and SQS refuse. https://www.w3.org/TR/REC-xml/#charsets"""

TOGETHER = "dead-letter"
REASON, ERROR, ATTEMPTS, TIME, QUEUE = (
    f"{TOGETHER}-{name}" for name in ("reason", "error", "attempts", "time", "queue")
)
_APART = frozenset((REASON, ERROR, ATTEMPTS, TIME, QUEUE))
_KEPT_LONGEST = frozenset(("type", "audience"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Why a message is a dead letter.

    `error` is the name of an exception's type, or None. `attempts` is 0 and `time` (seconds since
    the epoch) 0.0 where they cannot be read.
    """

    reason: str
    error: str | None
    attempts: int
    time: float
    queue: str


def attributes(letter: DeadLetter) -> Mapping[str, Attribute]:
    """What goes beside the body of `letter`: its original attributes and the reason.

    At most `MAX_ATTRIBUTES`. The reason of an earlier time, on a message that was moved back from
    its dead-letter queue, is replaced.
    """
    original, _ = read(letter.delivery.attributes)
    note = {
        REASON: Attribute.string(_clean(letter.reason)),
        ATTEMPTS: Attribute("Number", str(letter.attempts)),
        TIME: Attribute.string(_rfc3339(letter.time)),
        QUEUE: Attribute.string(_clean(letter.queue)),
    }
    if letter.error:
        note[ERROR] = Attribute.string(_clean(letter.error))
    if len(original) + len(note) <= MAX_ATTRIBUTES:
        return {**original, **note}
    return _together(original, note)


def read(
    attributes: Mapping[str, Attribute],
) -> tuple[Mapping[str, Attribute], Note | None]:
    """The original attributes, and the reason if there is one beside them.

    None means that SQS moved the message itself (it was received too often), or that it is no dead
    letter at all.
    """
    if (whole := _parse(attributes.get(TOGETHER))) is not None:
        found, moved = whole
        rest = {name: value for name, value in attributes.items() if name != TOGETHER}
        return {**rest, **moved}, _note(found)
    if REASON not in attributes:
        return dict(attributes), None
    apart = {
        name.removeprefix(f"{TOGETHER}-"): value.value
        for name, value in attributes.items()
        if name in _APART
    }
    return {name: value for name, value in attributes.items() if name not in _APART}, _note(apart)


def _together(
    original: Mapping[str, Attribute], note: Mapping[str, Attribute]
) -> dict[str, Attribute]:
    content: dict[str, Any] = {
        name.removeprefix(f"{TOGETHER}-"): value.value for name, value in note.items()
    }
    # Type and audience stay in sight: they are what one looks for in a list of dead letters.
    order = sorted(original, key=lambda name: (name not in _KEPT_LONGEST, name))
    kept, moved = order[: MAX_ATTRIBUTES - 1], order[MAX_ATTRIBUTES - 1 :]
    if moved:
        content["attributes"] = {name: _portable(original[name]) for name in moved}
    return {
        **{name: original[name] for name in kept},
        TOGETHER: Attribute.string(json.dumps(content, ensure_ascii=False)),
    }


def _portable(attribute: Attribute) -> dict[str, str]:
    if isinstance(attribute.value, bytes):
        return {"type": attribute.type, "base64": base64.b64encode(attribute.value).decode()}
    return {"type": attribute.type, "value": attribute.value}


def _parse(
    attribute: Attribute | None,
) -> tuple[Mapping[str, Any], Mapping[str, Attribute]] | None:
    """What stands in the one attribute, and the original attributes that were moved into it.

    None if there is none, or if somebody else wrote something of that name.
    """
    if attribute is None:
        return None
    try:
        found = json.loads(attribute.value)
        if not isinstance(found, dict) or "reason" not in found:
            return None
        return found, {
            name: Attribute(
                one["type"],
                base64.b64decode(one["base64"], validate=True) if "base64" in one else one["value"],
            )
            for name, one in found.get("attributes", {}).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _note(found: Mapping[str, Any]) -> Note:
    error = found.get("error")
    return Note(
        reason=str(found["reason"]),
        error=None if error is None else str(error),
        attempts=_number(found.get("attempts")),
        time=_seconds(found.get("time")),
        queue=str(found.get("queue", "")),
    )


def _clean(text: str) -> str:
    # SQS takes no empty value either.
    return OUTSIDE_XML.sub("\ufffd", text[:MAX_REASON]) or "none given"


def _rfc3339(seconds: float) -> str:
    return utc(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: object) -> float:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        return 0
