"""When everything fails: receive nothing, try one message now and then, dead-letter nothing."""

from __future__ import annotations

import logging

import pytest
from tenacity import wait_fixed

from messaging.consumer import Consumer, handles
from messaging.deadletter import read
from messaging.dispatch import Dispatcher
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Circuit, Discard, Reject, Retry, RetryPolicy
from messaging.publisher import Publisher
from messaging.runtime import State
from messaging.runtime.stepping import Steps
from messaging.testing import FakeClock
from messaging.topology import Topology


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    """Its database may be away."""

    retry = RetryPolicy(max_attempts=1, wait=wait_fixed(0))
    max_receives = 1000
    circuit = Circuit(failures=5, first_pause=10, longest_pause=35)

    def __init__(self) -> None:
        self.error: Exception | None = ConnectionError("no database")
        self.handled: list[int] = []

    @handles
    def happened(self, event: Happened) -> None:
        self.handled.append(event.n)
        if self.error is not None:
            raise self.error


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
    return Steps.of(Dispatcher(service), memory, clock=clock, prefetch=5)


def publish(memory: MemoryBroker, count: int, first: int = 0) -> None:
    with Publisher(memory.topic(), source="/t") as publisher:
        publisher.publish_many(Happened(n=first + n) for n in range(count))


def work_off(steps: Steps, rounds: int = 30) -> None:
    for _ in range(rounds):
        steps.poll()
        while steps.handle():
            pass
        steps.settle()


def test_it_opens_gives_back_what_waits_and_receives_nothing(steps, memory, service, caplog):
    publish(memory, 100)
    work_off(steps)
    assert len(service.handled) == 5
    assert steps.state is State.OPEN
    assert steps.stats.received == 10, "it went on receiving"
    assert steps.stats.released == 5 + 1, "what waited was not given back"
    assert "the circuit of service opens: the last 5 messages all failed" in caplog.text
    assert "no database" not in caplog.text


def test_an_outage_moves_no_more_than_the_first_few_to_the_dead_letters(
    steps, memory, service, clock, caplog
):
    caplog.set_level(logging.WARNING, "messaging.runtime")
    publish(memory, 200)
    for _ in range(200):
        work_off(steps, 2)
        clock.advance(5)
    assert len(memory.dead_letters("service")) == 4, "one less than opens the circuit"
    assert len(service.handled) < 60, "it tried more than one message after each pause"
    service.error = None
    for _ in range(20):
        work_off(steps, 30)
        clock.advance(5)
    assert steps.state is State.RECEIVING
    assert not memory.messages("service")
    assert steps.stats.acknowledged == 200 - 4
    said = [one.getMessage() for one in caplog.records if "the circuit of" in one.getMessage()]
    assert len(said) == 2, said
    assert "closes after" in said[1]


def test_at_the_last_receive_a_failure_leaves_with_its_reason_though_it_is_open(clock):
    class Poisoned(Service):
        service = "service"
        max_receives = 3

    memory = MemoryBroker(Topology.of(Poisoned, topic="t"), clock=clock)
    steps = Steps.of(Dispatcher(Poisoned()), memory, concurrency=10, prefetch=10, clock=clock)
    publish(memory, 6)
    for _ in range(60):  # six that always fail are enough to open it, and there is nothing else
        work_off(steps)
        clock.advance(60)
    letters = memory.dead_letters("service")
    assert len(letters) == 6
    assert not memory.messages("service")
    notes = [read(letter.attributes)[1] for letter in letters]
    assert all(note is not None and "ConnectionError" in note.reason for note in notes)
    assert max(note.attempts for note in notes if note is not None) == 3


def test_pauses_grow_up_to_the_longest(steps, memory, service, clock):
    publish(memory, 50)
    work_off(steps)
    pauses = []
    for _ in range(6):
        began = clock.monotonic()
        tried = len(service.handled)
        while len(service.handled) == tried:
            clock.advance(0.5)
            work_off(steps, 1)
        pauses.append(clock.monotonic() - began)
    for pause, longest in zip(pauses, [10, 20, 35, 35, 35, 35], strict=True):
        assert longest / 2 <= pause <= longest + 0.5


