"""Handled, and not deleted: when the message comes again it is deleted, and not handled again."""

from __future__ import annotations

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats
from messaging.runtime.handled import HandledCache
from messaging.runtime.in_flight import InFlightMessage
from messaging.testing import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology
from messaging.transport import Delivery


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    visibility_timeout = 30

    def __init__(self, outcome=None) -> None:
        self.outcome = outcome
        self.handled = 0

    @handles
    def happened(self, event: Happened) -> None:
        self.handled += 1
        if self.outcome:
            raise self.outcome


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> MemoryBroker:
    memory = MemoryBroker(Topology.of(Service, topic="t"), clock=clock)
    Publisher(memory.topic(), source="/t", in_flight=1).publish(Happened(n=1))
    return memory


def once(steps: Steps) -> None:
    steps.poll()
    steps.handle()
    steps.settle()


@pytest.mark.parametrize("outcome", [None, Discard("test data")])
def test_a_delete_refused_for_good_is_made_up_for_when_the_message_comes_again(
    memory, clock, outcome
):
    service = Service(outcome)
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    memory.fail_next("delete", entries=[0], retryable=False)
    once(steps)
    assert steps.stats == Stats(received=1, expired=1)
    clock.advance(31)
    once(steps)
    discarded = 1 if outcome else 0
    assert steps.stats == Stats(
        received=2, expired=1, acknowledged=1, deduplicated=1, discarded=discarded
    )
    assert (service.handled, memory.messages("service")) == (1, ())


def test_a_lease_lost_while_the_handler_ran_is_made_up_for(memory, clock):
    def stall() -> None:
        clock.advance(31)
        memory.queue("service").receive(1, 0)  # somebody else has it now
        steps.renew()

    class Stalling(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            self.handled += 1
            stall()

    service = Stalling()
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    once(steps)
    assert steps.stats == Stats(received=1, expired=1)
    clock.advance(31)
    once(steps)
    assert service.handled == 1
    assert steps.stats.deduplicated == 1
    assert not memory.messages("service")


def test_a_dead_letter_that_was_not_deleted_is_not_copied_again(memory, clock):
    service = Service(Reject("no"))
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    memory.fail_next("delete", entries=[0], retryable=False)
    once(steps)
    clock.advance(31)
    once(steps)
    assert steps.stats == Stats(received=2, expired=1, dead_lettered=1, deduplicated=1)
    assert (service.handled, len(memory.dead_letters("service"))) == (1, 1)


def test_what_was_to_be_retried_is_handled_again(memory, clock):
    service = Service(Retry(0))
    steps = Steps.of(Dispatcher(service), memory, clock=clock)
    memory.fail_next("change_visibility", entries=[0], retryable=False)
    once(steps)
    clock.advance(31)
    once(steps)
    assert (service.handled, steps.stats.deduplicated) == (2, 0)


def test_what_comes_again_while_it_is_being_deleted_is_not_handled_beside(work, queue, until):
    handled = []

    class Once(Consumer):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            handled.append(event.n)

    def refuse(request):
        if request.name == "delete" and not queue.asked("delete"):
            queue.put(1, receive_count=2)
            until(lambda: len(queue.receives) >= 3)
        return ()

    queue.refuse = refuse
    queue.put(1)
    worker = work(Once())
    until(lambda: worker.stats == Stats(received=2, acknowledged=2, deduplicated=1))
    assert handled == [1]


def message(number: int) -> InFlightMessage:
    one = InFlightMessage(
        number, Delivery(queue="q", message_id=f"m{number}", receipt="r", body=""), 0, 30
    )
    one.outcome = Ack()
    return one


def test_it_remembers_so_many_and_for_so_long():
    clock = FakeClock()
    handled_cache = HandledCache(clock=clock, most=2, longest=100)
    for number in (1, 2, 3):
        handled_cache.remember(message(number))
    assert (len(handled_cache), handled_cache.recall(message(1))) == (2, None)
    again = message(3)
    assert isinstance(handled_cache.recall(again), Ack)
    assert again.remembered
    clock.advance(101)
    assert handled_cache.recall(message(3)) is None


def test_one_that_is_handled_again_is_remembered_from_then_on():
    handled_cache = HandledCache(clock=FakeClock(), most=2)
    for number in (1, 2, 1, 3):
        handled_cache.remember(message(number))
    assert handled_cache.recall(message(1))
    assert handled_cache.recall(message(2)) is None


def test_what_is_too_old_is_forgotten_and_the_cache_knows_when_it_is_empty():
    clock = FakeClock()
    clock.advance(5000)  # a clock at 0 would hide a wrong sign
    handled_cache = HandledCache(clock=clock, longest=100)
    assert handled_cache.empty is True
    handled_cache.remember(message(1))
    clock.advance(60)
    handled_cache.remember(message(2))
    assert handled_cache.empty is False
    clock.advance(40)
    assert handled_cache.recall(message(1)), "a hundred seconds are not too long"
    clock.advance(1)
    assert handled_cache.recall(message(1)) is None
    assert (len(handled_cache), handled_cache.empty) == (1, False)
    clock.advance(60)
    assert handled_cache.recall(message(2)) is None
    assert (len(handled_cache), handled_cache.empty) == (0, True)
