"""Examines a topology on AWS, as far as the current role's permissions allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from messaging.aws import desired
from messaging.aws.clients import Clients
from messaging.aws.desired import KEY
from messaging.aws.errors import EXPIRED
from messaging.aws.keys import SNS_ACTIONS, same_key
from messaging.aws.looks import Looks, Seen, Unseen
from messaging.aws.messages import counts
from messaging.aws.naming import NamedTopic, topic_of
from messaging.aws.ownership import OWNER
from messaging.aws.verdicts import verdict
from messaging.clock import SYSTEM_CLOCK
from messaging.doctor.kinds import Diagnosis, found
from messaging.doctor.queues import ServiceQueues, check_queues
from messaging.doctor.subscriptions import Listed, check_listed, check_subscription
from messaging.errors import AccessDenied, TransportError
from messaging.settings import Settings
from messaging.topology import DEFAULT_MAX_BYTES, Queue, Topology

__all__ = ["MOST_SKEW", "OLD", "examine"]

MOST_SKEW = 120
"""Tolerated clock skew in seconds; AWS refuses a request whose time is off by 300 s.

https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
"""
OLD = 900
"""Seconds that a queue's oldest message may wait before it is reported."""
LAMBDA_FACTOR = 6
"""Minimum visibility timeout: this many times the function's timeout, plus the batch window.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""
LOOKS, PAUSE = 3, 0.5
"""Number of checks, and seconds between them, before a queue counts as having no receiver."""
ROLES: tuple[str, ...] = ("dead letters", "undelivered", "service")
"""A service's queues, in the order of `desired.queues`."""


def examine(topology: Topology, settings: Settings, *, session: Any = None) -> Iterator[Diagnosis]:
    """Find everything that would go wrong with `topology` on the broker of `settings`.

    Changes nothing, and finds nothing if all is well. A resource that may not be inspected is a
    finding, too, and the others are still checked. `session` is a boto3 session with its own
    credentials. Raises `SettingsError` if the settings contradict the topology, or name no region.
    """
    named = topic_of(topology, settings)
    wanted = topology.prefixed(settings.prefix)
    with closing(Clients(named.settings, session)) as clients:
        yield from _Examination(clients, wanted, named).all()


