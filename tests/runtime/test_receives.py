"""Receives under way in one thread: each is told once, and no room is promised twice."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from messaging.errors import TransportError
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import InFlight
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.runtime.receive_window import ReceiveWindow
from messaging.runtime.receives import WAIT, Receives, note_full
from messaging.runtime.under_way import UnderWay
from messaging.testing import FakeClock
from messaging.transport import Delivery

Answer = int | BaseException | Callable[[], Generator[int, None, Sequence[Delivery]] | None]
"""How many messages come, what is raised instead, or the steps of the request."""


class Interrupt(BaseException):
    """A signal's."""


class Bench:
    """A far queue that answers by a script, then with nothing; every answer is there at once."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.clock.advance(5000)
        self.script: list[Answer] = []
        self.begun: list[tuple[int, float]] = []
        self.taken: list[tuple[int, float]] = []
        self.failed: list[TransportError] = []
        self.is_far = True
        self.closed = False
        self.body = "{}"
        self.pipes: list[tuple[int, int]] = []
        self.full: list[float] = []
        self.late = 0.0
        """Seconds after which an answer comes."""
        self.unanswered: deque[int] = deque()
        self.quick = False
        self.attends: list[bool] = []
        self.heard: list[Any] = []
        self.settler = SimpleNamespace(
            begins=False, attended=False, requests={}, attend=self.attends.append, hear=self.hear
        )
        breaker = Breaker(None, Postponed(self.clock), service="mail", clock=self.clock)
        isolation = Isolation("t", InFlight(), last_receive=20)
        self.pressure = BackPressure(
            InFlight(), breaker, isolation, concurrency=500, prefetch=500, lease=30
        )
        self.receives = Receives(
            self.begin,
            self.pressure,
            cast("Any", self.settler),
            wait=20,
            clock=self.clock,
            taken=lambda found, since: self.taken.append((len(found), since)),
            full=self.full,
            far=lambda: self.is_far,
            failed=self.failed.append,
            closed=lambda: self.closed,
            quick=lambda: self.quick,
        )

    def begin(self, most: int, wait: float) -> Generator[int, None, Sequence[Delivery]] | None:
        self.begun.append((most, wait))
        answer = self.script.pop(0) if self.script else 0
        if callable(answer):
            return answer()
        return self.steps(answer)

    def file(self) -> int:
        """One that can be read at once."""
        read, write = os.pipe()
        self.pipes.append((read, write))
        if self.late:
            self.unanswered.append(write)
            threading.Timer(self.late, self.answer).start()
        else:
            os.write(write, b"!")
        return read

    def answer(self) -> None:
        """Answer the oldest: of two timers, either may be the first on a busy machine."""
        os.write(self.unanswered.popleft(), b"!")

    def hear(self, found: Sequence[Any]) -> None:
        """What the settler does with the answers to its own requests."""
        mine = [one for one in found if one in self.settler.requests.values()]
        self.heard += mine
        if mine:
            self.settler.requests = {}

    def steps(self, answer: int | BaseException) -> Generator[int, None, Sequence[Delivery]]:
        yield self.file()
        if isinstance(answer, BaseException):
            raise answer
        return self.deliveries(answer)

    def deliveries(self, count: int) -> list[Delivery]:
        return [
            Delivery(queue="t", message_id=f"m{n}", receipt="r", body=self.body)
            for n in range(count)
        ]

    def run(self, onward: Callable[[bool], bool] = bool) -> bool:
        return self.receives.run(onward)

    @property
    def counts(self) -> list[int]:
        return [count for count, _ in self.taken]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for pipe in bench.pipes:
        for one in pipe:
            os.close(one)


def at_rest(bench: Bench) -> bool:
    """Nothing is under way, and no room is promised to anybody."""
    return (len(bench.receives), bench.pressure.asked, bench.settler.begins) == (0, 0, False)


def test_it_receives_until_the_queue_has_no_more(bench: Bench) -> None:
    bench.script = [10] * 6
    assert bench.run() is True
    assert bench.counts == [10] * 6
    assert set(bench.begun) == {(10, WAIT)}
    assert at_rest(bench)
    assert bench.receives.since is None
    assert bench.receives.possible


def test_a_transport_that_receives_in_one_piece_only_says_so(bench: Bench) -> None:
    bench.script = [lambda: None]
    assert bench.run() is True
    assert bench.receives.possible is False
    assert at_rest(bench)
    assert len(bench.begun) == 1


def test_a_far_queue_is_asked_for_several_at_once_and_its_way_is_known_meanwhile(
    bench: Bench,
) -> None:
    under_way: list[int] = []
    ways: list[float] = []

    def onward(near: bool) -> bool:
        assert near
        under_way.append(len(bench.receives))
        ways.append(bench.pressure.way)
        return True

    bench.late, bench.script = 0.01, [10] * 12
    bench.run(onward)
    assert bench.counts == [10] * 12
    assert max(under_way) > 1
    assert all(ways)
    assert bench.pressure.way == 0, "it has no more: nothing is to be held for it"
    assert at_rest(bench)


def test_a_far_queue_is_still_far_when_there_is_no_room_left(bench: Bench) -> None:
    def onward(_: bool) -> bool:
        bench.pressure.pause()
        return True

    bench.late, bench.script = 0.01, [10, 10, 10]
    assert bench.run(onward) is True
    assert bench.pressure.way == min(bench.full) > 0
    assert at_rest(bench)


def test_of_a_queue_without_a_full_answer_nobody_knows_how_far_it_is(bench: Bench) -> None:
    def few() -> Generator[int, None, Sequence[Delivery]]:
        yield bench.file()
        bench.pressure.pause()  # so that it ends with these
        return bench.deliveries(3)

    bench.script = [few]
    assert bench.run() is True
    assert (bench.counts, bench.pressure.way) == ([3], 0)


@pytest.mark.parametrize("quick", [True, False])
def test_the_settlers_answers_are_heard_here_while_handlers_run_here(
    bench: Bench, quick: bool
) -> None:
    bench.quick, bench.script = quick, [10, 10]
    bench.run()
    assert set(bench.attends[:-1]) == {quick}
    assert len(bench.attends) > 4, "after each answer it may have become another"
    assert bench.attends[-1] is False


def test_answers_to_the_settlers_deletes_are_waited_for_though_nothing_is_received(
    bench: Bench,
) -> None:
    deleting: UnderWay[Any] = UnderWay(bench.steps(0))
    bench.closed, bench.settler.attended = True, True
    bench.settler.requests = {deleting.file: deleting}
    assert bench.run() is True
    assert bench.heard == [deleting]
    assert bench.begun == []


def test_answers_to_deletes_are_none_of_its_business_where_handlers_run_elsewhere(
    bench: Bench,
) -> None:
    deleting: UnderWay[Any] = UnderWay(bench.steps(0))
    bench.settler.requests = {deleting.file: deleting}
    bench.script = [10]
    assert bench.run() is True
    assert bench.heard == []


def test_an_error_is_told_once_though_all_under_way_meet_it(bench: Bench) -> None:
    bench.late = 0.01
    bench.script = [*[10] * 6, *[TransportError("away")] * 9]
    bench.run()
    assert len(bench.script) < 8, "several were under way"
    assert [str(one) for one in bench.failed] == ["away"]
    assert at_rest(bench)
    bench.script = [TransportError("again")]
    bench.run()
    assert [str(one) for one in bench.failed] == ["away", "again"], "a later run tells it again"


def test_a_request_that_cannot_be_sent_is_an_error_too(bench: Bench) -> None:
    def refuse() -> None:
        raise TransportError("no connection")

    bench.script = [refuse, 10]
    bench.run()
    assert bench.script == [10], "the rest is left to whoever receives one after the other"
    assert [str(one) for one in bench.failed] == ["no connection"]
    assert at_rest(bench)


def test_after_the_end_an_error_is_nobodys(bench: Bench) -> None:
    def end() -> Generator[int, None, Sequence[Delivery]]:
        yield bench.file()
        bench.closed = True
        raise TransportError("closed")

    bench.script = [end]
    bench.run()
    assert bench.failed == []
    assert len(bench.begun) == 1, "and nothing more is asked for"


def test_a_request_that_was_sent_again_is_heard_on_its_new_connection(bench: Bench) -> None:
    def again() -> Generator[int, None, Sequence[Delivery]]:
        yield bench.file()
        yield bench.file()
        return bench.deliveries(7)

    bench.script = [again]
    assert bench.run() is True
    assert bench.counts == [7]
    assert at_rest(bench)


@pytest.mark.parametrize("goes_on", [True, False])
def test_an_answer_that_comes_at_once_needs_no_connection(bench: Bench, goes_on: bool) -> None:
    def at_once() -> Generator[int, None, Sequence[Delivery]]:
        bench.closed = True
        yield from ()
        return bench.deliveries(3)

    bench.script = [at_once]
    assert bench.run(lambda _: goes_on) is goes_on
    assert bench.counts == [3]
    assert (len(bench.receives), bench.pressure.asked) == (0, 0)


def test_what_is_under_way_when_another_thread_takes_over_is_heard_by_that_one(
    bench: Bench,
) -> None:
    bench.script = [10] * 9
    assert bench.run(lambda _: len(bench.taken) < 3) is False
    assert len(bench.receives) > 0
    assert bench.pressure.asked == 10 * len(bench.receives)
    assert bench.receives.since == bench.clock.monotonic()
    assert bench.run() is True
    assert bench.counts == [10] * 9
    assert at_rest(bench)


def test_a_handler_that_is_interrupted_leaves_the_settler_to_its_own_thread(bench: Bench) -> None:
    def interrupted(near: bool) -> bool:
        assert bench.settler.begins
        raise Interrupt

    bench.script = [10]
    with pytest.raises(Interrupt):
        bench.run(interrupted)
    assert bench.settler.begins is False


def test_leases_count_from_the_request_and_not_from_a_late_look(bench: Bench) -> None:
    def late() -> Generator[int, None, Sequence[Delivery]]:
        yield bench.file()
        bench.clock.advance(0.4)
        return bench.deliveries(2)

    asked = bench.clock.monotonic()
    bench.script = [late]
    bench.run()
    assert bench.taken == [(2, asked)]


def test_leases_count_from_the_last_look_but_never_from_beyond_the_wait(bench: Bench) -> None:
    began = bench.clock.monotonic()

    def onward(_: bool) -> bool:
        bench.clock.advance(0.7)  # handling takes so long
        return True

    bench.script = [10, 10, 10]
    bench.run(onward)
    since = [at for _, at in bench.taken]
    assert since[0] == began
    assert all(earlier <= later for earlier, later in pairwise(since))
    assert all(at <= began + 0.7 * number + WAIT for number, at in enumerate(since))


def test_how_far_the_queue_is_say_full_answers_alone(bench: Bench) -> None:
    bench.script = [3]
    bench.run()
    assert len(bench.full) == 0
    bench.script = [10, 10]
    bench.run()
    assert len(bench.full) == 2
    assert bench.pressure.way in {0.0, min(bench.full)}


def test_a_queue_that_is_near_after_all_is_asked_once_at_a_time(bench: Bench) -> None:
    bench.is_far = False
    bench.script = [10] * 5
    bench.run()
    assert bench.counts == [10], "the next is made by whoever receives one after the other"
    assert at_rest(bench)


class Told(ReceiveWindow):
    """What the window is told of each receive."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[dict[str, float]] = []

    def brought(self, count: int, **how: Any) -> None:
        self.each.append(how)
        super().brought(count, **how)


