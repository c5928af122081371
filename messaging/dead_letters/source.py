"""The protocol of a queue of dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from messaging.dead_letters.letter import Kind
from messaging.transport import Delivery, Failure

__all__ = ["DeadLetterSource", "OnProgress"]

OnProgress = Callable[[int, int | None], None]
"""Called with how many letters are done, and of how many, if known."""


class DeadLetterSource(Protocol):
    """One service's queue of dead letters, and the way back to the service's queue.

    `MemoryBroker.letters` and `AwsBroker.letters` return one. Each method except `move_all` takes
    at most `BATCH_ENTRIES` deliveries, and returns or raises like the other transports.

    A source may also have `keeps_undelivered` (missing: True). False: the broker has no letters of
    kind "undelivered", because a publish fails if a queue does not accept its copy; `receive`
    raises `NotFound` for them.
    """

    @property
    def kind(self) -> Kind:
        """The kind of its letters: "dead" or "undelivered"."""
        ...

    @property
    def name(self) -> str:
        """The name of the queue of letters."""
        ...

    @property
    def origin(self) -> str:
        """The name of the service's queue, where letters come from and may go back to."""
        ...

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """Receive at most `limit` letters, each hidden from others for `hold` seconds.

        Args:
            limit: maximum number of letters.
            wait: seconds to wait for the first.
            hold: seconds for which the letters are hidden from others.
        """
        ...

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Release them, so that others can see them again.

        Args:
            deliveries: messages from `receive`.
        """
        ...

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Send them to the queue `origin`, with the given body and attributes.

        They also stay here: they are deleted afterwards, when the copy has been made.

        Args:
            deliveries: messages from `receive`.
        """
        ...

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Delete letters that are no longer needed here.

        Args:
            deliveries: messages from `receive`.
        """
        ...

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """Have the queue's own service move all its letters to `origin`.

        Returns how many; None if it cannot, and letters must be moved one by one.

        Args:
            on_progress: called with (done, of how many or None) from time to time.
            stop: checked from time to time: True ends it in an orderly way.
        """
        ...
