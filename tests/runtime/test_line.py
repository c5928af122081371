"""The line of those that wait: who has a slot, who waits for one, and nobody twice."""

from __future__ import annotations

import pytest

from messaging.runtime.line import GroupLine, Line
from messaging.runtime.receipts import Held
from messaging.transport import Delivery


def held(number: int) -> Held:
    """Each in a group of its own."""
    message = f"m{number}"
    delivery = Delivery(queue="q", message_id=message, receipt="r", body="", group=message)
    return Held(message, delivery, 0.0, 30.0)


def names(helds: list[Held]) -> list[str]:
    return [one.delivery.message_id for one in helds]


@pytest.fixture(params=[Line, GroupLine])
def line(request: pytest.FixtureRequest) -> Line:
    """With two slots."""
    return request.param(2)


def put(line: Line, *numbers: int) -> None:
    for number in numbers:
        line.put(held(number))


def test_as_many_are_ready_as_there_are_slots(line: Line) -> None:
    put(line, 1, 2, 3)
    assert len(line) == 3
    first, second = line.get(), line.get()
    assert first is not None
    assert second is not None
    assert names([first, second]) == ["m1", "m2"]
    assert line.get_nowait() is None
    assert len(line) == 1


def test_who_has_ended_goes_on_with_the_one_that_waits(line: Line) -> None:
    put(line, 1, 2, 3)
    line.get()
    third = line.next()
    assert third is not None
    assert names([third]) == ["m3"]
    assert line.next() is None  # the first's thread: its slot is free now
    assert line.take_slot()
    assert not line.take_slot(), "the second has the other, although nobody has fetched it"


def test_a_slot_that_is_freed_makes_the_next_one_ready(line: Line) -> None:
    put(line, 1, 2, 3)
    line.get()
    line.get()
    assert line.get_nowait() is None
    line.free()
    third = line.get_nowait()
    assert third is not None
    assert names([third]) == ["m3"]


def test_a_slot_that_was_taken_is_missing(line: Line) -> None:
    assert line.take_slot()
    put(line, 1, 2)
    assert line.get() is not None
    assert line.get_nowait() is None
    line.free()
    assert line.get_nowait() is not None


def test_what_is_drained_gives_its_slots_back(line: Line) -> None:
    put(line, 1, 2, 3)
    assert names(line.drain()) == ["m1", "m2", "m3"]
    assert (len(line), line.get_nowait()) == (0, None)
    assert line.take_slot()
    assert line.take_slot()
    assert not line.take_slot()


def test_those_that_are_woken_end(line: Line) -> None:
    line.wake(2)
    assert (line.get(), line.get()) == (None, None)
