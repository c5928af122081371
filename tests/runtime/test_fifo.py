"""FIFO queues: order within a group whatever happens, and groups beside each other."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from tenacity import wait_fixed

from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.event import Event
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.outcome import Discard, Reject, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats, Worker
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology


class Moved(Event, type="moved", version=1, group="who"):
    who: str
    n: int


class Service(Consumer):
    visibility_timeout = 30
    max_receives = 100
    retry = RetryPolicy(max_attempts=50, wait=wait_fixed(0))

    def __init__(self, act=lambda event: None) -> None:
        self.act = act
        self.handled: list[tuple[str, int]] = []

    @handles
    def moved(self, event: Moved) -> None:
        self.handled.append((event.who, event.n))
        self.act(event)


TOPOLOGY = Topology.of(Service, topic="t.fifo")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(TOPOLOGY, clock=clock)


def publish(memory, groups: str, count: int) -> None:
    with Publisher(memory.topic(), source="/t", in_flight=1) as publisher:
        publisher.publish_many(Moved(who=who, n=n) for n in range(count) for who in groups)


def fails_once(how: Exception, at: int = 0):
    failed = set()

    def act(event: Moved) -> None:
        if event.n == at and event.who not in failed:
            failed.add(event.who)
            raise how

    return act


def work_off(steps: Steps, clock: FakeClock) -> None:
    for _ in range(50):
        steps.poll()
        while steps.handle() or steps.settle():
            pass
        clock.advance(1)


def test_only_the_first_of_each_group_is_ready_until_it_is_settled(memory, clock):
    publish(memory, "ab", 3)
    service = Service()
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    steps.poll()
    while steps.handle():
        pass
    assert service.handled == [("a", 0), ("b", 0)]
    steps.settle()
    while steps.handle():
        pass
    assert service.handled[2:] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("how", [Retry(0), Retry(5), ValueError()])
def test_what_fails_gives_back_its_group_and_comes_again_before_it(memory, clock, how):
    publish(memory, "ab", 3)
    service = Service(fails_once(how, at=1))
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    work_off(steps, clock)
    assert [n for who, n in service.handled if who == "a"] == [0, 1, 1, 2]
    assert [n for who, n in service.handled if who == "b"] == [0, 1, 1, 2]
    # In each group one failed, and one waited behind it: neither was handled out of its turn.
    assert steps.stats == Stats(received=10, acknowledged=6, released=4)


class AnswersLate:
    """The queue; that messages were released it says only when they have been received again."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._again = threading.Event()
        self.receives: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def receive(self, most: int, wait: float) -> Any:
        found = self._queue.receive(most, wait)
        self.receives += [one.receive_count for one in found]
        if found:
            self._again.set()
        return found

    def change_visibility(self, deliveries: Any, seconds: Any) -> Any:
        self._again.clear()
        failures = self._queue.change_visibility(deliveries, seconds)
        if not any(seconds):
            self._again.wait(5)
        return failures


def test_a_group_that_is_received_before_its_release_is_answered_is_soon_handled(until):
    broker = MemoryBroker(TOPOLOGY)
    queue = AnswersLate(broker.queue(Service.service))
    publish(broker, "a", 3)
    service = Service(fails_once(Retry(0)))
    told: Any = SimpleNamespace(topic=broker.topic, queue=lambda _: queue)
    with Worker(service, broker=told, concurrency=2, wait=0.2):
        until(lambda: service.handled[-1:] == [("a", 2)])
    assert [n for _, n in service.handled] == [0, 0, 1, 2]
    assert max(queue.receives) <= 4, "it went to and fro"


@pytest.mark.parametrize("how", [Reject("no"), Discard("no")])
def test_a_group_goes_on_behind_what_is_rejected_once_that_is_gone(memory, clock, how):
    publish(memory, "a", 3)
    deleted_before = []

    def act(event: Moved) -> None:
        deleted_before.append(len(memory.messages("service")))
        fails(event)

    fails = fails_once(how, at=1)
    service = Service(act)
    work_off(Steps.of(Dispatcher(service), memory, clock=clock), clock)
    assert [n for _, n in service.handled] == [0, 1, 2]
    assert deleted_before == [3, 2, 1], "the next one began before the first was deleted"
    assert len(memory.dead_letters("service")) == isinstance(how, Reject)


