"""A consumer that takes batches keeps every promise, whatever goes wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.idempotency import Idempotency, MemoryStore
from messaging.outcome import Outcome, Retry, RetryPolicy
from messaging.testing.chaos import PromiseBroken, check


class Ordered(Event, type="ordered", version=1, group="shop"):
    shop: int
    number: int


class Warehouse(Consumer):
    visibility_timeout = 30
    retry = RetryPolicy(max_attempts=3)

    @handles(batch=4, wait=1.0)
    def ordered(self, orders: Batch[Ordered]) -> dict[int, Outcome]:
        return {at: Retry(3) for at, one in enumerate(orders.deliveries) if _unlucky(one.receipt)}


class Depot(Consumer):
    handler_timeout = 50

    @handles(batch=3, wait=0)
    async def ordered(self, orders: Batch[Ordered]) -> None:
        pass


def _unlucky(receipt: str) -> bool:
    return sum(receipt.encode()) % 17 == 0


ORDERS = [Ordered(shop=number % 3, number=number) for number in range(16)]


@pytest.mark.parametrize("fifo", [False, True])
def test_nothing_is_lost_and_nothing_acknowledged_unhandled(fifo: bool) -> None:
    summary = check([Warehouse, Depot], ORDERS, seeds=range(40), fifo=fifo)
    assert summary.count.wanted > 500
    assert (summary.count.lost, summary.count.unaccounted) == (0, 0)
    assert summary.count.kills > 0
    assert summary.count.redeliveries > 0


def test_with_idempotency_each_takes_effect_once() -> None:
    stores: list[MemoryStore] = []

    def begin() -> None:
        stores.clear()

    def middleware(clock: object) -> list[Idempotency]:
        if not stores:
            stores.append(MemoryStore(clock=clock))  # type: ignore[arg-type]  # the scenario's clock
        return [Idempotency(stores[0], lease=3600, renew=False)]

    faults = ("raised", "raised late", "asked again", "rejected", "discarded", "poisoned")
    summary = check(
        [Warehouse], ORDERS, seeds=range(25), faults=faults, middleware=middleware, begin=begin
    )
    assert summary.count.lost == 0
    assert summary.count.done > 0


def test_the_kit_sees_a_batch_that_is_not_idempotent() -> None:
    stock: Counter[tuple[str, str]] = Counter()

    class Shop(Consumer):
        @handles(batch=4)
        def ordered(self, orders: Batch[Ordered]) -> None:
            for envelope in orders.envelopes:
                stock["shop", envelope.id] += 1

    with pytest.raises(PromiseBroken, match="effects exactly once: event-"):
        check([Shop], ORDERS, effects=lambda: stock, once=True, begin=stock.clear)
