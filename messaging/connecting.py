"""One door to the broker that the environment names: AWS, or RabbitMQ.

    broker = connect()        # by MESSAGING_BROKER_URL: "amqp://...", "amqps://..."; else AWS

A program changes its broker by its environment only.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from messaging.errors import MissingExtra
from messaging.settings import Settings
from messaging.transport import Broker

if TYPE_CHECKING:
    from messaging.dead_letters.letter import Kind
    from messaging.dead_letters.source import DeadLetterSource

__all__ = ["ServiceBroker", "connect", "is_rabbitmq"]


class ServiceBroker(Broker, Protocol):
    """A `Broker` of a service outside this process, with what operators ask of it."""

    def letters(self, service: str, *, kind: Kind = "dead") -> DeadLetterSource:
        """The dead letters of `service`, or what could not be delivered to it."""
        ...

    def oldest(self, service: str) -> float | None:
        """Seconds that the oldest message of `service` has waited; None where nobody tells."""
        ...


def connect(settings: Settings | None = None) -> ServiceBroker:
    """Connect to the topic that `settings` (by default the environment) names. No request is made.

    Raises `SettingsError` for settings that cannot be, and `MissingExtra` when they name RabbitMQ
    and its client is not installed.
    """
    chosen = settings if settings is not None else Settings.from_environment()
    if is_rabbitmq(chosen):
        check_installed()
        from messaging.rabbitmq import connect as connect_rabbitmq

        return connect_rabbitmq(chosen)
    from messaging.aws import connect as connect_aws

    return connect_aws(chosen)


def is_rabbitmq(settings: Settings) -> bool:
    """Whether `settings` name RabbitMQ."""
    return (settings.broker_url or "").startswith("amqp")


def check_installed() -> None:
    """Raise `MissingExtra` when RabbitMQ's client is not there."""
    if find_spec("pika") is None:
        raise MissingExtra(
            "MESSAGING_BROKER_URL names RabbitMQ, and its client is not installed: "
            'pip install "messaging-sns-sqs[rabbitmq]"'
        )
