"""The controller of requests under way, in a simulated world of answers: no test waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import log
from random import Random
from statistics import fmean

import pytest

from messaging.window import FAR, FIRST, HOLD, MOST, SAMPLES, UNSEEN, RequestWindow

MAKING = 0.000_2
"""Seconds that it takes to make a request."""


class World:
    """A publisher that makes requests as fast as it can; answers take `way(moment)` seconds.

    serving  seconds for which each of the server's `workers` works for a request, beside the way.
    """

    def __init__(
        self,
        way: Callable[[float], float],
        window: RequestWindow,
        *,
        serving: float = 0.0,
        workers: int = 1,
    ) -> None:
        self.way = way
        self.window = window
        self.serving = serving
        self.draw = Random(workers)
        self.free = [0.0] * workers
        self.now = self.looked = 0.0
        self.out: list[tuple[float, float, int]] = []
        self.sent = 0
        self.most = 0

    def run(self, seconds: float) -> float:
        """Requests a second, over so many seconds more."""
        end, before, began = self.now + seconds, self.sent, self.now
        while self.now < end:
            self.now += MAKING
            while len(self.out) >= self.window.limit:
                answered, sent, out = heapq.heappop(self.out)
                waited = max(0.0, answered - self.now)
                self.now += waited
                if waited > MAKING:
                    self.looked = self.now
                self.window.answered(
                    took=self.now - sent,
                    unseen=self.now - self.looked,
                    waited=waited,
                    made=MAKING,
                    out=out,
                )
            served = max(self.now, heapq.heappop(self.free))
            served += self.serving * self.draw.uniform(0.5, 1.5)
            heapq.heappush(self.free, served)
            answered = served + self.way(self.now)
            heapq.heappush(self.out, (answered, self.now, len(self.out) + 1))
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
    world.run(0.02 * 10)
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
        window.answered(took=0.03, unseen=0.0, waited=0.005, made=0.01, out=FIRST)
    assert window.limit == FIRST


def grown(limit: int) -> RequestWindow:
    """A window that has come to `limit`, at most twice what it begins with."""
    window = RequestWindow()
    window.answered(took=1.0, unseen=0.0, waited=(limit - FIRST) * 1.0, made=1.0, out=FIRST)
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
    window.answered(took=100.0, unseen=0.0, waited=waited, made=1.0, out=FIRST)
    assert window.limit == FIRST + more


def test_an_answer_that_took_as_long_as_a_far_one_came_from_afar() -> None:
    window = RequestWindow()
    window.answered(took=FAR * 0.99, unseen=0.0, waited=FAR, made=FAR / 10, out=FIRST)
    assert window.limit == FIRST
    window.answered(took=FAR, unseen=0.0, waited=FAR, made=FAR / 10, out=FIRST)
    assert window.limit == 2 * FIRST


def test_it_shrinks_by_one_for_as_many_answers_as_are_under_way_that_nobody_waited_for() -> None:
    window = RequestWindow()
    window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)  # the very first answer
    window = grown(7)
    for expected in (7, 6, 5):
        for _ in range(expected - 1):
            window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)
            assert window.limit == expected
        window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)
        assert window.limit == expected - 1


@pytest.mark.parametrize("waited", [0.5, 1.5])
def test_one_answer_that_was_waited_for_begins_the_count_anew(waited: float) -> None:
    window = grown(6)
    for _ in range(5):
        window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)
    window.answered(took=1.0, unseen=0.0, waited=waited, made=1.0, out=FIRST)
    limit = window.limit
    for _ in range(limit - 1):
        window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)
    assert window.limit == limit
    window.answered(took=1.0, unseen=0.0, waited=0.0, made=1.0, out=FIRST)
    assert window.limit == limit - 1


def test_requests_that_are_not_taken_halve_it_down_to_the_first_few() -> None:
    window = RequestWindow()
    for _ in range(200):
        window.answered(took=0.03, unseen=0.0, waited=0.01, made=MAKING, out=window.limit)
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


def limits(world: World, seconds: float, times: int = 40) -> float:
    """The mean limit, looked at `times` times."""
    seen = []
    for _ in range(times):
        world.run(seconds)
        seen.append(world.window.limit)
    return fmean(seen)


@pytest.mark.parametrize("serving", [0.003, 0.01, 0.03])
def test_a_busy_server_gets_few_more_than_the_first_few(serving: float) -> None:
    world = World(lambda _: 0.0, RequestWindow(), serving=serving)
    assert limits(world, 30 * serving) < 3 * FIRST
    assert world.run(200 * serving) > 0.9 / serving


@pytest.mark.parametrize("workers", [8, 20, 40])
def test_a_server_of_many_workers_gets_work_for_all_of_them(workers: int) -> None:
    world = World(lambda _: 0.002, RequestWindow(), serving=0.02, workers=workers)
    world.run(1)
    assert world.run(4) > 0.8 * workers / 0.022


def test_a_far_server_that_is_the_bound_is_kept_busy() -> None:
    world = World(lambda _: 0.03, RequestWindow(), serving=0.002)
    assert limits(world, 0.2) < MOST / 2
    assert world.run(4) > 0.8 / 0.002


@pytest.mark.parametrize("seed", range(4))
def test_answers_that_vary_do_not_pass_for_a_busy_server(seed: int) -> None:
    draw = Random(seed)
    world = World(lambda _: draw.lognormvariate(log(0.02), 0.5), RequestWindow())
    world.run(3)
    assert world.run(5) > 0.8 / MAKING


def test_a_server_that_gets_quicker_is_found_out() -> None:
    world = World(lambda _: 0.02, RequestWindow(), serving=0.02)
    world.run(5)
    assert world.window.limit <= 4 * FIRST
    world.serving = 0.0
    world.run(HOLD * 0.02 * 6)
    assert world.run(1) > 0.9 / MAKING


def test_requests_that_were_sent_before_the_growth_say_nothing_of_it() -> None:
    window = grown(2 * FIRST)
    for _ in range(10 * SAMPLES):
        window.answered(took=9.0, unseen=0.0, waited=1.0, made=0.1, out=FIRST)
    assert window.limit == 2 * FIRST
    for _ in range(FIRST):
        window.answered(took=1.0, unseen=0.0, waited=1.0, made=0.1, out=2 * FIRST)
    assert window.limit == 4 * FIRST


@pytest.mark.parametrize(
    ("took", "limit"), [(1.77, 2 * FIRST), (1.78, FIRST)], ids=["an eighth more", "less"]
)
def test_twice_the_requests_have_to_bring_an_eighth_more(took: float, limit: int) -> None:
    window = grown(2 * FIRST)
    for _ in range(SAMPLES):
        window.answered(took=took, unseen=0.0, waited=1.0, made=1.0, out=2 * FIRST)
    assert window.limit == limit


def test_it_takes_several_answers_to_turn_back() -> None:
    window = grown(2 * FIRST)
    for _ in range(SAMPLES - 1):
        window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == 2 * FIRST
    window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == FIRST


def test_an_answer_that_may_have_been_there_for_long_is_no_sample() -> None:
    window = grown(2 * FIRST)
    for _ in range(10 * SAMPLES):
        window.answered(took=9.0, unseen=UNSEEN * 1.01, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == 2 * FIRST
    for _ in range(SAMPLES):
        window.answered(took=9.0, unseen=UNSEEN, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == FIRST


def test_what_brought_nothing_is_tried_again_after_a_while() -> None:
    window = grown(2 * FIRST)
    for _ in range(SAMPLES):
        window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == FIRST
    for _ in range(HOLD * FIRST - 1):
        window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=FIRST)
        assert window.limit == FIRST
    window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=FIRST)
    assert window.limit == 2 * FIRST


def test_after_a_fall_nothing_is_held_against_growing() -> None:
    window = grown(2 * FIRST)
    for _ in range(SAMPLES):
        window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=2 * FIRST)
    window.fall(FIRST)
    window.answered(took=1.0, unseen=0.0, waited=1.0, made=0.1, out=FIRST)
    assert window.limit == 2 * FIRST


def test_a_growth_that_was_taken_back_meanwhile_is_not_judged() -> None:
    window = grown(FIRST + 2)
    for _ in range(FIRST + 2 + FIRST + 1):
        window.answered(took=1.0, unseen=9.0, waited=0.0, made=1.0, out=FIRST + 2)
    assert window.limit == FIRST
    window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=FIRST)
    assert window.limit == 2 * FIRST


def test_growth_that_brings_just_enough_goes_on() -> None:
    window = RequestWindow()
    window.answered(took=9.0, unseen=0.0, waited=9.0, made=1.0, out=FIRST)
    for _ in range(FIRST):
        window.answered(took=16.0, unseen=0.0, waited=16.0, made=1.0, out=2 * FIRST)
    assert window.limit == 4 * FIRST


def test_growth_that_brought_nothing_leaves_a_quarter_less_than_before() -> None:
    window = grown(2 * FIRST)
    for _ in range(FIRST):
        window.answered(took=1.0, unseen=0.0, waited=9.0, made=0.1, out=2 * FIRST)
    assert window.limit == 4 * FIRST
    for _ in range(SAMPLES):
        window.answered(took=9.0, unseen=0.0, waited=9.0, made=0.1, out=4 * FIRST)
    assert window.limit == 2 * FIRST * 3 // 4


def test_it_never_grows_to_more_than_twice_what_was_judged_last() -> None:
    window = grown(2 * FIRST - 1)
    for _ in range(SAMPLES):
        window.answered(took=1.0, unseen=0.0, waited=1.0, made=1.0, out=2 * FIRST - 1)
    window.answered(took=1.0, unseen=0.0, waited=100.0, made=1.0, out=2 * FIRST - 1)
    assert window.limit == 2 * FIRST


def test_what_was_seen_before_a_fall_is_no_measure_any_more() -> None:
    window = grown(2 * FIRST)
    for _ in range(SAMPLES - 1):
        window.answered(took=9.0, unseen=0.0, waited=1.0, made=1.0, out=2 * FIRST)
    window.refused()
    window.answered(took=1.0, unseen=0.0, waited=9.0, made=0.1, out=FIRST)
    assert window.limit == 2 * FIRST
    for _ in range(SAMPLES):
        window.answered(took=1.9, unseen=0.0, waited=1.0, made=1.0, out=2 * FIRST)
    assert window.limit == FIRST


def test_after_a_fall_it_grows_only_when_it_is_waited_again() -> None:
    window = grown(2 * FIRST)
    window.refused()
    window.answered(took=1.0, unseen=0.0, waited=0.5, made=1.0, out=FIRST)
    assert window.limit == FIRST


def test_who_waited_before_the_growth_was_judged_has_not_waited_in_vain() -> None:
    window = grown(2 * FIRST)
    window.answered(took=1.0, unseen=0.0, waited=100.0, made=1.0, out=FIRST)
    for _ in range(FIRST):
        assert window.limit == 2 * FIRST
        window.answered(took=1.0, unseen=0.0, waited=1.0, made=1.0, out=2 * FIRST)
    assert window.limit == 4 * FIRST


def test_an_answer_that_may_be_as_old_as_a_far_one_takes_says_nothing() -> None:
    assert UNSEEN < FAR
