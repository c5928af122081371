"""Inspects a topology on RabbitMQ over AMQP, without changing anything.

AMQP reports whether a queue exists, how many messages it holds and how many consumers it has; and,
if it is declared again, the first argument that differs. It reports nothing about policies,
bindings, messages in flight, or how long a message has waited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from messaging.errors import AccessDenied, TransportError
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import (
    dead_letter_arguments,
    queue_arguments,
    unrouted_arguments,
    unrouted_name,
)
from messaging.rabbitmq.records import QueueRecord, listed_services, read_beside
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.session import Answer
from messaging.rabbitmq.wire import routing_keys
from messaging.settings import Settings
from messaging.topology import MAX_RETENTION, Queue, Subscription, queue_name

__all__ = ["Difference", "AmqpLooks", "SeenOnAmqp", "NotSeen"]

_DIFFERS = re.compile(
    r"inequivalent arg '(?P<name>[^']*)'.*?"
    r"received (?:the value )?'?(?P<wanted>none|[^',]*)'?.*?"
    r"current is (?:the value )?'?(?P<found>none|[^']*?)'?(?: of type| *$|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first argument that differs from what `apply` would declare."""

    name: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOnAmqp:
    """A queue or an exchange. `there` is None if it could not be inspected."""

    there: bool | None
    messages: int = 0
    consumers: int = 0
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class NotSeen:
    """Something that could not be inspected."""

    where: str
    error: TransportError


class AmqpLooks:
    """AmqpLooks at one virtual host; refused requests are recorded in `unseen`."""

    def __init__(self, settings: Settings) -> None:
        self.unseen: list[NotSeen] = []
        self._link = Link(settings)
        self._requests = Requests(self._link, "what stands on RabbitMQ")

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    @property
    def where(self) -> str:
        """The nodes, without passwords."""
        return self._link.where

    def server(self) -> tuple[str, str]:
        """Product and version. Raises `TransportError` if nothing responds or login fails."""

        def ask(channel: Any, answer: Answer) -> None:
            answer.set_result(channel.connection.server_properties)

        told = self._requests.call(ask)
        return _text(told.get("product")), _text(told.get("version"))

    def topic(self, name: str, *, compare: bool) -> SeenOnAmqp:
        """A topic's exchange; if it is ours, also whether it is as `apply` declares it."""
        arguments = {"alternate-exchange": unrouted_name(name)}
        declare = partial(self._requests.declare_exchange, name, "direct", arguments)
        return self._seen(
            f"exchange {name}",
            lambda: (0, 0) if self._requests.exchange_stands(name) else None,
            declare if compare else None,
        )

    def unrouted(self, topic: str, *, compare: bool) -> SeenOnAmqp:
        """The queue of messages that no service subscribes to."""
        arguments = unrouted_arguments(MAX_RETENTION) if compare else None
        return self.queue(unrouted_name(topic), arguments)

    def service(self, queue: Queue) -> SeenOnAmqp:
        """A service's own queue."""
        return self.queue(queue.name, queue_arguments(queue))

    def dead_letters(self, queue: Queue) -> SeenOnAmqp:
        """The queue of a service's dead letters."""
        name = queue.dead_letters.name
        return self.queue(name, dead_letter_arguments(queue.dead_letters.retention))

    def queue(self, name: str, arguments: Mapping[str, Any] | None) -> SeenOnAmqp:
        """Its contents, and whether it is as it would be declared with `arguments`."""
        declare = partial(self._requests.declare_queue, name, arguments or {})
        counts = partial(self._requests.counts, name)
        return self._seen(f"queue {name}", counts, None if arguments is None else declare)

    def record(self, owned: str) -> QueueRecord | None:
        """The record that `apply` wrote; None if there is none, or it may not be read."""
        try:
            return read_beside(self._requests, owned)
        except TransportError as error:
            self.unseen.append(NotSeen(f"the record of {owned}", error))
            return None

    def orphans(self, topic: str) -> list[str]:
        """Services that are listed as bound to `topic` but have no queue."""
        listed: Sequence[str] = ()
        with self._noted(f"the record of {topic}"):
            listed = listed_services(self._requests, topic)
        names = [queue_name(topic, one) for one in listed]
        return [one for one in names if self._requests.counts(one) is None]

    def wanted_keys(self, one: Subscription) -> list[str]:
        """The routing keys with which a service's queue should be bound."""
        return routing_keys(one.types, one.audience)

    def _seen(
        self,
        where: str,
        count: Callable[[], tuple[int, int] | None],
        declare: Callable[[], None] | None,
    ) -> SeenOnAmqp:
        counts = there = difference = None
        with self._noted(where):
            counts = count()
            there = counts is not None
            if there and declare is not None:
                difference = self._compared(where, declare)
        ready, consumers = counts or (0, 0)
        return SeenOnAmqp(there=there, messages=ready, consumers=consumers, difference=difference)

    @contextmanager
    def _noted(self, where: str) -> Iterator[None]:
        """What cannot be looked at in here is written down."""
        try:
            yield
        except TransportError as error:
            self.unseen.append(NotSeen(where, error))

    def _compared(self, where: str, declare: Callable[[], None]) -> Difference | None:
        # Declaring an existing object again changes nothing, and is refused if it differs.
        with self._noted(where):
            try:
                declare()
            except TransportError as error:
                told = _DIFFERS.search(str(error))
                if told is None or isinstance(error, AccessDenied):
                    raise
                return Difference(
                    name=told["name"],
                    wanted=told["wanted"] or "none",
                    found=told["found"] or "none",
                )
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
