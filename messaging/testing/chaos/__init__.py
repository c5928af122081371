"""Tries to break the promises of delivery with seeded faults.

    check([Financeiro, Marketing], events, seeds=range(100))

One thread simulates publisher, broker and worker processes with the library's real modules and a
simulated clock, so one seed always gives the same scenario.
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
