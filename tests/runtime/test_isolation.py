"""What a user saw: one message killed its process, and 19 innocent ones became dead letters."""

from __future__ import annotations

import random

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.dead_letters.reason import read
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.isolation import ENOUGH, Isolation
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology
from messaging.transport import Delivery

KILLER = 7


class Happened(Event, type="happened", version=1, group="key"):
    n: int
    key: str = "k"


class Service(Consumer):
    """Event 7 ends its process."""

    visibility_timeout = 30

    def __init__(self, life: Life) -> None:
        self.life = life

    @handles
    def happened(self, event: Happened) -> None:
        self.life.handle(event.n)


class Life:
    """Processes that die and are started again, on one broker and one clock."""

    def __init__(self, *, fifo: bool = False, kind: type[Service] = Service) -> None:
        self.clock = FakeClock()
        self.fifo = fifo
        self.kind = kind
        topic = "t.fifo" if fifo else "t"
        self.broker = MemoryBroker(Topology.of(kind, topic=topic), clock=self.clock)
        self.handled: list[int] = []
        self.in_hand_at_crash: list[int] = []
        self.steps = self.start()

    def start(self) -> Steps:
        return Steps.of(
            Dispatcher(self.kind(self), clock=self.clock),
            self.broker,
            concurrency=10,
            prefetch=10,
            clock=self.clock,
        )

    def publish(self, *numbers: int) -> None:
        with Publisher(self.broker.topic(), source="/t") as publisher:
            publisher.publish_many(Happened(n=n, key=f"k{n % 5}") for n in numbers)

    def handle(self, number: int) -> None:
        if number == KILLER:
            self.in_hand_at_crash.append(len(self.steps.in_flight))
            self.steps.crash()
            return
        self.handled.append(number)

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            for _ in range(10):
                self.steps.poll()
                self.steps.handle()
                self.steps.settle()
                if self.steps.crashed:
                    self.steps = self.start()
            self.steps.renew()
            self.clock.advance(1)


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@pytest.mark.parametrize("seed", range(5))
def test_the_killer_is_dead_lettered_with_a_reason_and_nobody_else(fifo: bool, seed: int) -> None:
    random.seed(seed)
    life = Life(fifo=fifo)
    life.publish(*range(41))
    life.live(2400)
    (letter,) = life.broker.dead_letters("service")
    note = read(letter.attributes)[1]
    assert note is not None
    assert note.reason == "received 40 times and never ended: it may end its process"
    assert '"n":7' in letter.body
    assert set(life.handled) == set(range(41)) - {KILLER}
    assert not life.broker.messages("service")


def test_from_the_fourth_time_on_nothing_that_is_no_suspect_is_in_hand_beside_it() -> None:
    random.seed(1)
    life = Life()
    life.publish(KILLER)
    life.live(150)
    for number in range(100, 160):  # somebody else is always there
        life.publish(number)
        life.live(10)
    assert len(life.in_hand_at_crash) > 6
    assert set(life.in_hand_at_crash) == {1}
    assert set(life.handled) == set(range(100, 160))


def test_the_order_of_a_group_is_kept_while_suspects_are_held() -> None:
    random.seed(3)
    life = Life(fifo=True)
    life.publish(*range(41))
    life.live(2400)
    for key in range(5):
        first = list(dict.fromkeys(n for n in life.handled if n % 5 == key))
        assert first == sorted(first)


def test_a_message_that_ended_here_is_no_suspect_however_often_it_comes() -> None:
    class Waiting(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            raise Retry(1)

    life = Life(kind=Waiting)
    life.publish(*range(100, 110))
    life.live(12)
    assert not life.steps._pipeline.isolation.active
    assert life.steps.stats.released > 80, "they waited for each other"


def test_a_suspect_waits_until_nothing_else_is_in_flight() -> None:
    in_flight, received = InFlight(), list[InFlightMessage]()
    isolation = Isolation("service", in_flight, last_receive=50)
    both = [
        Delivery(queue="q", message_id=id, receipt=id, body="{}", receive_count=count)
        for id, count in (("other", 1), ("suspect", 4))
    ]
    in_flight.receive(both, 0.0, 30.0, received.append)
    other, suspect = received
    isolation.hold(suspect)
    assert isolation.next() is None
    other.outcome = Ack()
    in_flight.settle([other], Disposition.ACKNOWLEDGED)
    assert isolation.next() is suspect


@pytest.mark.parametrize("seed", range(3))
def test_many_high_counts_that_kill_nobody_are_soon_handled_as_usual(caplog, seed: int) -> None:
    random.seed(seed)

    class Failing(Service):
        service = "service"
        retry = RetryPolicy(max_attempts=9)
        fails = True

        @handles
        def happened(self, event: Happened) -> None:
            if Failing.fails:
                raise ConnectionError
            super().happened(event)

    life = Life(kind=Failing)
    life.publish(*range(100, 200))
    life.live(200)
    Failing.fails = False
    life.steps = life.start()  # a deployment: nothing is known of the hundred
    life.clock.advance(400)
    caplog.clear()
    life.live(60)
    assert len(life.handled) == 100
    alone = sum("is handled alone" in one for one in caplog.messages)
    assert ENOUGH <= alone <= ENOUGH + 10, "those of the last receive are held by then"
