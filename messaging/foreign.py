"""Recognizes message bodies that this library did not write, and names them for the person on call.

A queue may also get messages from others: AWS's own notifications, other libraries' messages, text
in another encoding. The names are constants of this module: nothing of the body is ever quoted.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from messaging.errors import CodecError

__all__ = ["OffloadedPayload", "broken", "document_kind", "other_kind"]

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}\s*")
_SOURCE = re.compile(r"aws:[a-z0-9-]{1,30}")
_WANTED = "a JSON object was expected, "
_DOCUMENT = f"{_WANTED}a CloudEvents 1.0 document"


class OffloadedPayload(CodecError):
    """The body is a pointer of AWS's extended client; the message itself is an object in S3.

    https://github.com/awslabs/payload-offloading-java-common-lib-for-aws
    """

    def __init__(self, name: str, bucket: str, key: str) -> None:
        super().__init__(
            f"{name}: a pointer of the SQS or SNS extended client (payloadoffloading): the message "
            "is an object in S3; to read it, give the worker "
            "codec=ClaimCheck(..., offloaded=S3BlobStore(that bucket))"
        )
        self.bucket = bucket
        self.key = key


def broken(text: str, why: ValueError) -> str:
    """Name a `text` that is not JSON; `why` is pydantic-core's error."""
    begin = text.lstrip()[:200]
    if not begin:
        return "not JSON (empty)"
    if begin.startswith("<"):
        return "not JSON (XML or HTML)"
    if text.startswith("\x1f\x8b"):
        return "not JSON (gzip: send the JSON itself, which SNS and SQS take as text)"
    if _BASE64.fullmatch(text) and (packed := _packed(text)):
        return f"not JSON ({packed})"
    said = str(why)
    if "recursion limit" in said:
        return "not JSON (nested too deep to be read)"
    if "hex escape" in said or "surrogate" in said:
        return f"not JSON (half a character: {said})"
    return f"not JSON (it holds NaN or Infinity: {said})" if _reads(text) else f"not JSON ({said})"


def other_kind(value: object, name: str) -> str:
    """Name a JSON text that is not an object. Raises `OffloadedPayload` for a pointer."""
    if isinstance(value, list):
        return _array(value, name)
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        return f"{_WANTED}not JSON inside of a JSON string: the producer encoded it twice"
    return _DOCUMENT


def document_kind(document: Mapping[str, Any]) -> str | None:
    """Name a JSON object that is not a CloudEvent; None if it is not recognized."""
    return next((name for name, fits in _KINDS if fits(document)), None) or _records(document)


def _has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda document: document.keys() >= set(keys)


def _says(key: str, value: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda document: document.get(key) == value


_SUBSCRIBED = (
    "an SNS SubscriptionConfirmation: this queue was subscribed to a topic from outside its "
    "account, and that is not confirmed; `messaging topology apply` needs no confirmation"
)
_UNSUBSCRIBED = (
    "an SNS UnsubscribeConfirmation: the subscription of this queue was removed; check it "
    "with `messaging topology plan`"
)
_KINDS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    (_SUBSCRIBED, _says("Type", "SubscriptionConfirmation")),
    (_UNSUBSCRIBED, _says("Type", "UnsubscribeConfirmation")),
    (
        "an SNS notification inside of another: a topic feeds a topic without raw delivery",
        lambda document: (
            document.get("Type") == "Notification" and document.keys() >= {"TopicArn", "Message"}
        ),
    ),
    (
        "an S3 test event (s3:TestEvent): a bucket's notifications were set to go here",
        _says("Event", "s3:TestEvent"),
    ),
    (
        "an S3 event through EventBridge: a rule sends a bucket's events to this queue",
        lambda document: document.get("source") == "aws.s3" and "detail-type" in document,
    ),
    (
        "an EventBridge event: send its detail as a CloudEvent, by an input transformer",
        _has("detail-type", "source", "detail"),
    ),
    ("a CloudWatch alarm", _has("AlarmName", "NewStateValue")),
    ("an SES notification", _has("notificationType", "mail")),
    ("an SES notification", _has("eventType", "mail")),
    ("a Celery task (kombu)", _has("body", "headers", "properties")),
    ("a Celery task", _has("task", "args", "kwargs")),
    ("a message of Dramatiq", _has("actor_name", "queue_name", "kwargs")),
    ("a job of Laravel", _has("displayName", "job")),
    ("a job of Sidekiq or Shoryuken", _has("class", "args", "jid")),
    ("a job of ActiveJob", _has("job_class", "arguments")),
    ("a message of MassTransit", _has("messageType", "message")),
    (
        "an SNS message with a text for each protocol, published without MessageStructure=json",
        lambda document: (
            isinstance(document.get("default"), str)
            and all(isinstance(one, str) for one in document.values())
        ),
    ),
)


def _records(document: Mapping[str, Any]) -> str | None:
    records = document.get("Records")
    if not isinstance(records, list) or not records or not isinstance(records[0], dict):
        return None
    source = records[0].get("eventSource", records[0].get("EventSource"))
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        return None
    if source == "aws:s3":
        return "an S3 event: a bucket's notifications go to this queue"
    return f"an event of AWS (Records of {source}) as Lambda takes it, not the message in it"


def _array(value: list[Any], name: str) -> str:
    match value:
        case [str(kind), {"s3BucketName": str(bucket), "s3Key": str(key)}] if kind.endswith(
            "S3Pointer"
        ):
            raise OffloadedPayload(name, bucket, key)
        case [{"specversion": _}, *_]:
            return f"{_WANTED}not a batch of CloudEvents: send each as a message of its own"
        case [[_, _, _], {"task": _}, *_] | [[*_], {}, {"callbacks": _}, *_]:
            return f"{_WANTED}not the arguments of a Celery task"
    return f"{_WANTED}not an array"


def _packed(text: str) -> str | None:
    """Name the content of a text that may be base64."""
    try:
        raw = b64decode(text.strip().translate(_URL_SAFE) + "==")
    except ValueError:
        return None
    if raw.startswith(b"\x1f\x8b"):
        return "gzip in base64: send the JSON itself, or big data by a claim check"
    if raw[:2] in {b"x\x01", b"x\x9c", b"x\xda"}:
        return "deflated data in base64: send the JSON itself, or big data by a claim check"
    if raw.lstrip()[:1] not in {b"{", b"["}:
        return None
    try:
        inner = from_json(raw)
    except ValueError:
        return None
    kind = document_kind(inner) if isinstance(inner, dict) else None
    return f"JSON in base64{f' ({kind})' if kind else ''}: send the JSON itself"


_URL_SAFE = str.maketrans("-_", "+/")


def _reads(text: str) -> bool:
    try:
        from_json(text)
    except (ValueError, TypeError):
        return False
    return True
