"""Compares a topic's subscriptions with their desired state, and corrects them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from messaging.aws.clients import Clients
from messaging.aws.desired import differences
from messaging.aws.errors import translated
from messaging.changes import Change
from messaging.errors import NotFound, TransportError

__all__ = ["ANOTHER_ACCOUNT", "PENDING", "Subscriptions"]

ANOTHER_ACCOUNT = "See docs/how-to/another-account.md"
PENDING = "PendingConfirmation"
"""SNS lists this instead of the ARN while it waits for the queue's owner to confirm."""
ASSUMED: Mapping[str, str] = {
    "FilterPolicyScope": "MessageAttributes",
    "RawMessageDelivery": "false",
}
"""What holds where a subscription does not say."""


class Subscriptions:
    """The subscriptions of one topic. It lists them, so it is only for provisioning, never at run
    time.

    `foreign`: the topic belongs to another account. The queues are always the caller's own.
    """

    def __init__(self, clients: Clients, topic_arn: str, *, foreign: bool = False) -> None:
        self._clients = clients
        self._topic_arn = topic_arn
        self._foreign = foreign

    def listed(self) -> Mapping[tuple[str, str], str]:
        """Those there are: (protocol, endpoint) -> ARN. Raises `NotFound` where no topic is."""
        pages = self._clients.patient_sns.get_paginator("list_subscriptions_by_topic")
        with self._translated("list the subscriptions of"):
            return {
                (one.get("Protocol", ""), one.get("Endpoint", "")): one["SubscriptionArn"]
                for page in pages.paginate(TopicArn=self._topic_arn)
                for one in page.get("Subscriptions", ())
                if "SubscriptionArn" in one
            }

    def standing(self) -> Mapping[tuple[str, str], str]:
        """Like `listed`, but empty if the topic does not exist."""
        try:
            return self.listed()
        except NotFound:
            return {}

    def settle(
        self, queue_arn: str, wanted: Mapping[str, str], arn: str | None, *, write: bool
    ) -> Iterator[Change]:
        """Compare the queue's subscription (`arn`, if it exists); `write` corrects it."""
        name = queue_arn.rpartition(":")[2]
        # A pending one was created by another account. If the queue's own account subscribes, SNS
        # needs no confirmation.
        # https://docs.aws.amazon.com/sns/latest/dg/sns-send-message-to-sqs-cross-account.html
        if arn is None or arn == PENDING:
            if write:
                self._subscribe(queue_arn, wanted)
            details = tuple(f"{key}: {value}" for key, value in wanted.items())
            yield Change(action="create", kind="subscription", name=name, details=details)
            return
        changed = differences(wanted, self.attributes(arn))
        if write:
            self._set(arn, {key: wanted[key] for key in changed})
        action: Any = "change" if changed else "leave"
        yield Change(
            action=action,
            kind="subscription",
            name=name,
            details=tuple(f"{key}: {was} -> {wanted[key]}" for key, was in changed.items()),
        )

    def delete(self, arn: str) -> None:
        """Unsubscribe. Does nothing if the subscription no longer exists."""
        try:
            with self._translated("unsubscribe from"):
                self._clients.patient_sns.unsubscribe(SubscriptionArn=arn)
        except NotFound:
            pass

    def _subscribe(self, queue_arn: str, wanted: Mapping[str, str]) -> None:
        # With all its attributes in one request, so that no message arrives unfiltered.
        try:
            with self._translated("subscribe to"):
                arn = self._clients.patient_sns.subscribe(
                    TopicArn=self._topic_arn,
                    Protocol="sqs",
                    Endpoint=queue_arn,
                    Attributes=dict(wanted),
                    ReturnSubscriptionArn=True,
                )["SubscriptionArn"]
        except TransportError as error:
            # Somebody subscribed the queue meanwhile with other attributes, which SNS refuses.
            if error.code not in ("InvalidParameter", "InvalidParameterException"):
                raise
            found = self.standing().get(("sqs", queue_arn))
            if found is None:
                raise
            arn = found
        now = {} if arn == PENDING else self.attributes(arn)
        if now.get(PENDING, "true" if arn == PENDING else "false") == "true":
            raise TransportError(
                f"the subscription of {queue_arn} to {self._topic_arn} waits for confirmation and "
                f"delivers nothing: apply with credentials of the queue's account. "
                f"{ANOTHER_ACCOUNT}",
                code=PENDING,
                retryable=False,
            )
        # SNS returns an existing subscription unchanged, so its attributes are set here.
        self._set(arn, {key: wanted[key] for key in differences(wanted, now)})

    def attributes(self, arn: str) -> Mapping[str, str]:
        """Those of one subscription, with what SNS assumes where they do not say."""
        with self._translated("read a subscription of"):
            sns = self._clients.patient_sns
            said = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        return {**ASSUMED, **said}

    def _set(self, arn: str, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            with self._translated(f"set {name} of a subscription of"):
                self._clients.patient_sns.set_subscription_attributes(
                    SubscriptionArn=arn, AttributeName=name, AttributeValue=value
                )

    def _translated(self, action: str) -> Any:
        topic = f"topic {self._topic_arn if self._foreign else self._topic_arn.rpartition(':')[2]}"
        return translated(action, topic, self._clients.where, quote=True)
