"""Shrinks a scenario: removes everything that a failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from messaging.testing.chaos.plan import ScenarioPlan

__all__ = ["shrink"]


def shrink(
    plan: ScenarioPlan, faults: Sequence[str], fails: Callable[[ScenarioPlan], bool], *, most: int
) -> ScenarioPlan:
    """The smallest plan found in `most` trials for which `fails` is still true.

    faults  the names of the faults that were injected when `plan` failed.

    First whole kinds are removed, then halves, quarters, and single items, until nothing more can
    be removed. https://www.st.cs.uni-saarland.de/papers/tse2002/ describes the method.
    """
    trials = _Trials(fails, most)
    smaller = replace(plan, only=frozenset(faults))
    if not trials(smaller):
        return plan
    while True:
        before = _size(smaller)
        smaller = _simpler(smaller, trials)
        kept = [name for name in faults if name in (smaller.only or ())]
        smaller = _fewer(smaller, "only", kept, frozenset, trials)
        for name in ("steps", "events", "services"):
            smaller = _fewer(smaller, name, getattr(smaller, name), tuple, trials)
        if _size(smaller) == before or trials.left <= 0:
            return smaller


class _Trials:
    def __init__(self, fails: Callable[[ScenarioPlan], bool], most: int) -> None:
        self._fails = fails
        self.left = most

    def __call__(self, plan: ScenarioPlan) -> bool:
        if self.left <= 0 or not plan.services:
            return False
        self.left -= 1
        return self._fails(plan)


def _simpler(plan: ScenarioPlan, trials: _Trials) -> ScenarioPlan:
    """Try a simpler setting, if the failure does not need the original one."""
    simplest = replace(
        plan, workers=1, concurrency=1, prefetch=0, mode="at least once", fifo=False,
        host="worker", producer="direct", completes=False,
    )  # fmt: skip
    for name in "host producer workers concurrency prefetch mode fifo completes".split():
        value = getattr(simplest, name)
        candidate: ScenarioPlan = replace(plan, **{name: value})
        if candidate != plan and trials(candidate):
            plan = candidate
    return plan


def _size(plan: ScenarioPlan) -> tuple[int, ...]:
    return len(plan.only or ()), len(plan.steps), len(plan.events), len(plan.services)


def _fewer(
    plan: ScenarioPlan,
    name: str,
    items: Sequence[Any],
    kind: Callable[[Sequence[Any]], Any],
    trials: _Trials,
) -> ScenarioPlan:
    """Remove as many of the `items` of its field `name` as possible."""
    chunk = len(items)
    while chunk:
        at = 0
        while at < len(items):
            kept = [*items[:at], *items[at + chunk :]]
            candidate: ScenarioPlan = replace(plan, **{name: kind(kept)})
            if trials(candidate):
                plan, items = candidate, kept
            else:
                at += chunk
        chunk //= 2
    return plan