class _Examination:
    """One pass over all resources."""

    def __init__(self, clients: Clients, topology: Topology, named: NamedTopic) -> None:
        self._looks = Looks(clients)
        self._topology = topology
        self._named = named
        self._max_bytes = max(topology.topic.max_bytes, named.settings.max_bytes)

    def all(self) -> Iterator[Diagnosis]:
        """Check AWS's availability, the topic, its subscriptions and the queues; then list what
        could not be inspected."""
        try:
            self._place = self._looks.place()
        except TransportError as error:
            yield from self._clock()
            yield _unreached(error)
            return
        self._arn = self._named.arn_at(self._place)
        yield from self._clock()
        standing = self._looks.topic(self._arn)
        yield from self._topic(standing)
        if standing.there is not False:
            yield from self._feeds()
        wanted = list(desired.queues(self._topology, self._place, self._arn))
        for number, queue in enumerate(self._topology.queues):
            three = dict(zip(ROLES, wanted[3 * number : 3 * number + 3], strict=True))
            case = ServiceQueues(
                queue=queue,
                topic_arn=self._arn,
                max_bytes=self._max_bytes,
                wanted=three,
                seen={role: self._looks.queue(one.name) for role, one in three.items()},
            )
            yield from self._service(case)
        yield from map(_not_seen, self._looks.unseen)

    def _clock(self) -> Iterator[Diagnosis]:
        if abs(self._looks.skew) > MOST_SKEW:
            way = "ahead of" if self._looks.skew > 0 else "behind"
            text = f"this machine's clock is {abs(self._looks.skew):.0f} s {way} AWS's"
            yield found("clock-skew", "this machine", text)

    def _topic(self, seen: Seen) -> Iterator[Diagnosis]:
        topic, name = self._topology.topic, self._named.name
        where = f"topic {name}"
        if seen.there is False:
            twin = name.removesuffix(".fifo") if topic.fifo else f"{name}.fifo"
            other = self._arn.removesuffix(name) + twin
            if self._looks.topic(other).there:
                text = f"it does not exist, and {twin} does: the topology means another kind"
                yield found("fifo-mismatch", where, text)
            else:
                yield found("topic-missing", where, "it does not exist: nothing can be published")
            return
        if not seen.there:
            return
        size = int(seen.values.get("MaximumMessageSize", DEFAULT_MAX_BYTES))
        if size < self._max_bytes:
            text = f"it takes {size} bytes, and {self._max_bytes} may be published"
            yield found("topic-size", where, text)
        if seen.values.get("ContentBasedDeduplication", "false").lower() == "true":
            text = "content-based deduplication is on: equal bodies within 5 minutes count as one"
            yield found("content-dedup", where, text)
        owner = (seen.tags or {}).get(OWNER)
        claimed = self._topology.owner or topic.name
        if self._topology.owns_topic and owner not in (None, claimed):
            text = f"its tag says {owner!r}, the topology {claimed!r}"
            yield found("another-owner", where, text)
        wanted, key = self._topology.kms_key, seen.values.get(KEY) or None
        if self._topology.owns_topic and wanted is not None and not same_key(wanted, key):
            text = f"KmsMasterKeyId is {key or 'not set'}, the topology says {wanted}"
            yield found("key-differs", where, text)
        yield from self._key(where, seen, feeds=False)

    def _feeds(self) -> Iterator[Diagnosis]:
        listed = self._looks.subscriptions(self._arn)
        if listed is None:
            return
        every = [Listed.of(one) for one in listed]
        for one in self._topology.subscriptions:
            yield from check_listed(one, self._place, every, self._topology.topic.fifo)
            ours = self._place.queue_arn(one.queue)
            fed_by = (each.arn for each in every if each.endpoint == ours and not each.pending)
            if (arn := next(fed_by, None)) is not None:
                seen = self._looks.subscription(arn, one.queue)
                if seen.there:
                    yield from check_subscription(one, self._place, seen)
        if self._topology.owns_topic:
            yield from self._others(every)

    def _others(self, every: list[Listed]) -> Iterator[Diagnosis]:
        own = {one.queue for one in self._topology.subscriptions}
        for each in every:
            near = each.endpoint == self._place.queue_arn(each.queue)
            if each.protocol != "sqs" or not near or each.queue in own:
                continue
            if self._looks.exists(each.queue) is False:
                text = "its queue does not exist: what the topic sends there is lost"
                yield found("subscriber-queue-missing", f"subscription of {each.queue}", text)

    def _service(self, case: ServiceQueues) -> Iterator[Diagnosis]:
        yield from check_queues(case)
        for role in ("service", "undelivered"):
            yield from self._key(f"queue {case.wanted[role].name}", case.seen[role], feeds=True)
        seen = case.seen["service"]
        if not seen.there:
            return
        yield from self._backlog(case.queue, seen)
        yield from self._lambda(case)

    def _backlog(self, queue: Queue, seen: Seen) -> Iterator[Diagnosis]:
        visible, in_flight, _ = counts(seen.values)
        if not visible:
            return
        age = self._looks.oldest(queue.name)
        if age is None:
            yield from self._untouched(queue, seen)
            return
        if age < OLD:
            return
        text = f"about {visible} messages wait, the oldest for {age:.0f} s"
        if in_flight:
            yield found("backlog-old", f"queue {queue.name}", text)
        else:
            text = f"{text}, and none has been received"
            yield found("backlog-not-received", f"queue {queue.name}", text)

    def _untouched(self, queue: Queue, seen: Seen) -> Iterator[Diagnosis]:
        """Check for messages in flight instead, because the messages' age is unknown."""
        looked, (visible, in_flight, _) = 1, counts(seen.values)
        while visible and not in_flight and looked < LOOKS:
            SYSTEM_CLOCK.sleep(PAUSE)
            seen, looked = self._looks.queue(queue.name), looked + 1
            visible, in_flight, _ = counts(seen.values) if seen.there else (0, 0, 0)
        if not visible or in_flight:
            return
        text = f"about {visible} messages wait, and none was in flight in {LOOKS} looks"
        yield found("nobody-receives", f"queue {queue.name}", text)

    def _key(self, where: str, seen: Seen, *, feeds: bool) -> Iterator[Diagnosis]:
        """Check the KMS key of `seen`. `feeds`: SNS must be able to use the key."""
        key = seen.values.get(KEY, "") if seen.there else ""
        if not key:
            return
        if key.endswith("alias/aws/sqs"):
            text = (
                "encrypted with AWS's own key for SQS, which SNS may not use: it drops what comes"
            )
            yield found("key-managed", where, text)
            return
        if key.endswith("alias/aws/sns"):
            return  # every publisher may use that key
        known = self._looks.key(key)
        state = known.values.get("KeyState", "Enabled") if known.there else "gone"
        if known.there is not None and state != "Enabled":
            yield found("key-unusable", where, f"the state of its KMS key is {state}")
        elif (
            (policy := known.values.get("Policy"))
            and feeds
            and verdict(policy, SNS_ACTIONS, self._arn) != "allowed"
        ):
            text = "its KMS key does not admit sns.amazonaws.com: SNS drops what comes"
            yield found("key-policy", where, text)

    def _lambda(self, case: ServiceQueues) -> Iterator[Diagnosis]:
        queue = case.queue
        where = f"queue {queue.name}"
        for one, timeout in self._looks.mappings(self._place.queue_arn(queue.name)):
            function = str(one.get("FunctionArn", "")).rpartition(":")[2]
            if one.get("State") in ("Disabled", "Disabling"):
                text = f"its event source mapping to {function} is disabled"
                yield found("lambda-disabled", where, text)
            if "ReportBatchItemFailures" not in (one.get("FunctionResponseTypes") or ()):
                text = f"the mapping to {function} deletes whole batches, whatever failed in them"
                yield found("lambda-whole-batches", where, text)
            window: Any = one.get("MaximumBatchingWindowInSeconds") or 0
            visibility = case.number("service", "VisibilityTimeout")
            if timeout is not None and visibility < LAMBDA_FACTOR * timeout + window:
                text = (
                    f"VisibilityTimeout is {visibility} s, and {function} needs "
                    f"{LAMBDA_FACTOR * timeout + window:.0f} s (6 times its timeout of "
                    f"{timeout:.0f} s, and the batch window of {window} s)"
                )
                yield found("lambda-visibility", where, text)


_MISSING = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "ProfileNotFound",
        "MissingAuthenticationToken",
    }
)


def _unreached(error: TransportError) -> Diagnosis:
    code = error.code or ""
    if code in EXPIRED or code.endswith("SSOTokenLoadError"):
        return found("credentials-expired", "AWS", str(error))
    if code in _MISSING:
        return found("credentials-missing", "AWS", str(error))
    if isinstance(error, AccessDenied):
        return found("credentials-refused", "AWS", str(error))
    return found("no-answer", "AWS", str(error))


def _not_seen(one: Unseen) -> Diagnosis:
    if isinstance(one.error, AccessDenied):
        text = f"could not check: the role lacks {one.permission} ({one.error.code})"
        return found("access-denied", one.where, text)
    return found("not-answered", one.where, f"could not look ({one.permission}): {one.error}")
