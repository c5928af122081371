"""Reads single resources on AWS; a denied read is recorded and does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

from messaging.aws.age import oldest_message
from messaging.aws.clients import Clients, Place
from messaging.aws.errors import translated
from messaging.clock import SYSTEM_CLOCK, utc
from messaging.errors import NotFound, TransportError

__all__ = ["Looks", "Seen", "Unseen", "read_json"]

_Said = TypeVar("_Said")


class Unseen(NamedTuple):
    """A failed read: the resource, the missing permission, and the error."""

    where: str
    permission: str
    error: TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The result of a read. `there` is None if it could not be read."""

    there: bool | None
    values: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None


class Looks:
    """Reads a topic, queues, mappings and keys, without changing anything. Failed reads are added
    to `unseen`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.unseen: list[Unseen] = []
        self.skew = 0.0
        """Seconds that this machine's clock is ahead of AWS's, according to the latest response."""
        for service in ("sts", "sns", "sqs"):
            events = clients.client(service).meta.events
            events.register(f"response-received.{service}", self._note_date)

    def place(self) -> Place:
        """Partition, region and account; raises `TransportError` if they are unknown."""
        return self._clients.place()

    def topic(self, arn: str) -> Seen:
        """A topic's attributes and tags."""
        where = f"topic {arn.rpartition(':')[2]}"
        found = self._seen(where, "sns:GetTopicAttributes", "Attributes", TopicArn=arn)
        return self._tagged(found, where, "sns:ListTagsForResource", ResourceArn=arn)

    def queue(self, name: str) -> Seen:
        """A queue's attributes and tags."""
        where = f"queue {name}"
        url = self._seen(where, "sqs:GetQueueUrl", QueueName=name)
        if not url.there:
            return url
        asked = {"QueueUrl": url.values["QueueUrl"]}
        found = self._seen(
            where, "sqs:GetQueueAttributes", "Attributes", **asked, AttributeNames=["All"]
        )
        return self._tagged(found, where, "sqs:ListQueueTags", **asked)

    def exists(self, name: str) -> bool | None:
        """Whether a queue of that name exists; None if the read is denied."""
        return self._seen(f"queue {name}", "sqs:GetQueueUrl", QueueName=name).there

    def subscriptions(self, arn: str) -> list[Mapping[str, str]] | None:
        """Protocol, Endpoint and SubscriptionArn of each; None if the list is denied."""
        pages: Any = self._clients.patient_sns.get_paginator("list_subscriptions_by_topic")
        return self._asked(
            f"topic {arn.rpartition(':')[2]}",
            "sns:ListSubscriptionsByTopic",
            lambda: [
                one
                for page in pages.paginate(TopicArn=arn)
                for one in page.get("Subscriptions", ())
            ],
        )[1]

    def subscription(self, arn: str, queue: str) -> Seen:
        """A subscription's attributes."""
        where = f"subscription of {queue}"
        return self._seen(where, "sns:GetSubscriptionAttributes", "Attributes", SubscriptionArn=arn)

    def mappings(self, queue_arn: str) -> Iterator[tuple[Mapping[str, Any], float | None]]:
        """The Lambda event source mappings of a queue, each with its function's timeout in
        seconds."""
        where = f"Lambda mappings of queue {queue_arn.rpartition(':')[2]}"
        listed: Any = self._seen(where, "lambda:ListEventSourceMappings", EventSourceArn=queue_arn)
        for one in listed.values.get("EventSourceMappings", ()):
            function = one.get("FunctionArn", "")
            where = f"function {function.rpartition(':')[2]}"
            config: Any = self._seen(
                where, "lambda:GetFunctionConfiguration", FunctionName=function
            )
            yield one, config.values.get("Timeout")

    def key(self, key: str) -> Seen:
        """State ("KeyState", "KeyManager") and "Policy" of a KMS key, by its id, alias or ARN."""
        where = f"key {key}"
        found = self._seen(where, "kms:DescribeKey", "KeyMetadata", KeyId=key)
        if not found.there:
            return found
        asked = {"KeyId": found.values["KeyId"], "PolicyName": "default"}
        told = self._seen(where, "kms:GetKeyPolicy", **asked)
        policy = {"Policy": told.values["Policy"]} if told.there else {}
        return Seen(there=True, values={**found.values, **policy})

    def oldest(self, queue: str) -> float | None:
        """The age of a queue's oldest message in seconds, if CloudWatch knows."""
        return self._asked(
            f"age of queue {queue}",
            "cloudwatch:GetMetricStatistics",
            lambda: oldest_message(self._clients, queue),
        )[1]

    def _tagged(self, found: Seen, where: str, permission: str, **parameters: str) -> Seen:
        if not found.there:
            return found
        tags = self._asked(where, permission, lambda: _tags(self._call(permission, parameters)))[1]
        return replace(found, tags=tags)

    def _seen(
        self, where: str, permission: str, member: str | None = None, **parameters: object
    ) -> Seen:
        """The answer to the operation of that permission, or one member of it."""

        def call() -> Any:
            answer = self._call(permission, parameters)
            return answer if member is None else answer[member]

        there, values = self._asked(where, permission, call)
        return Seen(there=there, values=values or {})

    def _call(self, permission: str, parameters: Mapping[str, object]) -> Any:
        from botocore import xform_name

        service, operation = permission.split(":")
        return getattr(self._clients.client(service), xform_name(operation))(**parameters)

    def _asked(
        self, where: str, permission: str, call: Callable[[], _Said]
    ) -> tuple[bool | None, _Said | None]:
        """Whether it is there, None where nobody says, and what was said of it."""
        try:
            with translated("look at", where, self._clients.where, quote=True):
                return True, call()
        except NotFound:
            return False, None
        except TransportError as error:
            self.unseen.append(Unseen(where, permission, error))
            return None, None

    def _note_date(self, response_dict: Any, **_: object) -> None:
        said = response_dict.get("headers", {}).get("date", "") if response_dict else ""
        try:
            date: datetime = parsedate_to_datetime(said)
        except (TypeError, ValueError):
            return
        self.skew = (utc(SYSTEM_CLOCK.now()) - date).total_seconds()


def _tags(answer: Any) -> Mapping[str, str]:
    said = answer.get("Tags", {})  # a list of pairs in SNS, a map in SQS, which leaves it out
    return said if isinstance(said, Mapping) else {one["Key"]: one["Value"] for one in said}


def read_json(text: str | None) -> Mapping[str, Any]:
    """The JSON object in an attribute; an empty one if there is none."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}
