"""Checks a service's queue and its two dead-letter queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from messaging.aws.desired import KEY, DesiredQueue
from messaging.aws.keys import same_key
from messaging.aws.looks import Seen, read_json
from messaging.aws.ownership import CONTRACT, OWNER
from messaging.aws.verdicts import verdict
from messaging.doctor.kinds import Diagnosis, found
from messaging.topology import Queue

__all__ = ["ServiceQueues", "check_queues"]

_LARGEST = 1_048_576  # SQS's default, for a server that omits it


@dataclass(frozen=True, kw_only=True)
class ServiceQueues:
    """A service's three queues: desired and actual state."""

    queue: Queue
    topic_arn: str
    max_bytes: int
    wanted: Mapping[str, DesiredQueue]
    """By role: "dead letters", "undelivered" and "service"."""
    seen: Mapping[str, Seen]

    def number(self, role: str, attribute: str) -> int:
        """The queue's current value of a numeric attribute, or the desired one if it is not set."""
        fallback = self.wanted[role].attributes.get(attribute, "0")
        return int(self.seen[role].values.get(attribute, fallback))


def check_queues(case: ServiceQueues) -> Iterator[Diagnosis]:
    """Find everything that the attributes and tags of the three queues show."""
    for role, name, lost in (
        ("service", "queue-missing", "the service receives nothing"),
        (
            "dead letters",
            "dlq-missing",
            "messages that cannot be handled are redelivered until they expire",
        ),
        ("undelivered", "undelivered-missing", "what SNS cannot deliver is lost"),
    ):
        seen, wanted = case.seen[role], case.wanted[role]
        where = f"queue {wanted.name}"
        if seen.there is False:
            yield found(name, where, f"it does not exist: {lost}")
        elif seen.there:
            yield from _owned(where, wanted, seen)
            if role != "dead letters":
                yield from _policy(where, seen, case.topic_arn)
            yield from _encrypted(where, wanted, seen)
            yield from _rest(where, seen)
    if case.seen["service"].there:
        yield from _service(case)
        yield from _redrive(case)
    if case.seen["dead letters"].there:
        yield from _dead_letters(case)
    yield from _contents(case)


def _owned(where: str, wanted: DesiredQueue, seen: Seen) -> Iterator[Diagnosis]:
    tags, claim = seen.tags or {}, wanted.claim
    owner, read = tags.get(OWNER), tags.get(CONTRACT)
    if owner not in (None, claim.owner):
        text = f"its tag says {owner!r}, the topology {claim.owner!r}"
        yield found("another-owner", where, text)
    elif claim.contract and read not in (None, claim.contract):
        text = f"it was applied for {read!r}, and the code here reads {claim.contract!r}"
        yield found("contract-tag", where, text)


def _policy(where: str, seen: Seen, topic_arn: str) -> Iterator[Diagnosis]:
    said = verdict(seen.values.get("Policy"), ["sqs:SendMessage"], topic_arn)
    if said == "not allowed":
        text = f"no statement of its policy lets {topic_arn} send: SNS drops what comes"
        yield found("queue-policy-missing", where, text)
    elif said == "other topic":
        text = f"its policy lets another topic send, and not {topic_arn}"
        yield found("queue-policy-other-topic", where, text)
    elif said == "denied":
        yield found("queue-policy-denies", where, "a Deny statement of its policy shuts SNS out")


def _encrypted(where: str, wanted: DesiredQueue, seen: Seen) -> Iterator[Diagnosis]:
    key, standing = wanted.attributes.get(KEY), seen.values.get(KEY)
    if key is not None and not same_key(key, standing):
        text = f"KmsMasterKeyId is {standing or 'not set'}, the topology says {key}"
        yield found("key-differs", where, text)
        return
    managed = seen.values.get("SqsManagedSseEnabled", "true").lower() == "true"
    if not managed and not standing:
        yield found("unencrypted", where, "its messages are not encrypted at rest")


def _rest(where: str, seen: Seen) -> Iterator[Diagnosis]:
    if delay := int(seen.values.get("DelaySeconds", 0)):
        yield found("delivery-delayed", where, f"each message waits {delay} s before it is seen")
    if seen.values.get("ContentBasedDeduplication", "false").lower() == "true":
        text = "content-based deduplication is on: equal bodies within 5 minutes count as one"
        yield found("content-dedup", where, text)


