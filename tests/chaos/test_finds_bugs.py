"""The kit is worth what it finds: known bugs are planted, and each must be found soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from messaging.clock import Clock
from messaging.dispatch import Call
from messaging.outcome import Ack
from messaging.testing.chaos.cast import Cast, Parts
from messaging.testing.chaos.plan import Mode, Plan, draw
from messaging.testing.chaos.sample import EVENTS, SERVICES, sample_cast
from messaging.testing.chaos.story import MakeCast, Story, play, shortest
from tests.chaos import conftest as bugs

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


def first_failure(make_cast: MakeCast, *modes: Mode, fifo: bool = False, soon: int = SOON) -> Story:
    for seed in range(soon):
        plan = draw(seed, services=len(SERVICES), events=EVENTS, modes=modes, fifo=(fifo,))
        story = play(plan, make_cast)
        if story.breaches:
            return story
    raise AssertionError(f"not found in {soon} seeds")


def with_parts(parts: Parts) -> MakeCast:
    return lambda plan, clock: sample_cast(plan, clock, parts)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    parts, promise = BUGS[bug]
    story = first_failure(with_parts(parts), "at least once")
    assert promise in {breach.promise for breach in story.breaches}


def test_a_queue_whose_groups_are_not_kept_in_order_is_found() -> None:
    story = first_failure(with_parts(Parts(queue=bugs.NoFifo)), "at least once", fifo=True)
    assert "a group keeps its order" in {breach.promise for breach in story.breaches}


def test_without_a_bug_nothing_is_found() -> None:
    with pytest.raises(AssertionError, match="not found"):
        first_failure(sample_cast, "at least once", soon=40)


def marks_first(cast: Cast) -> Cast:
    """Idempotency whose mark is written before the effect stands."""
    handled: set[tuple[str, str]] = set()

    @contextmanager
    def around(call: Call) -> Iterator[None]:
        key = (call.service, call.envelope.id)
        if key in handled:
            raise Ack("already handled")
        handled.add(key)
        yield

    return replace(cast, hire=lambda clock, check_alive: (around,))


def marks_in_memory(cast: Cast) -> Cast:
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

    return replace(cast, hire=hire, once=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (marks_first, "no accepted event is lost"),
        (marks_in_memory, "effects exactly once"),
    ],
)
def test_a_bug_in_idempotency_is_found(plant: Callable[[Cast], Cast], promise: str) -> None:
    def make_cast(plan: Plan, clock: Clock) -> Cast:
        return plant(sample_cast(plan, clock))

    story = first_failure(make_cast, "at least once")
    assert promise in {breach.promise for breach in story.breaches}


def test_the_shortest_story_is_short_and_breaks_the_same_promise() -> None:
    make_cast = with_parts(Parts(queue=bugs.DeletesBeforeTheCopy))
    story = first_failure(make_cast, "at least once")
    found = shortest(story, make_cast)
    assert found.breaches[0].promise == story.breaches[0].promise
    assert len(found.text) < len(story.text) / 2
    assert len(found.plan.events) <= 2
    assert len(found.plan.services) == 1
    assert found.plan.only is not None
    assert len(found.plan.only) <= 3
