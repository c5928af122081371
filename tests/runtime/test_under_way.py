"""A request that has been sent: heard when its answer is there, given up when it is overdue."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import NamedTuple

import pytest

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.runtime.under_way import PATIENCE, UnderWay, answered, take

WAIT = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for one in ends:
        os.close(one)


def sent(*files: int, closed: list[str] | None = None) -> Generator[int, None, str]:
    """A request that is sent on each of `files` in turn, and is answered on the last."""
    try:
        yield from files
    except GeneratorExit:
        (closed if closed is not None else []).append("closed")
        raise
    return "said"


def test_a_request_is_heard_on_the_file_on_which_it_was_sent_last() -> None:
    request = UnderWay(sent(7, 9))
    assert request.file == 7
    assert request.hear() is None
    assert request.file == 9
    assert request.hear() == "said"


def test_one_that_was_answered_at_once_has_no_file_to_look_at() -> None:
    request = UnderWay(sent())
    assert request.file < 0
    assert request.hear() == "said"


def test_it_is_waited_for_as_long_as_the_queue_was_told_and_then_with_patience() -> None:
    before = SYSTEM_CLOCK.monotonic()
    request = UnderWay(sent(7), WAIT)
    assert before <= request.asked <= SYSTEM_CLOCK.monotonic()
    assert request.overdue(request.asked + WAIT + PATIENCE - 0.001) is False
    assert request.overdue(request.asked + WAIT + PATIENCE)
    plain = UnderWay(sent(7))
    assert not plain.overdue(plain.asked + PATIENCE - 0.001)
    assert plain.overdue(plain.asked + PATIENCE)


def test_one_that_is_overdue_is_closed_and_says_so_to_whoever_hears_it() -> None:
    closed: list[str] = []
    request = UnderWay(sent(7, closed=closed))
    late = request.asked + PATIENCE + 1
    assert request.overdue(late) is True
    assert request.overdue(late) is True
    assert closed == ["closed"]
    with pytest.raises(TransportError, match=r"^no answer in 30 s$") as caught:
        request.hear()
    assert caught.value.code == "Timeout"


def test_those_whose_answer_is_there_are_found_and_no_other(pipe: tuple[int, int]) -> None:
    other, theirs = os.pipe()
    try:
        requests = {one: UnderWay(sent(one)) for one in (pipe[0], other)}
        assert answered(requests, 0) == []
        os.write(pipe[1], b"!")
        assert answered(requests, 5) == [requests[pipe[0]]]
    finally:
        os.close(other)
        os.close(theirs)


def test_where_nobody_answers_those_that_are_overdue_are_found(pipe: tuple[int, int]) -> None:
    one = UnderWay(sent(pipe[0]))
    one._until = one.asked
    assert answered({pipe[0]: one}, 0) == [one]


class Held(NamedTuple):
    request: UnderWay[str]


def test_a_request_is_taken_once_and_never_for_a_newer_one_on_the_same_file() -> None:
    old, new = UnderWay(sent(7)), Held(UnderWay(sent(7)))
    held = {7: new}
    assert take(held, old) is None
    assert held == {7: new}
    assert take(held, new.request) is new
    assert held == {}
    assert take(held, new.request) is None


def test_one_that_another_thread_puts_there_meanwhile_stays() -> None:
    newer = Held(UnderWay(sent(7)))

    class Raced:
        mine = UnderWay(sent(7))

        @property
        def request(self) -> UnderWay[str]:
            held[7] = newer  # as if between the look and the taking
            return self.mine

    held: dict[int, Held | Raced] = {7: Raced()}
    assert take(held, Raced.mine) is None
    assert held == {7: newer}
