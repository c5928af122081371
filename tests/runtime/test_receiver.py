"""Receiving: errors are waited out and told once, and nobody spins."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from messaging.backoff import Backoff
from messaging.clock import SYSTEM_CLOCK
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.event import Event
from messaging.runtime import Stage
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import InFlight
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.runtime.receiver import IDLE, Receiver


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    @handles
    def happened(self, event: Happened) -> None: ...


@pytest.mark.parametrize("kind", [TransportError, NotFound, AccessDenied])
def test_an_outage_is_waited_out_and_told_once(work, queue, until, caplog, monkeypatch, kind):
    monkeypatch.setattr("messaging.runtime.receiver.BACKOFF", Backoff(first=0.01, longest=30))
    queue.fail_receive.extend(kind("no route to SQS", code="Outage") for _ in range(4))
    queue.put(1)
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 1)
    said = [one.getMessage() for one in caplog.records]
    assert len([one for one in said if one.startswith("cannot receive from t-service")]) == 1
    assert len([one for one in said if one.startswith("receiving from t-service again")]) == 1
    assert "after 4 failures" in caplog.text
    assert worker.stage is Stage.RUNNING


def backpressure() -> BackPressure:
    isolation = Isolation("q", InFlight(), last_receive=50)
    breaker = Breaker(None, Postponed(SYSTEM_CLOCK), service="service", clock=SYSTEM_CLOCK)
    return BackPressure(InFlight(), breaker, isolation, concurrency=5, prefetch=5, lease=30)


def receiver(queue, wait: float) -> Receiver:
    return Receiver(
        queue, backpressure(), wait=wait, clock=SYSTEM_CLOCK, taken=lambda deliveries, since: None
    )


def test_pauses_double_up_to_half_a_minute(queue, monkeypatch):
    one = receiver(queue, wait=20)
    pauses: list[float] = []
    monkeypatch.setattr(one._stopped, "wait", pauses.append)
    for _ in range(40):
        one._failed(TransportError("no"))
        one._pause()
    assert 0.125 <= pauses[0] <= 0.25
    assert 15 <= min(pauses[8:]) <= max(pauses) <= 30
    assert len(set(pauses[8:])) > 10, "without jitter all workers come back at once"


def test_a_stop_cuts_a_pause_short(work, queue, until, monkeypatch):
    monkeypatch.setattr("messaging.runtime.receiver.BACKOFF", Backoff(first=30, longest=30))
    queue.fail_receive.append(TransportError("no"))
    worker = work(Service())
    until(lambda: queue.receives)
    assert worker.stop().stages[Stage.RELEASING] < 5


def test_a_poll_that_ends_in_an_error_because_it_was_closed_is_no_outage(queue, caplog):
    hungry = backpressure()
    queue.fail_receive.append(TransportError("closed"))
    queue.put(1)
    one = Receiver(
        queue,
        hungry,
        wait=0.1,
        clock=SYSTEM_CLOCK,
        taken=lambda deliveries, since: hungry.close(),
    )
    one.stop()
    one.run()
    assert not caplog.records


@pytest.mark.parametrize("wait", [0, 0.2])
def test_receives_that_come_back_empty_at_once_do_not_spin(work, queue, wait, until):
    times: list[float] = []
    queue.receive = lambda limit, wait: times.append(time.monotonic()) or []
    work(Service(), wait=wait)
    until(lambda: len(times) >= 5)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(pauses) >= IDLE.first
    # Where a long poll was asked for, one that a busy machine made slow is no short one.
    assert wait or all(pause >= IDLE.first * 2**n for n, pause in enumerate(pauses[:4]))


def test_it_waits_for_room_rather_than_asking_for_one_message_at_a_time(
    work, queue, until, release
):
    class Slow(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            release.wait(5) if event.n == 0 else threading.Event().wait(0.002)

    queue.put(*range(100))
    worker = work(Slow(), concurrency=2, prefetch=20)
    until(lambda: worker.stats.acknowledged == 99)
    brought = queue.receives[:-1]
    assert min(brought) >= 2
    assert len([limit for limit in brought if limit == 10]) >= len(brought) / 2
