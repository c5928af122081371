"""The room of the worker: gives consumers what their queues bring, until it is asked to stop."""

from __future__ import annotations

import math
import queue as queues
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import Self

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consumer import Consumer
from messaging.dispatch import Dispatcher, Middleware
from messaging.errors import (
    ConfigurationError,
    ConsumerError,
    TransportError,
    WorkerWedged,
)
from messaging.logs import logger
from messaging.runtime.appetite import State
from messaging.runtime.crew import Crew
from messaging.runtime.hooks import close_all, open_all
from messaging.runtime.journal import Journal, Report, Stage
from messaging.runtime.lane import Lane
from messaging.runtime.loop import LoopRoom
from messaging.runtime.patience import Patience
from messaging.runtime.receipts import Stats
from messaging.runtime.signals import on_signals
from messaging.runtime.stopping import Mail, StopSequence
from messaging.transport import Broker

__all__ = ["Worker"]

log = logger("messaging.runtime")

LOOKS_UP = 0.5
"""Seconds after which a signal is heard at the latest."""


class Worker:
    """Runs consumers: one queue, one poller and `concurrency` handlers for each of them.

        Worker(Marketing(), broker=connect()).run()     # until SIGTERM or Ctrl-C

        with Worker(Marketing(), BI(), broker=broker) as worker:     # in a test
            ...

    concurrency  handlers of one consumer that run at once, sync and async together.
    prefetch     messages of one consumer that may wait beside those in a handler, their leases
                 renewed; the default is `concurrency`.
    wait         seconds (0 to 20) of one long poll.
    drain        seconds that a stopping worker gives to handlers that run.
    poll_grace   seconds that it gives to a long poll that is out. SQS may hand a message to a poll
                 whose connection is closed: it is then hidden for its visibility timeout. With
                 20 or more, the longest poll, that cannot happen.
    wedged_limit  seconds after which a worker stops by itself if all handlers of a service hang
                 (`run` raises `WorkerWedged`, for a supervisor to start another); None: never.
    patience     seconds to wait at the start for a queue that does not answer; None is for ever,
                 0 not at all. A queue that does not exist or may not be used is an error at once.
    middleware   context managers around every handler (`messaging.dispatch`), outermost first.

    Sync handlers run in threads, `concurrency` of them; async ones together on one event loop.
    Every received message ends in exactly one of the four ways that `Stats` counts. A worker
    opens and closes its consumers, and closes the queues that it asked the broker for; the broker
    is yours.
    """

    def __init__(
        self,
        *consumers: Consumer,
        broker: Broker,
        concurrency: int = 10,
        prefetch: int | None = None,
        wait: float = 20.0,
        drain: float = 20.0,
        poll_grace: float = 2.0,
        wedged_limit: float | None = None,
        patience: float | None = None,
        codec: Codec | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        _check(consumers, concurrency, prefetch, wait, drain)
        self._dispatchers = [
            Dispatcher(consumer, codec=codec, middleware=middleware, clock=clock)
            for consumer in consumers
        ]
        self._broker = broker
        self._concurrency = concurrency
        self._prefetch = concurrency if prefetch is None else prefetch
        self._wait = wait
        self._poll_grace = poll_grace
        self._wedged_limit = wedged_limit
        self._drain = drain
        self._patience = math.inf if patience is None else patience
        self._clock = clock
        self._mail: queues.SimpleQueue[Mail] = queues.SimpleQueue()
        self._crew = Crew(self._died)
        self._lanes: dict[str, Lane] = {}
        self._opened: list[Consumer] = []
        self._paused: set[str] = set()
        self._start_lock = threading.Lock()
        self._journal = Journal()
        self._unfinished: tuple[str, ...] = ()
        self._error: BaseException | None = None
        self._done = threading.Event()

    @property
    def stage(self) -> Stage:
        """Where the worker is in its life."""
        return self._journal.stage

    @property
    def stats(self) -> Stats:
        """Of all consumers together, at this moment; always balanced."""
        return Stats.total(lane.stats for lane in self._lanes.values())

    def stats_of(self, service: str) -> Stats:
        """Of one consumer, by the name of its service."""
        (name,) = self._named((service,))
        return self._lanes[name].stats if name in self._lanes else Stats()

    @property
    def state(self) -> Mapping[str, State]:
        """What each service does about receiving at this moment; empty before the start."""
        return MappingProxyType({name: lane.state for name, lane in self._lanes.items()})

    def pause(self, *services: str) -> None:
        """Receive nothing for these services, or for all, until `resume`.

        What waits for a handler is given back, and handlers that run go on. A long poll that is out
        is not called back: what it brings is given back, too. Before the start it is as good.
        """
        for name in self._named(services):
            self._paused.add(name)
            if name in self._lanes:
                self._lanes[name].pause()
                log.warning("%s is paused: it receives nothing", name)

    def resume(self, *services: str) -> None:
        """Go on receiving for these services, or for all. It does not close an open circuit."""
        for name in self._named(services):
            self._paused.discard(name)
            if name in self._lanes:
                self._lanes[name].resume()
                log.warning("%s is not paused any more", name)

    def run(self) -> Report:
        """Start, and block until SIGTERM, Ctrl-C or `stop`; the report says how it went.

        A second signal skips the waiting for handlers and polls. Raises what `start` raises, and
        after an orderly stop the error that a thread of the library died of. In another thread
        than the main one signals are not heard.
        """
        with on_signals(lambda: self._mail.put(Mail.SIGNAL)):
            self.start()
            # A signal that comes just before a wait begins does not end it, and Python looks at
            # signals in this thread only: so it looks up once in a while.
            while not self._done.wait(LOOKS_UP):
                pass
        if self._error is not None:
            raise self._error
        return self._report()

    def start(self) -> None:
        """Start in threads of its own and return. A worker starts once.

        Raises `TransportError` (`NotFound`, `AccessDenied`) if a queue does not exist or may not be
        used, or does not answer within `patience`, and `ConsumerError` if a consumer's `open`
        raises; then nothing was received.
        """
        with self._start_lock:
            if self.stage is not Stage.NEW:
                raise ConfigurationError(f"this worker is {self.stage.value}; make another")
            self._lanes = self._reach_lanes()
            self._enter(Stage.RUNNING, f"{', '.join(self._lanes)}, concurrency {self._concurrency}")
            loop = LoopRoom()
            self._crew.start("loop", loop.run)
            if self._open_consumers(loop):
                for lane in self._lanes.values():
                    lane.start(self._crew, loop)
            self._crew.start("supervisor", lambda: self._supervise(loop))

    def _open_consumers(self, loop: LoopRoom) -> bool:
        """False: it is asked to stop before anything was received."""
        consumers = [one.consumer for one in self._dispatchers]
        try:
            self._opened = open_all(consumers, self._crew, loop, lambda: not self._mail.empty())
        except ConsumerError:
            loop.stop()
            self._close_queues()
            self._enter(Stage.STOPPED, "a consumer did not open")
            self._done.set()
            raise
        if len(self._opened) == len(consumers):
            return True
        self._close_queues()
        self._lanes = {}
        return False

    def _close_consumers(self, loop: LoopRoom) -> bool:
        """False: one has not ended. Does nothing when it is called again."""
        opened, self._opened = self._opened, []
        return close_all(opened, self._crew, loop)

    def stop(self) -> Report:
        """Stop in order, and say how it went; may be called again and from any thread.

        Blocks for at most about `drain` seconds and ten more, and two if nothing is in hand.
        From a handler it only asks: the report it returns then is of this moment.
        """
        self._mail.put(Mail.STOP)
        if self.stage is not Stage.NEW and not self._crew.includes_me():
            self._done.wait()
        return self._report()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None and self._error is not None:
            raise self._error

    def _named(self, services: Sequence[str]) -> Sequence[str]:
        known = [one.consumer.service for one in self._dispatchers]
        for name in services:
            if name not in known:
                raise ConfigurationError(
                    f"no service {name!r} in this worker; it has {', '.join(known)}"
                )
        return services or known

    def _reach_lanes(self) -> dict[str, Lane]:
        """The lanes, as soon as their queues answer; none if the worker is stopped meanwhile."""
        waiting = Patience(self._patience)
        while True:
            try:
                lanes = self._open_lanes()
            except TransportError as error:
                pause = waiting.after(error)
                if pause is None:
                    raise
            else:
                waiting.over()
                for name in self._paused:
                    lanes[name].pause()
                return lanes
            try:
                self._mail.put(self._mail.get(timeout=pause))
            except queues.Empty:
                continue
            return {}

    def _open_lanes(self) -> dict[str, Lane]:
        lanes: dict[str, Lane] = {}
        with ExitStack() as opened:
            for dispatcher in self._dispatchers:
                service = dispatcher.consumer.service
                queue, inlet = self._broker.queue(service), self._broker.queue(service)
                opened.callback(queue.close)
                opened.callback(inlet.close)
                lanes[service] = Lane(
                    dispatcher,
                    queue,
                    inlet,
                    concurrency=self._concurrency,
                    prefetch=self._prefetch,
                    wait=self._wait,
                    clock=self._clock,
                    wedged=self._wedged,
                )
            opened.pop_all()
        return lanes

    def _supervise(self, loop: LoopRoom) -> None:
        """The body of the supervisor: sleeps until the end is asked for, then brings it about."""
        sequence = StopSequence(
            tuple(self._lanes.values()),
            loop,
            self._crew,
            self._mail,
            drain=self._drain,
            poll_grace=self._poll_grace,
            entered=self._enter,
            close=lambda: self._close_consumers(loop),
        )
        try:
            sequence.run(self._mail.get())
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            self._unfinished = tuple(sequence.unfinished)
            self._close_consumers(loop)  # if the sequence did not come so far
            self._close_queues()
            self._enter(Stage.STOPPED, f"{len(self._unfinished)} handlers unfinished")
            self._done.set()

    def _wedged(self, service: str, seconds: float) -> None:
        if self._wedged_limit is not None and seconds >= self._wedged_limit and not self._error:
            self._error = WorkerWedged(f"all handlers of {service} hang, {seconds:.0f} s by now")
            self._mail.put(Mail.WEDGED)

    def _close_queues(self) -> None:
        for lane in self._lanes.values():
            if lane.polls:  # what a late answer brings is given back through it
                continue
            try:
                lane.close_queues()
            except Exception as error:  # noqa: BLE001 - the others are to be closed, too
                log.error("closing %s raised %s", lane.queue.name, type(error).__qualname__)

    def _died(self, error: BaseException) -> None:
        name = threading.current_thread().name
        log.critical("thread %s died: the worker stops", name, exc_info=error)
        if self._error is None:
            self._error = error
        self._mail.put(Mail.DIED)

    def _enter(self, stage: Stage, note: str) -> None:
        self._journal.enter(stage, note, self.stats)

    def _report(self) -> Report:
        services = {name: lane.stats for name, lane in self._lanes.items()}
        return Report(
            stats=Stats.total(services.values()),
            services=MappingProxyType(services),
            stages=MappingProxyType(self._journal.spent()),
            unfinished=self._unfinished,
            error=self._error,
        )


def _check(
    consumers: Sequence[Consumer],
    concurrency: int,
    prefetch: int | None,
    wait: float,
    drain: float,
) -> None:
    if not consumers:
        raise ConfigurationError("Worker(...) needs at least one consumer")
    seen: set[str] = set()
    for consumer in consumers:
        if isinstance(consumer, type):
            name = consumer.__name__
            raise ConfigurationError(f"Worker({name}) takes a consumer, not its class: {name}()")
        if not consumer.handlers:
            raise ConfigurationError(
                f"{type(consumer).__qualname__} handles nothing: mark a method with @handles"
            )
        if consumer.service in seen:
            raise ConfigurationError(
                f"two consumers are service {consumer.service!r}: they would take each other's "
                "messages from one queue; raise concurrency instead"
            )
        seen.add(consumer.service)
    if concurrency < 1:
        raise ConfigurationError(f"Worker(concurrency={concurrency}): at least 1")
    if prefetch is not None and prefetch < 0:
        raise ConfigurationError(f"Worker(prefetch={prefetch}): 0 or more")
    if not 0 <= wait <= 20:
        raise ConfigurationError(f"Worker(wait={wait}): 0 to 20 seconds, as SQS long-polls")
    if drain < 0:
        raise ConfigurationError(f"Worker(drain={drain}): 0 or more seconds")
