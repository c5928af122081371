"""What stands on a local server, read raw: for the tests of plan, apply and remove."""

from __future__ import annotations

from typing import Any

from messaging.aws import Plan, apply, plan, remove
from messaging.settings import Settings
from messaging.topology import Topology

__all__ = ["Account", "details", "told"]


class Account:
    """What stands, read raw."""

    def __init__(self, server: Any, session: Any, prefix: str) -> None:
        self.settings = server.settings(topic="alunos", prefix=prefix)
        self.session = session
        self.prefix = prefix
        self.sns = session.client("sns", endpoint_url=server.url)
        self.sqs = session.client("sqs", endpoint_url=server.url)
        self.id = session.client("sts", endpoint_url=server.url).get_caller_identity()["Account"]
        self.topic = f"arn:aws:sns:sa-east-1:{self.id}:{prefix}alunos"

    def plan(self, topology: Topology, **more: Any) -> Plan:
        return plan(topology, self._settings(topology), session=self.session, **more)

    def apply(self, topology: Topology, **more: Any) -> Plan:
        return apply(topology, self._settings(topology), session=self.session, **more)

    def remove(self, topology: Topology, service: str, **more: Any) -> Plan:
        return remove(topology, service, self._settings(topology), session=self.session, **more)

    def tags(self, name: str) -> dict[str, str]:
        return self.sqs.list_queue_tags(QueueUrl=self.url(name)).get("Tags", {})

    def topic_tags(self) -> dict[str, str]:
        tags = self.sns.list_tags_for_resource(ResourceArn=self.topic)["Tags"]
        return {one["Key"]: one["Value"] for one in tags}

    def _settings(self, topology: Topology) -> Settings:
        return self.settings.model_copy(update={"topic": topology.topic.name})

    def names(self) -> set[str]:
        urls = self.sqs.list_queues(QueueNamePrefix=self.prefix).get("QueueUrls", [])
        return {url.rpartition("/")[2].removeprefix(self.prefix) for url in urls}

    def url(self, name: str) -> str:
        return self.sqs.get_queue_url(QueueName=self.prefix + name)["QueueUrl"]

    def arn(self, name: str) -> str:
        return f"arn:aws:sqs:sa-east-1:{self.id}:{self.prefix}{name}"

    def attributes(self, name: str) -> dict[str, str]:
        return self.sqs.get_queue_attributes(QueueUrl=self.url(name), AttributeNames=["All"])[
            "Attributes"
        ]

    def set(self, name: str, **attributes: str) -> None:
        self.sqs.set_queue_attributes(QueueUrl=self.url(name), Attributes=attributes)

    def subscriptions(self) -> dict[str, str]:
        found = self.sns.list_subscriptions_by_topic(TopicArn=self.topic)["Subscriptions"]
        return {one["Endpoint"].rpartition(":")[2]: one["SubscriptionArn"] for one in found}

    def subscription(self, name: str) -> dict[str, str]:
        arn = self.subscriptions()[self.prefix + name]
        return self.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]


def told(changes: Plan, *actions: str) -> list[tuple[str, str, str]]:
    return [(one.action, one.kind, one.name) for one in changes.changes if one.action in actions]


def details(changes: Plan, action: str, name: str) -> str:
    found = [one for one in changes.changes if one.action == action and one.name.endswith(name)]
    return "\n".join(line for one in found for line in one.details)
