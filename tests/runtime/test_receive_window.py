"""The controller of receives under way, in a simulated world: no test waits."""

from __future__ import annotations

import heapq
from statistics import fmean

import pytest

from messaging.runtime.receive_window import MOST_RECEIVES, ReceiveWindow

HANDLING = 0.000_25
"""Seconds that it takes to receive and handle ten messages."""


class World:
    """A queue with a backlog of full receives, `way` seconds off, and a thread that handles them.

    An empty receive waits for `PATIENCE`. `room` is how many receives there is room for. The server
    makes one receive after the other, each in `serving` seconds, beside the way.
    """

    PATIENCE = 1.0

    def __init__(
        self, way: float, backlog: int = 10**9, room: int = 10**9, serving: float = 0.0
    ) -> None:
        self.window = ReceiveWindow()
        self.way, self.backlog, self.room = way, backlog, room
        self.now = self.looked = 0.0
        self.out: list[tuple[float, float, int, int]] = []
        self.serving, self.served = serving, 0.0
        self.full = self.empty = self.most = 0
        self.handling = HANDLING
        self.window.start()

    def run(self, seconds: float) -> float:
        """Full receives a second; ends early when no receive is to be under way any more."""
        began, full = self.now, self.full
        while self.now < began + seconds:
            while len(self.out) < min(self.window.limit, self.room):
                count = 10 if self.backlog else 0
                self.backlog -= bool(count)
                self.served = max(self.now, self.served) + self.serving
                answered = self.served + self.way + (0 if count else self.PATIENCE)
                heapq.heappush(self.out, (answered, self.now, count, len(self.out) + 1))
            self.most = max(self.most, len(self.out))
            if not self.out:
                break
            answered, sent, count, out = heapq.heappop(self.out)
            waited = max(0.0, answered - self.now)
            self.now += waited
            under_way = len(self.out) + 1
            unseen, self.looked = 0.0 if waited else self.now - self.looked, self.now
            self.window.brought(
                count,
                asked=10,
                out=out,
                under_way=under_way,
                took=self.now - sent,
                unseen=unseen,
                waited=waited,
                made=self.handling,
            )
            self.full += bool(count)
            self.empty += not count
            self.now += self.handling if count else 0
        return (self.full - full) / max(1e-9, self.now - began)


@pytest.mark.parametrize("way", [0.003, 0.01])
def test_the_processor_is_the_bound_and_not_the_way(way: float) -> None:
    world = World(way)
    world.run(0.5)
    assert world.run(1) > 0.9 / HANDLING


def test_a_long_way_takes_as_many_as_there_may_be_and_no_more() -> None:
    world = World(0.1)
    world.run(0.8)
    assert world.run(5) > 0.9 * MOST_RECEIVES / 0.1
    assert world.most == MOST_RECEIVES


def test_the_first_second_is_not_lost_to_growing() -> None:
    world = World(0.03)
    world.run(0.03 * 10)
    assert world.window.limit == MOST_RECEIVES


def test_slow_handling_needs_few() -> None:
    world = World(0.03)
    world.handling = 0.03
    world.run(10)
    assert world.window.limit <= 4


def test_a_way_that_becomes_short_needs_fewer() -> None:
    world = World(0.03)
    world.run(1)
    world.way = 0.003
    world.run(30)
    assert world.window.limit <= 2 * 0.003 / HANDLING


def test_the_room_in_hand_is_no_reason_to_grow() -> None:
    world = World(0.03, room=3)
    world.run(5)
    assert world.window.limit <= 2 * 3


@pytest.mark.parametrize("burst", [2, 10, 100, 1000])
def test_a_burst_costs_no_more_empty_receives_than_it_had_full_ones(burst: int) -> None:
    world = World(0.03, backlog=burst)
    world.run(60)
    assert world.full == burst
    assert world.window.limit == 0
    assert world.empty <= min(burst, MOST_RECEIVES) + 1


def test_answers_that_are_not_full_let_it_shrink_to_one_and_not_further() -> None:
    world = World(0.03)
    world.run(1)
    for _ in range(200):
        world.window.brought(
            7, asked=10, out=5, under_way=5, took=0.03, unseen=0.0, waited=0.01, made=HANDLING
        )
    assert world.window.limit == 1


def test_it_opens_by_full_answers_and_closes_by_empty_ones() -> None:
    window = ReceiveWindow()
    assert window.limit == 0

    def brought(count: int, waited: float = 1.0, out: int = 9) -> int:
        window.brought(
            count,
            asked=10,
            out=window.limit,
            under_way=out,
            took=1.0,
            unseen=0.0,
            waited=waited,
            made=0.1,
        )
        return window.limit

    window.start()
    assert window.limit == 1
    # One more with each full answer, however long it was waited for; that which started it counts.
    # Twice as many are waited for.
    assert [brought(10), brought(10), brought(10), brought(10), brought(10)] == [2, 3, 4, 4, 6]
    assert brought(10, out=4) == 6, "it was the room in hand that was the bound"
    assert brought(10, out=6) == 8
    assert [brought(9), brought(0), brought(0), brought(0), brought(0)] == [7, 3, 1, 0, 0]
    window.start()
    assert window.limit == 1
    assert [brought(10), brought(0), brought(0)] == [2, 1, 0]


def test_after_an_empty_answer_it_opens_no_wider_than_new_full_answers_say() -> None:
    window = ReceiveWindow()
    window.start()
    for count in (10, 10, 10, 10, 10, 0, 10):
        window.brought(
            count, asked=10, out=9, under_way=9, took=1.0, unseen=0.0, waited=1.0, made=0.1
        )
    assert window.limit == 1


def test_answers_that_nobody_waited_for_let_it_shrink_whatever_is_under_way() -> None:
    world = World(0.03)
    world.run(1)
    for _ in range(MOST_RECEIVES):
        world.window.brought(
            10, asked=10, out=1, under_way=1, took=0.03, unseen=0.0, waited=0.0, made=HANDLING
        )
    assert world.window.limit == MOST_RECEIVES - 1


def test_after_an_error_it_begins_anew() -> None:
    window = ReceiveWindow()
    for _ in range(2):
        window.start()
        for limit in (2, 3):
            window.brought(
                10, asked=10, out=9, under_way=9, took=1.0, unseen=0.0, waited=1.0, made=0.1
            )
            assert window.limit == limit
        window.stop()
        assert window.limit == 0


def test_an_error_ends_it() -> None:
    world = World(0.03)
    world.run(1)
    world.window.stop()
    assert world.window.limit == 0
    world.window.start()
    assert world.window.limit == 1


def test_a_busy_local_server_does_not_pass_for_a_far_one() -> None:
    world = World(0.0, serving=0.005)
    world.run(1)
    assert world.run(5) > 0.95 / 0.005
    assert world.most <= 2
    assert world.window.limit <= 2


def test_a_far_server_that_is_the_bound_is_kept_busy() -> None:
    world = World(0.03, serving=0.002)
    world.run(1)
    seen, rates = [], []
    for _ in range(50):
        rates.append(world.run(0.2))
        seen.append(world.window.limit)
    assert fmean(rates) > 0.8 / 0.002
    assert fmean(seen) < 0.75 * MOST_RECEIVES
