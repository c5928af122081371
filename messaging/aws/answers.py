"""Reads the responses of SNS and SQS strictly: only explicit statements count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from messaging.aws.errors import (
    KMS_PASSING,
    KMS_THROTTLED,
    PASSING,
    THROTTLED,
    kms_remedy,
    kms_said,
    short_code,
)
from messaging.transport import Failure

__all__ = ["UnreadableAnswer", "batch_failures", "queue_attributes", "queue_url"]


class UnreadableAnswer(ValueError):
    """A response that is not as the service documents it. The text quotes no value of it."""


def batch_failures(
    answer: Any, asked: Sequence[int], service: str, *, sent: bool = False
) -> Sequence[Failure]:
    """The refused entries of a batch whose entries had the Ids `asked`, which are their indexes.

    An entry counts as accepted, or as refused, if the response says so exactly once. Any other
    entry (missing, named twice, or in both lists) is unknown: it may have been accepted, and must
    be sent again, because the library promises at-least-once. Unexpected Ids are ignored.

    sent  the entries were messages: an accepted one has a MessageId.

    Raises `UnreadableAnswer` if neither list is present.
    """
    accepted, failed = _entries(answer, "Successful"), _entries(answer, "Failed")
    if accepted is None and failed is None:
        raise UnreadableAnswer("neither Successful nor Failed is a list")
    named = [_id(one) for one in accepted or ()]
    if not failed and named == list(asked) and not (sent and _nameless(accepted)):
        return ()
    times = Counter(named)
    times.update(_id(one) for one in failed or ())
    good = {
        place
        for place, one in zip(named, accepted or (), strict=True)
        if times[place] == 1 and not (sent and _nameless([one]))
    }
    bad = {
        place: _failure(place, one, service)
        for one in failed or ()
        if (place := _id(one)) is not None and times[place] == 1
    }
    return tuple(
        bad.get(place) or Failure(place, "NoAnswer", _SILENT.format(service), True, True)
        for place in sorted(asked)
        if place not in good
    )


_SILENT = "{} did not say what became of this entry: it may have been accepted"


def queue_attributes(answer: Any) -> Mapping[str, str]:
    """The attributes of a GetQueueAttributes response. Raises `UnreadableAnswer`."""
    said = answer.get("Attributes") if isinstance(answer, Mapping) else answer
    if said is None and isinstance(answer, Mapping):
        return {}  # none of the requested attributes is set
    if not isinstance(said, Mapping) or not all(isinstance(one, str) for one in said.values()):
        raise UnreadableAnswer("Attributes is no map of texts")
    return said


def queue_url(answer: Any) -> str:
    """The URL of a GetQueueUrl response. Raises `UnreadableAnswer`."""
    said = answer.get("QueueUrl") if isinstance(answer, Mapping) else None
    if not isinstance(said, str) or not said.startswith(("http://", "https://")):
        raise UnreadableAnswer("QueueUrl is no URL")
    return said


def _entries(answer: Any, name: str) -> Sequence[Any] | None:
    if not isinstance(answer, Mapping):
        raise UnreadableAnswer("the answer is no object")
    said = answer.get(name)
    return said if isinstance(said, list | tuple) else None


def _id(entry: Any) -> int | None:
    """The index of an entry; None for an Id that this library never sends."""
    said = entry.get("Id") if isinstance(entry, Mapping) else None
    if not isinstance(said, str) or not (len(said) <= 3 and said.isascii() and said.isdigit()):
        return None
    return int(said) if str(int(said)) == said else None


def _nameless(accepted: Sequence[Any] | None) -> bool:
    return any(not isinstance(one.get("MessageId"), str) or not one["MessageId"]
               for one in accepted or ())  # fmt: skip


def _failure(place: int, entry: Mapping[str, Any], service: str) -> Failure:
    code = short_code(entry.get("Code"))
    kms = kms_said(code)
    if kms is not None:
        final = kms not in KMS_THROTTLED and kms not in KMS_PASSING
        remedy = f"; {kms_remedy(kms)}" if final else ""
        message = f"{service} cannot use the KMS key for the entry ({code}){remedy}"
        return Failure(place, code, message, not final)
    ours = entry.get("SenderFault") is True and code not in THROTTLED and code not in PASSING
    message = (
        f"{service} refused the entry ({code}); it would refuse it again"
        if ours
        else f"{service} could not take the entry now ({code})"
    )
    return Failure(place, code, message, not ours)
