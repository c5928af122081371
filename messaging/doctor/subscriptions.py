"""Checks the subscriptions between the topic and its queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from messaging.aws.clients import Place
from messaging.aws.desired import subscription_attributes
from messaging.aws.looks import Seen, read_json
from messaging.doctor.kinds import Diagnosis, compared, found
from messaging.topology import Subscription

__all__ = ["Listed", "check_listed", "check_subscription"]

_PENDING = "PendingConfirmation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A subscription as the topic lists it."""

    protocol: str
    endpoint: str
    arn: str

    @classmethod
    def of(cls, one: Mapping[str, str]) -> Listed:
        return cls(
            protocol=one.get("Protocol", ""),
            endpoint=one.get("Endpoint", ""),
            arn=one.get("SubscriptionArn", _PENDING),
        )

    @property
    def pending(self) -> bool:
        return not self.arn.startswith("arn:")

    @property
    def queue(self) -> str:
        return self.endpoint.rpartition(":")[2]


def check_listed(
    one: Subscription, place: Place, listed: Sequence[Listed], fifo: bool
) -> Iterator[Diagnosis]:
    """Check one service's entry in the list: it may be missing, pending or elsewhere."""
    ours = place.queue_arn(one.queue)
    where = f"subscription of {one.queue}"
    mine = [each for each in listed if each.protocol == "sqs" and each.endpoint == ours]
    plain = one.queue.removesuffix(".fifo")
    for each in listed:
        if each.protocol != "sqs" or each.queue.removesuffix(".fifo") != plain or each in mine:
            continue
        if each.queue != one.queue:
            kinds = "FIFO and the queue standard" if fifo else "standard and the queue FIFO"
            yield found("fifo-mismatch", f"queue {each.queue}", f"the topic is {kinds}")
        else:
            region, account = each.endpoint.split(":")[3:5]
            text = (
                f"a queue of that name in {region}, account {account} is subscribed; this looks "
                f"at {place.region}, account {place.account}"
            )
            yield found("queue-elsewhere", where, text)
    if not mine:
        text = "the topic does not feed the queue: the service receives nothing"
        yield found("subscription-missing", where, text)
    elif mine[0].pending:
        text = "it waits for confirmation, and delivers nothing"
        yield found("subscription-pending", where, text)


def check_subscription(one: Subscription, place: Place, seen: Seen) -> Iterator[Diagnosis]:
    """Check a subscription's attributes."""
    where, now = f"subscription of {one.queue}", seen.values
    wanted = subscription_attributes(one, place)
    if now.get("PendingConfirmation", "false").lower() == "true":
        text = "it waits for confirmation, and delivers nothing"
        yield found("subscription-pending", where, text)
    if now.get("RawMessageDelivery", "false").lower() != "true":
        text = "raw delivery is off: SNS wraps each body, and drops the message attributes"
        yield found("raw-delivery-off", where, text)
    yield from _filter(where, one, now)
    target = read_json(now.get("RedrivePolicy")).get("deadLetterTargetArn")
    named = read_json(wanted["RedrivePolicy"])["deadLetterTargetArn"]
    if target is None:
        text = "it has no dead-letter queue: what SNS cannot deliver is lost"
        yield found("subscription-dlq-missing", where, text)
    elif target != named:
        text = f"what SNS cannot deliver goes to {target}, and not to {one.undelivered.name}"
        yield found("subscription-dlq-elsewhere", where, text)


def _filter(where: str, one: Subscription, now: Mapping[str, str]) -> Iterator[Diagnosis]:
    policy: Mapping[str, Any] = read_json(now.get("FilterPolicy"))
    if not policy:
        text = "it has no filter policy: the service receives every copy, those of others too"
        yield found("filter-missing", where, text)
        return
    scope = now.get("FilterPolicyScope", "MessageAttributes")
    if scope != "MessageAttributes":
        text = f"its filter policy looks at {scope}, where no type and audience stand"
        yield found("filter-scope", where, text)
    differences = []
    for key, values in one.filter_policy.items():
        standing = policy.get(key)
        has = [str(each) for each in standing] if isinstance(standing, list) else ["anything"]
        differences += [f"{key} {said}" for said in compared(values, has)]
    differences += [
        f"{key} is asked for, too" for key in sorted(set(policy) - {"type", "audience"})
    ]
    if differences:
        yield found("filter-differs", where, f"its filter policy: {'; '.join(differences)}")
