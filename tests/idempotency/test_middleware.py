"""Idempotency around a handler: what each ending leaves in the store, and what a duplicate gets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from messaging.errors import ConfigurationError
from messaging.idempotency import Idempotency, MemoryStore, event_key
from messaging.idempotency.middleware import later
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.stores import Claim, Done, InProgress
from messaging.testing import FakeClock, deliver
from tests.idempotency.services import Billing, Enrolled, Mailing, raises

EVENT = Enrolled(number=7)
KEY = "/tests e1"


def state(store: MemoryStore, service: str = "billing", key: str = KEY) -> str:
    """Absent, in progress or done; an absent event is not claimed by asking."""
    found = store.begin(service, key, lease_seconds=1)
    if isinstance(found, Claim):
        store.release(found)
        return "absent"
    return {Done: "done", InProgress: "in progress"}[type(found)]


def test_a_duplicate_is_acknowledged_without_its_handler() -> None:
    store, billing = MemoryStore(), Billing()
    middleware = [Idempotency(store)]
    assert deliver(billing, EVENT, id="e1", middleware=middleware).acknowledged
    again = deliver(billing, EVENT, id="e1", middleware=middleware)
    assert again.acknowledged
    assert again.why == "already handled"
    assert billing.handled == [7]
    assert deliver(billing, EVENT, id="e2", middleware=middleware).acknowledged
    assert billing.handled == [7, 7]


@pytest.mark.parametrize(
    ("does", "left"),
    [
        (lambda event: None, "done"),
        (lambda event: Ack("fine"), "done"),
        (raises(Ack("fine")), "done"),
        (raises(Retry(5)), "absent"),
        (lambda event: Retry(5), "absent"),
        (raises(Reject("no such course")), "absent"),
        (lambda event: Reject("no such course"), "absent"),
        (raises(Discard("not ours")), "absent"),
        (lambda event: Discard("not ours"), "absent"),
        (raises(ValueError("x")), "absent"),
        (raises(SystemExit(1)), "absent"),
    ],
)
def test_what_each_ending_leaves(does: Callable[[Enrolled], Any], left: str) -> None:
    store = MemoryStore()
    seen: list[str] = []

    def watched(event: Enrolled) -> Any:
        seen.append(state(store))
        return does(event)

    without = deliver(Billing(does), EVENT, id="e1").outcome
    result = deliver(Billing(watched), EVENT, id="e1", middleware=[Idempotency(store)])
    assert seen == ["in progress"]
    assert state(store) == left
    assert type(result.outcome) is type(without)
    assert result.outcome is not None
    assert without is not None
    assert result.outcome.reason == without.reason


def test_interrupts_give_the_claim_back() -> None:
    store = MemoryStore()
    billing = Billing(raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        deliver(billing, EVENT, id="e1", middleware=[Idempotency(store)])
    assert state(store) == "absent"


def test_a_cancelled_handler_gives_its_claim_back() -> None:
    store = MemoryStore()

    async def cancelled(event: Enrolled) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        deliver(Mailing(cancelled), EVENT, id="e1", middleware=[Idempotency(store)])
    assert state(store, "mailing") == "absent"


def test_a_duplicate_of_what_is_in_progress_comes_again_later() -> None:
    store = MemoryStore()
    middleware = [Idempotency(store, lease=60)]
    twin = Billing()

    def while_first_runs(event: Enrolled) -> None:
        first = deliver(twin, EVENT, id="e1", middleware=middleware)
        assert first.delay == 5
        assert first.why == "in progress elsewhere"
        # Once more: then not before the claim of a process that died would expire.
        second = deliver(twin, EVENT, id="e1", middleware=middleware, receive_count=2)
        assert second.delay is not None
        assert 50 < second.delay <= 60
        late = deliver(twin, EVENT, id="e1", middleware=middleware, receive_count=8)
        assert late.delay == 5 * 2**7
        raise ValueError("the first fails after all")

    failed = deliver(Billing(while_first_runs), EVENT, id="e1", middleware=middleware)
    assert isinstance(failed.error, ValueError), failed.error  # and not one of its assertions
    assert twin.handled == []
    assert deliver(twin, EVENT, id="e1", middleware=middleware).acknowledged
    assert twin.handled == [7]


def test_services_that_share_a_store_do_not_see_each_other() -> None:
    store = MemoryStore()
    middleware = [Idempotency(store)]

    async def nothing(event: Enrolled) -> None: ...

    mailing, billing = Mailing(nothing), Billing()
    for consumer in (billing, mailing, billing, mailing):
        assert deliver(consumer, EVENT, id="e1", middleware=middleware).acknowledged
    assert (billing.handled, mailing.handled) == ([7], [7])


def test_two_sources_may_use_one_id() -> None:
    billing, middleware = Billing(), [Idempotency(MemoryStore())]
    for source in ("/cadastro", "/secretaria", "/cadastro"):
        deliver(billing, EVENT, id="e1", source=source, middleware=middleware)
    assert billing.handled == [7, 7]


def test_a_key_of_ones_own() -> None:
    billing = Billing()
    middleware = [Idempotency(MemoryStore(), key=lambda call: call.envelope.id)]
    for source in ("/cadastro", "/secretaria"):
        deliver(billing, EVENT, id="e1", source=source, middleware=middleware)
    assert billing.handled == [7]


def test_keys_that_a_database_would_refuse_are_hashed() -> None:
    def key(id: str) -> str:
        call: Any = SimpleNamespace(envelope=SimpleNamespace(source="/s", id=id))
        return event_key(call)

    assert key("e1") == "/s e1"
    assert key("ção") == "/s ção"
    hashed = [key("x" * 600), key("x" * 601), key("a\x00b"), key("a\nb"), key("\ud800")]
    assert len(set(hashed)) == 5
    assert all(one.startswith("sha256:") and len(one) == 71 for one in hashed)
    assert key("x" * 600) == hashed[0]
    longest = "x" * (512 - len("/s "))
    assert key(longest) == f"/s {longest}"
    assert key(longest + "x").startswith("sha256:")


def test_duplicates_of_a_handler_that_runs_for_hours_come_once_an_hour() -> None:
    call: Any = SimpleNamespace(delivery=SimpleNamespace(receive_count=40))
    assert later(call, seconds_left=15).delay == 3600
    assert later(call, seconds_left=7200).delay == 7200
    assert later(call, seconds_left=1e9).delay == 43_200


class Broken(MemoryStore):
    """A store that is away for one kind of request."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    def _away(self, name: str) -> None:
        if name == self.broken:
            raise OSError("the store of ana@example.com is away")

    def begin(self, *args: Any, **more: Any) -> Any:
        self._away("begin")
        return super().begin(*args, **more)

    def complete(self, claim: Claim) -> bool:
        self._away("complete")
        return super().complete(claim)

    def release(self, claim: Claim) -> bool:
        self._away("release")
        return super().release(claim)