def test_a_probe_is_one_message_and_a_success_opens_the_door_again(steps, memory, service, clock):
    publish(memory, 50)
    work_off(steps)
    clock.advance(10)
    service.error = None
    before = steps.stats.received
    assert steps.poll() == 1
    assert (steps.poll(), steps.state) == (None, State.PROBING)
    steps.handle()
    assert steps.state is State.RECEIVING
    work_off(steps)
    assert steps.stats.received > before + 20


@pytest.mark.parametrize("said", [Retry(0), Reject("no"), Discard("no")])
def test_what_a_handler_says_itself_is_no_failure(steps, memory, service, said):
    service.error = said
    publish(memory, 30)
    work_off(steps, 5)
    assert steps.state is State.RECEIVING


def test_one_success_in_between_starts_the_count_anew(steps, memory, service):
    publish(memory, 4)
    work_off(steps, 2)
    service.error = None
    publish(memory, 1, first=10)
    work_off(steps, 2)
    service.error = ConnectionError()
    publish(memory, 4, first=20)
    work_off(steps, 2)
    assert steps.state is State.RECEIVING


def test_a_few_poison_messages_that_come_again_and_again_do_not_open_it(memory, clock):
    class Patient(Service):
        service = "service"
        retry = RetryPolicy(max_attempts=5, wait=wait_fixed(0))

    steps = Steps.of(Dispatcher(Patient()), memory, clock=clock)
    publish(memory, 4)
    work_off(steps, 20)
    assert steps.stats.dead_lettered == 4
    assert steps.state is State.RECEIVING


def test_messages_that_cannot_be_read_do_not_count(steps, memory, service):
    service.error = None
    for _ in range(20):
        memory.send("service", "not an envelope")
    work_off(steps)
    assert steps.stats.dead_lettered == 20
    assert steps.state is State.RECEIVING


def test_an_unreadable_probe_decides_nothing_and_another_is_tried(steps, memory, service, clock):
    publish(memory, 5)
    work_off(steps)
    service.error = None
    clock.advance(10)
    probe = memory.send("service", "not an envelope")
    while not any(one.message_id == probe for one in memory.dead_letters("service")):
        if steps.poll() is None:
            break
        steps.handle()
        steps.settle()
        if steps.state is State.RECEIVING:
            break
    work_off(steps)
    assert steps.state is State.RECEIVING


def test_without_a_circuit_everything_is_dead_lettered(memory, clock):
    class Bold(Service):
        service = "service"
        circuit = None

    steps = Steps.of(Dispatcher(Bold()), memory, clock=clock)
    publish(memory, 30)
    work_off(steps)
    assert steps.stats.dead_lettered == 30


def test_handlers_that_hang_beyond_their_timeout_open_it(memory, clock):
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
    assert steps.state is State.OPEN
    assert steps.stats.expired == 5


def test_in_threads_it_opens_pauses_and_closes(work, queue, until):
    class Quick(Service):
        service = "service"
        circuit = Circuit(failures=3, first_pause=0.02, longest_pause=0.05)
        retry = RetryPolicy(max_attempts=100, wait=wait_fixed(0))
        max_receives = 200

    service = Quick()
    queue.put(*range(3))
    worker = work(service)
    until(lambda: worker.state == {"service": State.OPEN})
    queue.put(*range(10, 30))
    until(lambda: len(service.handled) >= 6)
    assert max(queue.receives[-3:]) == 1
    service.error = None
    until(lambda: worker.state == {"service": State.RECEIVING})
    queue.put(*range(40, 60))
    until(lambda: worker.stats.acknowledged >= 20)


@pytest.mark.parametrize(
    "keywords",
    [{"failures": 0}, {"first_pause": 0}, {"first_pause": 10, "longest_pause": 5}],
)
def test_a_circuit_that_cannot_be_is_refused(keywords):
    with pytest.raises(ConfigurationError, match="Circuit"):
        Circuit(**keywords)
