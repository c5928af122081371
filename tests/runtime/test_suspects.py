"""Which messages are handled alone, and when they may go: `Isolation` without a queue."""

from __future__ import annotations

import pytest

from messaging.runtime import isolation as module
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.isolation import ENOUGH, Isolation
from messaging.transport import Delivery


def delivery(name: str, receives: int = 4, group: str | None = None) -> Delivery:
    return Delivery(
        queue="t", message_id=name, receipt="r", body="{}", receive_count=receives, group=group
    )


def message(name: str, receives: int = 4, group: str | None = None) -> InFlightMessage:
    return InFlightMessage(name, delivery(name, receives, group), 0.0, 30)


class Others(InFlight):
    """What is in hand: as many messages as a test says."""

    def become(self, count: int) -> None:
        self.settle(self.every(), Disposition.RELEASED)
        self.receive([delivery(f"other {n}") for n in range(count)], 0.0, 30, lambda one: True)


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def isolation(others: Others) -> Isolation:
    return Isolation("mail", others, last_receive=20)


@pytest.mark.parametrize(
    ("last_receive", "first_suspected"), [(20, 4), (8, 4), (6, 4), (5, 3), (4, 3), (2, 2)]
)
def test_a_message_is_suspected_after_three_receives_or_half_of_what_it_has(
    others: Others, last_receive: int, first_suspected: int
) -> None:
    isolation = Isolation("mail", others, last_receive=last_receive)
    assert not isolation.suspects(delivery("m", first_suspected - 1))
    assert isolation.suspects(delivery("m", first_suspected))
    assert isolation.threshold == first_suspected - 1


def test_nothing_is_isolated_while_nothing_is_suspected(
    isolation: Isolation, others: Others
) -> None:
    assert not isolation.active
    assert not others.alone
    assert isolation.next() is None


def test_a_suspect_waits_until_nothing_else_is_in_hand(
    isolation: Isolation, others: Others, caplog: pytest.LogCaptureFixture
) -> None:
    suspect = message("m", 5)
    isolation.hold(suspect)
    others.become(2)
    assert isolation.active
    assert not others.alone
    assert isolation.next() is None
    others.become(1)
    assert isolation.next() is suspect
    assert isolation.active
    assert others.alone
    [said] = caplog.messages
    assert said.startswith("message m of mail has been received 5 times without an end")


def test_suspects_go_one_at_a_time_those_received_least_first(
    isolation: Isolation, others: Others
) -> None:
    held = [message("a", 9), message("b", 4), message("c", 6)]
    for one in held:
        isolation.hold(one)
    others.become(3)
    order = []
    while (suspect := isolation.next()) is not None:
        order.append(suspect.key)
        assert isolation.next() is None, "one runs"
        isolation.left(suspect)
        others.become(others.count - 1)
    assert order == ["b", "c", "a"]
    assert not isolation.active


def test_of_those_received_equally_often_not_always_the_same_goes_first(others: Others) -> None:
    first = set()
    for _ in range(64):
        isolation = Isolation("mail", others, last_receive=20)
        for name in "ab":
            isolation.hold(message(name))
        suspect = isolation.next()
        assert suspect is not None
        first.add(suspect.key)
    assert first == {"a", "b"}


def test_a_group_waits_for_its_suspect_and_others_do_not(isolation: Isolation) -> None:
    assert not isolation.blocks(delivery("m", 1, "g"))
    suspect = message("s", 5, "g")
    isolation.hold(suspect)
    for _ in range(2):
        assert isolation.blocks(delivery("m", 1, "g"))
        assert not isolation.blocks(delivery("m", 1, "h"))
        assert not isolation.blocks(delivery("m", 1))
        assert isolation.next() in (suspect, None)  # held before, running afterwards
    isolation.left(suspect)
    assert not isolation.blocks(delivery("m", 1, "g"))


def test_a_suspect_of_no_group_holds_up_no_message_of_no_group(isolation: Isolation) -> None:
    isolation.hold(message("s", 5))
    assert isolation.active
    assert isolation.blocks(delivery("m", 1)) is False


def test_a_suspect_that_was_settled_while_it_waited_is_forgotten(
    isolation: Isolation, others: Others
) -> None:
    one, two = message("a"), message("b")
    isolation.hold(one)
    isolation.hold(two)
    isolation.left(one)
    isolation.left(one)  # no longer there
    assert isolation.next() is two
    isolation.left(message("stranger"))
    assert others.alone


@pytest.mark.parametrize(
    ("last", "receives", "given_up"),
    [(20, 15, False), (20, 16, True), (7, 5, False), (7, 6, True)],
)
def test_a_suspect_is_given_up_with_a_reason_at_four_fifths_of_its_receives(
    others: Others, last: int, receives: int, given_up: bool
) -> None:
    isolation = Isolation("mail", others, last_receive=last)
    verdict = isolation.verdict(message("m", receives))
    assert (verdict is not None) is given_up
    if verdict is not None:
        assert verdict.reason == (
            f"received {receives} times and never ended: it may end its process"
        )


def test_a_message_that_ended_here_is_no_suspect(isolation: Isolation) -> None:
    isolation.comes_again(delivery("m", 9))
    assert not isolation.suspects(delivery("m", 10))
    assert isolation.suspects(delivery("n", 10))


def test_of_those_that_ended_here_the_longest_unseen_is_suspected_again(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.MOST_REMEMBERED == 20_000
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    for name in ("a", "b", "c", "a", "d"):
        isolation.comes_again(delivery(name))
    suspected = [name for name in "abcd" if isolation.suspects(delivery(name))]
    assert suspected == ["b"]


def test_after_twenty_that_killed_nobody_none_is_suspected(
    isolation: Isolation, others: Others
) -> None:
    assert ENOUGH == 20
    for number in range(ENOUGH):
        assert isolation.suspects(delivery("m"))
        isolation.hold(message(f"s{number}"))
        suspect = isolation.next()
        assert suspect is not None
        isolation.left(suspect)
    assert not isolation.suspects(delivery("m"))


def test_at_the_end_those_that_are_held_go_back(isolation: Isolation) -> None:
    held = [message("a"), message("b")]
    for one in held:
        isolation.hold(one)
    assert sorted(one.delivery.message_id for one in isolation.drain()) == ["a", "b"]
    assert not isolation.active
    assert list(isolation.drain()) == []
