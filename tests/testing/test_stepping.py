"""The same rooms, one step at a time, in one thread and by a clock that a test moves."""

from __future__ import annotations

import threading

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    visibility_timeout = 30

    def __init__(self, act=lambda n: None) -> None:
        self.act = act
        self.handled: list[int] = []

    @handles
    def happened(self, event: Happened) -> None:
        self.handled.append(event.n)
        self.act(event.n)

    @handles
    async def happened_async(self, event: HappenedAsync) -> None:
        self.handled.append(event.n)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(Topology.of(Service, topic="t"), clock=clock)


def publish(broker: MemoryBroker, *events: Event) -> None:
    Publisher(broker.topic(), source="/t", in_flight=1).publish_many(events)


def test_each_step_does_its_part_and_no_thread_is_started(broker, clock):
    publish(broker, Happened(n=1), HappenedAsync(n=2))
    service, threads = Service(), set(threading.enumerate())
    steps = Steps.of(Dispatcher(service), broker, clock=clock)
    assert (steps.poll(), steps.waiting, len(steps.in_flight)) == (2, 2, 2)
    assert [steps.handle(), steps.handle(), steps.handle()] == [True, True, False]
    assert service.handled == [1, 2]
    assert (steps.settle(), steps.settle()) == (2, 0)
    assert steps.stats == Stats(received=2, acknowledged=2)
    assert not broker.messages("service")
    assert not set(threading.enumerate()) - threads


def test_no_room_no_poll(broker, clock):
    publish(broker, *(Happened(n=n) for n in range(5)))
    steps = Steps.of(Dispatcher(Service()), broker, concurrency=1, prefetch=2, clock=clock)
    assert (steps.poll(), steps.poll()) == (3, None)


def test_a_handler_may_take_steps_itself_which_is_what_happens_while_it_runs(broker, clock):
    def act(n: int) -> None:
        for _ in range(5):
            clock.advance(14)
            steps.renew()

    publish(broker, Happened(n=1))
    steps = Steps.of(Dispatcher(Service(act)), broker, clock=clock)
    steps.poll()
    steps.handle()
    assert broker.queue("service").depth().in_flight == 1, "nobody renewed the lease"
    steps.settle()
    assert steps.stats == Stats(received=1, acknowledged=1)


def test_a_crash_in_a_handler_tells_nobody_what_it_returned(broker, clock):
    publish(broker, Happened(n=1), Happened(n=2))
    service = Service(lambda n: steps.crash())
    steps = Steps.of(Dispatcher(service), broker, clock=clock)
    steps.poll()
    steps.handle()
    assert (steps.handle(), steps.settle(), steps.poll()) == (False, 0, None)
    clock.advance(31)
    again = Steps.of(Dispatcher(Service()), broker, clock=clock)
    assert again.poll() == 2


def test_a_stop_gives_back_what_waits_and_settles_what_was_handled(broker, clock):
    publish(broker, *(Happened(n=n) for n in range(5)))
    steps = Steps.of(Dispatcher(Service()), broker, clock=clock)
    steps.poll()
    steps.handle()
    assert steps.close_intake() == 4
    while steps.in_flight:
        steps.settle()
    assert steps.stats == Stats(received=5, acknowledged=1, released=4)
    assert broker.queue("service").depth().visible == 4


def test_a_refused_settlement_is_tried_again_when_its_pause_is_over(broker, clock):
    publish(broker, Happened(n=1))
    steps = Steps.of(Dispatcher(Service()), broker, clock=clock)
    steps.poll()
    steps.handle()
    broker.fail_next("delete", code="ServiceUnavailable")
    steps.settle()
    assert (steps.settle(), len(steps.in_flight)) == (0, 1)
    clock.advance(0.2)
    steps.settle()
    assert steps.stats == Stats(received=1, acknowledged=1)
    broker.fail_next("delete")
    assert steps.expire_rest() == 0


def test_an_async_handler_that_is_given_up_in_its_last_step_has_still_ended(broker, clock):
    class Slow(Consumer):
        service = "service"
        visibility_timeout, max_lease = 30, 40

        @handles
        async def happened(self, event: Happened) -> None:
            for _ in range(4):  # it never lets go of the loop, so nothing can interrupt it
                clock.advance(12)
                steps.renew()

    steps = Steps.of(Dispatcher(Slow()), broker, clock=clock)
    publish(broker, Happened(n=1))
    steps.poll()
    assert steps.handle()
    steps.settle()
    assert not steps.in_flight
    assert steps.stats.balanced


def test_beyond_max_lease_a_message_counts_as_expired_at_once(broker, clock):
    class Slow(Consumer):
        service = "service"
        visibility_timeout, max_lease = 30, 40

        @handles
        def happened(self, event: Happened) -> None:
            for _ in range(10):
                clock.advance(6)
                steps.renew()
            expired.append(steps.stats.expired)

    expired: list[int] = []
    steps = Steps.of(Dispatcher(Slow()), broker, clock=clock)
    publish(broker, Happened(n=1))
    steps.poll()
    steps.handle()
    assert expired == [1]
