"""Receives in parallel: many with a backlog, one while idle, never more than can be started."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from messaging.backoff import Backoff
from messaging.clock import SYSTEM_CLOCK
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import TransportError
from messaging.event import Event
from messaging.runtime import Worker
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import InFlight
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.transport import Delivery


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    @handles
    def happened(self, event: Happened) -> None: ...


class FarAway:
    """Makes each receive of a scripted queue take `way` seconds, and looks on."""

    def __init__(self, queue, way: float = 0.02) -> None:
        self._receive = queue.receive
        self._way = way
        self._lock = threading.Lock()
        self.out: list[int] = []
        self.most = 0
        self.promised = 0
        self.worker: Worker | None = None
        queue.receive = self.receive

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        with self._lock:
            self.out.append(limit)
            self.most = max(self.most, len(self.out))
            if self.worker is not None:
                self.promised = max(self.promised, sum(self.out) + self.worker.stats.in_flight)
        time.sleep(self._way)
        brought = self._receive(limit, wait)
        with self._lock:
            self.out.remove(limit)
        return brought


def test_an_idle_queue_is_asked_once(work, queue, until, release):
    queue.late, queue.late_brings = release, 0  # a poll that lasts as long as the test
    far = FarAway(queue)
    work(Service(), wait=20)
    until(lambda: queue.receives)
    time.sleep(0.2)
    assert (len(queue.receives), len(far.out)) == (1, 1)


def test_a_backlog_is_received_in_parallel_and_then_one_is_left(work, queue, until):
    far = FarAway(queue)
    queue.put(*range(600))
    worker = work(Service(), concurrency=20, prefetch=20, wait=0.2)
    until(lambda: worker.stats.acknowledged == 600)
    assert 2 <= far.most <= 4
    asked = len(queue.receives)
    assert asked <= 60 + 6, "requests that were not full"
    until(lambda: not any("helper" in one.name for one in threading.enumerate()))
    assert len(far.out) <= 1


def test_helpers_that_left_are_forgotten(work, queue, until):
    FarAway(queue)
    worker = work(Service(), concurrency=20, prefetch=20)
    for wave in range(1, 5):
        queue.put(*range(100 * wave, 100 * wave + 100))
        until(lambda wave=wave: worker.stats.acknowledged == 100 * wave)
        until(lambda: not any("helper" in one.name for one in threading.enumerate()))
    known = [one.name for one in worker._threads._threads]
    assert sum("helper" in name for name in known) <= 3


def test_a_few_messages_need_no_second_receive(work, queue, until):
    far = FarAway(queue)
    worker = work(Service(), wait=0.2)
    for number in range(5):
        queue.put(number)
        until(lambda number=number: worker.stats.acknowledged == number + 1)
    assert far.most == 1


def test_what_nobody_can_start_is_not_fetched(work, queue, until):
    class Slow(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            time.sleep(0.02)

    far = FarAway(queue, way=0.005)
    queue.put(*range(200))
    worker = work(Slow(), concurrency=10, prefetch=20, start=False)
    far.worker = worker
    worker.start()
    until(lambda: worker.stats.acknowledged == 200)
    # One receive may be counted twice: when it is in hand, and not taken off what is out yet.
    assert far.promised <= 10 + 20 + 10


def test_a_fifo_queue_is_received_in_order(work, queue, until):
    queue.name = "t-service.fifo"
    far = FarAway(queue, way=0.005)
    queue.put(*range(200))
    worker = work(Service(), concurrency=20, prefetch=20)
    until(lambda: worker.stats.acknowledged == 200)
    assert far.most == 1


def test_an_outage_in_a_backlog_is_told_once_and_survived(work, queue, until, caplog, monkeypatch):
    monkeypatch.setattr("messaging.runtime.receiver.BACKOFF", Backoff(first=0.01, longest=30))
    FarAway(queue)
    queue.put(*range(400))
    worker = work(Service(), concurrency=20, prefetch=20)
    until(lambda: worker.stats.acknowledged >= 100)
    queue.fail_receive.extend(TransportError("no route to SQS", code="Outage") for _ in range(6))
    until(lambda: worker.stats.acknowledged == 400)
    said = [one for one in caplog.messages if one.startswith("cannot receive from t-service")]
    assert len(said) <= 1


def test_stopped_while_helpers_receive_nothing_is_lost(work, queue, until):
    FarAway(queue)
    queue.put(*range(2000))
    worker = work(Service(), concurrency=20, prefetch=20)
    until(lambda: worker.stats.acknowledged >= 200)
    stats = worker.stop().stats
    assert stats.received == stats.acknowledged + stats.released
    assert stats.received + queue.depth().visible == 2000


@pytest.fixture
def hungry() -> BackPressure:
    isolation = Isolation("q", InFlight(), last_receive=50)
    breaker = Breaker(None, Postponed(SYSTEM_CLOCK), service="service", clock=SYSTEM_CLOCK)
    return BackPressure(InFlight(), breaker, isolation, concurrency=10, prefetch=15, lease=30)


def test_what_is_out_counts_as_held(hungry):
    assert [hungry.room(), hungry.room()] == [10, 10]
    assert hungry.room(0.01) == 0, "5 are left: not worth a request beside the others"
    hungry.answered(10)
    assert hungry.room(0.01) == 10
    hungry.answered(10)
    hungry.answered(10)
    assert hungry.room(0.01) == 10


def test_room_that_comes_is_given_to_all_that_wait(hungry):
    hungry.pause()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(hungry.room())) for _ in range(2)]
    for one in threads:
        one.start()
    time.sleep(0.05)
    hungry.resume()
    for one in threads:
        one.join(5)
    assert found == [10, 10]
