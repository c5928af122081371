"""Shrinks a scenario: leaves out what a failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from messaging.testing.chaos.plan import ScenarioPlan

__all__ = ["shrink"]

_T = TypeVar("_T")


def shrink(
    plan: ScenarioPlan, faults: Sequence[str], fails: Callable[[ScenarioPlan], bool], *, most: int
) -> ScenarioPlan:
    """A plan as small as can be found in `most` trials for which `fails` is still true.

    faults  the names of the faults that were injected when `plan` failed.

    First whole kinds of things go, then halves, quarters, and single ones, until nothing can be
    left out any more. https://www.st.cs.uni-saarland.de/papers/tse2002/ describes the method.
    """
    trials = _Trials(fails, most)
    smaller = replace(plan, only=frozenset(faults))
    if not trials(smaller):
        return plan
    while True:
        before = _size(smaller)
        smaller = _simpler(smaller, trials)
        smaller = _fewer_faults(smaller, faults, trials)
        smaller = _fewer(smaller, smaller.steps, trials, lambda one, kept: replace(one, steps=kept))
        smaller = _fewer(
            smaller, smaller.events, trials, lambda one, kept: replace(one, events=kept)
        )
        smaller = _fewer(
            smaller, smaller.services, trials, lambda one, kept: replace(one, services=kept)
        )
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
    """In a simpler setting, where the failure needs no other."""
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


def _fewer_faults(plan: ScenarioPlan, faults: Sequence[str], trials: _Trials) -> ScenarioPlan:
    kept = tuple(name for name in faults if plan.only is None or name in plan.only)
    return _fewer(plan, kept, trials, lambda one, names: replace(one, only=frozenset(names)))


def _fewer(
    plan: ScenarioPlan,
    items: tuple[_T, ...],
    trials: _Trials,
    with_items: Callable[[ScenarioPlan, tuple[_T, ...]], ScenarioPlan],
) -> ScenarioPlan:
    """Without as many of `items` as can go."""
    chunk = len(items)
    while chunk:
        at = 0
        while at < len(items):
            kept = items[:at] + items[at + chunk :]
            candidate = with_items(plan, kept)
            if trials(candidate):
                plan, items = candidate, kept
            else:
                at += chunk
        chunk //= 2
    return plan
