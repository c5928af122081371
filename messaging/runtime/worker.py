"""The worker: passes messages from queues to consumers, until it is asked to stop."""

from __future__ import annotations

import math
import queue as queues
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

from messaging.backoff import Outages
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Dispatcher, Middleware
from messaging.errors import (
    ConfigurationError,
    ConsumerError,
    TransportError,
    WorkerWedged,
)
from messaging.logs import logger
from messaging.observed import told
from messaging.runtime.backpressure import State
from messaging.runtime.checks import check_worker
from messaging.runtime.event_loop import EventLoop
from messaging.runtime.hooks import close_all, open_all
from messaging.runtime.in_flight import Stats
from messaging.runtime.lifecycle import Lifecycle, Stage, StopRequest, StopSequence, WorkerReport
from messaging.runtime.measures import Measures
from messaging.runtime.pipeline import Pipeline
from messaging.runtime.receiver import BACKOFF
from messaging.runtime.threads import Threads, on_signals
from messaging.stores import RateStore
from messaging.transport import Broker

__all__ = ["Worker"]

log = logger("messaging.runtime")

LOOKS_UP = 0.5
"""Maximum seconds until a signal is noticed."""


class Worker:
    """Runs consumers: each has one queue, one receiver and `concurrency` handlers.

    Sync handlers run in threads, `concurrency` of them; async ones together on one event loop.
    Every received message ends in exactly one of the four ways that `Stats` counts. A worker opens
    and closes its consumers, and closes the queues that it got from the broker; closing the broker
    is up to you.

    Args:
        *consumers: the services to run, one instance each.
        broker: where the queues are: `connect()`, or a `MemoryBroker`.
        concurrency: handlers of one consumer that run at the same time, sync and async together.
        prefetch: messages of one consumer that may wait in addition to those in a handler, with
            their leases renewed. The default is `concurrency`, and more while the queue answers
            slowly and handlers are quick: as many as they can finish meanwhile, at most 1,000.
        wait: seconds (0 to 20) of one long poll.
        drain: seconds that a stopping worker gives running handlers to end.
        poll_grace: seconds that it waits for a pending long poll. SQS may return a message to a
            poll whose connection is closed: it is then hidden for its visibility timeout. With 20
            or more, the longest poll, that cannot happen.
        wedged_limit: seconds after which a worker stops by itself if all handlers of a service hang
            (`run` raises `WorkerWedged`, for a supervisor to start another); None: never.
        patience: seconds to wait at the start for a queue that does not answer; None waits for
            ever, 0 not at all. A queue that does not exist or may not be used is an immediate
            error.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around every handler, outermost first.
        rates: the store of a rate with `shared=True`, from `messaging.rates`. Closing it is up to
            you.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if a number is out of range, there is no consumer, or two have the same
            service.

    Example:
        ```python
        from messaging import Worker

        marketing = Marketing()
        with Worker(marketing, broker=broker) as worker:  # in a service: Worker(...).run()
            publisher.publish(ana)
            while not marketing.welcomed:
                pass

        assert worker.stats.acknowledged == 1
        ```
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
        rates: RateStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        check_worker(consumers, concurrency, prefetch, wait, drain, rates)
        self._dispatchers = [
            Dispatcher(consumer, codec=codec, middleware=middleware, clock=clock)
            for consumer in consumers
        ]
        self._middleware = tuple(middleware)
        self._broker = broker
        self._concurrency = concurrency
        self._make_pipeline = partial(
            Pipeline,
            concurrency=concurrency,
            prefetch=prefetch,
            wait=wait,
            clock=clock,
            wedged=self._wedged,
            rates=rates,
        )
        self._poll_grace = poll_grace
        self._wedged_limit = wedged_limit
        self._drain = drain
        self._patience = math.inf if patience is None else patience
        self._clock = clock
        self._stop_requests: queues.SimpleQueue[StopRequest] = queues.SimpleQueue()
        self._threads = Threads(self._died)
        self._pipelines: dict[str, Pipeline] = {}
        self._measures: dict[str, Measures] = {}
        self._measuring = False
        self._opened: list[Consumer] = []
        self._paused: set[str] = set()
        self._start_lock = threading.Lock()
        self._lifecycle = Lifecycle()
        self._unfinished: tuple[str, ...] = ()
        self._error: BaseException | None = None
        self._done = threading.Event()

    @property
    def stage(self) -> Stage:
        """The worker's stage."""
        return self._lifecycle.stage

    @property
    def stats(self) -> Stats:
        """The current counts of all consumers together; always balanced."""
        return Stats.total(pipeline.stats for pipeline in self._pipelines.values())

    def stats_of(self, service: str) -> Stats:
        """The counts of one consumer, by the name of its service.

        Args:
            service: the name of a service.

        Raises:
            ConfigurationError: if the worker has no such service.
        """
        (name,) = self._named((service,))
        return self._pipelines[name].stats if name in self._pipelines else Stats()

    @property
    def state(self) -> Mapping[str, State]:
        """The current receiving state of each service; empty before the start."""
        return MappingProxyType(
            {name: pipeline.state for name, pipeline in self._pipelines.items()}
        )

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Receiver state by service; empty before the start. For health checks and metrics."""
        return self._pipelines

    def measure(self) -> None:
        """Measure durations and ages from now on, for `messaging.metrics`; see `measures`."""
        self._measuring = True
        for name, pipeline in self._pipelines.items():
            if name not in self._measures:
                one = self._measures[name] = Measures(pipeline.consumer, clock=self._clock)
                pipeline.in_flight.measure = one.settled

    @property
    def measures(self) -> Mapping[str, Measures]:
        """Measurements by service; empty before the start, and unless `measure` was called."""
        return self._measures

    @property
    def dispatchers(self) -> Mapping[str, Dispatcher]:
        """Rate state by service. For health checks and metrics."""
        return {one.consumer.service: one for one in self._dispatchers}

    def pause(self, *services: str) -> None:
        """Receive nothing for these services, or for all, until `resume`.

        Messages that wait for a handler are released, and running handlers continue. A pending long
        poll is not interrupted: the messages it returns are released too. It may be called before
        the start.

        Args:
            *services: their names; none: all of them.

        Raises:
            ConfigurationError: if the worker has no such service.
        """
        for name in self._named(services):
            self._paused.add(name)
            if name in self._pipelines:
                self._pipelines[name].pause()
                log.warning("%s is paused: it receives nothing", name)

    def resume(self, *services: str) -> None:
        """Resume receiving for these services, or for all. It does not close an open circuit.

        Args:
            *services: their names; none: all of them.

        Raises:
            ConfigurationError: if the worker has no such service.
        """
        for name in self._named(services):
            self._paused.discard(name)
            if name in self._pipelines:
                self._pipelines[name].resume()
                log.warning("%s is not paused any more", name)

    def run(self) -> WorkerReport:
        """Start, and block until SIGTERM, Ctrl-C or `stop`; returns the report.

        A second signal skips the waiting for handlers and polls. If a thread of the library died,
        its error is raised after an orderly stop. Signals are only handled in the main thread.

        Raises:
            TransportError: as `start` does.
            ConsumerError: as `start` does.
            WorkerWedged: if all handlers of a service hung for `wedged_limit` seconds.
        """
        with on_signals(lambda: self._stop_requests.put(StopRequest.SIGNAL)):
            self.start()
            # A signal that arrives just before a wait starts does not end it, and Python handles
            # signals only in this thread: so it wakes up regularly.
            while not self._done.wait(LOOKS_UP):
                pass
        if self._error is not None:
            raise self._error
        return self._report()

    def start(self) -> None:
        """Start in background threads and return. A worker can only be started once.

        Raises:
            TransportError: if a queue does not exist (`NotFound`), may not be used
                (`AccessDenied`), or does not answer within `patience`.
            ConsumerError: if a consumer's `open` raises; nothing was received then.
            ConfigurationError: if this worker was started before.
        """
        with self._start_lock:
            if self.stage is not Stage.NEW:
                raise ConfigurationError(f"this worker is {self.stage.value}; make another")
            self._pipelines = self._reach_pipelines()
            if self._measuring:
                self.measure()
            self._enter(
                Stage.RUNNING, f"{', '.join(self._pipelines)}, concurrency {self._concurrency}"
            )
            loop = EventLoop()
            self._threads.start("loop", loop.run)
            if self._open_consumers(loop):
                for pipeline in self._pipelines.values():
                    pipeline.start(self._threads, loop)
            self._threads.start("supervisor", lambda: self._supervise(loop))

    def _open_consumers(self, loop: EventLoop) -> bool:
        """Returns False if it is asked to stop before anything was received."""
        consumers = [one.consumer for one in self._dispatchers]
        try:
            self._opened = open_all(
                consumers, self._threads, loop, lambda: not self._stop_requests.empty()
            )
        except ConsumerError:
            loop.stop()
            self._close_queues()
            self._enter(Stage.STOPPED, "a consumer did not open")
            self._done.set()
            raise
        if len(self._opened) == len(consumers):
            return True
        self._close_queues()
        self._pipelines = {}
        return False

    def _close_consumers(self, loop: EventLoop) -> bool:
        """Returns False if one has not ended. Does nothing when called again."""
        opened, self._opened = self._opened, []
        return close_all(opened, self._threads, loop)

    def stop(self) -> WorkerReport:
        """Stop in an orderly way, and return the report; may be called again and from any thread.

        Blocks for at most about `drain` plus ten seconds, or two if nothing is in flight. From a
        handler it only requests the stop, and returns a report of this moment.
        """
        self._stop_requests.put(StopRequest.STOP)
        if self.stage is not Stage.NEW and not self._threads.includes_me():
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

    def _reach_pipelines(self) -> dict[str, Pipeline]:
        """The pipelines, as soon as their queues answer; none if the worker is stopped
        meanwhile."""
        outages = Outages(BACKOFF, SYSTEM_CLOCK, log)
        end = SYSTEM_CLOCK.monotonic() + self._patience
        while True:
            try:
                pipelines = self._open_pipelines()
            except TransportError as error:
                left = end - SYSTEM_CLOCK.monotonic()
                if not error.retryable or left <= 0:
                    raise
                why = f"{error.code or type(error).__name__}: {error}"
                pause = min(left, outages.lose("the queues", why))
            else:
                outages.regain("the queues")
                for name in self._paused:
                    pipelines[name].pause()
                return pipelines
            try:
                self._stop_requests.put(self._stop_requests.get(timeout=pause))
            except queues.Empty:
                continue
            return {}

    def _open_pipelines(self) -> dict[str, Pipeline]:
        pipelines: dict[str, Pipeline] = {}
        with ExitStack() as opened:
            for dispatcher in self._dispatchers:
                service = dispatcher.consumer.service
                both = self._broker.queue(service), self._broker.queue(service)
                queue, inlet = (told(one, self._middleware) for one in both)
                opened.callback(queue.close)
                opened.callback(inlet.close)
                pipelines[service] = self._make_pipeline(dispatcher, queue, inlet)
            opened.pop_all()
        return pipelines

    def _supervise(self, loop: EventLoop) -> None:
        """The body of the supervisor: sleeps until a stop is requested, then carries it out."""
        sequence = StopSequence(
            list(self._pipelines.values()),
            loop,
            self._threads,
            self._stop_requests,
            drain=self._drain,
            poll_grace=self._poll_grace,
            entered=self._enter,
            close=lambda: self._close_consumers(loop),
        )
        try:
            sequence.run(self._stop_requests.get())
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            self._unfinished = tuple(sequence.unfinished)
            self._close_consumers(loop)  # if the sequence did not get that far
            self._close_queues()
            self._enter(Stage.STOPPED, f"{len(self._unfinished)} handlers unfinished")
            self._done.set()

    def _wedged(self, service: str, seconds: float) -> None:
        if self._wedged_limit is not None and seconds >= self._wedged_limit and not self._error:
            self._error = WorkerWedged(f"all handlers of {service} hang, {seconds:.0f} s by now")
            self._stop_requests.put(StopRequest.WEDGED)

    def _close_queues(self) -> None:
        for pipeline in self._pipelines.values():
            if pipeline.polls:  # messages of a late answer are released through it
                continue
            try:
                pipeline.close_queues()
            except Exception as error:  # noqa: BLE001 - the others are to be closed, too
                log.error("closing %s raised %s", pipeline.queue.name, type(error).__qualname__)

    def _died(self, error: BaseException) -> None:
        name = threading.current_thread().name
        log.critical("thread %s died: the worker stops", name, exc_info=error)
        if self._error is None:
            self._error = error
        self._stop_requests.put(StopRequest.DIED)

    def _enter(self, stage: Stage, note: str) -> None:
        self._lifecycle.enter(stage, note, self.stats)

    def _report(self) -> WorkerReport:
        services = {name: pipeline.stats for name, pipeline in self._pipelines.items()}
        return WorkerReport(
            stats=Stats.total(services.values()),
            services=MappingProxyType(services),
            stages=MappingProxyType(self._lifecycle.spent()),
            unfinished=self._unfinished,
            error=self._error,
        )
