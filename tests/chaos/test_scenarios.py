"""The kit itself: a seed is a scenario, is judged rightly, and users can play their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.outcome import RetryPolicy
from messaging.testing.chaos import EVERY_FAULT, PromiseBroken, check
from messaging.testing.chaos.observed import Count
from messaging.testing.chaos.plan import ScenarioPlan, Step
from messaging.testing.chaos.scenario import Summary, play
from messaging.testing.chaos.seeded import Seeded
from messaging.testing.chaos.setup import Setup
from messaging.testing.chaos.shrink import shrink
from tests.chaos.sample import sample_setup
from tests.chaos.scenarios import main, plan_of

SLICE = range(100)


class Ordered(Event, type="ordered", version=1):
    number: int


class Warehouse(Consumer):
    retry = RetryPolicy(max_attempts=3)

    @handles
    def ordered(self, event: Ordered) -> None:
        pass


ORDERS = [Ordered(number=number) for number in range(12)]


def test_a_slice_of_seeds_keeps_every_promise_and_meets_every_fault() -> None:
    summary = Summary(count=Count(), injected=Counter())
    for seed in SLICE:
        scenario = play(plan_of(seed), sample_setup)
        assert not scenario.breaches, (scenario.plan.title(), scenario.breaches[:3])
        summary += Summary(count=scenario.count, injected=scenario.injected)
    count = summary.count
    assert set(summary.injected) == set(EVERY_FAULT)
    assert (count.lost, count.unaccounted, count.duplicates_once) == (0, 0, 0)
    assert count.duplicates > 0
    assert count.redeliveries > 0
    assert count.dead_lettered > 0
    assert count.undelivered > 0
    assert count.kills > 0


def test_the_same_seed_is_the_same_story() -> None:
    for seed in range(12):
        plan = plan_of(seed)
        first, second = play(plan, sample_setup), play(plan, sample_setup)
        assert first.text == second.text
        assert first.digest == second.digest
    assert play(plan_of(1), sample_setup).digest != play(plan_of(2), sample_setup).digest


def test_a_story_without_its_faults_is_otherwise_the_same() -> None:
    plan = next(plan for plan in map(plan_of, SLICE) if play(plan, sample_setup).faults)
    calm = play(replace(plan, only=frozenset()), sample_setup)
    assert not calm.faults
    assert not calm.breaches


def test_every_throw_follows_from_its_name() -> None:
    seeded = Seeded(7)
    first = seeded.unit("a"), seeded.unit("b")
    assert (Seeded(7).unit("b"), Seeded(7).unit("a")) == first[::-1]
    assert Seeded(8).unit("a") != first[0]
    assert all(0 <= seeded.unit(f"throw {number}") < 1 for number in range(1000))


def test_shrinking_leaves_what_the_failure_needs() -> None:
    plan = replace(plan_of(0), steps=tuple(Step("wait", 0, number) for number in range(64)))
    faults = [f"fault {number}" for number in range(30)]

    def fails(candidate: ScenarioPlan) -> bool:
        needed = {Step("wait", 0, 7), Step("wait", 0, 40)} <= set(candidate.steps)
        return needed and "fault 11" in (candidate.only or ())

    found = shrink(plan, faults, fails, most=1000)
    assert found.only == {"fault 11"}
    assert found.steps == (Step("wait", 0, 7), Step("wait", 0, 40))
    assert not found.events
    assert len(found.services) == 1


def test_check_plays_the_users_own_consumers() -> None:
    summary = check([Warehouse], ORDERS, seeds=range(25))
    assert summary.count.scenarios == 25
    assert summary.count.wanted > 100
    assert summary.count.lost == 0
    assert sum(summary.injected.values()) > 25


def test_check_plays_async_handlers() -> None:
    class Office(Consumer):
        @handles
        async def ordered(self, event: Ordered) -> None:
            pass

    assert check([Office], ORDERS, seeds=range(5)).count.done > 0


def test_check_says_when_a_handler_is_not_idempotent() -> None:
    stock: Counter[tuple[str, str]] = Counter()

    class Shop(Consumer):
        @handles
        def ordered(self, event: Ordered, envelope: Envelope) -> None:
            stock["shop", envelope.id] += 1

    with pytest.raises(PromiseBroken, match="effects exactly once: event-") as caught:
        check(
            [Shop],
            ORDERS,
            effects=lambda: stock,
            once=True,
            begin=stock.clear,
        )
    assert len(caught.value.scenario.plan.events) <= 3
    assert "handled" in str(caught.value)


def test_check_keeps_to_the_faults_it_is_given() -> None:
    summary = check([Warehouse], ORDERS, seeds=range(10), faults=("unavailable",))
    assert set(summary.injected) == {"unavailable"}


def test_check_wants_something_to_play() -> None:
    with pytest.raises(ConfigurationError, match="at least one of each"):
        check([], ORDERS)
    with pytest.raises(ConfigurationError, match="no such fault: gremlins"):
        check([Warehouse], ORDERS, faults=("gremlins",))


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "6", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "| lost | 0 |" in said
    assert "| scenarios | 6 |" in said
    assert main(["--seeds", "6", "--jobs", "1", "--json"]) == 0
    assert '"lost": 0' in capsys.readouterr().out


def test_the_command_tells_one_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 3: ")
    assert "started" in said
    assert "every promise was kept" in said


def test_a_cast_closes_what_it_opened() -> None:
    closed: list[str] = []

    def make_cast(plan: ScenarioPlan, clock: object) -> Setup:
        setup = sample_setup(plan, clock)  # type: ignore[arg-type]
        return replace(setup, close=lambda: closed.append("closed"))

    play(replace(plan_of(0), mode="at least once"), make_cast)
    assert closed == ["closed"]