def test_a_store_that_is_away_lets_no_handler_run() -> None:
    billing = Billing()
    result = deliver(billing, EVENT, middleware=[Idempotency(Broken("begin"))])
    assert result.retried
    assert billing.handled == []


def test_an_event_whose_mark_was_not_kept_is_retried() -> None:
    result = deliver(Billing(), EVENT, middleware=[Idempotency(Broken("complete"))])
    assert result.retried
    assert isinstance(result.error, OSError)


def test_what_the_handler_raised_is_what_counts(caplog: pytest.LogCaptureFixture) -> None:
    billing = Billing(raises(Reject("no such course")))
    result = deliver(billing, EVENT, id="e1", middleware=[Idempotency(Broken("release"))])
    assert result.rejected
    assert "could not give back its claim of event e1 (OSError)" in caplog.text
    assert "ana@" not in caplog.text


def test_a_claim_that_was_taken_over_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)

    def overtaken(event: Enrolled) -> None:
        clock.advance(61)
        store.begin("billing", KEY, lease_seconds=60)

    once = Idempotency(store, lease=60, renew=False)
    with caplog.at_level(logging.WARNING):
        result = deliver(Billing(overtaken), EVENT, id="e1", middleware=[once])
    assert result.acknowledged  # its effect stands
    assert "event e1, but its claim had expired" in caplog.text
    assert state(store) == "in progress"  # the other's


@pytest.mark.parametrize("lease", [0, -1, 43_201])
def test_a_lease_that_cannot_be(lease: float) -> None:
    with pytest.raises(ConfigurationError, match="lease"):
        Idempotency(MemoryStore(), lease=lease)


def test_a_claim_holds_for_a_minute_or_for_as_long_as_a_message_may_be_hidden() -> None:
    clock = FakeClock()
    seconds: list[float] = []

    def ask(event: Enrolled) -> None:
        found = store.begin("billing", KEY, lease_seconds=1)
        assert isinstance(found, InProgress)
        seconds.append(found.seconds)

    for more in ({}, {"lease": 43_200.0}):
        store = MemoryStore(clock=clock)
        once = Idempotency(store, renew=False, **more)
        assert deliver(Billing(ask), EVENT, id="e1", middleware=[once]).acknowledged
    assert seconds == [60.0, 43_200.0]


