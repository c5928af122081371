"""Looks at single things on AWS; what may not be looked at is noted and does not end the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple

from messaging.aws.age import oldest_message
from messaging.aws.clients import Clients, Place
from messaging.aws.errors import translated
from messaging.clock import SYSTEM_CLOCK, utc
from messaging.errors import NotFound, TransportError

__all__ = ["Looks", "Seen", "Unseen", "read_json"]


class Unseen(NamedTuple):
    """A look that failed: at what, with which permission it would have worked, and why not."""

    where: str
    permission: str
    error: TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look found. `there` is None where it could not be looked at."""

    there: bool | None
    values: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None


class Looks:
    """Asks about a topic, queues, mappings and keys. Changes nothing. `unseen` fills meanwhile."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.unseen: list[Unseen] = []
        self.skew = 0.0
        """Seconds that this machine's clock is ahead of AWS's, by the latest answer."""
        for service in ("sts", "sns", "sqs"):
            events = clients.patient(service).meta.events
            events.register(f"response-received.{service}", self._note_date)

    def place(self) -> Place:
        """Partition, region and account; raises `TransportError` where nobody says."""
        return self._clients.place()

    def topic(self, arn: str) -> Seen:
        """A topic's attributes and tags."""
        name = arn.rpartition(":")[2]
        sns = self._clients.patient_sns

        def attributes() -> Mapping[str, str]:
            return sns.get_topic_attributes(TopicArn=arn)["Attributes"]

        def tags() -> Mapping[str, str]:
            listed = sns.list_tags_for_resource(ResourceArn=arn)["Tags"]
            return {one["Key"]: one["Value"] for one in listed}

        where = f"topic {name}"
        found = self._seen(where, "sns:GetTopicAttributes", attributes)
        if not found.there:
            return found
        told = self._seen(where, "sns:ListTagsForResource", tags)
        return Seen(there=True, values=found.values, tags=told.values if told.there else None)

    def queue(self, name: str) -> Seen:
        """A queue's attributes and tags."""
        sqs: Any = self._clients.patient_sqs
        where = f"queue {name}"
        url = self._seen(where, "sqs:GetQueueUrl", lambda: sqs.get_queue_url(QueueName=name))
        if not url.there:
            return url
        address = url.values["QueueUrl"]
        found = self._seen(
            where,
            "sqs:GetQueueAttributes",
            lambda: sqs.get_queue_attributes(QueueUrl=address, AttributeNames=["All"]).get(
                "Attributes", {}
            ),
        )
        if not found.there:
            return found
        told = self._seen(
            where,
            "sqs:ListQueueTags",
            lambda: sqs.list_queue_tags(QueueUrl=address).get("Tags", {}),
        )
        return Seen(there=True, values=found.values, tags=told.values if told.there else None)

    def exists(self, name: str) -> bool | None:
        """Whether there is a queue of that name; None where that may not be asked."""
        sqs: Any = self._clients.patient_sqs
        return self._seen(
            f"queue {name}", "sqs:GetQueueUrl", lambda: sqs.get_queue_url(QueueName=name)
        ).there

    def subscriptions(self, arn: str) -> list[Mapping[str, str]] | None:
        """Protocol, Endpoint and SubscriptionArn of each; None where they may not be listed."""
        pages = self._clients.patient_sns.get_paginator("list_subscriptions_by_topic")
        listed = self._seen(
            f"topic {arn.rpartition(':')[2]}",
            "sns:ListSubscriptionsByTopic",
            lambda: {
                "all": [
                    one
                    for page in pages.paginate(TopicArn=arn)
                    for one in page.get("Subscriptions", ())
                ]
            },
        )
        every: Any = listed.values.get("all", ())
        return list(every) if listed.there else None

    def subscription(self, arn: str, queue: str) -> Seen:
        """A subscription's attributes."""
        sns: Any = self._clients.patient_sns
        return self._seen(
            f"subscription of {queue}",
            "sns:GetSubscriptionAttributes",
            lambda: sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"],
        )

    def mappings(self, queue_arn: str) -> Iterator[tuple[Mapping[str, Any], float | None]]:
        """The Lambda event source mappings of a queue, each with its function's timeout in s."""
        client = self._clients.patient("lambda")
        where = f"Lambda mappings of queue {queue_arn.rpartition(':')[2]}"
        listed: Any = self._seen(
            where,
            "lambda:ListEventSourceMappings",
            lambda: client.list_event_source_mappings(EventSourceArn=queue_arn),
        )
        for one in listed.values.get("EventSourceMappings", ()):
            function = one.get("FunctionArn", "")
            config: Any = self._seen(
                f"function {function.rpartition(':')[2]}",
                "lambda:GetFunctionConfiguration",
                partial(client.get_function_configuration, FunctionName=function),
            )
            yield one, config.values.get("Timeout")

    def key(self, key: str) -> Seen:
        """State ("KeyState", "KeyManager") and "Policy" of a KMS key, by its id, alias or ARN."""
        kms = self._clients.patient("kms")
        found = self._seen(
            f"key {key}", "kms:DescribeKey", lambda: kms.describe_key(KeyId=key)["KeyMetadata"]
        )
        if not found.there:
            return found
        told = self._seen(
            f"key {key}",
            "kms:GetKeyPolicy",
            lambda: kms.get_key_policy(KeyId=found.values["KeyId"], PolicyName="default"),
        )
        policy = {"Policy": told.values["Policy"]} if told.there else {}
        return Seen(there=True, values={**found.values, **policy})

    def oldest(self, queue: str) -> float | None:
        """Seconds that a queue's oldest message has waited, if CloudWatch says."""
        found: Any = self._seen(
            f"age of queue {queue}",
            "cloudwatch:GetMetricStatistics",
            lambda: {"age": oldest_message(self._clients, queue)},
        )
        age: float | None = found.values.get("age")
        return age

    def _seen(self, where: str, permission: str, call: Callable[[], Any]) -> Seen:
        try:
            with translated("look at", where, self._clients.where, quote=True):
                return Seen(there=True, values=call())
        except NotFound:
            return Seen(there=False)
        except TransportError as error:
            self.unseen.append(Unseen(where, permission, error))
            return Seen(there=None)

    def _note_date(self, response_dict: Any, **_: object) -> None:
        said = response_dict.get("headers", {}).get("date", "") if response_dict else ""
        try:
            date: datetime = parsedate_to_datetime(said)
        except (TypeError, ValueError):
            return
        self.skew = (utc(SYSTEM_CLOCK.now()) - date).total_seconds()


def read_json(text: str | None) -> Mapping[str, Any]:
    """An attribute that holds a JSON object; an empty one where it does not."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}
