"""Endpoints down, credentials expired, queues gone: waited for and told once, without spinning."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, ConfigurationError, NotFound, Throttled, TransportError
from messaging.event import Event
from messaging.runtime import Stage, State, Stats
from messaging.runtime.receiver import BACKOFF


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    def __init__(self, act=lambda n: None) -> None:
        self.act = act
        self.closed = 0

    @handles
    def happened(self, event: Happened) -> None:
        self.act(event.n)

    def close(self) -> None:
        self.closed += 1


class Down:
    """Makes a queue of the tests refuse everything while `over` is not set."""

    def __init__(self, queue, error: TransportError) -> None:
        self.error = error
        self.over = threading.Event()
        self.times: list[float] = []
        receive = queue.receive
        queue.receive = lambda limit, wait: receive(limit, wait) if self.ask() else []
        queue.refuse = self.refuse

    @property
    def requests(self) -> int:
        return len(self.times)

    def ask(self) -> bool:
        if self.over.is_set():
            return True
        self.times.append(time.monotonic())
        raise self.error

    def refuse(self, request):
        self.ask()
        return ()


OUTAGES = [
    TransportError("no route", code="ConnectTimeout"),
    Throttled("slowly", code="RequestThrottled"),
    AccessDenied("the token has expired", code="ExpiredToken"),
    NotFound("no queue", code="QueueDoesNotExist"),
]


def said(caplog, words: str) -> int:
    return sum(words in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: error.code)
def test_an_outage_in_flight_is_told_once_and_does_not_spin(work, queue, until, caplog, error):
    down = Down(queue, error)
    worker = work(Service(), wait=0)
    until(lambda: down.requests >= 4)
    pauses = [later - earlier for earlier, later in itertools.pairwise(down.times)]
    for number, pause in enumerate(pauses):
        assert pause >= BACKOFF.first * 2**number / 2, "it spins"
    down.over.set()
    queue.put(1)
    until(lambda: worker.stats.acknowledged == 1)
    until(lambda: said(caplog, "receiving from t-service again") == 1)  # said by another thread
    assert said(caplog, "cannot receive from") == 1


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: error.code)
def test_what_was_handled_during_an_outage_is_deleted_after_it(work, queue, until, error):
    """Credentials that expired are renewed: the whole request is refused, not its entries."""
    down: list[Down] = []
    service = Service(lambda n: down.append(Down(queue, error)))
    queue.put(1)
    worker = work(service)
    until(lambda: down and down[0].requests >= 3)
    assert worker.stats.in_flight == 1
    assert down[0].requests <= 12, "it spins"
    down[0].over.set()
    until(lambda: worker.stats == Stats(received=1, acknowledged=1))


def test_renewals_go_on_after_an_outage(work, queue, until, release):
    queue.visibility_timeout = 1
    down = []

    def act(n: int) -> None:
        down.append(Down(queue, OUTAGES[2]))
        release.wait(5)

    queue.put(1)
    worker = work(Service(act))
    until(lambda: down and down[0].requests >= 3)
    down[0].over.set()
    until(lambda: queue.asked("change_visibility"))
    release.set()
    until(lambda: worker.stats.acknowledged == 1)


def test_a_queue_that_does_not_answer_at_the_start_is_waited_for(work, queue, until, caplog):
    queue.visibility_timeout = TransportError("no route", code="EndpointConnectionError")
    worker = work(Service(), start=False)
    starting = threading.Thread(target=worker.start)
    starting.start()
    until(lambda: said(caplog, "cannot use the queues"))
    assert worker.stage is Stage.NEW
    queue.visibility_timeout = 30
    starting.join(10)
    assert worker.stage is Stage.RUNNING
    queue.put(1)
    until(lambda: worker.stats.acknowledged == 1)
    assert said(caplog, "trying again") == 1
    assert said(caplog, "can use the queues again") == 1


def test_a_worker_that_waits_at_the_start_can_be_stopped(work, queue, until, caplog):
    queue.visibility_timeout = TransportError("no route", code="EndpointConnectionError")
    service = Service()
    worker = work(service, start=False)
    running = threading.Thread(target=worker.run)
    running.start()
    until(lambda: said(caplog, "trying again"))
    worker.stop()
    running.join(10)
    assert not running.is_alive()
    assert (worker.stage, service.closed) == (Stage.STOPPED, 1)


@pytest.mark.parametrize(("patience", "asked"), [(0, 1), (0.3, 2)])
def test_patience_at_the_start_has_an_end(work, queue, patience, asked):
    attempts = []
    opened = type(queue).visibility_timeout.fget

    class Counting(type(queue)):
        @property
        def visibility_timeout(self):
            attempts.append(1)
            return opened(self)

    queue.visibility_timeout = TransportError("no route", code="EndpointConnectionError")
    queue.__class__ = Counting
    worker = work(Service(), start=False, patience=patience)
    with pytest.raises(TransportError, match="no route"):
        worker.start()
    assert worker.stage is Stage.NEW
    assert asked <= len(attempts) <= 4


@pytest.mark.parametrize("error", [NotFound("no queue"), AccessDenied("not you")])
def test_what_no_waiting_mends_is_told_at_once(work, queue, error, caplog):
    queue.visibility_timeout = error
    with pytest.raises(type(error)):
        work(Service(), start=False).start()
    assert not said(caplog, "waits")


def test_paused_it_gives_back_what_waits_and_receives_nothing(work, queue, until, release):
    begun: list[int] = []
    queue.put(*range(4))
    worker = work(Service(lambda n: begun.append(n) or release.wait(5)), concurrency=1, prefetch=3)
    until(lambda: worker.stats.in_flight == 4 and begun)
    worker.pause()
    assert worker.state == {"service": State.PAUSED}
    until(lambda: worker.stats.released == 3)
    release.set()
    until(lambda: worker.stats.acknowledged == 1)
    threading.Event().wait(0.15)
    receives = len(queue.receives)
    queue.put(10)
    threading.Event().wait(0.15)
    assert len(queue.receives) == receives, "it receives although it is paused"
    worker.resume()
    until(lambda: worker.stats.acknowledged == 2)
    assert worker.state == {"service": State.RECEIVING}


def test_what_a_poll_brings_that_was_out_at_the_pause_is_given_back(work, queue, until):
    queue.late, queue.late_brings = threading.Event(), 2
    worker = work(Service())
    until(lambda: queue.receives)
    worker.pause("service")
    queue.late.set()
    until(lambda: worker.stats == Stats(received=2, released=2))


def test_one_service_may_be_paused_even_before_the_start(work, broker, until):
    class Other(Service):
        pass

    broker.queue("service").put(1)
    broker.queue("other").put(2)
    worker = work(Service(), Other(), start=False)
    worker.pause("other")
    assert worker.state == {}
    worker.start()
    until(lambda: worker.stats_of("service").acknowledged == 1)
    assert worker.state == {"service": State.RECEIVING, "other": State.PAUSED}
    assert worker.stats_of("other").received == 0
    worker.resume("other")
    until(lambda: worker.stats_of("other").acknowledged == 1)
    with pytest.raises(ConfigurationError, match="no service 'rh'"):
        worker.pause("rh")


def test_a_paused_worker_stops(work, queue, until, caplog):
    caplog.set_level(logging.INFO)
    worker = work(Service())
    worker.pause()
    assert worker.stop().stats == Stats()


def test_slow_handlers_are_not_given_more_than_they_can_start_within_a_lease(work, queue, until):
    """With 0.2 s for each, two at once and a lease of 1 s, five may wait, not thirty."""
    queue.visibility_timeout = 1
    most = 0

    def act(n: int) -> None:
        nonlocal most
        threading.Event().wait(0.2)
        if n >= 4:
            most = max(most, worker.stats.in_flight)

    worker = work(Service(act), concurrency=2, prefetch=30)
    queue.put(*range(4))
    until(lambda: worker.stats.acknowledged == 4)
    queue.put(*range(4, 24))
    until(lambda: worker.stats.acknowledged == 24)
    assert 2 <= most <= 2 + 5 + 1


def test_a_thousand_async_handlers_need_no_thousand_threads(work, queue, until):
    import asyncio

    class HappenedAsync(Event, type="happened.async", version=1):
        n: int

    class Async(Consumer):
        service = "service"
        most = running = 0

        @handles
        async def happened(self, event: HappenedAsync) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.05)
            self.running -= 1

    consumer = Async()
    queue.put(*range(300), kind="happened.async")
    worker = work(consumer, concurrency=1000)
    until(lambda: worker.stats.acknowledged == 300)
    threads = [one for one in threading.enumerate() if "handler" in one.name]
    assert consumer.most > 50
    assert 1 <= len(threads) <= 32


def test_sync_handlers_have_as_many_threads_as_they_need_and_no_more(work, queue, until, release):
    barrier = threading.Barrier(20)

    def act(n: int) -> None:
        barrier.wait(10)

    queue.put(*range(20))
    worker = work(Service(act), concurrency=1000)
    until(lambda: worker.stats.acknowledged == 20)
    assert 20 <= sum("handler" in one.name for one in threading.enumerate()) <= 22


def test_a_backoff_that_breaks_does_not_stop_the_settler(work, queue, until):
    from messaging.outcome import Reject, RetryPolicy

    class Broken(Service):
        service = "service"
        retry = RetryPolicy(wait=lambda state: 1 / 0)

    def act(n: int) -> None:
        raise Reject("no")

    def refuse(request):
        if request.name == "dead_letter":
            raise NotFound("no dead-letter queue")
        return ()

    queue.refuse = refuse
    queue.put(1)
    worker = work(Broken(act))
    until(lambda: worker.stats.released == 1)
    assert queue.asked("change_visibility")[0].seconds == (60,)
