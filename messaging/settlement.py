"""Decides which request to the queue follows from an outcome, for the worker, Lambda and `drain`.

    Ack, Discard        DELETE
    Retry               HIDE for its delay, in whole seconds from 0 to 43,200
    Reject              DEAD_LETTER, then DELETE when the copy is made
    Reject, refused     HIDE for the retry policy's delay, until SQS moves it (`max_receives`)
    None                LEAVE: no handler has run, and the lease of the message ends by itself

In a FIFO queue, a group only continues after a DELETE. After a HIDE or a LEAVE, messages of the
group in flight are released unhandled (`behind`); otherwise they would overtake the retried one.
"""

from __future__ import annotations

import math
from enum import Enum

from messaging.outcome import MAX_DELAY, Ack, Discard, Outcome, Reject, Retry
from messaging.transport import DeadLetter, Delivery

__all__ = [
    "Action",
    "Groups",
    "action_of",
    "behind",
    "dead_letter",
    "group_of",
    "give_back",
    "is_ordered",
    "reason_of",
    "refused",
    "seconds_of",
]


class Action(Enum):
    """The next request that settles a delivery."""

    __hash__ = object.__hash__  # Enum's own is implemented in Python

    DELETE = "delete"
    HIDE = "change_visibility"
    DEAD_LETTER = "dead-letter"
    LEAVE = "leave"


_DELETE, _HIDE, _DEAD_LETTER, _LEAVE = Action


def action_of(outcome: Outcome | None, *, copied: bool = False) -> Action:
    """The next request. `copied` says that the copy of a `Reject` has been made."""
    if type(outcome) is Ack or copied:  # as nearly always
        return _DELETE
    if isinstance(outcome, Retry):
        return _HIDE
    if isinstance(outcome, Reject):
        return _DEAD_LETTER
    # An unknown outcome must not delete anything.
    return _DELETE if isinstance(outcome, Ack | Discard) else _LEAVE


def seconds_of(outcome: Outcome | None) -> int:
    """For how long a HIDE hides the message: whole seconds from 0 to 43,200, as SQS requires.

    A delay that is not a number, which a subclass or a later assignment can cause, counts as 0.
    """
    try:
        delay = float(getattr(outcome, "delay", None) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0
    return math.ceil(min(float(MAX_DELAY), delay)) if delay > 0 else 0


def reason_of(outcome: Outcome | None) -> str:
    """The reason, for the log and the dead letter."""
    reason = getattr(outcome, "reason", "")
    # Reject(an_exception) is a mistake of the service: its text may contain personal data.
    return reason if isinstance(reason, str) else f"a {type(reason).__qualname__}, not a text"


def dead_letter(
    delivery: Delivery, outcome: Outcome | None, *, now: float, queue: str
) -> DeadLetter:
    """The dead letter of `delivery`, given up `now` (seconds since the epoch) in `queue`."""
    error = getattr(outcome, "error", None)
    return DeadLetter(
        delivery=delivery,
        reason=reason_of(outcome),
        error=error if isinstance(error, str) else None,
        attempts=delivery.receive_count,
        time=now,
        queue=queue,
    )


def refused(delay: float) -> Retry:
    """The outcome of a message whose dead letter was refused for good: it is not deleted before its
    copy is made, so it is redelivered after `delay` seconds until SQS moves it."""
    outcome = Retry(min(float(MAX_DELAY), max(0.0, delay)), "dead letter refused")
    outcome.origin = "worker"
    return outcome


def give_back(seconds: float = 0.0) -> Retry:
    """The outcome of an unhandled message: visible again after `seconds`."""
    outcome = Retry(seconds)
    outcome.origin = "worker"
    return outcome


def behind(outcome: Outcome | None) -> Outcome | None:
    """The outcome of unhandled messages behind in the group, given the outcome of the first; LEAVE
    for it means LEAVE for them."""
    # Immediately, however long the first is hidden: SQS delivers nothing of its group meanwhile.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
    return None if action_of(outcome) is _LEAVE else give_back()


def is_ordered(queue: str) -> bool:
    """Whether groups define an order in the queue of this name. On a standard queue, a group is a
    tenant of a fair queue, without an order."""
    return queue.endswith(".fifo")


def group_of(delivery: Delivery) -> str:
    """The message group. A message without one waits for no other."""
    return delivery.group or delivery.message_id


class Groups:
    """The groups of one receive from a FIFO queue, whose messages are handled one after another.

    Check `stopped` before each delivery: a stopped one gets the outcome `back` instead of being
    handled. Call `ended` after each handled one.
    """

    def __init__(self) -> None:
        self._stopped: dict[str, Outcome | None] = {}

    def stopped(self, delivery: Delivery) -> bool:
        """True if one before it in its group will be redelivered."""
        return group_of(delivery) in self._stopped

    def back(self, delivery: Delivery) -> Outcome | None:
        """The outcome of a stopped delivery."""
        return behind(self._stopped[group_of(delivery)])

    def ended(self, delivery: Delivery, outcome: Outcome | None) -> None:
        """`outcome` is what remains to be done: an `Ack` for a `Reject` whose copy has been
        made."""
        if action_of(outcome) is not _DELETE:
            self._stopped[group_of(delivery)] = outcome