def told(bench: Bench, *script: Answer) -> list[dict[str, float]]:
    window = bench.receives._window = Told()
    bench.script = list(script)
    bench.run()
    return window.each


def test_the_window_is_told_how_many_were_under_way_when_each_was_sent(bench: Bench) -> None:
    bench.late = 0.01
    each = told(bench, *[10] * 8)
    assert [one["out"] for one in each[:3]] == [1, 1, 2]
    assert [one["under_way"] for one in each[:2]] == [1, 2]


def test_the_window_is_told_what_was_waited_for_and_that_nothing_was_overlooked(
    bench: Bench,
) -> None:
    bench.late = 0.01
    (first, *_) = told(bench, 10)
    assert 0.002 < first["took"] < 60
    assert 0.002 < first["waited"] < 60
    assert first["unseen"] == 0.0


def test_an_answer_that_was_there_at_once_was_neither_waited_for_nor_overlooked(
    bench: Bench,
) -> None:
    def at_once() -> Generator[int, None, Sequence[Delivery]]:
        yield from ()
        return bench.deliveries(10)

    (first, *_) = told(bench, at_once)
    assert (first["waited"], first["unseen"]) == (0.0, 0.0)


def test_an_answer_that_came_while_a_handler_ran_may_have_been_there_since_the_last_look(
    bench: Bench,
) -> None:
    window = bench.receives._window = Told()
    bench.script = [10, 10, 10, 10]
    ran: list[float] = []

    def onward(_: bool) -> bool:
        began = time.monotonic()
        time.sleep(0.005)
        ran.append(time.monotonic() - began)
        return True

    bench.run(onward)
    second = window.each[1]
    assert second["waited"] == 0.0
    assert ran[0] * 0.9 <= second["unseen"] < 60, "and not since the machine was started"


def test_of_the_last_eight_full_receives_the_times_are_kept() -> None:
    of_late: list[float] = []
    for took in range(20):
        note_full(of_late, float(took))
        assert of_late == [float(one) for one in range(max(0, took - 7), took + 1)]
