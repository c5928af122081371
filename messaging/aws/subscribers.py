"""Lists a topic's subscriptions and their filters: only at start-up, never per message."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from messaging.aws.clients import Clients
from messaging.aws.errors import translated
from messaging.aws.subscriptions import PENDING, Subscriptions
from messaging.contract.subscribers import Subscriber
from messaging.errors import NotFound

__all__ = ["list_subscribers"]


def list_subscribers(clients: Clients, topic_arn: str) -> list[Subscriber]:
    """The confirmed subscriptions of the topic. Raises `NotFound` if the topic does not exist.

    Needs sns:ListSubscriptionsByTopic and sns:GetSubscriptionAttributes.
    """
    found: list[Subscriber] = []
    subscriptions = Subscriptions(clients, topic_arn, foreign=True)
    for arn in subscriptions.listed().values():
        with suppress(NotFound):  # removed meanwhile
            if arn != PENDING:  # nothing is delivered to such a one
                attributes = subscriptions.attributes(arn)
                with translated("read a subscription of", f"topic {topic_arn}", clients.where):
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
