"""A program's connection to AWS: its topic, and its queues by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from messaging.aws.age import oldest_message
from messaging.aws.clients import Clients
from messaging.aws.dead_letters import SqsDeadLetters
from messaging.aws.naming import named_topic
from messaging.aws.sns import SnsTopic
from messaging.aws.sqs import SqsQueue
from messaging.closing import Closing
from messaging.dead_letters.letter import Kind
from messaging.settings import Settings
from messaging.topology import queue_name

if TYPE_CHECKING:
    import boto3

__all__ = ["AwsBroker", "connect"]


class AwsBroker(Closing):
    """One SNS topic and its SQS queues: a `Broker`. Create it with `connect`.

    Thread-safe; a forked child gets its own connections.

    Args:
        clients: creates boto3's clients.
        topic: the topic's ARN or name.
        max_bytes: maximum size of a request to the topic.

    Example:
        ```python
        from messaging.aws import connect

        broker = connect(local.settings(topic="alunos"))  # an AwsBroker
        topic, queue = broker.topic(), broker.queue("marketing")
        broker.close()
        ```
    """

    def __init__(self, clients: Clients, topic: str, *, max_bytes: int) -> None:
        self._clients = clients
        self._max_bytes = max_bytes
        self._topic = topic
        self._name = topic.rpartition(":")[2]

    def topic(self) -> SnsTopic:
        """The topic; makes no request."""
        return SnsTopic(self._clients, self._topic, max_bytes=self._max_bytes)

    def queue(self, service: str) -> SqsQueue:
        """The queue of `service`, named by `messaging.topology.queue_name`; makes no request.

        Args:
            service: the name of a service.
        """
        return SqsQueue(
            self._clients,
            queue_name(self._name, service),
            undelivered=queue_name(self._name, service, "-undelivered"),
        )

    def letters(self, service: str, *, kind: Kind = "dead") -> SqsDeadLetters:
        """The dead letters of `service`, or the messages that SNS could not deliver to it, for a
        `Workbench`.

        Args:
            service: the name of a service.
            kind: "dead" for the dead letters, "undelivered" for messages that SNS could not
                deliver.
        """
        name = queue_name(self._name, service)
        undelivered = queue_name(self._name, service, "-undelivered")
        return SqsDeadLetters(
            self._clients, name, undelivered=undelivered if kind == "undelivered" else None
        )

    def oldest(self, service: str) -> float | None:
        """Age of the oldest message of `service` in seconds, from CloudWatch; None if unknown.

        Not part of `depth()`: CloudWatch is another service, with its own permission and price.

        Args:
            service: the name of a service.
        """
        return oldest_message(self._clients, queue_name(self._name, service))

    def close(self) -> None:
        """Close the sockets of this broker's topic and queues."""
        self._clients.close()


def connect(settings: Settings | None = None, *, session: boto3.Session | None = None) -> AwsBroker:
    """Connect to the topic that `settings` (by default the environment) names.

    `session` has its own credentials; otherwise boto3 finds them as in any other program. A topic's
    name is prefixed with `settings.prefix`; an ARN is used as it is, and provides the region if the
    settings have none.

    Makes no request: a missing topic or queue (`NotFound`), or insufficient credentials
    (`AccessDenied`), show up at the first use.

    Args:
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.

    Raises:
        SettingsError: if no topic is named, or the ARN contradicts the prefix or the region.

    Example:
        ```python
        from messaging.aws import connect

        broker = connect(local.settings(topic="alunos"))
        publisher = Publisher(broker.topic(), source="/cadastro")
        broker.close()
        ```
    """
    chosen = settings if settings is not None else Settings.from_environment()
    named = named_topic(chosen)
    clients = Clients(named.settings, session)
    return AwsBroker(clients, named.arn or named.name, max_bytes=chosen.max_bytes)
