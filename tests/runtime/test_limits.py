"""Limits of time: how long a lease is renewed, how long a handler may run, and who is told."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.errors import ConsumerError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology
from messaging.transport import Delivery, Failure


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    visibility_timeout = 60
    max_lease = 300
    retry = RetryPolicy(wait=wait_fixed(7), max_attempts=2, outage=0)

    def __init__(self, act=lambda n, delivery: None) -> None:
        self.act = act
        self.handled: list[int] = []

    @handles
    def happened(self, event: Happened, delivery: Delivery) -> None:
        self.handled.append(event.n)
        self.act(event.n, delivery)

    @handles
    async def happened_async(self, event: HappenedAsync, delivery: Delivery) -> None:
        self.handled.append(event.n)
        self.act(event.n, delivery)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Limited(Service):
    service = "service"
    handler_timeout = 45


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(Topology.of(Service, topic="t"), clock=clock)


def publish(memory: MemoryBroker, *events: Event) -> None:
    Publisher(memory.topic(), source="/t", in_flight=1).publish_many(events)


def stalled(steps: Steps, clock: FakeClock, seconds: float) -> None:
    """Let `seconds` pass while a handler runs; the leases are looked at as the thread does."""
    for _ in range(int(seconds)):
        clock.advance(1)
        steps.renew()


def test_a_lease_is_renewed_up_to_max_lease_and_the_handler_is_told_in_time(memory, clock, caplog):
    told: list[tuple[float, str]] = []

    def act(n: int, delivery: Delivery) -> None:
        while not delivery.cancelled:
            stalled(steps, clock, 1)
        told.append((clock.monotonic(), delivery.cancel_token.reason))

    publish(memory, Happened(n=1))
    steps = Steps.of(Dispatcher(Service(act)), memory, clock=clock)
    steps.poll()
    steps.handle()
    ((at, reason),) = told
    assert reason == "max_lease"
    assert 300 - 30 <= at < 300, "told too late to end in order, or too early"
    steps.settle()
    assert steps.stats == Stats(received=1, acknowledged=1), "its lease had not ended yet"
    assert "no longer renewed" in caplog.text


def test_beyond_max_lease_the_message_is_given_up_and_comes_to_others(memory, clock):
    def act(n: int, delivery: Delivery) -> None:
        if len(service.handled) == 1:
            stalled(steps, clock, 400)
            assert memory.queue("service").depth().visible == 1
            assert steps.stats == Stats(received=1, expired=1)

    publish(memory, Happened(n=1))
    service = Service(act)
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    steps.poll()
    steps.handle()
    steps.settle()
    assert (steps.stats, steps.in_flight) == (Stats(received=1, expired=1), ())
    assert memory.messages("service"), "a late result was acknowledged blindly"


def test_what_waits_for_a_handler_beyond_max_lease_is_given_back(memory, clock):
    def act(n: int, delivery: Delivery) -> None:
        stalled(steps, clock, 290)

    publish(memory, Happened(n=1), Happened(n=2))
    service = Service(act)
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    steps.poll()
    steps.handle()
    steps.handle()
    steps.settle()
    assert service.handled == [1]
    assert steps.stats == Stats(received=2, acknowledged=1, released=1)


def test_a_sync_handler_beyond_its_timeout_is_told_and_given_up_once(memory, clock, caplog):
    reasons = []

    def act(n: int, delivery: Delivery) -> None:
        stalled(steps, clock, 44)
        assert not delivery.cancelled
        stalled(steps, clock, 10)
        reasons.append(delivery.cancel_token.reason)

    publish(memory, Happened(n=1))
    steps = Steps.of(Dispatcher(Limited(act)), memory, clock=clock)
    steps.poll()
    steps.handle()
    steps.settle()
    assert reasons == ["handler_timeout"]
    assert steps.stats == Stats(received=1, expired=1)
    assert sum("is given up" in one.getMessage() for one in caplog.records) == 1


def test_what_a_given_up_handler_did_after_all_is_not_done_again(memory, clock):
    publish(memory, Happened(n=1))
    service = Limited(lambda n, delivery: stalled(steps, clock, 50))
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    steps.poll()
    steps.handle()
    steps.settle()
    clock.advance(61)
    assert steps.poll() == 1
    steps.handle()
    steps.settle()
    assert service.handled == [1]
    assert steps.stats == Stats(received=2, expired=1, acknowledged=1, deduplicated=1)


def test_an_async_handler_beyond_its_timeout_is_cancelled_and_the_policy_decides(memory, clock):
    publish(memory, HappenedAsync(n=1))
    steps = Steps.of(
        Dispatcher(Limited(lambda n, delivery: stalled(steps, clock, 50))), memory, clock=clock
    )
    for stats in (
        Stats(received=1, released=1),
        Stats(received=2, released=1, dead_lettered=1),
    ):
        steps.poll()
        steps.handle()
        steps.settle()
        assert steps.stats == stats
        clock.advance(7)
    (letter,) = memory.dead_letters("service")
    assert letter.attributes["dead-letter-error"].value == "HandlerTimeout"


def test_an_async_handler_is_cancelled_when_its_lease_is_lost(work, queue, until):
    cancelled = []

    class Slow(Consumer):
        service = "service"

        @handles
        async def slow(self, event: HappenedAsync, delivery: Delivery) -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append(delivery.cancel_token.reason)
                raise

    queue.visibility_timeout = 1
    queue.refuse = lambda request: (
        [Failure(0, "ReceiptHandleIsInvalid", "", False)]
        if request.name == "change_visibility"
        else ()
    )
    queue.put(1, kind="happened.async")
    worker = work(Slow())
    until(lambda: worker.stats == Stats(received=1, expired=1))
    assert cancelled == ["lease lost"]
    assert not queue.asked("delete")


def test_a_handler_timeout_in_threads_is_not_a_matter_of_the_visibility_timeout(
    work, queue, until, release
):
    class Quick(Consumer):
        service = "service"
        handler_timeout = 0.05

        @handles
        async def quick(self, event: HappenedAsync) -> None:
            await asyncio.sleep(30)

        @handles
        def hangs(self, event: Happened) -> None:
            release.wait(10)

    queue.put(1, kind="happened.async")
    queue.put(2)
    worker = work(Quick())
    until(lambda: worker.stats == Stats(received=2, released=1, expired=1))


def test_handlers_that_hang_leave_room_for_no_more_than_can_be_started(work, queue, until, release):
    class Hanging(Consumer):
        service = "service"
        handler_timeout = 0.05

        @handles
        def hangs(self, event: Happened) -> None:
            release.wait(10)

    queue.put(*range(9))
    worker = work(Hanging(), concurrency=2, prefetch=2)
    until(lambda: worker.stats.expired == 2 and worker.stats.released == 2)
    threading.Event().wait(0.2)
    assert worker.stats.received == 4, "it receives what nobody will start"
    release.set()
    until(lambda: worker.stats.acknowledged + worker.stats.expired == 7)


def test_a_handler_that_watches_has_a_moment_when_the_worker_stops(work, queue, until):
    class Watching(Consumer):
        service = "service"
        started = 0

        @handles
        def watching(self, event: Happened, delivery: Delivery) -> None:
            self.started += 1
            while not delivery.cancelled:
                threading.Event().wait(0.005)
            raise Retry(0, delivery.cancel_token.reason)

    service = Watching()
    queue.put(1)
    worker = work(service, drain=0.05)
    until(lambda: service.started)
    report = worker.stop()
    assert report.stats == Stats(received=1, released=1)
    assert report.unfinished == ()


def test_a_slow_answer_does_not_make_a_lease_longer_than_it_is(clock):
    """The message was received when the request went out; the answer took most of its lease."""
    memory = MemoryBroker(Topology.of(Service, topic="t"), clock=clock)
    publish(memory, Happened(n=1))
    steps = Steps.of(Dispatcher(Service()), memory, clock=clock)
    asked = steps._pipeline.receiver._queue
    receive = asked.receive
    asked.receive = lambda limit, wait: (receive(limit, wait), clock.advance(50))[0]
    steps.poll()
    steps.renew()
    clock.advance(20)
    assert memory.queue("service").depth().in_flight == 1


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"max_lease": 0}, "max_lease=0"),
        ({"max_lease": 43_201}, "max_lease=43201"),
        ({"handler_timeout": 0}, "handler_timeout=0"),
        ({"max_lease": 60, "handler_timeout": 61}, "at most max_lease"),
        ({"circuit": 5}, "a Circuit or None"),
    ],
)
def test_limits_that_cannot_be_are_refused_with_the_class(attributes, says):
    with pytest.raises(ConsumerError, match=says):
        type("Bad", (Consumer,), attributes)