def test_a_delete_that_fails_does_not_let_the_next_one_go_first(memory, clock):
    publish(memory, "a", 3)
    memory.fail_next("delete", entries=[0], retryable=False)
    service = Service()
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    work_off(steps, clock)
    assert [n for _, n in service.handled] == [0, 1, 2]
    assert steps.stats.deduplicated == 1
    assert not memory.messages("service")


def test_a_lost_lease_gives_back_the_group(memory, clock):
    def act(event: Moved) -> None:
        if event.n == 0 and len(service.handled) == 1:
            clock.advance(31)
            steps.renew()

    publish(memory, "a", 3)
    service = Service(act)
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    work_off(steps, clock)
    assert [n for _, n in service.handled] == [0, 1, 2]
    assert steps.stats.balanced
    assert not memory.messages("service")


def test_a_stop_gives_back_what_waits_behind_too(memory, clock):
    publish(memory, "ab", 4)
    steps = Steps.of(Dispatcher(Service()), memory, clock=clock)
    steps.poll()
    steps.handle()
    assert steps.close_intake() == 7
    while steps.in_flight:
        steps.settle()
    assert steps.stats == Stats(received=8, acknowledged=1, released=7)


@pytest.mark.parametrize("seed", range(10))
def test_order_holds_through_failures_of_every_kind(memory, clock, seed):
    """The first time that each event is handled well, all before it in its group were."""
    dice = random.Random(seed)
    done: dict[str, list[int]] = defaultdict(list)

    def act(event: Moved) -> None:
        for _ in range(dice.choice([0, 0, 0, 1, 40])):
            clock.advance(1)
            steps.renew()
        how = dice.choice([None, None, None, Retry(0), Retry(3), ValueError()])
        if how is not None:
            raise how
        if event.n not in done[event.who]:
            done[event.who].append(event.n)

    publish(memory, "abc", 12)
    steps = Steps.of(Dispatcher(Service(act)), memory, clock=clock)
    for _ in range(400):
        if dice.random() < 0.1:
            operation = dice.choice(["delete", "change_visibility", "receive"])
            memory.fail_next(operation, lost=dice.random() < 0.5)
        if dice.random() < 0.1:
            memory.fail_next("delete", entries=[0], retryable=False)
        step = dice.choice([steps.poll, steps.handle, steps.handle, steps.settle, steps.renew])
        step()
        clock.advance(dice.choice([0, 0, 1]))
    for _ in range(40):
        work_off(steps, clock)
        if not memory.messages("service"):
            break
    assert dict(done) == {who: list(range(12)) for who in "abc"}
    assert steps.stats.balanced


def test_groups_are_handled_beside_each_other_and_one_of_a_group_at_a_time(until):
    running: set[str] = set()
    most = 0
    lock = threading.Lock()

    def act(event: Moved) -> None:
        nonlocal most
        with lock:
            assert event.who not in running
            running.add(event.who)
            most = max(most, len(running))
        threading.Event().wait(0.01)
        with lock:
            running.discard(event.who)

    with MemoryBroker(TOPOLOGY) as memory:
        publish(memory, "abcd", 6)
        service = Service(act)
        with Worker(service, broker=memory, wait=0.1) as worker:
            until(lambda: worker.stats.acknowledged == 24)
    assert worker.stats == Stats(received=24, acknowledged=24)
    assert most >= 2
    for who in "abcd":
        assert [n for whose, n in service.handled if whose == who] == list(range(6))


def test_on_a_server_order_holds_through_failures(until):
    class Short(Service):
        service = "service"
        visibility_timeout = 5

    session = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    topology = Topology.of(Short, topic="t.fifo")
    done: dict[str, list[int]] = defaultdict(list)
    dice = random.Random(1)

    def act(event: Moved) -> None:
        if dice.random() < 0.2:
            raise Retry(0)
        done[event.who].append(event.n)

    with LocalServer() as server:
        settings = server.settings(topic="t.fifo")
        apply(topology, settings, session=session, create_topic=True)
        broker = connect(settings, session=session)
        publish(broker, "abc", 6)
        with Worker(Short(act), broker=broker, wait=1) as worker:
            until(lambda: worker.stats.acknowledged == 18)
        broker.close()
    assert dict(done) == {who: list(range(6)) for who in "abc"}
