"""When a service counts as wedged, looked at without a worker, on a clock of the test's own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.outcome import Ack
from messaging.runtime import wedge as module
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.wedge import Wedge
from messaging.testing import FakeClock
from messaging.transport import Delivery


class Happened(Event, type="happened", version=1):
    n: int


class Mail(Consumer):
    service = "mail"
    handler_timeout = 10

    @handles
    def happened(self, event: Happened) -> None: ...


class Patient(Mail):
    service = "mail"
    handler_timeout = None


class Watch:
    """A wedge of two handlers, and what it has said."""

    def __init__(self, consumer: Consumer | None = None) -> None:
        self.clock = FakeClock()
        self.clock.advance(5000)  # a clock at 0 would hide a wrong sign
        self.in_flight = InFlight()
        self.said: list[object] = []
        self.wedge = Wedge(
            self.in_flight,
            consumer or Mail(),
            concurrency=2,
            clock=self.clock,
            happened=lambda: self.said.append("happened"),
            goes_on=lambda seconds: self.said.append(seconds),
            over=lambda: self.said.append("over"),
        )

    def begin(self, *names: str) -> list[InFlightMessage]:
        begun: list[InFlightMessage] = []
        now = self.clock.monotonic()
        self.in_flight.receive(
            [Delivery(queue="t", message_id=n, receipt="r", body="") for n in names],
            now,
            30,
            begun.append,
        )
        for one in begun:
            one.started = now
        return begun

    def look(self, after: float = 0) -> list[object]:
        self.clock.advance(after)
        self.said.clear()
        self.wedge.look()
        return list(self.said)


def test_a_service_is_wedged_when_all_its_handlers_are_over_their_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch()
    assert not watch.wedge.wedged
    assert watch.wedge.wedged_for(watch.clock.monotonic()) is None
    watch.begin("a")
    assert watch.look(5) == []
    watch.begin("b")
    assert watch.look(6) == [], "one has run for 11 s, the other for 6"
    assert watch.look(4) == [], "exactly its time is not over it"
    assert watch.look(1) == ["happened", 0.0]
    assert watch.wedge.wedged
    assert watch.wedge.wedged_for(watch.clock.monotonic() + 7) == 7
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "mail is wedged: all 2 handlers have run for more than 10 s, the longest for 16 s, and "
        "nothing is received until one of them ends: they wait in the event loop"
    )


def test_it_is_said_once_a_minute_and_told_at_each_look(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    watch.begin("a", "b")
    assert watch.look(11) == ["happened", 0.0]
    assert watch.look(20) == [20.0]
    assert watch.look(39) == [59.0]
    assert len(caplog.records) == 1
    assert watch.look(1) == [60.0]
    assert len(caplog.records) == 2
    assert watch.look(59) == [119.0]
    assert len(caplog.records) == 2
    assert module.SAID_EVERY == 60


def test_it_is_over_when_one_ends_and_may_happen_again(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    one, _ = watch.begin("a", "b")
    watch.look(11)
    caplog.clear()
    one.outcome = Ack()
    watch.in_flight.settle([one], Disposition.ACKNOWLEDGED)
    assert watch.look(30) == ["over"]
    assert not watch.wedge.wedged
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "mail is not wedged any more: a handler ended"
    assert watch.look() == [], "said once"
    caplog.clear()
    watch.begin("c")
    assert watch.look(11) == ["happened", 0.0]
    assert len(caplog.records) == 1, "said at once, however lately it was said before"


def test_handlers_whose_messages_were_given_up_still_hang() -> None:
    watch = Watch()
    for one in watch.begin("a", "b"):
        assert watch.in_flight.give_up(one)
    assert watch.look(11) == ["happened", 0.0]


def test_a_message_that_waits_for_a_handler_does_not_hang() -> None:
    watch = Watch()
    _, waiting = watch.begin("a", "b")
    waiting.started = None
    assert watch.look(11) == []


def test_without_a_time_of_its_own_a_handler_hangs_after_five_minutes() -> None:
    assert Watch(Patient()).wedge.limit == 300.0
    assert Watch().wedge.limit == 10


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def stand_here(release: threading.Event, standing: threading.Semaphore) -> None:
    standing.release()
    release.wait(20)


def places(name: str, release: threading.Event, count: int = 1) -> list[str]:
    """What is said of threads of this name that stand in code of this module."""
    standing = threading.Semaphore(0)
    threads = [
        threading.Thread(target=stand_here, args=(release, standing), name=name, daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
        standing.acquire()
    try:
        return Watch().wedge._places()
    finally:
        release.set()
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("name", ["messaging-mail-1", "messaging-loop"])
def test_the_place_where_a_handler_stands_is_said_once(name: str, release: threading.Event) -> None:
    [place] = places(name, release, count=2)
    assert "test_hung_handlers.py:" in place
    assert "stand_here" in place


@pytest.mark.parametrize("name", ["messaging-other-1", "MainThread-2"])
def test_the_places_of_other_threads_are_not_said(name: str, release: threading.Event) -> None:
    assert places(name, release) == []
