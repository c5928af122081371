"""When claims are renewed, on a clock that moves only when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from messaging.idempotency import MemoryStore, renewal
from messaging.idempotency.renewal import Renewal
from messaging.stores import Claim
from messaging.testing import FakeClock


class SteppedClock(FakeClock):
    """Whoever sleeps on it is held until the test lets the pause be over."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(5000)  # a clock at 0 would hide a wrong sign
        self.pauses: list[float] = []
        self._asleep = threading.Semaphore(0)
        self._awake = threading.Semaphore(0)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._asleep.release()
        assert self._awake.acquire(timeout=10)

    def begin(self) -> None:
        """Wait until the thread sleeps."""
        assert self._asleep.acquire(timeout=10)

    def turn(self, seconds: float) -> None:
        """End the pause after `seconds`, and wait for the next one."""
        self.advance(seconds)
        self._awake.release()
        self.begin()

    def end(self) -> None:
        """End the last pause: there is nothing to renew any more."""
        threads = [one for one in threading.enumerate() if one.name == "messaging-claims"]
        self._awake.release()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


class Noting(MemoryStore):
    """Notes which events' claims were renewed."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.renewed: list[str] = []
        self.away = False

    def claim(self, event: str) -> Claim:
        found = self.begin("mail", event, lease_seconds=4)
        assert isinstance(found, Claim)
        return found

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        self.renewed.append(claim.event_id)
        assert lease_seconds == 4
        if self.away:
            raise OSError("the database of ana@example.com is away")
        return super().renew(claim, lease_seconds=lease_seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    # The threads of tests before this one stay for a second; they would sleep on this clock.
    for thread in threading.enumerate():
        if thread.name == "messaging-claims":
            thread.join(10)
            assert not thread.is_alive(), "a claim that nobody gave up"
    clock = SteppedClock()
    monkeypatch.setattr(renewal, "SYSTEM_CLOCK", clock)
    return clock


@pytest.fixture
def store(clock: SteppedClock) -> Iterator[Noting]:
    yield Noting(clock)
    assert not [one for one in threading.enumerate() if one.name == "messaging-claims"]


def test_a_claim_is_renewed_each_quarter_of_its_lease_and_not_before(
    store: Noting, clock: SteppedClock
) -> None:
    renewing, claim = Renewal(store, 4), store.claim("a")
    renewing.add(claim)
    clock.begin()
    assert clock.pauses == [0.5], "it looks twice in a quarter"
    [thread] = [one for one in threading.enumerate() if one.name == "messaging-claims"]
    assert thread.daemon, "a service that ends does not wait for it"
    clock.turn(0.99)
    assert store.renewed == []
    clock.turn(0.01)
    assert store.renewed == ["a"]
    clock.turn(0.99)
    assert store.renewed == ["a"]
    clock.turn(0.01)
    assert store.renewed == ["a", "a"]
    renewing.remove(claim)
    clock.end()
    assert store.renewed == ["a", "a"]


def test_each_claim_has_its_own_quarters(store: Noting, clock: SteppedClock) -> None:
    renewing, first, second = Renewal(store, 4), store.claim("a"), store.claim("b")
    renewing.add(first)
    clock.begin()
    clock.turn(0.5)
    renewing.add(second)
    clock.turn(0.5)
    assert store.renewed == ["a"]
    clock.turn(0.5)
    assert store.renewed == ["a", "b"]
    renewing.remove(first)
    clock.turn(1)
    assert store.renewed == ["a", "b", "b"]
    renewing.remove(second)
    clock.end()


def test_with_a_long_lease_the_thread_looks_each_second(store: Noting, clock: SteppedClock) -> None:
    renewing, claim = Renewal(store, 600), store.claim("a")
    renewing.add(claim)
    clock.begin()
    assert clock.pauses == [1.0]
    renewing.remove(claim)
    clock.end()


def test_a_claim_after_a_quiet_time_is_renewed_by_a_new_thread(
    store: Noting, clock: SteppedClock
) -> None:
    renewing = Renewal(store, 4)
    for event in ("a", "b"):
        claim = store.claim(event)
        renewing.add(claim)
        clock.begin()
        clock.turn(1)
        renewing.remove(claim)
        clock.end()
    assert store.renewed == ["a", "b"]


def test_each_outage_of_the_store_is_told_once(
    store: Noting, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    renewing, claim = Renewal(store, 4), store.claim("a")
    renewing.add(claim)
    clock.begin()
    told = []
    for store.away in (True, True, False, True):
        clock.turn(1)
        told.append(caplog.text.count("cannot renew claims, trying on: OSError"))
    assert told == [1, 1, 1, 2]
    assert store.renewed == ["a"] * 4
    assert "ana@" not in caplog.text
    renewing.remove(claim)
    clock.end()


def test_a_claim_that_another_has_taken_over_is_told_and_renewed_no_more(
    store: Noting, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    renewing, claim = Renewal(store, 4), store.claim("a")
    renewing.add(claim)
    clock.begin()
    store._claims["mail", "a"] = ("another", clock.monotonic() + 60)
    clock.turn(1)
    assert caplog.messages == [
        (
            "the claim of an event of mail was taken over while its handler runs: "
            "it may be handled twice"
        )
    ]
    clock.end()
    assert store.renewed == ["a"]


def test_a_handler_that_ends_while_its_claim_is_renewed_was_not_robbed(
    store: Noting, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    renewing, claim = Renewal(store, 4), store.claim("a")

    def end(claim: Claim, *, lease_seconds: float) -> bool:
        store.complete(claim)
        renewing.remove(claim)
        return MemoryStore.renew(store, claim, lease_seconds=lease_seconds)

    store.renew = end  # type: ignore[method-assign]
    renewing.add(claim)
    clock.begin()
    clock.turn(1)
    clock.end()
    assert caplog.messages == []


def test_after_a_fork_the_child_renews_what_it_claims_and_nothing_of_its_parents(
    store: Noting, clock: SteppedClock
) -> None:
    renewing, parents = Renewal(store, 4), store.claim("the parent's")
    # What a child finds when its parent forked while a thread of it held the lock.
    renewing._due[parents] = 0.0
    renewing._thread = threading.Thread(name="of the parent")
    renewing._lock.acquire()
    renewing._pid = -1
    mine = [store.claim("a"), store.claim("b")]
    for claim in mine:
        renewing.add(claim)
    clock.begin()
    clock.turn(1)
    assert sorted(store.renewed) == ["a", "b"]
    for claim in mine:
        renewing.remove(claim)
    clock.end()
