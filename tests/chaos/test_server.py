"""A slice of `make chaos-server`: worker processes, killed while they work, and a local server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.grounds import Aws, Ground
from tests.chaos.server import Schedule, run


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Aws() as ground:
        yield ground


@pytest.mark.parametrize("once", [False, True], ids=["at least once", "in transactions"])
def test_killed_and_stopped_workers_lose_nothing(
    ground: Ground, tmp_path: Path, once: bool
) -> None:
    schedule = Schedule(seed=int(once), events=120, workers=1, kills=2, stops=1, once=once)
    outcome = run(ground, schedule, tmp_path)
    assert outcome.refused == 0
    assert outcome.events == 120
    assert outcome.pairs > 300
    assert outcome.lost == 0
    assert outcome.without_reason == 0
    assert outcome.not_at_rest == 0
    assert outcome.duplicates_once == 0
    assert outcome.handled + outcome.dead_lettered == outcome.pairs
    assert outcome.dead_lettered > 0
    assert sum(outcome.injected.values()) > 0
