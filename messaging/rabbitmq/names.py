"""The names of a topology's parts on RabbitMQ, and the arguments with which they are declared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from messaging.topology import Queue, queue_name

__all__ = [
    "DEFAULT_EXCHANGE",
    "dead_letter_arguments",
    "delay_arguments",
    "delay_queue",
    "letters_name",
    "queue_arguments",
    "record_name",
    "rounded_delay",
    "unrouted_arguments",
    "unrouted_name",
]

DEFAULT_EXCHANGE = ""
"""Every queue is bound to it by its own name."""
_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
NO_LIMIT = 1_000_000
"""Receives. Before 4.0, RabbitMQ has no value for "without a limit" except leaving it out."""
MAX_UNROUTED = 100_000
"""Maximum number of messages without a subscriber: the newest are kept."""
_SAFE: Mapping[str, Any] = {
    # The broker moves a message only when its copy is confirmed; the default may lose it.
    # https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": DEFAULT_EXCHANGE,
}


def letters_name(topic: str, service: str) -> str:
    """The queue of a service's dead letters."""
    return queue_name(topic, service, "-dlq")


def record_name(owned: str) -> str:
    """The queue that holds what the broker does not report about the queue or exchange `owned`."""
    return f"{owned}-record"


def unrouted_name(topic: str) -> str:
    """The alternate exchange of a topic, and the queue behind it."""
    return f"{topic}-unrouted"


def queue_arguments(queue: Queue) -> dict[str, Any]:
    """A service's queue: replicated, with messages received too often moved to the dead letters."""
    ordered = {"x-single-active-consumer": True} if queue.name.endswith(".fifo") else {}
    return {
        **_SAFE,
        **ordered,
        # The broker counts redeliveries: the first receive is not one of them.
        "x-delivery-limit": queue.max_receives - 1,
        "x-message-ttl": queue.retention * 1000,
        "x-dead-letter-routing-key": queue.dead_letters.name,
    }


def dead_letter_arguments(retention: int) -> dict[str, Any]:
    """A queue of dead letters; `retention` in seconds."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": retention * 1000,
        # RabbitMQ 4 would drop a letter that was received 20 times.
        "x-delivery-limit": NO_LIMIT,
    }


def unrouted_arguments(retention: int) -> dict[str, Any]:
    """The queue of messages that no service subscribes to."""
    return {**dead_letter_arguments(retention), "x-max-length": MAX_UNROUTED}


def rounded_delay(seconds: float) -> int:
    """`seconds`, rounded up by a third at most, so that there are few delay queues."""
    whole = max(1, math.ceil(seconds))
    if whole < _STEPS[0]:
        return whole
    steps = (step * scale for scale in (1, 10, 100, 1000, 10_000) for step in _STEPS)
    return next((step for step in steps if step >= whole), whole)


def delay_queue(queue: str, seconds: int) -> str:
    """The queue in which messages of `queue` wait for `seconds`, a rounded delay."""
    return f"{queue}-delay-{seconds}"


def delay_arguments(queue: str, seconds: int) -> dict[str, Any]:
    """A queue that passes its messages on to `queue` after `seconds`, and is deleted when unused.

    Each delay needs its own queue: a message expires only at the head of its queue.
    https://www.rabbitmq.com/docs/ttl#per-message-ttl-caveats
    """
    return {
        **_SAFE,
        "x-message-ttl": seconds * 1000,
        "x-expires": (seconds + 600) * 1000,
        "x-dead-letter-routing-key": queue,
    }
