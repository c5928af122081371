"""Runs seeds, checks the invariants, and finds the shortest scenario that breaks one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from messaging.clock import Clock
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Middleware
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.testing.chaos.invariants import Breach, breaches
from messaging.testing.chaos.observed import Count, count
from messaging.testing.chaos.plan import EVERY_FAULT, ScenarioPlan, draw
from messaging.testing.chaos.setup import Effects, Setup
from messaging.testing.chaos.shrink import shrink
from messaging.testing.chaos.simulation import ChaosClock, Simulation

__all__ = ["MakeCast", "PromiseBroken", "Scenario", "Summary", "check", "play", "shortest"]

MakeCast = Callable[[ScenarioPlan, Clock], Setup]
"""The setup of this plan's scenario, with nothing left over from an earlier one."""

MOST_TRIALS = 600
"""Scenarios that are run to find a shorter one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The run of one plan. `check` raises `PromiseBroken` with one in `scenario`.

    Args:
        plan: the plan.
        breaches: the broken promises; empty if all is well.
        count: the counts.
        injected: how often each kind of fault was injected.
        faults: their names, for `ScenarioPlan.only`.
        text: the record, one line per fact; the same for the same plan.
    """

    plan: ScenarioPlan
    breaches: tuple[Breach, ...]
    count: Count
    injected: Counter[str]
    faults: tuple[str, ...]
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the text: two runs of one seed have the same."""
        return sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The counts of many scenarios; `failed` are those that broke a promise.

    Args:
        count: the total counts of all scenarios.
        injected: the number of faults, by kind.
        failed: the scenarios that broke a promise.

    Example:
        ```python
        from messaging.testing.chaos import check

        summary = check([Marketing], [ana], seeds=[1]) + check([Marketing], [ana], seeds=[2])
        assert summary.count.scenarios == 2
        assert not summary.failed
        ```
    """

    count: Count
    injected: Counter[str]
    failed: tuple[Scenario, ...] = ()

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            count=self.count + other.count,
            injected=self.injected + other.injected,
            failed=self.failed + other.failed,
        )


class PromiseBroken(AssertionError):
    """A scenario broke a promise of delivery. `scenario` is the shortest one found.

    Args:
        scenario: the shortest scenario found.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        listed = "\n".join(f"  {breach}" for breach in scenario.breaches[:10])
        super().__init__(f"{scenario.plan.title()}\n{listed}\n\n{scenario.text}")


def play(plan: ScenarioPlan, make_cast: MakeCast) -> Scenario:
    """Run one plan and check the invariants.

    Args:
        plan: from `draw`.
        make_cast: creates fresh consumers and events.
    """
    clock = ChaosClock()
    setup = make_cast(plan, clock)
    try:
        with _quiet():
            simulation = Simulation(plan, setup, clock)
            simulation.play()
            return Scenario(
                plan=plan,
                breaches=tuple(breaches(simulation)),
                count=count(simulation),
                injected=simulation.record.injected,
                faults=tuple(simulation.record.names),
                text=simulation.record.text(),
            )
    finally:
        setup.close()


def shortest(scenario: Scenario, make_cast: MakeCast) -> Scenario:
    """The shortest scenario found that breaks the same promise."""
    promise = scenario.breaches[0].promise

    def fails(plan: ScenarioPlan) -> bool:
        return any(one.promise == promise for one in play(plan, make_cast).breaches)

    return play(shrink(scenario.plan, scenario.faults, fails, most=MOST_TRIALS), make_cast)


def check(
    consumers: Sequence[type[Consumer] | Callable[[], Consumer]],
    events: Sequence[Event],
    *,
    seeds: Iterable[int] = range(100),
    faults: Sequence[str] = EVERY_FAULT,
    fifo: bool = False,
    middleware: Callable[[Clock], Sequence[Middleware]] = lambda clock: (),
    effects: Effects | None = None,
    once: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> Summary:
    """Run a scenario for each of `seeds` with your own consumers; raise for the first that fails.

    Handlers run in this thread and experience exceptions, stalls (the clock moves, nothing sleeps)
    and kills, which are simulated by a `BaseException`.

    Args:
        consumers: classes, or functions that create a consumer: called at each start of a worker.
        events: the published events, in order.
        seeds: the seeds of the scenarios.
        faults: the kinds that may happen (`EVERY_FAULT` has them all).
        fifo: whether the topic is a FIFO topic.
        middleware: creates your middleware at each start of a worker, with the scenario's clock.
        effects: returns how often each event took effect, by service and event id ("event-0" is the
            first of `events`); without it, successful handler runs are counted.
        once: True: an event may take effect only once in each service.
        begin: called before each scenario: clear your database here.

    Raises:
        PromiseBroken: an `AssertionError`, for the first scenario that breaks a promise; its text
            is the shortest scenario found.
        ConfigurationError: if there is no consumer or no event, or a fault is unknown.

    Example:
        ```python
        from messaging.testing.chaos import check


        def test_nothing_is_lost() -> None:
            summary = check([Marketing], [ana, ana], seeds=range(5))
            assert summary.count.scenarios == 5
            assert not summary.failed


        test_nothing_is_lost()
        ```
    """
    made = [one() for one in consumers]
    if not made or not events:
        raise ConfigurationError("check(consumers, events): at least one of each is needed")
    for one in made:
        one.close()
    unknown = set(faults) - set(EVERY_FAULT)
    if unknown:
        raise ConfigurationError(f"no such fault: {', '.join(sorted(unknown))}")

    def make_cast(plan: ScenarioPlan, clock: Clock) -> Setup:
        begin()
        return Setup(
            consumers=consumers,
            services=[type(one) for one in made],
            events=events,
            hire=lambda clock, check_alive: middleware(clock),
            effects=effects,
            once=once,
        )

    summary = Summary(count=Count(), injected=Counter())
    for seed in seeds:
        plan = draw(seed, services=len(made), events=len(events), kinds=faults, fifo=(fifo,))
        scenario = play(plan, make_cast)
        if scenario.breaches:
            raise PromiseBroken(shortest(scenario, make_cast))
        summary += Summary(count=scenario.count, injected=scenario.injected)
    return summary


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns of every fault; in a scenario faults are expected."""
    log = logging.getLogger("messaging")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
