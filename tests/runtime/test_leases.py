"""Leases: renewed for all in hand, in batches, not without need, and never lost in secret."""

from __future__ import annotations

import threading

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import TransportError
from messaging.event import Event
from messaging.outcome import Retry
from messaging.runtime import Stats
from messaging.runtime.heartbeat import Heartbeat
from messaging.runtime.in_flight import Disposition, InFlight
from messaging.testing import FakeClock
from messaging.transport import Failure


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    def __init__(self, act=lambda n: None) -> None:
        self.act = act

    @handles
    def happened(self, event: Happened) -> None:
        self.act(event.n)


GONE = ("ReceiptHandleIsInvalid", "the receipt handle has expired", False)


def test_what_runs_and_what_waits_is_renewed_in_batches(work, queue, until, release):
    queue.visibility_timeout = 1
    queue.put(*range(12))
    worker = work(Service(lambda n: release.wait(5)), concurrency=2, prefetch=18)
    until(lambda: worker.stats.in_flight == 12)
    until(lambda: len(queue.asked("change_visibility")) >= 4)
    first, second = queue.asked("change_visibility")[:2]
    assert len(first.messages) == 10
    assert sorted(first.messages + second.messages) == sorted(f"m{n}" for n in range(12))
    assert set(first.seconds) == {1}
    release.set()
    until(lambda: worker.stats.acknowledged == 12)


def test_a_handler_that_ends_in_time_costs_no_renewal(work, queue, until):
    queue.visibility_timeout = 4
    queue.put(*range(5))
    worker = work(Service(lambda n: threading.Event().wait(0.7)))
    until(lambda: worker.stats.acknowledged == 5)
    assert not queue.asked("change_visibility")


def test_a_lost_lease_is_not_acknowledged(work, queue, until, release, caplog):
    queue.visibility_timeout = 1
    queue.refuse = lambda request: (
        [Failure(0, *GONE)] if request.name == "change_visibility" else ()
    )
    queue.put(1)
    worker = work(Service(lambda n: release.wait(5)))
    until(lambda: "the lease of message m1 of t-service is lost" in caplog.text)
    release.set()
    until(lambda: worker.stats == Stats(received=1, expired=1))
    assert not queue.asked("delete")
    assert len(queue.asked("change_visibility")) == 1, "a lost lease was renewed again"


def test_a_lost_lease_in_the_buffer_is_not_started(work, queue, until, release):
    def refuse(request):
        return (
            [Failure(index, *GONE) for index, one in enumerate(request.messages) if one == "m2"]
            if request.name == "change_visibility"
            else ()
        )

    queue.visibility_timeout = 1
    queue.refuse = refuse
    handled = []

    def act(n: int) -> None:
        handled.append(n)
        release.wait(5)

    queue.put(1, 2)
    worker = work(Service(act), concurrency=1, prefetch=1)
    until(lambda: any("m2" in one.messages for one in queue.asked("change_visibility")))
    release.set()
    until(lambda: worker.stats == Stats(received=2, acknowledged=1, expired=1))
    assert handled == [1]


def test_a_renewal_that_nobody_answers_is_tried_again(work, queue, until, release, caplog):
    outages = [
        TransportError("no route", code="ConnectTimeout"),
        [Failure(0, "Throttled", "", True)],
    ]

    def refuse(request):
        if request.name == "change_visibility" and outages:
            outage = outages.pop(0)
            if isinstance(outage, TransportError):
                raise outage
            return outage
        return ()

    queue.visibility_timeout = 1
    queue.refuse = refuse
    queue.put(1)
    worker = work(Service(lambda n: release.wait(5)))
    until(lambda: queue.messages("change_visibility")[1:])
    release.set()
    until(lambda: worker.stats.acknowledged == 1)
    assert "cannot renew leases of t-service, trying on: ConnectTimeout" in caplog.text