def _service(case: ServiceQueues) -> Iterator[Diagnosis]:
    queue, where = case.queue, f"queue {case.wanted['service'].name}"
    now, wanted = case.number("service", "VisibilityTimeout"), queue.visibility_timeout
    text = (
        f"VisibilityTimeout is {now} s, the service counts on {wanted} s: a message may come "
        "again while it is handled"
    )
    yield from _at_least(wanted, now, "VisibilityTimeout", "visibility-short", where, text)
    now, wanted = case.number("service", "MessageRetentionPeriod"), queue.retention
    text = f"messages are kept for {now} s, the topology says {wanted} s"
    yield from _at_least(wanted, now, "MessageRetentionPeriod", "retention-short", where, text)
    if case.number("service", "ReceiveMessageWaitTimeSeconds") == 0:
        text = "short polls: consumers that do not ask to wait pay for empty responses"
        yield found("long-poll-off", where, text)
    size = int(case.seen["service"].values.get("MaximumMessageSize", _LARGEST))
    if size < case.max_bytes:
        text = f"it takes {size} bytes, {case.max_bytes} may be published: SNS drops the larger"
        yield found("queue-size", where, text)


def _redrive(case: ServiceQueues) -> Iterator[Diagnosis]:
    wanted = read_json(case.wanted["service"].attributes["RedrivePolicy"])
    where = f"queue {case.wanted['service'].name}"
    standing = read_json(case.seen["service"].values.get("RedrivePolicy"))
    if not standing.get("deadLetterTargetArn"):
        text = "it has no redrive policy: a message that kills its worker is redelivered forever"
        yield found("redrive-missing", where, text)
        return
    target = str(standing["deadLetterTargetArn"])
    if target != wanted["deadLetterTargetArn"]:
        name = case.wanted["dead letters"].name
        text = f"its dead letters go to {target}, where nobody looks, and not to {name}"
        yield found("redrive-elsewhere", where, text)
    receives, counted_on = int(standing.get("maxReceiveCount", 0)), case.queue.max_receives
    text = (
        f"SQS moves a message after {receives} receives, the retry policy counts on {counted_on}: "
        "attempts are cut off, without a reason"
    )
    yield from _at_least(counted_on, receives, "maxReceiveCount", "max-receives-low", where, text)


def _at_least(
    wanted: int, standing: int, name: str, kind: str, where: str, text: str
) -> Iterator[Diagnosis]:
    """Compare a number: a lower value is a `kind` finding with `text`; a higher one merely
    differs."""
    if standing < wanted:
        yield found(kind, where, text)
    elif standing > wanted:
        yield found("differs", where, f"{name}: {standing} -> {wanted}")


def _dead_letters(case: ServiceQueues) -> Iterator[Diagnosis]:
    wanted, seen = case.wanted["dead letters"], case.seen["dead letters"]
    where = f"queue {wanted.name}"
    kept, of_queue = (
        case.number(role, "MessageRetentionPeriod") for role in ("dead letters", "service")
    )
    if kept <= of_queue:
        text = (
            f"it keeps messages for {kept} s, its queue for {of_queue} s: a dead letter keeps its "
            "original date, and expires before anyone sees it"
        )
        yield found("dlq-retention", where, text)
    size = int(seen.values.get("MaximumMessageSize", _LARGEST))
    if size < int(wanted.attributes["MaximumMessageSize"]):
        text = f"it takes {size} bytes: a dead letter with its reason is larger than its message"
        yield found("dlq-size", where, text)
    allowed = read_json(seen.values.get("RedriveAllowPolicy"))
    ours = read_json(wanted.attributes["RedriveAllowPolicy"])["sourceQueueArns"]
    permission = allowed.get("redrivePermission", "allowAll")
    shut = permission == "byQueue" and not set(ours) <= set(allowed.get("sourceQueueArns", ()))
    if permission == "denyAll" or shut:
        text = "its RedriveAllowPolicy does not let the service's queue put dead letters here"
        yield found("redrive-not-allowed", where, text)


def _contents(case: ServiceQueues) -> Iterator[Diagnosis]:
    for role, name in (("dead letters", "dead-letters"), ("undelivered", "undelivered-messages")):
        count = int(case.seen[role].values.get("ApproximateNumberOfMessages", 0))
        if count:
            remedy = "" if role == "undelivered" else f"messaging dlq list {case.queue.service}"
            text = f"about {count} messages are in it"
            yield found(name, f"queue {case.wanted[role].name}", text, remedy)
