"""A rate that processes share: taken in turns, given back, and kept to while its store is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

from benchmarks import fleet_rate
from messaging import Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.consuming.consumer import Consumer
from messaging.errors import ConfigurationError, TransportError
from messaging.metrics import Metrics
from messaging.outcome import RateLimit
from messaging.rates import MemoryRates, PostgresRates, RedisRates
from messaging.runtime.shared_rate import SharedBucket
from messaging.stores import RateStore, Reservation
from tests.servers import running_redis


class Counted(Event, type="counted", version=1):
    number: int


class Gentle(Consumer):
    rate = RateLimit(100, burst=20, shared=True)

    def __init__(self, handled: list[int] | None = None) -> None:
        self.handled: list[int] = [] if handled is None else handled

    @handles
    def count(self, event: Counted) -> None:
        self.handled.append(event.number)


class Severed:
    """A store that is away until `there`, and counts how often it was asked."""

    def __init__(self) -> None:
        self._store = MemoryRates()
        self.there = threading.Event()
        self.asked = 0

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        self.asked += 1
        self._must_be_there()
        return self._store.reserve(queue, member, cost, saved=saved, ahead=ahead)

    def leave(self, queue: str, member: str, cost: float) -> None:
        self._must_be_there()
        self._store.leave(queue, member, cost)

    def close(self) -> None: ...

    def _must_be_there(self) -> None:
        if not self.there.is_set():
            raise TransportError("the store is away")


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(Topology.of(Gentle, topic="t"))) as one:
        yield one


def publish(broker: MemoryBroker, count: int) -> None:
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish_many(Counted(number=number) for number in range(count))


@pytest.fixture(params=["memory", "postgres", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[RateStore]:
    if request.param == "memory":
        made: RateStore = MemoryRates()
    elif request.param == "postgres":
        made = PostgresRates(request.getfixturevalue("postgres"))
    else:
        made = RedisRates(request.getfixturevalue("redis_url"))
    yield made
    made.close()


def test_three_workers_take_one_backlog_at_one_rate_and_no_attempt_is_counted(
    broker: MemoryBroker, store: RateStore, until: Callable[[Callable[[], object]], None]
) -> None:
    publish(broker, 80)
    handled: list[int] = []
    began = time.monotonic()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(Gentle(handled), broker=broker, rates=store, wait=0.1))
            for _ in range(3)
        ]
        until(lambda: len(handled) == 80)
        seconds = time.monotonic() - began
        stats = [worker.stats for worker in workers]
    assert sorted(handled) == list(range(80))
    assert seconds >= (80 - 20) / 100, "the burst, and the rest at the rate of all together"
    for one in stats:
        assert (one.expired, one.released, one.dead_lettered) == (0, 0, 0)


def test_the_store_is_not_asked_for_each_message(
    broker: MemoryBroker, until: Callable[[Callable[[], object]], None]
) -> None:
    store = Severed()
    store.there.set()
    publish(broker, 100)
    gentle = Gentle()
    with Worker(gentle, broker=broker, rates=store, wait=0.1):
        until(lambda: len(gentle.handled) == 100)
    assert store.asked <= 40


def test_what_a_worker_has_not_used_is_there_for_the_others_when_it_stops(
    broker: MemoryBroker, until: Callable[[Callable[[], object]], None]
) -> None:
    store = MemoryRates()
    with Worker(Gentle(), broker=broker, rates=store, wait=0.01) as worker:
        [bucket] = [one.rate for one in worker.pipelines.values()]
        assert isinstance(bucket, SharedBucket)
        until(lambda: bucket.free() == bucket.most)
    found = store.reserve("t-gentle", "next", 0.0, saved=0.2, ahead=1.0)
    assert found.members == 1
    assert found.seconds <= -0.1, "the tokens that it held are back"


def test_a_worker_that_never_reached_the_store_receives_nothing_and_says_so(
    broker: MemoryBroker,
    until: Callable[[Callable[[], object]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    store = Severed()
    publish(broker, 5)
    gentle = Gentle()
    with Worker(gentle, broker=broker, rates=store, wait=0.01) as worker:
        until(lambda: store.asked >= 2)
        assert worker.state["gentle"].value == "rate limited"
        assert worker.stats.received == 0
        name = "messaging.worker.rate_failing"
        assert Metrics(worker).read()[name] == {("gentle",): 1}
        assert "receiving nothing until the store has answered once" in caplog.text
        store.there.set()
        until(lambda: len(gentle.handled) == 5)
        assert "the rate of t-gentle is shared again" in caplog.text
        assert caplog.text.count("cannot be shared") == 1, "it is said once"
        assert Metrics(worker).read()[name] == {("gentle",): 0}


def test_while_the_store_is_away_each_process_takes_its_share_and_all_stay_within_the_limit(
    broker: MemoryBroker,
    until: Callable[[Callable[[], object]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    store = Severed()
    store.there.set()
    handled: list[int] = []
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(Gentle(handled), broker=broker, rates=store, wait=0.01))
            for _ in range(2)
        ]
        buckets = [one.rate for worker in workers for one in worker.pipelines.values()]
        until(lambda: [_members(one) for one in buckets] == [2, 2] or _poke(buckets))
        store.there.clear()
        _poke(buckets)
        publish(broker, 80)
        began = time.monotonic()
        until(lambda: len(handled) == 80)
        seconds = time.monotonic() - began
        store.there.set()
        until(lambda: not any(one.away for one in buckets if isinstance(one, SharedBucket)))
    assert seconds >= (80 - 20 - 2 * 10) / 100, "what they held, a burst, and then the rate"
    assert "receiving 50 a second, the share of one of 2 processes" in caplog.text
    assert "is shared again" in caplog.text


def _members(bucket: Any) -> int:
    return int(bucket._members)


def _poke(buckets: list[Any]) -> bool:
    """As though it was time to tell the store again: fifteen seconds are long for a test."""
    for bucket in buckets:
        bucket._beat = 0.0
        bucket._wake.set()
    return False


def test_a_redis_that_dies_stops_nobody(
    broker: MemoryBroker,
    until: Callable[[Callable[[], object]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    gentle = Gentle()
    with (
        running_redis() as url,
        closing(RedisRates(url)) as store,
        Worker(gentle, broker=broker, rates=store, wait=0.01),
    ):
        publish(broker, 10)
        until(lambda: len(gentle.handled) == 10)
        with redis.Redis.from_url(url) as admin:
            admin.shutdown(nosave=True)
        publish(broker, 60)
        until(lambda: len(gentle.handled) == 70)
    assert "receiving 100 a second, the share of one of 1 processes" in caplog.text
    assert url not in caplog.text


def test_a_shared_rate_without_a_store_is_refused_with_the_remedy(broker: MemoryBroker) -> None:
    with pytest.raises(ConfigurationError, match=r"Gentle\.rate is shared.*Worker\(rates="):
        Worker(Gentle(), broker=broker)


@pytest.mark.parametrize(
    ("limit", "held"),
    [
        (RateLimit(50, shared=True), 10),
        (RateLimit(50, burst=6, shared=True), 3),
        (RateLimit(1, per=60, shared=True), 1),
        (RateLimit(1000, shared=True), 100),
    ],
)
def test_a_process_holds_no_more_than_half_the_burst_or_what_a_request_or_a_tenth_of_a_second_take(
    limit: RateLimit, held: int
) -> None:
    from messaging.clock import SYSTEM_CLOCK

    bucket = SharedBucket(limit, MemoryRates(), "q", SYSTEM_CLOCK)
    assert (bucket.most, bucket.free()) == (held, 0)


def test_three_processes_share_a_limit_in_redis(redis_url: str) -> None:
    found = fleet_rate.fleet(redis_url, rate=50, seconds=1.0, workers=3, window=1.0)
    assert found.twice == found.others == 0
    assert len(found.by_worker) == 3
    assert all(found.by_worker)
    assert sum(found.by_worker) <= 50 * 1 + 50 + 30, "the rate, a burst, and what each held"
    assert found.requests < sum(found.by_worker)
