"""What a topology's parts are called on RabbitMQ, and with which arguments they are declared."""

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
"""Each queue is bound to it by its own name."""
_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
NO_LIMIT = 1_000_000
"""Receives. Before 4.0 RabbitMQ knows no way to say "without a limit" but to say nothing."""
MAX_UNROUTED = 100_000
"""Messages that nobody subscribes to: the newest are kept."""
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
    """The queue that holds what the broker would not tell of the queue or exchange `owned`."""
    return f"{owned}-record"


def unrouted_name(topic: str) -> str:
    """The alternate exchange of a topic, and the queue behind it."""
    return f"{topic}-unrouted"


def queue_arguments(queue: Queue) -> dict[str, Any]:
    """A service's queue: replicated, and it moves what was received too often."""
    ordered = {"x-single-active-consumer": True} if queue.name.endswith(".fifo") else {}
    return {
        **_SAFE,
        **ordered,
        # The broker counts what came back: the first receive is none of these.
        "x-delivery-limit": queue.max_receives - 1,
        "x-message-ttl": queue.retention * 1000,
        "x-dead-letter-routing-key": queue.dead_letters.name,
    }


def dead_letter_arguments(retention: int) -> dict[str, Any]:
    """A queue of dead letters; `retention` in seconds."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": retention * 1000,
        # RabbitMQ 4 would drop a letter that was looked at 20 times.
        "x-delivery-limit": NO_LIMIT,
    }


def unrouted_arguments(retention: int) -> dict[str, Any]:
    """The queue of what nobody subscribes to."""
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
    """A queue that gives its messages to `queue` after `seconds`, and goes when it is not used.

    A queue of its own for each delay: a message expires only at the head of its queue.
    https://www.rabbitmq.com/docs/ttl#per-message-ttl-caveats
    """
    return {
        **_SAFE,
        "x-message-ttl": seconds * 1000,
        "x-expires": (seconds + 600) * 1000,
        "x-dead-letter-routing-key": queue,
    }
