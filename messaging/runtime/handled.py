"""Remembers which messages were handled although their delete failed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from messaging.clock import Clock
from messaging.outcome import Outcome
from messaging.runtime.in_flight import InFlightMessage

__all__ = ["HandledCache"]

MOST = 10_000
"""Maximum number of messages remembered per queue; the oldest are forgotten first."""
LONGEST = 43_200.0
"""Seconds for which a key is remembered: SQS hides a message for no longer, so it has been
redelivered by then.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""


class _Handled(NamedTuple):
    outcome: Outcome
    copied: bool
    at: float


class HandledCache:
    """Remembers, by key, messages that were handled but could not be deleted or dead-lettered.

    When such a message is redelivered, it is settled without being handled again. Each process has
    its own memory: another process handles the message again, unless the idempotency middleware
    prevents it.
    """

    def __init__(self, *, clock: Clock, most: int = MOST, longest: float = LONGEST) -> None:
        self._clock = clock
        self._most = most
        self._longest = longest
        self._handled: OrderedDict[str, _Handled] = OrderedDict()
        self.empty = True
        """True, as nearly always, if there is nothing to recall."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._handled)

    def remember(self, message: InFlightMessage, *, refused: bool = False) -> None:
        """`message` leaves without having been deleted; remember it if its handler is done with it.

        refused  its outcome is a `Reject`, and the dead letter was refused for good: when it is
                 redelivered, only the dead letter is retried, and its handler does not run.
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
        """The outcome if this message was handled before; `message` is marked accordingly."""
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
