"""Receipts of hidden messages, and who is called back at the end of an outage."""

from __future__ import annotations

import pytest

from messaging.runtime import postponed as module
from messaging.runtime.postponed import MOST, SOON, Postponed
from messaging.testing import FakeClock
from messaging.transport import Delivery


def delivery(name: str) -> Delivery:
    return Delivery(queue="t", message_id=name, receipt=f"r-{name}", body="{}")


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.advance(5000)  # a clock at 0 would hide a wrong sign
    return clock


@pytest.fixture
def postponed(clock: FakeClock) -> Postponed:
    return Postponed(clock)


def names(batch: list[Delivery]) -> list[str]:
    return sorted(one.message_id for one in batch)


def test_at_the_end_of_an_outage_all_that_is_hidden_is_called_back(postponed: Postponed) -> None:
    for name in "abc":
        postponed.add(delivery(name), 60)
    assert len(postponed) == 3
    assert postponed.next_batch() == [], "before anybody has called"
    assert postponed.call_back() == 3
    assert len(postponed) == 0
    assert names(postponed.next_batch()) == ["a", "b", "c"]
    assert postponed.next_batch() == []


def test_a_call_back_counts_what_is_still_waiting_from_the_one_before(postponed: Postponed) -> None:
    postponed.add(delivery("a"), 60)
    assert postponed.call_back() == 1
    postponed.add(delivery("b"), 60)
    assert postponed.call_back() == 2
    assert names(postponed.next_batch()) == ["a", "b"]


def test_they_are_called_back_ten_at_a_time(postponed: Postponed) -> None:
    for number in range(25):
        postponed.add(delivery(f"m{number:02}"), 60)
    postponed.call_back()
    batches = [postponed.next_batch() for _ in range(4)]
    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    assert len({one.message_id for batch in batches for one in batch}) == 25


def test_a_message_that_comes_by_itself_within_a_second_is_not_called(
    postponed: Postponed, clock: FakeClock
) -> None:
    postponed.add(delivery("soon"), 60)
    postponed.add(delivery("later"), 60 + 0.5)
    clock.advance(60 - SOON)
    postponed.call_back()
    assert names(postponed.next_batch()) == ["later"]
    assert SOON == 1.0


def test_a_message_that_came_by_itself_is_not_called_back(postponed: Postponed) -> None:
    postponed.received([delivery("a")])  # nothing is hidden: nothing to do
    for name in "abc":
        postponed.add(delivery(name), 60)
    postponed.received([delivery("a"), delivery("c"), delivery("unknown")])
    assert postponed.call_back() == 1
    assert names(postponed.next_batch()) == ["b"]


def test_what_is_forgotten_comes_when_it_comes(postponed: Postponed) -> None:
    postponed.add(delivery("a"), 60)
    postponed.forget()
    assert len(postponed) == 0
    assert postponed.call_back() == 0


def test_it_is_full_while_so_many_are_hidden_and_not_only_remembered(
    postponed: Postponed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST == 10_000
    monkeypatch.setattr(module, "MOST", 3)
    postponed.add(delivery("a"), 10)
    postponed.add(delivery("b"), 60)
    assert postponed.full is False
    postponed.add(delivery("c"), 60)
    assert postponed.full
    clock.advance(10)  # "a" is visible now
    assert not postponed.full
    assert len(postponed) == 2
    postponed.add(delivery("d"), 60)
    assert postponed.full
    postponed.add(delivery("e"), 60)
    assert postponed.full
