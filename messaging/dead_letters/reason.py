"""Writes the reason of a dead letter into its message attributes, and reads it.

A dead letter keeps its body and its attributes. The reason is added as attributes:

    dead-letter-reason    String  why, at most 1,024 characters
    dead-letter-error     String  the type of the last exception; left out if there was none
    dead-letter-attempts  Number  receives so far
    dead-letter-time      String  RFC 3339, UTC
    dead-letter-queue     String  the queue it comes from

SQS accepts 10 attributes per message. If these do not fit, one attribute `dead-letter` contains the
same as JSON, including original attributes for which there is no room. For a message near the size
limit, only as much of the reason is kept as fits.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from messaging.clock import utc
from messaging.logs import logger
from messaging.transport import MOST_RECEIVES, Attribute, DeadLetter, DeadLetterReason

__all__ = ["LARGEST", "MAX_ATTRIBUTES", "OUTSIDE_XML", "attributes", "read"]

log = logger("messaging.dead_letters.reason")

LARGEST = 1_048_576
"""Maximum bytes of an SQS message with its attributes, unless its queue has a lower
MaximumMessageSize.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

MAX_ATTRIBUTES = 10
"""Maximum attributes per SQS message, which SNS passes on with raw delivery."""

MAX_REASON = 1024
"""Characters: a reason is one line for the person on call, and counts towards the size limit."""

OUTSIDE_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SNS and SQS refuse. https://www.w3.org/TR/REC-xml/#charsets"""

TOGETHER = "dead-letter"
REASON, ERROR, ATTEMPTS, TIME, QUEUE = (
    f"{TOGETHER}-{name}" for name in ("reason", "error", "attempts", "time", "queue")
)
_APART = frozenset((REASON, ERROR, ATTEMPTS, TIME, QUEUE))
_KEPT_LONGEST = frozenset(("type", "audience"))
_NAME = re.compile(r"(?!(?i:aws\.|amazon\.)|\.)[A-Za-z0-9_.-]{1,256}")
_TYPE = re.compile(r"(String|Number|Binary)(\.[A-Za-z0-9_.-]{1,200})?")
"""Valid attribute names and types. SQS would refuse the letter for any other."""


def attributes(letter: DeadLetter, *, max_bytes: int = LARGEST) -> Mapping[str, Attribute]:
    """The attributes of `letter`: its original ones and the reason.

    At most `MAX_ATTRIBUTES`. An earlier reason, on a message that was redriven, is replaced. If
    body and attributes leave too little of `max_bytes` for the whole note, it is reduced to the
    reason, then the reason is cut, and if nothing fits, the message is sent unchanged: the log has
    the reason then.

    Args:
        letter: the delivery that is given up, and why.
        max_bytes: maximum message size of the queue; the reason is cut to fit.

    Example:
        ```python
        from messaging.dead_letters.reason import attributes, read
        from messaging.transport import DeadLetter

        publisher.publish(ana)
        (delivery,) = broker.queue("marketing").receive(1, wait=0)
        beside = attributes(DeadLetter(delivery=delivery, reason="no such course"))
        original, note = read(beside)
        assert original == delivery.attributes
        assert note is not None and note.reason == "no such course"
        ```
    """
    found, _ = read(letter.delivery.attributes)
    # SQS never returns an empty value, and would refuse the whole letter for one.
    original = {name: one for name, one in found.items() if one.value}
    body = letter.delivery.body
    room = max_bytes - (len(body) if body.isascii() else len(body.encode(errors="surrogatepass")))
    note = _note_of(letter)
    beside = _beside(original, note)
    if _size(beside) <= room:
        return beside
    reason = {REASON: note[REASON]}
    over = _size(_beside(original, reason)) - room
    beside = _beside(original, _cut(reason, max(0, over)))  # as much of it as fits
    if _size(beside) > room:
        _tell(letter, "nothing of its reason")
        return original
    _tell(letter, "only a part of its reason")
    return beside


def read(
    attributes: Mapping[str, Attribute],
) -> tuple[Mapping[str, Attribute], DeadLetterReason | None]:
    """The original attributes, and the reason if there is one. Never raises: anyone can send
    attributes with these names, and those that this library did not write are ignored.

    None means that SQS moved the message itself (it was received too often), or that it is not a
    dead letter.

    Args:
        attributes: the attributes of a dead letter.

    Example:
        ```python
        from messaging.dead_letters.reason import read

        publisher.publish(ana)
        (message,) = broker.messages("marketing")
        original, note = read(message.attributes)
        assert note is None  # it is no dead letter
        ```
    """
    if (whole := _parse(attributes)) is not None:
        found, moved = whole
        rest = {name: value for name, value in attributes.items() if name != TOGETHER}
        return {**rest, **moved}, _note(found)
    reason = attributes.get(REASON)
    if reason is None or not isinstance(reason.value, str) or not reason.value:
        return dict(attributes), None
    apart = {
        name.removeprefix(f"{TOGETHER}-"): value.value
        for name, value in attributes.items()
        if name in _APART
    }
    return {name: value for name, value in attributes.items() if name not in _APART}, _note(apart)


