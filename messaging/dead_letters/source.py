"""The third socket: what a queue that holds letters must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from messaging.dead_letters.letter import Kind
from messaging.transport import Delivery, Failure

__all__ = ["DeadLetterSource", "OnProgress"]

OnProgress = Callable[[int, int | None], None]
"""Told how many letters are done, and of how many, where that is known."""


class DeadLetterSource(Protocol):
    """One queue of letters of one service, and the way back to the queue of that service.

    What `MemoryBroker.letters` and `AwsBroker.letters` give. Each method but `move_all` takes at
    most `BATCH_ENTRIES` deliveries, and returns or raises as the other sockets do.

    A source may also say `keeps_undelivered` (missing: True). False: the broker has no letters of
    kind "undelivered", since a publish fails when a queue does not take its copy; `receive` raises
    `NotFound` for them.
    """

    @property
    def kind(self) -> Kind:
        """What its letters are: "dead" or "undelivered"."""
        ...

    @property
    def name(self) -> str:
        """The name of the queue that holds the letters."""
        ...

    @property
    def origin(self) -> str:
        """The name of the service's queue: where a letter comes from, and may go back to."""
        ...

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """At most `limit` letters, each hidden from others for `hold` seconds.

        Args:
            limit: letters, at most.
            wait: seconds to wait for the first.
            hold: seconds for which the letters are hidden from others.
        """
        ...

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Let others see them again.

        Args:
            deliveries: messages as `receive` gave them.
        """
        ...

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Send them to the queue called `origin`, body and attributes as they are given.

        They stay here, too: deleting comes after, when the copy stands.

        Args:
            deliveries: messages as `receive` gave them.
        """
        ...

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """These letters are no longer needed here.

        Args:
            deliveries: messages as `receive` gave them.
        """
        ...

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """Have the service that keeps the queue move all its letters to `origin`.

        Returns how many; None where it does not do that, and letter by letter is the only way.

        Args:
            on_progress: called with (done, of how many or None) from time to time.
            stop: asked from time to time: True ends it in order.
        """
        ...
