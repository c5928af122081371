"""A slice of `make chaos-wire`: real sockets, parsers and threads against a server that lies."""

from __future__ import annotations

import pytest

from tests.chaos.planting import planted
from tests.chaos.plants import WIRE
from tests.chaos.sockets import play, scenario
from tests.chaos.stub import FAULTS

SEEDS = (2, 0, 4, 8, 6, 10)
"""Tried until one finds the bug; the first, on a FIFO topic, nearly always does."""


@pytest.mark.parametrize("seed", range(4))
def test_over_broken_answers_nothing_is_lost_and_the_accounts_balance(seed: int) -> None:
    outcome = play(scenario(seed))
    assert outcome.breaches == [], f"seed {seed}"
    assert outcome.injected.keys() <= set(FAULTS)
    assert outcome.handled
    assert outcome.injected.total()


@pytest.mark.parametrize("bug", WIRE)
def test_a_bug_that_only_real_sockets_and_threads_show_is_found(bug: str) -> None:
    scenarios = [scenario(seed) for seed in SEEDS]
    with planted(WIRE[bug]):
        assert any(play(one, rest=2).breaches for one in scenarios)
