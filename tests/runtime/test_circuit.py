"""An outage dead-letters nothing and is over soon after its end; poison delays nobody."""

from __future__ import annotations

import logging

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.dead_letters.reason import read
from messaging.doctor.probe import send
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Circuit, Discard, Reject, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime import State, postponed
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology
from tests.chaos.outages import Setting, play


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    """Its database may be away, and some messages are poison."""

    circuit = Circuit(failures=5)

    def __init__(self) -> None:
        self.error: Exception | None = ConnectionError("no database")
        self.poison: set[int] = set()
        self.handled: list[int] = []

    @handles
    def happened(self, event: Happened) -> None:
        self.handled.append(event.n)
        if self.error is not None:
            raise self.error
        if event.n in self.poison:
            raise ValueError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(Topology.of(Service, topic="t"), clock=clock)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def steps(memory: MemoryBroker, clock: FakeClock, service: Service) -> Steps:
    return Steps.of(Dispatcher(service, clock=clock), memory, clock=clock, prefetch=5)


def publish(memory: MemoryBroker, count: int, first: int = 0) -> None:
    with Publisher(memory.topic(), source="/t") as publisher:
        publisher.publish_many(Happened(n=first + n) for n in range(count))


def work_off(steps: Steps, rounds: int = 30) -> None:
    for _ in range(rounds):
        steps.poll()
        while steps.handle():
            pass
        steps.settle()


