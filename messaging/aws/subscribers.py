"""Who subscribes to a topic and what they want, as SNS lists it: at a start, never per message."""

from __future__ import annotations

import json
from typing import Any

from messaging.aws.clients import Clients
from messaging.aws.errors import translated
from messaging.contract.subscribers import Subscriber
from messaging.errors import NotFound

__all__ = ["list_subscribers"]

_PENDING = "PendingConfirmation"


def list_subscribers(clients: Clients, topic_arn: str) -> list[Subscriber]:
    """The confirmed subscriptions of the topic. Raises `NotFound` where there is no such topic.

    Needs sns:ListSubscriptionsByTopic and sns:GetSubscriptionAttributes.
    """
    found: list[Subscriber] = []
    with translated("list the subscriptions of", f"topic {topic_arn}", clients.where):
        sns = clients.patient_sns
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn)
        listed = [
            one.get("SubscriptionArn", _PENDING)
            for page in pages
            for one in page.get("Subscriptions", ())
        ]
        for arn in listed:
            if arn == _PENDING:
                continue  # nothing is delivered to it
            try:
                with translated("read a subscription of", f"topic {topic_arn}", clients.where):
                    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
            except NotFound:
                continue  # it was removed meanwhile
            found.append(_subscriber(attributes))
    return sorted(found, key=lambda one: one.endpoint)


def _subscriber(attributes: Any) -> Subscriber:
    text = attributes.get("FilterPolicy")
    policy = json.loads(text) if text else None
    return Subscriber(
        endpoint=str(attributes.get("Endpoint", "")).rpartition(":")[2],
        policy=policy or None,
        on_body=attributes.get("FilterPolicyScope") == "MessageBody",
    )
