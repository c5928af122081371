"""The room of the end: the stages through which a worker stops, one after the other."""

from __future__ import annotations

import queue as queues
from collections.abc import Callable, Sequence
from enum import Enum

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.runtime.crew import Crew
from messaging.runtime.journal import Stage
from messaging.runtime.lane import Lane
from messaging.runtime.loop import LoopRoom

__all__ = ["Mail", "StopSequence"]

log = logger("messaging.runtime")

GRACE_AFTER_CANCEL = 2.0
"""Seconds in which a cancelled async handler must have ended."""
LOOK = 0.02
"""Seconds between two looks at what is waited for. Only while stopping: nobody is woken for it."""
GRACE_FOR_FLUSH = 3.0
"""Seconds in which everything must be settled after the last handler has ended."""


class Mail(Enum):
    """What the supervisor hears. It sits at one SimpleQueue, which may be put to from a signal."""

    STOP = "stop() was called"
    SIGNAL = "SIGTERM or SIGINT"
    DIED = "a thread died of an error"
    WEDGED = "all handlers of a service hang"


class StopSequence:
    """Polls, handlers, settlements, releases: each waited for, none for ever.

    1. STOPPING_POLLS: no further request; what waits for a handler is given back at once.
    2. FINISHING_HANDLERS: up to `drain` seconds; then async handlers are cancelled and what they
       had is given back. A sync handler cannot be cancelled: its message is left to its lease.
    3. FLUSHING: what handlers ended with is settled.
    4. RELEASING: a long poll may still bring messages; they were released as they came, and here
       it is waited for, until `poll_grace` seconds after the first signal. Then consumers are
       closed, and the threads end.

    A second signal skips what is left to wait for in 2 and 4. `unfinished` are the ids of messages
    whose handlers went on.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        loop: LoopRoom,
        crew: Crew,
        mail: queues.SimpleQueue[Mail],
        *,
        drain: float,
        poll_grace: float,
        entered: Callable[[Stage, str], None],
        close: Callable[[], bool],
    ) -> None:
        self._lanes = lanes
        self._loop = loop
        self._crew = crew
        self._mail = mail
        self._drain = drain
        self._poll_grace = poll_grace
        self._entered = entered
        self._close = close
        self._signals = 0
        self.unfinished: list[str] = []

    def run(self, first: Mail) -> None:
        """Go through all stages. `first` is what asked for the end."""
        self._hear(first)
        began = SYSTEM_CLOCK.monotonic()
        self._entered(Stage.STOPPING_POLLS, first.value)
        given_back = sum(lane.close_intake() for lane in self._lanes)
        self._entered(Stage.FINISHING_HANDLERS, f"{given_back} not started were given back")
        self._finish_handlers(began + self._drain)
        self._entered(Stage.FLUSHING, f"{len(self.unfinished)} handlers did not finish")
        self._until(
            lambda: not any(lane.to_settle() for lane in self._lanes),
            SYSTEM_CLOCK.monotonic() + GRACE_FOR_FLUSH,
        )
        polls = self._polls()
        self._entered(Stage.RELEASING, f"{polls} long polls are out" if polls else "no poll is out")
        self._until(lambda: not self._polls(), began + self._poll_grace, hurried=True)
        self._release()

    def _finish_handlers(self, deadline: float) -> None:
        self._until(lambda: not self._running(), deadline, hurried=True)
        if self._running():
            for lane in self._lanes:
                lane.cancelling()
            self._loop.cancel()
            # Sync handlers run on, so the number of those running may never be 0; those that ask
            # whether they are to end get their moment, too.
            self._until(
                lambda: not self._running() or (self._loop.idle and not self._watching()),
                SYSTEM_CLOCK.monotonic() + GRACE_AFTER_CANCEL,
            )
        for lane in self._lanes:
            for held in lane.abandon_unfinished():
                self.unfinished.append(held.delivery.message_id)
                log.warning(
                    "the handler of %s on message %s did not finish in time: the message is left "
                    "to its lease",
                    lane.consumer.service,
                    held.delivery.message_id,
                )

    def _release(self) -> None:
        if out := self._polls():
            log.info(
                "%d long polls are left: a message that one still brings is hidden for its "
                "visibility timeout, and comes again",
                out,
            )
        for lane in self._lanes:
            lane.end_settling()
        closed = self._close()  # while the loop still runs: a consumer closes what belongs to it
        self._loop.stop()
        left = self.unfinished or out or not closed
        still = self._crew.join(0.5 if left else GRACE_FOR_FLUSH)
        if still and not out:
            log.warning("threads that did not end: %s", ", ".join(still))
        expired = sum(lane.settle_rest() for lane in self._lanes)
        if expired:
            log.warning("%d messages could not be settled and are left to their leases", expired)

    def _until(self, reached: Callable[[], bool], deadline: float, hurried: bool = False) -> None:
        """Until `reached`, the deadline, or (if `hurried`) a second signal."""
        while not reached() and not (hurried and self._signals > 1):
            left = deadline - SYSTEM_CLOCK.monotonic()
            if left <= 0:
                return
            try:
                self._hear(self._mail.get(timeout=min(left, LOOK)))
            except queues.Empty:
                continue

    def _hear(self, mail: Mail) -> None:
        if mail is Mail.WEDGED:
            self._signals = 2  # whoever hangs is not waited for
        if mail is Mail.SIGNAL:
            self._signals += 1
            if self._signals == 2:
                log.warning("asked to stop a second time: nobody is waited for any more")

    def _running(self) -> int:
        return sum(lane.running() for lane in self._lanes)

    def _watching(self) -> int:
        return sum(lane.watching() for lane in self._lanes)

    def _polls(self) -> int:
        return sum(lane.polls for lane in self._lanes)
