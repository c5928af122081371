"""The kit is worth what it finds: known bugs are planted, and each must be found soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from messaging.clock import Clock
from messaging.consuming.dispatch import Call
from messaging.outcome import Ack
from messaging.testing.chaos.plan import Mode, ScenarioPlan, draw
from messaging.testing.chaos.scenario import MakeCast, Scenario, play, shortest
from messaging.testing.chaos.setup import Parts, Setup
from tests.chaos import conftest as bugs
from tests.chaos.sample import EVENTS, SERVICES, sample_setup

SOON = 200
"""Seeds."""

BUGS: dict[str, tuple[Parts, str]] = {
    "acknowledges before it handles": (
        Parts(queue=bugs.AcknowledgesFirst),
        "nothing is deleted that was not handled or dead-lettered",
    ),
    "drops the late answer of a long poll": (
        Parts(steps=bugs.drops_late_answers),
        "receipts balance",
    ),
    "forgets what a delete refused": (Parts(queue=bugs.ForgetsDeletes), "receipts balance"),
    "forgets what a publish refused": (
        Parts(topic=bugs.ForgetsPublishes),
        "no accepted event is lost",
    ),
    "forgets what a dead letter refused": (
        Parts(queue=bugs.ForgetsCopies),
        "nothing is deleted that was not handled or dead-lettered",
    ),
    "renews for ever": (Parts(steps=bugs.renews_for_ever), "no lease is renewed after its end"),
    "knows no max_lease": (
        Parts(steps=bugs.knows_no_max_lease),
        "no lease is renewed after its end",
    ),
    "deletes before the dead letter stands": (
        Parts(queue=bugs.DeletesBeforeTheCopy),
        "nothing is deleted that was not handled or dead-lettered",
    ),
    "deletes what is to come again": (
        Parts(queue=bugs.DeletesWhatIsToComeAgain),
        "nothing is deleted that was not handled or dead-lettered",
    ),
    "dead-letters without a reason": (
        Parts(queue=bugs.NoReasons),
        "every dead letter has a reason",
    ),
}


def first_failure(
    make_cast: MakeCast, *modes: Mode, fifo: bool = False, soon: int = SOON
) -> Scenario:
    for seed in range(soon):
        plan = draw(seed, services=len(SERVICES), events=EVENTS, modes=modes, fifo=(fifo,))
        scenario = play(plan, make_cast)
        if scenario.breaches:
            return scenario
    raise AssertionError(f"not found in {soon} seeds")


def with_parts(parts: Parts) -> MakeCast:
    return lambda plan, clock: sample_setup(plan, clock, parts)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    parts, promise = BUGS[bug]
    scenario = first_failure(with_parts(parts), "at least once")
    assert promise in {breach.promise for breach in scenario.breaches}


def test_a_queue_whose_groups_are_not_kept_in_order_is_found() -> None:
    scenario = first_failure(with_parts(Parts(queue=bugs.NoFifo)), "at least once", fifo=True)
    assert "a group keeps its order" in {breach.promise for breach in scenario.breaches}


def test_without_a_bug_nothing_is_found() -> None:
    with pytest.raises(AssertionError, match="not found"):
        first_failure(sample_setup, "at least once", soon=40)


def marks_first(setup: Setup) -> Setup:
    """Idempotency whose mark is written before the effect stands."""
    handled: set[tuple[str, str]] = set()

    @contextmanager
    def around(call: Call) -> Iterator[None]:
        key = (call.service, call.envelope.id)
        if key in handled:
            raise Ack("already handled")
        handled.add(key)
        yield

    return replace(setup, hire=lambda clock, check_alive: (around,))


def marks_in_memory(setup: Setup) -> Setup:
    """Idempotency whose marks are forgotten when the process dies."""

    def hire(clock: Clock, check_alive: Callable[[], None]) -> list[object]:
        handled: set[tuple[str, str]] = set()

        @contextmanager
        def around(call: Call) -> Iterator[None]:
            key = (call.service, call.envelope.id)
            if key in handled:
                raise Ack("already handled")
            yield
            handled.add(key)

        return [around]

    return replace(setup, hire=hire, once=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (marks_first, "no accepted event is lost"),
        (marks_in_memory, "effects exactly once"),
    ],
)
def test_a_bug_in_idempotency_is_found(plant: Callable[[Setup], Setup], promise: str) -> None:
    def make_cast(plan: ScenarioPlan, clock: Clock) -> Setup:
        return plant(sample_setup(plan, clock))

    scenario = first_failure(make_cast, "at least once")
    assert promise in {breach.promise for breach in scenario.breaches}


def test_the_shortest_story_is_short_and_breaks_the_same_promise() -> None:
    make_cast = with_parts(Parts(queue=bugs.DeletesBeforeTheCopy))
    scenario = first_failure(make_cast, "at least once")
    found = shortest(scenario, make_cast)
    assert found.breaches[0].promise == scenario.breaches[0].promise
    assert len(found.text) < len(scenario.text) / 2
    assert len(found.plan.events) <= 2
    assert len(found.plan.services) == 1
    assert found.plan.only is not None
    assert len(found.plan.only) <= 3
