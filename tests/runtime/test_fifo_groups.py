"""The order of a group in the line of a FIFO queue: who waits for whom, and who goes back."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from messaging.runtime.in_flight import Disposition, InFlightMessage
from messaging.runtime.ready_queue import FifoReadyQueue, ReadyQueue, ready_queue_for
from messaging.transport import Delivery


def message(name: str) -> InFlightMessage:
    """Of the group that its first letter names."""
    delivery = Delivery(queue="q.fifo", message_id=name, receipt="r", body="", group=name[0])
    return InFlightMessage(name, delivery, 0.0, 30.0)


def names(messages: Iterable[InFlightMessage | None]) -> list[str]:
    return [one.delivery.message_id for one in messages if one is not None]


def put(line: ReadyQueue, *each: str) -> list[InFlightMessage]:
    messages = [message(name) for name in each]
    for one in messages:
        line.put(one)
    return messages


def ready(line: ReadyQueue) -> list[str]:
    found = []
    while (one := line.get_nowait()) is not None:
        found.append(one.delivery.message_id)
    return found


@pytest.fixture
def line() -> FifoReadyQueue:
    return FifoReadyQueue(5)


def test_of_each_group_only_the_first_is_ready(line: FifoReadyQueue) -> None:
    put(line, "a1", "a2", "b1", "a3", "b2")
    assert ready(line) == ["a1", "b1"]


def test_a_group_is_busy_until_its_last_is_settled(line: FifoReadyQueue) -> None:
    (one,) = put(line, "a1")
    assert line.busy(message("a2")) is True
    assert line.busy(message("b1")) is False
    line.left(one, Disposition.ACKNOWLEDGED)
    assert line.busy(message("a2")) is False


@pytest.mark.parametrize("how", [Disposition.ACKNOWLEDGED, Disposition.DEAD_LETTERED])
def test_the_next_is_ready_when_the_first_is_deleted(
    line: FifoReadyQueue, how: Disposition
) -> None:
    one, two, _ = put(line, "a1", "a2", "a3")
    assert ready(line) == ["a1"]
    assert list(line.left(one, how)) == []
    assert ready(line) == ["a2"]
    assert list(line.left(two, how)) == []
    assert ready(line) == ["a3"]


@pytest.mark.parametrize("how", [Disposition.RELEASED, Disposition.EXPIRED])
def test_those_behind_one_that_comes_again_go_back(line: FifoReadyQueue, how: Disposition) -> None:
    one, two, three = put(line, "a1", "a2", "a3")
    ready(line)
    assert names(line.left(one, how)) == ["a2", "a3"]
    assert not line.busy(message("a4"))
    assert line.held_up(message("a4")) is True, "those two are on their way"
    assert line.held_up(message("b1")) is False
    for back in (two, three):
        line.left(back, Disposition.RELEASED)


def test_after_those_on_their_way_back_are_gone_the_group_goes_on(line: FifoReadyQueue) -> None:
    one, two = put(line, "a1", "a2")
    line.left(one, Disposition.RELEASED)
    late = message("a3")
    assert line.held_up(late)
    line.left(two, Disposition.RELEASED)
    assert line.held_up(message("a1")), "the late one is on its way back, too"
    again = line.left(late, Disposition.RELEASED)
    assert list(again) == []
    fresh = FifoReadyQueue(1)
    assert not fresh.held_up(message("a1"))


def test_what_failed_holds_up_its_group_until_it_is_settled(line: FifoReadyQueue) -> None:
    one, two = put(line, "a1", "a2")
    assert names(line.failed(one)) == ["a2"]
    three = message("a3")
    assert line.held_up(three)
    for back in (one, two, three):
        assert list(line.left(back, Disposition.RELEASED)) == []
    assert not line.held_up(message("a1"))
    assert not line.busy(message("a1"))


def test_only_the_first_of_a_group_can_fail(line: FifoReadyQueue) -> None:
    _, two = put(line, "a1", "a2")
    assert list(line.failed(two)) == []
    assert list(line.failed(message("b1"))) == []
    assert not line.held_up(message("a3"))


def test_one_that_leaves_while_it_waits_is_taken_out_of_the_group(line: FifoReadyQueue) -> None:
    one, two, _ = put(line, "a1", "a2", "a3")
    ready(line)
    assert list(line.left(two, Disposition.EXPIRED)) == []
    assert list(line.left(message("a9"), Disposition.EXPIRED)) == [], "it was never here"
    assert line.busy(message("a4"))
    line.left(one, Disposition.ACKNOWLEDGED)
    assert ready(line) == ["a3"]
    assert list(line.left(message("z1"), Disposition.EXPIRED)) == []


def test_what_never_stood_here_and_goes_back_is_not_overtaken(line: FifoReadyQueue) -> None:
    one, two = message("a1"), message("a2")
    line.sent_back([one, two])
    line.left(one, Disposition.RELEASED)
    three = message("a3")
    assert line.held_up(three)
    line.left(two, Disposition.RELEASED)
    line.left(three, Disposition.RELEASED)
    assert not line.held_up(message("a1"))


def test_at_the_end_all_go_back_in_order_and_nothing_overtakes_them() -> None:
    line = FifoReadyQueue(2)
    put(line, "a1", "b1", "c1", "a2", "b2")
    running = line.get_nowait()
    assert names([running]) == ["a1"]
    taken = line.drain()
    assert names(taken) == ["b1", "b2", "c1", "a2"]
    assert len(line) == 0
    assert list(line.drain()) == []
    for group in "abc":
        assert line.held_up(message(f"{group}9"))
    assert line.take_slot(), "the slot of the one that was ready is free again"
    assert not line.take_slot()


def test_a_drained_message_that_nobody_knows_goes_back_as_well(line: FifoReadyQueue) -> None:
    (one,) = put(line, "a1")
    line.left(one, Disposition.EXPIRED)  # while it still stood in the line
    assert names(line.drain()) == ["a1"]


def test_a_standard_queue_orders_nothing() -> None:
    line = ReadyQueue(5)
    one, two = put(line, "a1", "a2")
    assert ready(line) == ["a1", "a2"]
    assert line.busy(two) is False
    assert list(line.failed(one)) == []
    assert list(line.left(one, Disposition.RELEASED)) == []
    line.sent_back([one])
    assert line.held_up(two) is False


def test_the_name_of_the_queue_says_which_line_it_has() -> None:
    assert type(ready_queue_for("t", 1)) is ReadyQueue
    fifo = ready_queue_for("t.fifo", 1)
    assert type(fifo) is FifoReadyQueue
    assert fifo.take_slot()
    assert not fifo.take_slot()


def test_threads_that_wait_are_woken_to_end() -> None:
    line = ReadyQueue(1)
    line.wake(2)
    assert [line.get(), line.get()] == [None, None]
    assert len(line) == 0


def test_a_slot_that_nobody_waits_for_is_free_for_the_next() -> None:
    line = ReadyQueue(1)
    assert line.take_slot()
    line.free()
    assert line.take_slot()
    assert not line.take_slot()


def test_how_many_wait_for_others_of_their_group_is_known_at_any_time(line: FifoReadyQueue) -> None:
    a1, _, a3, _, _ = put(line, "a1", "a2", "a3", "a4", "b1")
    assert line.behind == 3
    assert ReadyQueue(1).behind == 0
    line.left(a3, Disposition.EXPIRED)
    assert line.behind == 2
    line.left(a1, Disposition.ACKNOWLEDGED)
    assert line.behind == 1
    line.drain()
    assert line.behind == 0


def test_what_is_put_says_whether_it_stays(line: FifoReadyQueue) -> None:
    assert ReadyQueue(1).put(message("a1")) is True
    a1, a2 = message("a1"), message("a2")
    line.sent_back([a1])
    assert line.put(message("b1")) is True
    assert line.put(a2) is False
    assert ready(line) == ["b1"]
    line.left(a1, Disposition.RELEASED)
    assert line.put(message("a3")) is False, "the second one is on its way back, too"


def test_one_that_had_its_turn_waits_for_nobody(line: FifoReadyQueue) -> None:
    put(line, "a1")
    assert line.put(message("a2"), has_turn=True) is True
    assert ready(line) == ["a1", "a2"]
    assert line.behind == 0


def test_a_thread_that_takes_what_is_ready_gets_it_in_place_of_the_line() -> None:
    line, taken = FifoReadyQueue(1), list[InFlightMessage]()
    line.takes = lambda: taken.append
    put(line, "a1", "a2")
    assert names(taken) == ["a1"]
    assert ready(line) == []
