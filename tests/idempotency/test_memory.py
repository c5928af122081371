"""What the store in memory remembers and forgets, on a clock of the test's own."""

from __future__ import annotations

import pytest

from messaging.errors import ConfigurationError
from messaging.idempotency.memory import MemoryStore
from messaging.stores import Claim, Done, InProgress
from messaging.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.advance(5000)  # a clock at 0 would hide a wrong sign
    return clock


def claim(store: MemoryStore, event: str, lease: float = 30) -> Claim:
    claimed = store.begin("mail", event, lease_seconds=lease)
    assert isinstance(claimed, Claim)
    return claimed


def test_pruning_forgets_what_is_older_and_no_more(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    store.complete(claim(store, "old"))
    claim(store, "abandoned", lease=0)
    clock.advance(1)
    store.complete(claim(store, "of that moment"))
    abandoned_late = claim(store, "ended at that moment", lease=0)
    clock.advance(60)
    store.complete(claim(store, "new"))
    working = claim(store, "under way")
    assert store.prune(60) == 2
    assert store.prune(60) == 0
    assert len(store) == 2
    assert isinstance(store.begin("mail", "new", lease_seconds=30), Done)
    assert isinstance(store.begin("mail", "of that moment", lease_seconds=30), Done)
    assert isinstance(store.begin("mail", "under way", lease_seconds=30), InProgress)
    assert store.renew(working, lease_seconds=30)
    assert store.renew(abandoned_late, lease_seconds=30), "not older than the limit"
    assert isinstance(store.begin("mail", "old", lease_seconds=30), Claim)


def test_of_too_many_events_the_oldest_is_forgotten() -> None:
    store = MemoryStore(capacity=1)
    store.complete(claim(store, "a"))
    store.complete(claim(store, "b"))
    assert len(store) == 1
    assert isinstance(store.begin("mail", "b", lease_seconds=30), Done)
    with pytest.raises(ConfigurationError, match=r"capacity=0"):
        MemoryStore(capacity=0)


def test_a_lease_that_is_over_lets_the_next_one_in_and_the_first_is_told(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    first = claim(store, "a")
    clock.advance(29)
    waiting = store.begin("mail", "a", lease_seconds=30)
    assert waiting == InProgress(1.0)
    clock.advance(1)
    second = claim(store, "a")
    assert store.renew(first, lease_seconds=30) is False
    assert store.complete(first) is False
    assert store.release(first) is False
    assert store.release(second) is True
    assert store.complete(second) is False
    assert len(store) == 0


def test_a_renewed_claim_lasts_from_then_on_and_is_completed_once(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    mine = claim(store, "a")
    clock.advance(29)
    assert store.renew(mine, lease_seconds=30)
    clock.advance(29)
    assert store.begin("mail", "a", lease_seconds=30) == InProgress(1.0)
    assert store.complete(mine)
    assert not store.complete(mine)
