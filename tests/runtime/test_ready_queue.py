"""The line of those that wait: who has a slot, who waits for one, and nobody twice."""

from __future__ import annotations

import pytest

from messaging.runtime.in_flight import InFlightMessage
from messaging.runtime.ready_queue import FifoReadyQueue, ReadyQueue
from messaging.transport import Delivery


def message(number: int) -> InFlightMessage:
    """Each in a group of its own."""
    message = f"m{number}"
    delivery = Delivery(queue="q", message_id=message, receipt="r", body="", group=message)
    return InFlightMessage(message, delivery, 0.0, 30.0)


def names(messages: list[InFlightMessage]) -> list[str]:
    return [one.delivery.message_id for one in messages]


@pytest.fixture(params=[ReadyQueue, FifoReadyQueue])
def ready_queue(request: pytest.FixtureRequest) -> ReadyQueue:
    """With two slots."""
    return request.param(2)


def put(ready_queue: ReadyQueue, *numbers: int) -> None:
    for number in numbers:
        ready_queue.put(message(number))


def test_as_many_are_ready_as_there_are_slots(ready_queue: ReadyQueue) -> None:
    put(ready_queue, 1, 2, 3)
    assert len(ready_queue) == 3
    first, second = ready_queue.get(), ready_queue.get()
    assert first is not None
    assert second is not None
    assert names([first, second]) == ["m1", "m2"]
    assert ready_queue.get_nowait() is None
    assert len(ready_queue) == 1


def test_who_has_ended_goes_on_with_the_one_that_waits(ready_queue: ReadyQueue) -> None:
    put(ready_queue, 1, 2, 3)
    ready_queue.get()
    third = ready_queue.next()
    assert third is not None
    assert names([third]) == ["m3"]
    assert ready_queue.next() is None  # the first's thread: its slot is free now
    assert ready_queue.take_slot()
    assert not ready_queue.take_slot(), "the second has the other, although nobody has fetched it"


def test_a_slot_that_is_freed_makes_the_next_one_ready(ready_queue: ReadyQueue) -> None:
    put(ready_queue, 1, 2, 3)
    ready_queue.get()
    ready_queue.get()
    assert ready_queue.get_nowait() is None
    ready_queue.free()
    third = ready_queue.get_nowait()
    assert third is not None
    assert names([third]) == ["m3"]


def test_a_slot_that_was_taken_is_missing(ready_queue: ReadyQueue) -> None:
    assert ready_queue.take_slot()
    put(ready_queue, 1, 2)
    assert ready_queue.get() is not None
    assert ready_queue.get_nowait() is None
    ready_queue.free()
    assert ready_queue.get_nowait() is not None


def test_what_is_drained_gives_its_slots_back(ready_queue: ReadyQueue) -> None:
    put(ready_queue, 1, 2, 3)
    assert names(ready_queue.drain()) == ["m1", "m2", "m3"]
    assert (len(ready_queue), ready_queue.get_nowait()) == (0, None)
    assert ready_queue.take_slot()
    assert ready_queue.take_slot()
    assert not ready_queue.take_slot()


def test_those_that_are_woken_end(ready_queue: ReadyQueue) -> None:
    ready_queue.wake(2)
    assert (ready_queue.get(), ready_queue.get()) == (None, None)
