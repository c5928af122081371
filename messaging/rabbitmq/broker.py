"""A program's connection to RabbitMQ: its topic and its queues by name."""

from __future__ import annotations

import threading

from messaging.closing import Closing
from messaging.dead_letters.letter import Kind
from messaging.errors import SettingsError
from messaging.rabbitmq.dead_letters import RabbitDeadLetters
from messaging.rabbitmq.holding import Holding
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import letters_name
from messaging.rabbitmq.queue import RabbitQueue
from messaging.rabbitmq.topic import RabbitTopic
from messaging.settings import Settings
from messaging.topology import queue_name

__all__ = ["RabbitBroker", "connect"]

LETTER_LEASE = 30
"""Seconds; callers that receive letters say how long they hold them."""


class RabbitBroker(Closing):
    """One exchange and its queues: a `Broker`. Create it with `messaging.connecting.connect`.

    Uses two connections, each with its own thread: one receives and settles, the other publishes,
    because RabbitMQ stops reading from publishing connections when it is short of memory or disk.
    Thread-safe; a forked child opens its own connections.

    Args:
        receiving: the connection that receives and settles.
        sending: the connection that publishes.
        topic: the exchange's name.
        settings: the environment's settings.

    Example:
        ```python
        from messaging import Settings
        from messaging.rabbitmq import connect

        settings = Settings(topic="alunos", broker_url="amqp://app:password@rabbit:5672/escola")
        broker = connect(settings)  # a RabbitBroker
        topic, queue = broker.topic(), broker.queue("marketing")
        broker.close()
        ```
    """

    def __init__(self, receiving: Link, sending: Link, topic: str, settings: Settings) -> None:
        self._receiving = receiving
        self._sending = sending
        self._topic = topic
        self._settings = settings
        self._lock = threading.Lock()
        self._holdings: dict[str, Holding] = {}

    def topic(self) -> RabbitTopic:
        """The topic; makes no request."""
        return RabbitTopic(
            self._sending,
            self._topic,
            max_bytes=self._settings.max_bytes,
            publish_timeout=self._settings.publish_timeout,
        )

    def queue(self, service: str) -> RabbitQueue:
        """The queue of `service`, named by `messaging.topology.queue_name`; makes no request.

        Args:
            service: the name of a service.
        """
        name = queue_name(self._topic, service)
        letters = letters_name(self._topic, service)
        return RabbitQueue(self._held(name), self._sending, name, letters)

    def letters(self, service: str, *, kind: Kind = "dead") -> RabbitDeadLetters:
        """The dead letters of `service`, for a `Workbench`.

        Args:
            service: the name of a service.
            kind: "dead" for the dead letters, "undelivered" for messages that could not be
                delivered.
        """
        origin = queue_name(self._topic, service)
        name = letters_name(self._topic, service)
        holding = self._held(name, lease=LETTER_LEASE)
        return RabbitDeadLetters(holding, self._sending, origin, self._topic, kind)

    def oldest(self, service: str) -> float | None:
        """None: RabbitMQ does not report the age of a message over AMQP.

        Args:
            service: the name of a service.
        """
        return None

    def close(self) -> None:
        """Close the connections; messages in flight return to their queues immediately."""
        with self._lock:
            holdings = list(self._holdings.values())
        for holding in holdings:
            holding.close()
        self._receiving.close()
        self._sending.close()

    def _held(self, name: str, *, lease: int | None = None) -> Holding:
        with self._lock:
            if name not in self._holdings:
                self._holdings[name] = Holding(self._receiving, name, lease=lease)
            return self._holdings[name]


def connect(settings: Settings) -> RabbitBroker:
    """Connect to the RabbitMQ at `settings.broker_url`. Makes no request.

    Args:
        settings: URLs and names; by default `Settings.from_environment()`.

    Raises:
        SettingsError: if no topic is named, or a URL cannot be parsed.

    Example:
        ```python
        from messaging import Settings
        from messaging.rabbitmq import connect

        settings = Settings(topic="alunos", broker_url="amqp://app:password@rabbit:5672/escola")
        connect(settings).close()
        ```
    """
    if not settings.topic:
        raise SettingsError("no topic: set MESSAGING_TOPIC to its name")
    if settings.topic.startswith("arn:"):
        raise SettingsError("MESSAGING_TOPIC is an ARN, and MESSAGING_BROKER_URL names RabbitMQ")
    topic = settings.prefix + settings.topic
    return RabbitBroker(Link(settings), Link(settings), topic, settings)
