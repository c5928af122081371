"""FIFO queues while handlers are quick: the thread that received goes all the way, in order."""

from __future__ import annotations

import threading

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats, Worker
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology


class Moved(Event, type="moved", version=1, group="who"):
    who: str
    n: int


class MovedAsync(Event, type="moved.async", version=1, group="who"):
    who: str
    n: int


class Service(Consumer):
    visibility_timeout = 30
    max_receives = 100

    def __init__(self, act=lambda event: None) -> None:
        self.act = act
        self.handled: list[tuple[str, int]] = []
        self.threads: set[str] = set()

    @handles
    def moved(self, event: Moved) -> None:
        self.threads.add(threading.current_thread().name)
        self.handled.append((event.who, event.n))
        self.act(event)

    @handles
    async def moved_async(self, event: MovedAsync) -> None:
        self.handled.append((event.who, event.n))

    def of(self, who: str) -> list[int]:
        return [n for one, n in self.handled if one == who]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(Topology.of(Service, topic="t.fifo"), clock=clock)


def publish(memory: MemoryBroker, groups: str, count: int, kind: type[Event] = Moved) -> None:
    with Publisher(memory.topic(), source="/t") as publisher:
        publisher.publish_many(kind(who=who, n=n) for n in range(count) for who in groups)


def counted(memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The entries of each delete from now on."""
    deletes: list[int] = []
    queue = type(memory.queue("service"))
    whole = queue.delete

    def delete(self, deliveries):
        deletes.append(len(deliveries))
        return whole(self, deliveries)

    monkeypatch.setattr(queue, "delete", delete)
    return deletes


def steps_of(service: Service, memory: MemoryBroker, clock: FakeClock, **limits: int) -> Steps:
    return Steps.of(Dispatcher(service), memory, clock=clock, **limits)


def test_a_whole_group_is_handled_and_deleted_one_by_one(memory, clock, monkeypatch):
    publish(memory, "a", 10)
    deletes, service = counted(memory, monkeypatch), Service()
    steps = steps_of(service, memory, clock)
    assert steps.complete() == 10
    assert service.of("a") == list(range(10))
    assert deletes == [1] * 10
    assert steps.stats == Stats(received=10, acknowledged=10)


def test_ten_groups_are_received_before_their_first_are_deleted_together(
    memory, clock, monkeypatch
):
    publish(memory, "abcdefghij", 10)
    deletes, service = counted(memory, monkeypatch), Service()
    steps = steps_of(service, memory, clock)
    steps.complete()
    assert steps.stats == Stats(received=100, acknowledged=100)
    assert deletes == [10] * 10, "not a request for each message"
    for who in "abcdefghij":
        assert service.of(who) == list(range(10))


def test_no_more_is_received_than_the_next_request_holds(memory, clock):
    publish(memory, "abcdefghijklmnopqrst", 10)
    held = []
    service = Service(lambda event: held.append(len(steps.in_flight)))
    steps = steps_of(service, memory, clock)
    steps.complete()
    assert max(held) == 100, "ten groups, although concurrency and prefetch allow twenty"


def test_without_prefetch_nothing_is_held_beside_the_handlers(memory, clock):
    publish(memory, "ab", 10)
    held = []
    service = Service(lambda event: held.append(len(steps.in_flight)))
    steps = steps_of(service, memory, clock, concurrency=1, prefetch=0)
    while steps.complete():
        pass
    assert service.of("a") == service.of("b") == list(range(10))
    assert max(held) == 1


def test_what_waits_behind_another_of_its_group_takes_no_room(memory, clock):
    publish(memory, "abcde", 10)
    service = Service()
    steps = steps_of(service, memory, clock, concurrency=2, prefetch=2)
    received = [steps.poll() for _ in range(5)]
    assert received == [4, 3, 2, 1, None], "of groups that are free, as many as there is room for"
    while steps.handle():
        pass
    assert service.handled == [(who, 0) for who in "abcd"]


def test_one_that_fails_stops_its_group_only(memory, clock):
    failed = []

    def act(event: Moved) -> None:
        if (event.who, event.n) == ("a", 3) and not failed:
            failed.append(event)
            raise Retry(0)

    publish(memory, "ab", 6)
    service = Service(act)
    steps = steps_of(service, memory, clock)
    for _ in range(4):
        steps.complete()
        steps.settle()
    assert service.of("a") == [0, 1, 2, 3, 3, 4, 5]
    assert service.of("b") == list(range(6))
    assert steps.stats.released == 3, "the one that failed, and two behind it"


def test_one_that_holds_its_thread_up_lets_other_groups_go_on_elsewhere(memory, clock):
    """What other threads do meanwhile is played from within the handler that hangs."""

    def act(event: Moved) -> None:
        if (event.who, event.n) == ("a", 1):
            while steps.handle() or steps.settle():
                pass
            done.extend(service.of("b"))
            assert service.of("a") == [0, 1]

    publish(memory, "ab", 4)
    done: list[int] = []
    service = Service(act)
    steps = steps_of(service, memory, clock)
    steps.complete()
    while steps.handle() or steps.settle():
        pass
    assert done == list(range(4))
    assert service.of("a") == list(range(4))
    assert steps.stats == Stats(received=8, acknowledged=8)


def test_a_stop_in_the_middle_gives_back_all_that_waits(memory, clock):
    publish(memory, "abc", 5)
    service = Service(lambda event: event.n == 1 and steps.close_intake())
    steps = steps_of(service, memory, clock)
    steps.complete()
    while steps.in_flight:
        steps.settle()
    assert steps.stats.balanced
    assert steps.stats.in_flight == 0
    left = {who: 5 - len(service.of(who)) for who in "abc"}
    assert len(memory.messages("service")) == sum(left.values())
    for who in "abc":
        assert service.of(who) == list(range(5 - left[who]))


@pytest.mark.parametrize("kind", [Moved, MovedAsync])
def test_a_worker_keeps_every_group_in_order(kind):
    broker, service = MemoryBroker(Topology.of(Service, topic="t.fifo")), Service()
    publish(broker, "abcdefgh", 40, kind)
    with Worker(service, broker=broker, wait=0.1) as worker:
        for _ in range(1000):
            if worker.stats.acknowledged == 320:
                break
            threading.Event().wait(0.01)
    assert worker.stats.acknowledged == 320
    for who in "abcdefgh":
        assert service.of(who) == list(range(40))


def test_quick_ones_are_handled_by_the_thread_that_received_them(monkeypatch):
    monkeypatch.setattr("messaging.runtime.executor.QUICK", 0.5)
    broker, service = MemoryBroker(Topology.of(Service, topic="t.fifo")), Service()
    with Worker(service, broker=broker, wait=0.1) as worker:
        publish(broker, "abcdefgh", 40)
        for _ in range(1000):
            if worker.stats.acknowledged == 320:
                break
            threading.Event().wait(0.01)
    assert "service-poller" in " ".join(service.threads)
