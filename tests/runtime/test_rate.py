"""A rate limit bounds what is received, counted on a fake clock and on a worker that runs."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from messaging import Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.consuming.consumer import Consumer
from messaging.errors import ConfigurationError, ConsumerError
from messaging.outcome import RateLimit
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import InFlight
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.runtime.rate import TokenBucket
from messaging.testing import FakeClock
from messaging.transport import Delivery

DELIVERY = Delivery(queue="t", message_id="m", receipt="r", body="{}")


def pressure(limit: RateLimit, clock: FakeClock) -> BackPressure:
    """Of a service that has room for a hundred."""
    breaker = Breaker(None, Postponed(clock), service="mail", clock=clock)
    return BackPressure(
        InFlight(),
        breaker,
        Isolation("t", InFlight(), last_receive=20),
        concurrency=50,
        prefetch=50,
        lease=30,
        rate=TokenBucket(limit, clock),
    )


def receive(service: BackPressure) -> int:
    """Ask and be given all that was asked for, until nothing may be asked."""
    total = 0
    while asked := service.room(patience=0):
        service.answered(asked, [DELIVERY] * asked)
        total += asked
    return total


@pytest.mark.parametrize("limit", [RateLimit(50), RateLimit(3000, per=60), RateLimit(50, burst=10)])
def test_a_backlog_is_received_at_the_rate(limit: RateLimit) -> None:
    clock = FakeClock()
    service = pressure(limit, clock)
    first = receive(service)
    assert first == limit.most
    total = 0
    for _ in range(600):
        clock.advance(0.1)
        total += receive(service)
    assert total == pytest.approx(60 * 50, abs=10), "a minute; ten may still be gathered"


def test_a_slow_rate_lets_one_message_through_when_it_is_due() -> None:
    clock = FakeClock()
    service = pressure(RateLimit(1, per=10), clock)
    assert receive(service) == 1
    clock.advance(9.9)
    assert receive(service) == 0
    assert service.state.value == "rate limited"
    clock.advance(0.2)
    assert service.state.value == "receiving"
    assert receive(service) == 1


def test_what_is_asked_for_is_promised_and_what_did_not_come_is_not_paid() -> None:
    clock = FakeClock()
    service = pressure(RateLimit(10), clock)
    assert service.room(patience=0) == 10
    assert service.room(patience=0) == 0, "the tokens are promised"
    service.answered(10, [DELIVERY] * 2)
    assert service.free(1) == 8


def test_it_is_limited_when_less_than_one_token_is_left_beside_what_is_asked_for() -> None:
    clock = FakeClock()
    service = pressure(RateLimit(10, burst=21), clock)
    assert (service.room(patience=0), service.room(patience=0)) == (10, 10)
    assert service.state.value == "receiving"
    service.answered(10, [DELIVERY] * 11)
    assert service.room(patience=0) == 0
    assert service.state.value == "rate limited"


def test_tokens_that_come_otherwise_than_with_time_are_looked_for_at_once() -> None:
    clock = FakeClock()
    bucket = TokenBucket(RateLimit(10), clock)
    service = BackPressure(
        InFlight(),
        Breaker(None, Postponed(clock), service="mail", clock=clock),
        Isolation("t", InFlight(), last_receive=20),
        concurrency=50,
        prefetch=50,
        lease=30,
        rate=bucket,
    )
    assert bucket.refilled == service.look_again


def test_it_is_looked_again_when_tokens_for_a_full_request_are_due_and_each_second() -> None:
    clock = FakeClock()
    service = pressure(RateLimit(50), clock)
    assert service._nap(None) == 1.0, "they are there: something else is missing"
    receive(service)
    assert service._nap(None) == pytest.approx(0.2)
    slow = pressure(RateLimit(1, burst=10), clock)
    receive(slow)
    assert slow._nap(None) == 1.0


def test_how_long_it_takes_until_tokens_are_there() -> None:
    clock = FakeClock()
    bucket = TokenBucket(RateLimit(10), clock)
    assert bucket.wait(10) == 0
    bucket.took(12)
    assert bucket.wait(1) == pytest.approx(0.3)
    assert bucket.wait(4) == pytest.approx(0.6)
    clock.advance(0.5)
    assert bucket.wait(4) == pytest.approx(0.1)
    assert bucket.wait(1) == 0


def test_a_pause_saves_no_more_than_the_burst() -> None:
    clock = FakeClock()
    service = pressure(RateLimit(50, burst=20), clock)
    clock.advance(3600)
    assert receive(service) == 20


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": -1}, {"count": 1, "per": 0}, {"count": 1, "burst": 0},
              {"count": float("nan")}, {"count": float("inf")}]
)  # fmt: skip
def test_a_limit_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="RateLimit"):
        RateLimit(**wrong)  # type: ignore[arg-type] # burst is an int


def test_a_rate_that_is_no_limit_is_refused_by_its_name() -> None:
    with pytest.raises(ConsumerError, match=r"Mail\.rate must be a RateLimit or None, not '50/s'"):

        class Mail(Consumer):
            rate = "50/s"  # type: ignore[assignment]


class Counted(Event, type="counted", version=1):
    number: int


class Gentle(Consumer):
    rate = RateLimit(40, burst=5)

    def __init__(self) -> None:
        self.done = threading.Event()
        self.handled: list[int] = []

    @handles
    def count(self, event: Counted) -> None:
        self.handled.append(event.number)
        if len(self.handled) == 45:
            self.done.set()


def test_a_worker_takes_its_backlog_no_faster_and_no_attempt_is_counted() -> None:
    gentle = Gentle()
    with closing(MemoryBroker(Topology.of(Gentle, topic="t"))) as broker:
        with Publisher(broker.topic(), source="/x") as publisher:
            publisher.publish_many(Counted(number=number) for number in range(60))
        began = time.monotonic()
        worker = Worker(gentle, broker=broker, wait=0.1)
        with worker:
            assert gentle.done.wait(30)
            stats = worker.stats
            seconds = time.monotonic() - began
    assert stats.received <= 5 + 40 * seconds + 10, "the burst, the rate, and one more request"
    assert (stats.expired, stats.released, stats.dead_lettered) == (0, 0, 0)
