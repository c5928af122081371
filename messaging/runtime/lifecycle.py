"""The stages of a worker's life, and the sequence in which it stops."""

from __future__ import annotations

import queue as queues
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.runtime.event_loop import EventLoop
from messaging.runtime.in_flight import Stats
from messaging.runtime.pipeline import Pipeline
from messaging.runtime.threads import Threads

__all__ = ["Lifecycle", "StopRequest", "WorkerReport", "Stage", "StopSequence"]

log = logger("messaging.runtime")


class Stage(Enum):
    """A stage of a worker's life."""

    NEW = "new"
    RUNNING = "running"
    STOPPING_POLLS = "stopping polls"
    FINISHING_HANDLERS = "finishing handlers"
    FLUSHING = "flushing settlements"
    RELEASING = "releasing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """The report of how a worker ended.

    Args:
        stats: the total of all services; `services` has them by name.
        services: the same counts, by service.
        stages: seconds spent in each stage, in order.
        unfinished: ids of messages whose handlers continued beyond the deadline.
        error: the error that ended a thread: a bug, not a handler's exception. `run` raises it.

    Example:
        ```python
        from messaging import Worker

        worker = Worker(Marketing(), broker=broker)
        worker.start()
        report = worker.stop()  # worker.run() returns the same when the service ends
        assert report.error is None
        assert report.unfinished == ()
        ```
    """

    stats: Stats = field(default_factory=Stats)
    services: Mapping[str, Stats] = field(default_factory=dict)
    stages: Mapping[Stage, float] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    error: BaseException | None = None


class Lifecycle:
    """The stage a worker is in, and since when. Each stage is logged once."""

    def __init__(self) -> None:
        self._entries: list[tuple[Stage, float]] = [(Stage.NEW, SYSTEM_CLOCK.monotonic())]

    @property
    def stage(self) -> Stage:
        return self._entries[-1][0]

    def enter(self, stage: Stage, note: str, stats: Stats) -> None:
        """Enter `stage`; log `note` and the counts of `stats`."""
        self._entries.append((stage, SYSTEM_CLOCK.monotonic()))
        log.info(
            "worker %s (%s): received %d, acknowledged %d, released %d, dead-lettered %d, "
            "expired %d, in flight %d",
            stage.value, note, stats.received, stats.acknowledged, stats.released,
            stats.dead_lettered, stats.expired, stats.in_flight,
        )  # fmt: skip

    def spent(self) -> Mapping[Stage, float]:
        """Seconds spent so far in each stage between NEW and STOPPED."""
        entries = tuple(self._entries)
        ends = [began for _, began in entries[1:]] + [SYSTEM_CLOCK.monotonic()]
        return {
            stage: end - began
            for (stage, began), end in zip(entries, ends, strict=True)
            if stage not in (Stage.NEW, Stage.STOPPED)
        }


GRACE_AFTER_CANCEL = 2.0
"""Seconds within which a cancelled async handler must end."""
LOOK = 0.02
"""Seconds between two checks of a condition. Used only while stopping, when nothing wakes us."""
GRACE_FOR_FLUSH = 3.0
"""Seconds within which everything must be settled after the last handler has ended."""


class StopRequest(Enum):
    """A message to the supervisor, which reads a SimpleQueue: signal handlers may put to it."""

    STOP = "stop() was called"
    SIGNAL = "SIGTERM or SIGINT"
    DIED = "a thread died of an error"
    WEDGED = "all handlers of a service hang"


class StopSequence:
    """Waits for polls, handlers, settlements and releases, each for a limited time.

    1. STOPPING_POLLS: no further requests; messages waiting for a handler are released at once.
    2. FINISHING_HANDLERS: up to `drain` seconds; then async handlers are cancelled and their
       messages released. A sync handler cannot be cancelled: its message is left to its lease.
    3. FLUSHING: the outcomes of handlers are settled.
    4. RELEASING: a long poll may still return messages, which are released as they arrive; this
       stage waits for it, until `poll_grace` seconds after the first signal. Then consumers are
       closed, and the threads end.

    A second signal skips the remaining waits of 2 and 4. `unfinished` are the ids of messages whose
    handlers continued.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        loop: EventLoop,
        threads: Threads,
        stop_requests: queues.SimpleQueue[StopRequest],
        *,
        drain: float,
        poll_grace: float,
        entered: Callable[[Stage, str], None],
        close: Callable[[], bool],
    ) -> None:
        self._pipelines = pipelines
        self._loop = loop
        self._threads = threads
        self._stop_requests = stop_requests
        self._drain = drain
        self._poll_grace = poll_grace
        self._entered = entered
        self._close = close
        self._signals = 0
        self.unfinished: list[str] = []

    def run(self, first: StopRequest) -> None:
        """Go through all stages. `first` is the request to stop."""
        self._hear(first)
        began = SYSTEM_CLOCK.monotonic()
        self._entered(Stage.STOPPING_POLLS, first.value)
        given_back = sum(pipeline.close_intake() for pipeline in self._pipelines)
        self._entered(Stage.FINISHING_HANDLERS, f"{given_back} not started were given back")
        self._finish_handlers(began + self._drain)
        self._entered(Stage.FLUSHING, f"{len(self.unfinished)} handlers did not finish")
        self._until(
            lambda: not any(pipeline.to_settle() for pipeline in self._pipelines),
            SYSTEM_CLOCK.monotonic() + GRACE_FOR_FLUSH,
        )
        polls = self._polls()
        self._entered(Stage.RELEASING, f"{polls} long polls are out" if polls else "no poll is out")
        self._until(lambda: not self._polls(), began + self._poll_grace, hurried=True)
        self._release()

    def _finish_handlers(self, deadline: float) -> None:
        self._until(lambda: not self._running(), deadline, hurried=True)
        if self._running():
            for pipeline in self._pipelines:
                pipeline.cancelling()
            self._loop.cancel()
            # Sync handlers continue, so their number may never reach 0; those that check whether
            # they should end also get a moment.
            self._until(
                lambda: not self._running() or (self._loop.idle and not self._watching()),
                SYSTEM_CLOCK.monotonic() + GRACE_AFTER_CANCEL,
            )
        for pipeline in self._pipelines:
            for message in pipeline.abandon_unfinished():
                self.unfinished.append(message.delivery.message_id)
                log.warning(
                    "the handler of %s on message %s did not finish in time: the message is left "
                    "to its lease",
                    pipeline.consumer.service,
                    message.delivery.message_id,
                )

    def _release(self) -> None:
        if out := self._polls():
            log.info(
                "%d long polls are left: a message that one still returns stays hidden for its "
                "visibility timeout, and is redelivered",
                out,
            )
        for pipeline in self._pipelines:
            pipeline.end_settling()
        closed = self._close()  # while the loop still runs: consumers may close resources of it
        self._loop.stop()
        left = self.unfinished or out or not closed
        still = self._threads.join(0.5 if left else GRACE_FOR_FLUSH)
        if still and not out:
            log.warning("threads that did not end: %s", ", ".join(still))
        expired = sum(pipeline.settle_rest() for pipeline in self._pipelines)
        if expired:
            log.warning("%d messages could not be settled and are left to their leases", expired)

    def _until(self, reached: Callable[[], bool], deadline: float, hurried: bool = False) -> None:
        """Until `reached`, the deadline, or (if `hurried`) a second signal."""
        while not reached() and not (hurried and self._signals > 1):
            left = deadline - SYSTEM_CLOCK.monotonic()
            if left <= 0:
                return
            try:
                self._hear(self._stop_requests.get(timeout=min(left, LOOK)))
            except queues.Empty:
                continue

    def _hear(self, stop_requests: StopRequest) -> None:
        if stop_requests is StopRequest.WEDGED:
            self._signals = 2  # a hanging thread is not waited for
        if stop_requests is StopRequest.SIGNAL:
            self._signals += 1
            if self._signals == 2:
                log.warning("asked to stop a second time: not waiting any longer")

    def _running(self) -> int:
        return sum(pipeline.running() for pipeline in self._pipelines)

    def _watching(self) -> int:
        return sum(pipeline.watching() for pipeline in self._pipelines)

    def _polls(self) -> int:
        return sum(pipeline.polls for pipeline in self._pipelines)
