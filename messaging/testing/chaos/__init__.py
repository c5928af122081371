"""Tries to break the promises of delivery: faults from a seed, and a verdict.

    check([Financeiro, Marketing], events, seeds=range(100))

One thread plays publisher, broker and worker processes with the library's real rooms and a clock of
its own: a seed is a story, the same each time. `python -m messaging.testing.chaos` does it with the
kit's own services.
"""

from messaging.testing.chaos.invariants import Breach
from messaging.testing.chaos.observed import Count
from messaging.testing.chaos.plan import EVERY_FAULT, ScenarioPlan, draw
from messaging.testing.chaos.scenario import PromiseBroken, Scenario, Summary, check, play

__all__ = [
    "EVERY_FAULT",
    "Breach",
    "Count",
    "ScenarioPlan",
    "PromiseBroken",
    "Scenario",
    "Summary",
    "check",
    "draw",
    "play",
]
