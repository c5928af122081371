"""A receive that waits for messages of RabbitMQ's, and what makes deliveries of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from messaging.rabbitmq.session import Answer
from messaging.transport import Delivery

__all__ = ["Take", "WaitingReceive"]


class Take(Protocol):
    """Makes a delivery of what the broker sent, received `again` times here; its lease begins."""

    def __call__(self, method: Any, found: Any, body: bytes, again: int = 0) -> Delivery: ...


@dataclass(eq=False)
class WaitingReceive:
    """One `receive` that waits, and what it has so far."""

    limit: int
    answer: Answer
    owner: object
    short: bool
    found: list[Delivery] = field(default_factory=list)
    timer: int = 0