def test_the_memory_store_is_bounded() -> None:
    store = MemoryStore(capacity=2)
    for event in ("a", "b", "c"):
        found = store.begin("s", event, lease_seconds=1)
        assert isinstance(found, Claim)
        store.complete(found)
    assert len(store) == 2
    assert [state(store, "s", event) for event in "abc"] == ["absent", "done", "done"]
    with pytest.raises(ConfigurationError, match="capacity"):
        MemoryStore(capacity=0)


# Renewal


class Renewed(MemoryStore):
    """Counts renewals, and says when there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0
        self.fail = False
        self.happened = threading.Event()

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        self.renewals += 1
        try:
            if self.fail:
                raise OSError("ana@example.com")
            return super().renew(claim, lease_seconds=lease_seconds)
        finally:
            self.happened.set()


def claims_thread() -> bool:
    return any(thread.name == "messaging-claims" for thread in threading.enumerate())


def gone(thread_is_there: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while thread_is_there() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not thread_is_there()


def test_the_claim_of_a_handler_that_runs_is_renewed_and_its_thread_ends() -> None:
    store = Renewed()

    def slow(event: Enrolled) -> None:
        for _ in range(8):  # far beyond the lease
            store.happened.wait(10)
            store.happened.clear()
        assert state(store) == "in progress"

    assert deliver(
        Billing(slow), EVENT, id="e1", middleware=[Idempotency(store, lease=0.4)]
    ).acknowledged
    assert state(store) == "done"
    renewals = store.renewals
    assert renewals >= 8
    assert gone(claims_thread)
    assert store.renewals == renewals


def test_a_quick_handler_costs_no_renewal() -> None:
    store = Renewed()
    for number in range(50):
        deliver(Billing(), EVENT, id=f"e{number}", middleware=[Idempotency(store, lease=8)])
    assert gone(claims_thread)
    assert store.renewals == 0
    assert len(store) == 50


def test_the_thread_comes_back_when_it_is_needed_again() -> None:
    store = Renewed()
    once = Idempotency(store, lease=0.2)
    deliver(Billing(), EVENT, middleware=[once])
    assert gone(claims_thread)
    deliver(Billing(lambda event: store.happened.wait(10)), EVENT, middleware=[once])
    assert store.renewals >= 1
    assert gone(claims_thread)


def test_a_store_that_cannot_renew_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Renewed()
    store.fail = True

    def slow(event: Enrolled) -> None:
        while store.renewals < 3:
            assert store.happened.wait(10)
            store.happened.clear()
        store.fail = False
        store.happened.clear()
        assert store.happened.wait(10)

    once = Idempotency(store, lease=0.2)
    assert deliver(Billing(slow), EVENT, id="e1", middleware=[once]).acknowledged
    assert state(store) == "done"
    assert caplog.text.count("cannot renew claims, trying on: OSError") == 1
    assert "ana@" not in caplog.text
    assert gone(claims_thread)


def test_renewal_of_a_claim_that_was_taken_over_stops(caplog: pytest.LogCaptureFixture) -> None:
    store = Renewed()

    def robbed(event: Enrolled) -> None:
        store._claims["billing", KEY] = ("another", store._clock.monotonic() + 60)
        assert store.happened.wait(10)
        time.sleep(0.15)
        assert store.renewals == 1

    once = Idempotency(store, lease=0.2)
    assert deliver(Billing(robbed), EVENT, id="e1", middleware=[once]).acknowledged
    assert gone(claims_thread)
    assert "taken over while its handler runs" in caplog.text


def test_a_forked_child_renews_with_a_thread_of_its_own() -> None:
    # In a process of its own: whoever runs the tests may have threads, which a fork leaves behind.
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


FORKING = """
import os, sys
from messaging.idempotency import Idempotency
from messaging.testing import deliver
from tests.idempotency.services import Billing, Enrolled
from tests.idempotency.test_middleware import EVENT, Renewed

store = Renewed()
once = Idempotency(store, lease=0.2)

def waits(event):
    store.happened.clear()
    renewals = store.renewals
    assert store.happened.wait(10)
    assert store.renewals > renewals

def forks(event):
    waits(event)  # the thread runs
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the child"
        waits(event)
    else:
        result = deliver(Billing(waits), EVENT, id="e2", middleware=[once])
        os._exit(0 if result.acknowledged else 1)

result = deliver(Billing(forks), EVENT, id="e1", middleware=[once])
assert result.acknowledged, result.error
"""
