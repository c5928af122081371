"""Connects to the broker that the environment names: AWS or RabbitMQ.

    broker = connect()        # by MESSAGING_BROKER_URL: "amqp://...", "amqps://..."; else AWS
    apply(TOPOLOGY)           # and there the topic and the queues are made

A program changes its broker only through its environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, Self

from messaging.errors import MissingExtra, SettingsError
from messaging.settings import Settings
from messaging.transport import Broker, TopicTransport

if TYPE_CHECKING:
    from messaging.changes import Plan
    from messaging.contract.subscribers import Subscriber
    from messaging.dead_letters.letter import Kind
    from messaging.dead_letters.source import DeadLetterSource
    from messaging.topology import Topology

__all__ = [
    "ServiceBroker",
    "ServiceTopic",
    "apply",
    "connect",
    "names_rabbitmq",
    "plan",
    "remove",
    "require_rabbitmq",
]


class ServiceTopic(TopicTransport, Protocol):
    """A `TopicTransport` that can list its subscriptions."""

    def subscribers(self) -> Sequence[Subscriber]:
        """The topic's subscriptions. Only for start-up, never per message."""
        ...


class ServiceBroker(Broker, Protocol):
    """A `Broker` outside this process, with methods for operators.

    A `with` block closes it at its end.
    """

    def topic(self) -> ServiceTopic:
        """The topic; makes no request."""
        ...

    def letters(self, service: str, *, kind: Kind = "dead") -> DeadLetterSource:
        """The dead letters of `service`, or the messages that could not be delivered to it.

        Args:
            service: the name of a service.
            kind: "dead" for the dead letters, "undelivered" for messages that could not be
                delivered.
        """
        ...

    def oldest(self, service: str) -> float | None:
        """Age of the oldest message of `service` in seconds; None if unknown.

        Args:
            service: the name of a service.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


def connect(settings: Settings | None = None, *, session: Any = None) -> ServiceBroker:
    """Connect to the topic that `settings` (by default the environment) names, without a request.

    `session` (a `boto3.Session`) has its own credentials for AWS, and is refused for RabbitMQ.

    Args:
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.

    Raises:
        SettingsError: if the settings are invalid, or `session` is given for RabbitMQ.
        MissingExtra: if they name RabbitMQ and its client is not installed.

    Example:
        ```python
        from messaging import Settings, connect

        settings = Settings(topic="alunos", region="sa-east-1")
        with connect(settings) as broker:  # connect(): by the environment
            publisher = Publisher(broker.topic(), source="/cadastro")
        ```
    """
    chosen = settings if settings is not None else Settings.from_environment()
    if names_rabbitmq(chosen):
        _no_session(session)
        from messaging.rabbitmq import connect as connect_rabbitmq

        return connect_rabbitmq(chosen)
    from messaging.aws import connect as connect_aws

    return connect_aws(chosen, session=session)


def plan(topology: Topology, settings: Settings | None = None, *, take_over: bool = False) -> Plan:
    """Return what `apply` would do, without changing anything.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        take_over: also act on resources with another owner's tag.

    Example:
        ```python
        from messaging.connecting import plan

        changes = plan(topology, local.settings(topic="alunos", prefix="plan-")).changes
        assert {change.action for change in changes} == {"create"}
        ```
    """
    chosen = settings if settings is not None else Settings.from_environment()
    if names_rabbitmq(chosen):
        from messaging.rabbitmq import plan as plan_rabbitmq

        return plan_rabbitmq(topology, chosen, take_over=take_over)
    from messaging.aws import plan as plan_aws

    return plan_aws(topology, chosen, take_over=take_over)


def apply(
    topology: Topology,
    settings: Settings | None = None,
    *,
    session: Any = None,
    take_over: bool = False,
    wait: float = 0,
    create_topic: bool = False,
) -> Plan:
    """Create what is missing and set what differs. Safe to repeat; deletes no queue.

    `session` is as in `connect`. With `create_topic`, meant for a local server, a topic that the
    topology does not own is created without an owner.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.
        take_over: take over resources with another owner's tag.
        wait: seconds to wait for a topic that the topology does not own.
        create_topic: create such a topic without an owner; for a local server.

    Raises:
        TopicNotFound: if a topic that the topology does not own is missing after `wait` seconds.
        OwnershipError: if a resource belongs to another owner.

    Example:
        ```python
        from messaging.connecting import apply

        settings = local.settings(topic="alunos", prefix="apply-")
        apply(topology, settings)
        assert not apply(topology, settings).pending  # nothing is left to do
        ```
    """
    chosen = settings if settings is not None else Settings.from_environment()
    if names_rabbitmq(chosen):
        _no_session(session)
        from messaging.rabbitmq import apply as apply_rabbitmq

        return apply_rabbitmq(
            topology, chosen, take_over=take_over, wait=wait, create_topic=create_topic
        )
    from messaging.aws import apply as apply_aws

    return apply_aws(
        topology,
        chosen,
        session=session,
        take_over=take_over,
        wait=wait,
        create_topic=create_topic,
    )


def remove(
    topology: Topology,
    service: str,
    settings: Settings | None = None,
    *,
    dry_run: bool = False,
    lose_messages: bool = False,
    take_over: bool = False,
) -> Plan:
    """Permanently delete the resources of `service`, and return what was deleted and what is lost.

    Args:
        topology: the desired topic, queues and subscriptions.
        service: the name of a service.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        dry_run: delete nothing; return what would be deleted.
        lose_messages: also delete queues that have messages.
        take_over: also delete resources of another owner.

    Raises:
        OwnershipError: if a resource belongs to another owner.

    Example:
        ```python
        from messaging.connecting import apply, remove

        settings = local.settings(topic="alunos", prefix="remove-")
        apply(topology, settings)
        assert all(
            change.action == "delete" for change in remove(topology, "marketing", settings).changes
        )
        ```
    """
    chosen = settings if settings is not None else Settings.from_environment()
    if names_rabbitmq(chosen):
        from messaging.rabbitmq import remove as remove_there
    else:
        from messaging.aws import remove as remove_there
    return remove_there(
        topology,
        service,
        chosen,
        dry_run=dry_run,
        lose_messages=lose_messages,
        take_over=take_over,
    )


def _no_session(session: Any) -> None:
    if session is not None:
        raise SettingsError("session= is of AWS, and MESSAGING_BROKER_URL names RabbitMQ")


def names_rabbitmq(settings: Settings) -> bool:
    """Whether the settings name RabbitMQ. Raises `MissingExtra` if its client is missing.

    Args:
        settings: the settings to check.
    """
    if not (settings.broker_url or "").startswith("amqp"):
        return False
    require_rabbitmq("MESSAGING_BROKER_URL names RabbitMQ")
    return True


def require_rabbitmq(why: str) -> None:
    """Raise `MissingExtra` if RabbitMQ's client is not installed.

    Args:
        why: the beginning of the error's text, which says what needs the client.
    """
    if find_spec("pika") is None:
        raise MissingExtra(
            f'{why}, and its client is not installed: pip install "messaging-sns-sqs[rabbitmq]"'
        )
