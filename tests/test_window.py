"""The controller of requests under way, in a simulated world of answers: no test waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from messaging.window import FIRST, MOST, RequestWindow

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
