"""The controller of requests under way, in a simulated world of answers: no test waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from messaging.window import FAR, FIRST, MOST, RequestWindow

MAKING = 0.000_2
"""Seconds that it takes to make a request."""


class World:
    """A publisher that makes requests as fast as it can; answers take `way(moment)` seconds."""

    def __init__(self, way: Callable[[float], float], window: RequestWindow) -> None:
        self.way = way
        self.window = window
        self.now = 0.0
        self.out: list[tuple[float, float]] = []
        self.sent = 0
        self.most = 0

    def run(self, seconds: float) -> float:
        """Requests a second, over so many seconds more."""
        end, before, began = self.now + seconds, self.sent, self.now
        while self.now < end:
            self.now += MAKING
            while len(self.out) >= self.window.limit:
                answered, sent = heapq.heappop(self.out)
                waited = max(0.0, answered - self.now)
                self.now += waited
                self.window.answered(took=self.now - sent, waited=waited, made=MAKING)
            heapq.heappush(self.out, (self.now + self.way(self.now), self.now))
            self.sent += 1
            self.most = max(self.most, len(self.out))
        return (self.sent - before) / (self.now - began)


@pytest.mark.parametrize("way", [0.005, 0.010, 0.020])
def test_the_processor_is_the_bound_and_not_the_way(way: float) -> None:
    world = World(lambda _: way, RequestWindow())
    world.run(0.5)
    assert world.run(1.0) > 0.9 / MAKING


def test_so_many_as_are_needed_are_found_within_some_answers() -> None:
    world = World(lambda _: 0.02, RequestWindow())
    world.run(0.02 * 8)
    assert world.window.limit >= 0.9 * 0.02 / MAKING


def test_a_long_way_takes_as_many_as_there_may_be_and_no_more() -> None:
    world = World(lambda _: 0.3, RequestWindow())
    world.run(10)
    assert world.most == MOST


def test_quick_answers_need_no_more_than_the_first_few() -> None:
    world = World(lambda _: 0.001, RequestWindow())
    world.run(1)
    assert world.most == FIRST


def test_when_the_way_becomes_short_again_the_window_does_too() -> None:
    world = World(lambda now: 0.03 if now < 2 else 0.003, RequestWindow())
    world.run(2)
    high = world.window.limit
    world.run(20)
    assert high > 64
    assert world.window.limit <= 0.003 / MAKING * 2


def test_stragglers_do_not_hold_up_the_others() -> None:
    def way(now: float) -> float:
        return 1.0 if int(now * 1e6) % 200 == 7 else 0.01

    world = World(way, RequestWindow())
    world.run(1)
    assert world.run(2) > 0.8 / MAKING


def test_a_slow_producer_needs_no_more() -> None:
    window = RequestWindow()
    for _ in range(1000):
        window.answered(took=0.03, waited=0.005, made=0.01)
    assert window.limit == FIRST


def grown(limit: int) -> RequestWindow:
    """A window that has come to `limit`, at most twice what it begins with."""
    window = RequestWindow()
    window.answered(took=1.0, waited=(limit - FIRST) * 1.0, made=1.0)
    assert window.limit == limit
    return window


@pytest.mark.parametrize(
    ("waited", "more"),
    [(1.0, 0), (1.5, 1), (2.0, 2), (3.5, 3), (4.0, 4), (100.0, 4)],
    ids="no longer than to make one, a little, two, three, four, long".split(", "),
)
def test_it_grows_by_what_could_have_been_made_and_at_most_doubles(
    waited: float, more: int
) -> None:
    window = RequestWindow()
    window.answered(took=100.0, waited=waited, made=1.0)
    assert window.limit == FIRST + more


def test_an_answer_that_took_as_long_as_a_far_one_came_from_afar() -> None:
    window = RequestWindow()
    window.answered(took=FAR * 0.99, waited=FAR, made=FAR / 10)
    assert window.limit == FIRST
    window.answered(took=FAR, waited=FAR, made=FAR / 10)
    assert window.limit == 2 * FIRST


def test_it_shrinks_by_one_for_as_many_answers_as_are_under_way_that_nobody_waited_for() -> None:
    window = RequestWindow()
    window.answered(took=1.0, waited=0.0, made=1.0)  # the very first answer
    window = grown(7)
    for expected in (7, 6, 5):
        for _ in range(expected - 1):
            window.answered(took=1.0, waited=0.0, made=1.0)
            assert window.limit == expected
        window.answered(took=1.0, waited=0.0, made=1.0)
        assert window.limit == expected - 1


@pytest.mark.parametrize("waited", [0.5, 1.5])
def test_one_answer_that_was_waited_for_begins_the_count_anew(waited: float) -> None:
    window = grown(6)
    for _ in range(5):
        window.answered(took=1.0, waited=0.0, made=1.0)
    window.answered(took=1.0, waited=waited, made=1.0)
    limit = window.limit
    for _ in range(limit - 1):
        window.answered(took=1.0, waited=0.0, made=1.0)
    assert window.limit == limit
    window.answered(took=1.0, waited=0.0, made=1.0)
    assert window.limit == limit - 1


def test_requests_that_are_not_taken_halve_it_down_to_the_first_few() -> None:
    window = RequestWindow()
    for _ in range(200):
        window.answered(took=0.03, waited=0.01, made=MAKING)
    assert window.limit == MOST
    window.refused()
    assert window.limit == MOST // 2
    for _ in range(10):
        window.refused()
    assert window.limit == FIRST


@pytest.mark.parametrize("most", [1, 3, 10])
def test_what_the_caller_names_is_never_exceeded(most: int) -> None:
    world = World(lambda _: 0.05, RequestWindow(most))
    world.run(2)
    assert world.most == most