def _note_of(letter: DeadLetter) -> dict[str, Attribute]:
    note = {
        REASON: Attribute.string(_clean(letter.reason)),
        TIME: Attribute.string(_rfc3339(letter.time)),
    }
    if letter.attempts is not None:
        note[ATTEMPTS] = Attribute("Number", str(letter.attempts))
    if letter.queue is not None:
        note[QUEUE] = Attribute.string(_clean(letter.queue))
    if letter.error:
        note[ERROR] = Attribute.string(_clean(letter.error))
    return note


def _cut(note: dict[str, Attribute], bytes: int) -> dict[str, Attribute]:
    """The note with a reason shortened by so many bytes, but at least one character long."""
    text = str(note[REASON].value).encode()
    left = text[: max(0, len(text) - bytes)].decode(errors="ignore")
    return {REASON: Attribute.string(left or text.decode()[0])}


def _size(attributes: Mapping[str, Attribute]) -> int:
    return sum(one.size(name) for name, one in attributes.items())


def _tell(letter: DeadLetter, what: str) -> None:
    log.warning(
        "message %s of %s is so big that its dead letter holds %s: %s",
        letter.delivery.message_id, letter.queue, what, _clean(letter.reason),
    )  # fmt: skip


def _beside(
    original: Mapping[str, Attribute], note: Mapping[str, Attribute]
) -> dict[str, Attribute]:
    if len(original) + len(note) <= MAX_ATTRIBUTES and TOGETHER not in original:
        return {**original, **note}
    content: dict[str, Any] = {
        name.removeprefix(f"{TOGETHER}-"): value.value for name, value in note.items()
    }
    # Type and audience stay visible: people look for them in a list of dead letters.
    order = sorted(original, key=lambda name: (name == TOGETHER, name not in _KEPT_LONGEST, name))
    # A foreign attribute with the name of ours would conflict with it.
    room = MAX_ATTRIBUTES - 1
    kept = [name for name in order[:room] if name != TOGETHER]
    moved = [name for name in order if name not in kept]
    if moved:
        content["attributes"] = {name: _portable(original[name]) for name in moved}
    return {
        **{name: original[name] for name in kept},
        TOGETHER: Attribute.string(json.dumps(content, ensure_ascii=False)),
    }


def _portable(attribute: Attribute) -> dict[str, str]:
    if isinstance(attribute.value, bytes):
        return {"type": attribute.type, "base64": base64.b64encode(attribute.value).decode()}
    # A queue never returns such characters; a broker in memory may.
    return {"type": attribute.type, "value": OUTSIDE_XML.sub("\ufffd", attribute.value)}


def _parse(
    attributes: Mapping[str, Attribute],
) -> tuple[Mapping[str, Any], Mapping[str, Attribute]] | None:
    """The content of the single attribute, and the original attributes moved into it.

    None if there is none, or if it was written by something else.
    """
    attribute = attributes.get(TOGETHER)
    if attribute is None or not isinstance(attribute.value, str):
        return None
    try:
        # pydantic-core's parser: it limits nesting, and refuses lone surrogates.
        found = from_json(attribute.value, allow_inf_nan=False)
    except (ValueError, TypeError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("reason"), str):
        return None
    there = found.get("attributes", {})
    if not isinstance(there, dict) or len(attributes) - 1 + len(there) > MAX_ATTRIBUTES:
        return None
    moved: dict[str, Attribute] = {}
    for name, one in there.items():
        restored = _restored(one) if _NAME.fullmatch(name) else None
        if restored is None:
            return None
        moved[name] = restored
    return found, moved


def _restored(one: object) -> Attribute | None:
    """The attribute that `_portable` wrote; None for anything that SQS would not accept."""
    if not isinstance(one, dict):
        return None
    kind, text = one.get("type"), one.get("base64", one.get("value"))
    if not (isinstance(kind, str) and _TYPE.fullmatch(kind) and isinstance(text, str) and text):
        return None
    if "base64" not in one:
        return None if OUTSIDE_XML.search(text) else Attribute(kind, text)
    try:
        return Attribute(kind, base64.b64decode(text, validate=True))
    except ValueError:
        return None


def _note(found: Mapping[str, Any]) -> DeadLetterReason:
    error, queue = found.get("error"), found.get("queue")
    return DeadLetterReason(
        reason=found["reason"][:MAX_REASON],
        error=error[:MAX_REASON] if isinstance(error, str) else None,
        attempts=_number(found.get("attempts")),
        time=_seconds(found.get("time")),
        queue=queue[:MAX_REASON] if isinstance(queue, str) and queue else None,
    )


def _clean(text: str) -> str:
    # SQS does not accept an empty value either.
    return OUTSIDE_XML.sub("\ufffd", text[:MAX_REASON]) or "none given"


def _rfc3339(seconds: float) -> str:
    return utc(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: object) -> float:
    if not isinstance(text, str):
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        utc(seconds)  # the last hours of the year 9999 may be out of range
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, seconds)


def _number(text: object) -> int | None:
    try:
        number = int(text) if isinstance(text, str | int) else -1
    except ValueError:
        return None
    return number if 0 <= number <= MOST_RECEIVES else None
