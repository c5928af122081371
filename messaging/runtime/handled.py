"""Memory: which messages were handled although their delete failed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from messaging.clock import Clock
from messaging.outcome import Outcome
from messaging.runtime.in_flight import InFlightMessage

__all__ = ["HandledCache"]

MOST = 10_000
"""Messages remembered for one queue; of more, the oldest are forgotten."""
LONGEST = 43_200.0
"""Seconds: SQS hides a key for no longer, so it has come again by then if it ever does.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""


class _Handled(NamedTuple):
    outcome: Outcome
    copied: bool
    at: float


class HandledCache:
    """Remembers, by key id, what was handled and could not be deleted, or dead-lettered.

    When such a key comes again it is settled, and not handled a second time. The memory is
    this process's own: another one handles the key again, which is what the idempotency
    middleware is for.
    """

    def __init__(self, *, clock: Clock, most: int = MOST, longest: float = LONGEST) -> None:
        self._clock = clock
        self._most = most
        self._longest = longest
        self._handled: OrderedDict[str, _Handled] = OrderedDict()
        self.empty = True
        """As it is nearly always: then there is nothing to recall."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._handled)

    def remember(self, message: InFlightMessage, *, refused: bool = False) -> None:
        """`message` leaves without having been deleted; remembered if its handler is done with it.

        refused  its outcome is a `Reject`, and the dead letter was refused for good: when it
                 comes again that is tried again, and its handler does not run.
        """
        if not (message.handled or refused) or message.outcome is None:
            return
        with self._lock:
            key = message.delivery.message_id
            self._handled[key] = _Handled(message.outcome, message.copied, self._clock.monotonic())
            self._handled.move_to_end(key)
            self.empty = False
            while len(self._handled) > self._most:
                self._handled.popitem(last=False)

    def recall(self, message: InFlightMessage) -> Outcome | None:
        """The outcome if this key was handled before; `message` is marked accordingly."""
        with self._lock:
            known = self._handled.get(message.delivery.message_id)
            if known is None:
                return None
            if self._clock.monotonic() - known.at > self._longest:
                del self._handled[message.delivery.message_id]
                self.empty = not self._handled
                return None
        message.copied, message.remembered = known.copied, True
        return known.outcome