def live(steps: Steps, clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        work_off(steps, 8)
        clock.advance(1)


@pytest.mark.parametrize("messages", [1, 5, 20, 45, 120])
@pytest.mark.parametrize("away", [35, 600])
def test_a_database_that_was_away_dead_letters_nothing_and_all_is_done_soon(messages, away) -> None:
    played = play(Setting(good=messages, away=away))
    assert played.good_lost == 0
    assert played.first_attempt <= 30, "nobody looked whether it is back"
    assert played.over <= 10
    assert played.most_receives < Service.max_receives


def test_one_message_a_minute_outlives_an_outage_too() -> None:
    played = play(Setting(good=12, every=60, away=600))
    assert (played.good_lost, played.over <= 10) == (0, True)


def test_several_processes_outlive_it_too() -> None:
    played = play(Setting(good=120, away=60, processes=4))
    assert (played.good_lost, played.over <= 10) == (0, True)


def test_a_fifo_queue_outlives_it_too() -> None:
    played = play(Setting(good=20, away=60, fifo=True))
    assert (played.good_lost, played.over <= 10) == (0, True)


def test_an_outage_that_begins_in_the_middle_of_traffic_dead_letters_nothing() -> None:
    played = play(Setting(good=300, every=0.5, away_from=20, away=60))
    assert (played.good_lost, played.over <= 10) == (0, True)


@pytest.mark.parametrize(("poison", "good"), [(200, 20), (20, 200), (1_000, 10), (1, 1)])
def test_good_messages_among_poison_are_not_held_up_by_the_circuit(poison, good) -> None:
    played = play(Setting(good=good, poison=poison))
    without = play(Setting(good=good, poison=poison, circuit=None))
    assert played.good_lost == 0
    assert played.poison_dead == poison
    assert played.last_good <= 2 * without.last_good


def test_poison_beside_steady_traffic_is_dead_lettered_after_its_attempts(
    steps, memory, service, clock
) -> None:
    service.error, service.poison = None, {0}
    publish(memory, 1)
    for minute in range(1, 61):  # somebody else succeeds all the time
        publish(memory, 1, first=minute)
        live(steps, clock, 1)
    (letter,) = memory.dead_letters("service")
    note = read(letter.attributes)[1]
    assert note is not None
    assert (note.reason, note.attempts) == ("ValueError after 5 attempts", 5)


def test_poison_alone_in_its_queue_is_dead_lettered_after_ten_minutes(
    steps, memory, service, clock
) -> None:
    service.error, service.poison = None, {0}
    publish(memory, 1)
    live(steps, clock, 590)
    assert not memory.dead_letters("service")
    live(steps, clock, 60)
    (letter,) = memory.dead_letters("service")
    note = read(letter.attributes)[1]
    assert note is not None
    assert note.reason.startswith("ValueError after ")
    assert note.attempts < Service.max_receives


def test_where_every_failure_counts_it_is_dead_lettered_after_its_attempts(memory, clock) -> None:
    class Strict(Service):
        service = "service"
        retry = RetryPolicy(max_attempts=3, wait=wait_fixed(1), outage=0)

    steps = Steps.of(Dispatcher(Strict(), clock=clock), memory, clock=clock)
    publish(memory, 3)
    live(steps, clock, 6)
    assert steps.stats.dead_lettered == 3
    assert Strict.max_receives == 10


def test_attempts_in_an_outage_do_not_count_after_it(steps, memory, service, clock) -> None:
    publish(memory, 1)
    live(steps, clock, 300)  # ten attempts and more
    service.error, service.poison = None, {0}
    for number in range(1, 30):
        publish(memory, 1, first=number)
        live(steps, clock, 1)
        if number == 1:
            tried = len([n for n in service.handled if n == 0])
    assert not memory.dead_letters("service"), "it had no attempts of its own left"
    for number in range(30, 200):
        publish(memory, 1, first=number)
        live(steps, clock, 1)
    assert len(memory.dead_letters("service")) == 1
    assert len([n for n in service.handled if n == 0]) >= tried + 3


def test_it_opens_slows_down_and_says_so_once(steps, memory, service, clock, caplog) -> None:
    caplog.set_level(logging.WARNING, "messaging.runtime")
    publish(memory, 100)
    work_off(steps)
    assert steps.state is State.OPEN
    assert len(service.handled) == 100, "a new message may be a good one: each is tried"
    assert not memory.dead_letters("service")
    service.error = None
    live(steps, clock, 40)
    assert steps.state is State.RECEIVING
    assert steps.stats.acknowledged == 100
    assert not memory.messages("service")
    opened, closed = [one.getMessage() for one in caplog.records if one.name == "messaging.runtime"]
    assert opened.startswith("the circuit of service opens: the last 5 messages all failed")
    assert "service handles messages again after " in closed
    assert "no database" not in caplog.text


def test_half_as_many_are_taken_in_hand_while_it_is_open(memory, clock, service) -> None:
    steps = Steps.of(Dispatcher(service), memory, concurrency=20, prefetch=20, clock=clock)
    publish(memory, 100)
    while steps.state is not State.OPEN:
        steps.poll()
        steps.handle()
    while steps.handle():
        pass
    steps.settle()
    while steps.poll():
        pass
    assert len(steps.in_flight) == 10


def test_the_end_of_an_outage_calls_back_what_is_hidden(steps, memory, service, clock) -> None:
    publish(memory, 30)
    live(steps, clock, 60)
    service.error = None
    publish(memory, 1, first=100)
    live(steps, clock, 2)  # by itself a message would come after 15 to 30 s
    assert steps.stats.acknowledged == 31


def test_a_short_trouble_calls_nothing_back(steps, memory, service, clock) -> None:
    publish(memory, 3)
    work_off(steps, 2)
    service.error = None
    publish(memory, 1, first=100)
    work_off(steps, 5)
    assert steps.stats.acknowledged == 1, "the pauses of the retry policy are kept"


def test_when_too_many_are_hidden_no_more_are_received(
    steps, memory, service, clock, monkeypatch
) -> None:
    monkeypatch.setattr(postponed, "MOST", 20)
    publish(memory, 100)
    work_off(steps)
    assert len(service.handled) <= 30
    service.error = None
    live(steps, clock, 120)
    assert steps.stats.acknowledged == 100


@pytest.mark.parametrize("said", [Retry(0), Reject("no"), Discard("no")])
def test_what_a_handler_says_itself_is_no_failure(steps, memory, service, said) -> None:
    service.error = said
    publish(memory, 30)
    work_off(steps, 5)
    assert steps.state is State.RECEIVING


def test_one_success_in_between_starts_the_count_anew(steps, memory, service) -> None:
    publish(memory, 4)
    work_off(steps, 2)
    service.error = None
    publish(memory, 1, first=10)
    work_off(steps, 2)
    service.error = ConnectionError()
    publish(memory, 4, first=20)
    work_off(steps, 2)
    assert steps.state is State.RECEIVING


def test_messages_that_cannot_be_read_do_not_count(steps, memory, service) -> None:
    service.error = None
    for _ in range(20):
        memory.send("service", "not an envelope")
    work_off(steps)
    assert steps.stats.dead_lettered == 20
    assert steps.state is State.RECEIVING


def test_at_the_last_receive_a_failure_leaves_with_its_reason(memory, clock) -> None:
    class Poisoned(Service):
        service = "service"
        max_receives = 6

    steps = Steps.of(Dispatcher(Poisoned(), clock=clock), memory, clock=clock)
    publish(memory, 6)
    live(steps, clock, 300)
    letters = memory.dead_letters("service")
    assert len(letters) == 6
    notes = [read(letter.attributes)[1] for letter in letters]
    assert all(note is not None and "ConnectionError" in note.reason for note in notes)
    assert {note.attempts for note in notes if note is not None} == {6}


def test_handlers_that_hang_beyond_their_timeout_open_it(memory, clock, caplog) -> None:
    class Hanging(Service):
        service = "service"
        handler_timeout = 5

        @handles
        def happened(self, event: Happened) -> None:
            self.handled.append(event.n)
            clock.advance(6)
            steps.renew()

    steps = Steps.of(Dispatcher(Hanging()), memory, clock=clock, prefetch=20)
    publish(memory, 30)
    work_off(steps, 1)
    assert "the circuit of service opens" in caplog.text
    assert steps.stats.expired >= 5


def test_in_threads_it_opens_and_closes(work, queue, until) -> None:
    class Quick(Service):
        service = "service"
        circuit = Circuit(failures=3)

    service = Quick()
    queue.put(*range(3))
    worker = work(service)
    until(lambda: worker.state == {"service": State.OPEN})
    service.error = None
    queue.put(*range(40, 60))
    until(lambda: worker.state == {"service": State.RECEIVING})
    until(lambda: worker.stats.acknowledged >= 20)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Circuit(failures=0), "Circuit"),
        (lambda: RetryPolicy(outage=-1), "outage"),
        (lambda: RetryPolicy(outage=99_999), "outage"),
    ],
)
def test_what_cannot_be_is_refused(made, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        made()


def test_a_probe_of_doctor_or_a_canary_does_not_count_as_a_handler_that_works(
    memory: MemoryBroker, steps: Steps, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="messaging")
    publish(memory, 3)
    work_off(steps, 1)
    clock.advance(60)
    list(send(memory.topology, memory, clock=clock))
    work_off(steps, 1)
    assert any("received probe" in one.getMessage() for one in caplog.records)
    assert not any("handles messages again" in one.getMessage() for one in caplog.records)