def test_a_message_that_comes_again_while_in_hand_is_handled_once(work, queue, until, release):
    """SQS delivered it a second time: the newer receipt is the one that settles it."""
    started = []

    def act(n: int) -> None:
        started.append(n)
        release.wait(5)

    first, second = queue.delivery(1), queue.delivery(1, receive_count=2)
    settled = []
    queue.delete = lambda deliveries: settled.extend(one.receipt for one in deliveries) or ()
    queue._waiting.append(first)
    worker = work(Service(act), concurrency=2)
    until(lambda: started)
    with queue._changed:
        queue._waiting.append(second)
        queue._changed.notify_all()
    until(lambda: worker.stats.received == 2)
    assert worker.stats == Stats(received=2, expired=1, in_flight=1)
    release.set()
    until(lambda: worker.stats == Stats(received=2, expired=1, acknowledged=1))
    assert (started, settled) == ([1], [second.receipt])


def test_a_retry_is_not_hidden_again_by_a_renewal_under_way(work, queue, until, release):
    """A renewal on its way when the handler ends must not outlast the handler's own delay."""
    renewing, go_on = threading.Event(), threading.Event()

    def refuse(request):
        if request.name == "change_visibility" and request.seconds == (1,):
            renewing.set()
            go_on.wait(5)
        return ()

    def act(n: int) -> None:
        renewing.wait(5)
        raise Retry(delay=7)

    queue.visibility_timeout = 1
    queue.refuse = refuse
    queue.put(1)
    worker = work(Service(act))
    assert renewing.wait(5)
    threading.Event().wait(0.05)
    assert not queue.requests
    go_on.set()
    until(lambda: worker.stats.released == 1)
    assert queue.asked("change_visibility")[-1].seconds == (7,)


def beat(queue, in_flight: InFlight, clock: FakeClock, lease: int) -> Heartbeat:
    return Heartbeat(queue, in_flight, lease=lease, tell=lambda message, reason: None, clock=clock)


def test_the_handler_of_a_message_whose_lease_is_lost_is_told(queue):
    clock, in_flight, told = FakeClock(), InFlight(), []
    in_flight.receive([queue.delivery(1)], clock.monotonic(), 60, lambda message: None)
    (running,) = in_flight.unfinished()
    running.started = clock.monotonic()
    queue.refuse = lambda request: [Failure(0, *GONE)]
    heartbeat = Heartbeat(
        queue, in_flight, lease=60, tell=lambda message, why: told.append(why), clock=clock
    )
    for _ in range(6):
        clock.advance(10)
        heartbeat.step()
    assert set(told) == {"lease lost"}


def test_a_lease_ends_twelve_hours_after_the_receive_and_that_is_told(queue, caplog):
    clock, in_flight = FakeClock(), InFlight()
    in_flight.receive([queue.delivery(1)], clock.monotonic(), 60, lambda message: None)
    heartbeat = beat(queue, in_flight, clock, 60)
    while clock.monotonic() < 43_300:
        heartbeat.step()
        clock.advance(10)
    asked = queue.asked("change_visibility")
    assert len(asked) < 43_200 / 30 + 5
    ends = 43_200 - 5
    assert 0 < asked[-1].seconds[0] <= 60
    assert sum("no longer renewed" in record.getMessage() for record in caplog.records) == 1
    (message,) = in_flight.unfinished()
    assert message.lease_until == pytest.approx(ends, abs=1)


def test_a_retry_near_the_twelfth_hour_asks_for_no_more_than_sqs_gives(work, queue, until):
    clock = FakeClock()

    def act(n: int) -> None:
        clock.advance(43_000)
        raise Retry(delay=600)

    queue.put(1)
    worker = work(Service(act), clock=clock)
    until(lambda: worker.stats.released == 1)
    assert queue.asked("change_visibility")[-1].seconds == (195,)


def test_what_is_being_settled_or_was_settled_is_not_renewed(queue):
    clock, in_flight = FakeClock(), InFlight()
    in_flight.receive([queue.delivery(n) for n in (1, 2, 3)], 0.0, 60, lambda message: None)
    heartbeat = beat(queue, in_flight, clock, 60)
    one, two, _ = in_flight.unfinished()
    clock.advance(50)
    due = in_flight.every()
    in_flight.seal([one])
    in_flight.settle([two], Disposition.ACKNOWLEDGED)
    heartbeat._renew(due)
    assert queue.messages("change_visibility") == ["m3"]
    in_flight.unseal([one])
    heartbeat._renew(due)
    assert queue.asked("change_visibility")[-1].messages == ("m1",)
