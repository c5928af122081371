"""What every store of marks must do: one claim at a time, and done is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws.dynamodb import DynamoDBStore
from messaging.idempotency import MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore
from messaging.local import Engine, LocalServer
from messaging.stores import Claim, Done, IdempotencyStore, InProgress
from messaging.testing import FakeClock

DAY = 86_400.0
STORES = ["memory", "sqlite", "postgres", "mysql", "redis", "dynamodb-ministack", "dynamodb-moto"]


ATOMIC = [store for store in STORES if store != "dynamodb-moto"]
"""moto answers each request in a thread, and nothing keeps its conditional writes apart."""


@dataclass(frozen=True)
class Shop:
    """A store; `again` makes another that stands for another process, where there can be one."""

    store: IdempotencyStore
    again: Callable[[], IdempotencyStore]
    pass_time: Callable[[float], None]
    short: float = 30.0
    prunes: bool = True
    keeps_expired: bool = True


@pytest.fixture(params=STORES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[Engine], LocalServer]
) -> Iterator[Shop]:
    kind, _, engine = request.param.partition("-")
    clock = FakeClock()
    if kind == "memory":
        store = MemoryStore(clock=clock)
        made = Shop(store, lambda: store, clock.advance)
    elif kind == "sqlite":
        made = _shop(lambda: SqliteStore(tmp_path / "marks.db", clock=clock), clock.advance)
    elif kind == "postgres":
        conninfo = request.getfixturevalue("postgres")
        made = _shop(lambda: PostgresStore(conninfo).create(), time.sleep)
    elif kind == "mysql":
        address = request.getfixturevalue("mariadb")
        made = _shop(lambda: MySqlStore(address).create(), time.sleep)
    elif kind == "redis":
        url = request.getfixturevalue("redis_url")
        made = _shop(lambda: RedisStore(url), time.sleep)
    else:
        made = _shop(_dynamo(servers(engine), clock, request.node.name), clock.advance)
    # The time of a database's own clock cannot be moved: short leases there, and real waiting.
    if kind in {"postgres", "mysql", "redis"}:
        made = replace(made, short=0.3)
    prunes = kind in {"memory", "sqlite", "postgres", "mysql"}
    yield replace(made, prunes=prunes, keeps_expired=kind != "redis")
    made.store.close()


def _shop(make: Callable[[], Any], pass_time: Callable[[float], None]) -> Shop:
    return Shop(make(), make, pass_time)


def _dynamo(server: LocalServer, clock: FakeClock, test: str) -> Callable[[], DynamoDBStore]:
    session = boto3.Session(**server.credentials)
    table = "".join(c if c.isalnum() else "-" for c in test)
    return lambda: DynamoDBStore(
        table, settings=server.settings(), session=session, clock=clock
    ).create()


def begin(shop: Shop, event: str = "e1", service: str = "mail") -> Any:
    return shop.store.begin(service, event, lease_seconds=60)


def claim(shop: Shop, event: str = "e1", service: str = "mail", lease: float = 60) -> Claim:
    found = shop.store.begin(service, event, lease_seconds=lease)
    assert isinstance(found, Claim)
    return found


def expire(shop: Shop) -> None:
    """Let whatever was claimed for `shop.short` expire."""
    shop.pass_time(shop.short + 0.05)


def test_what_is_absent_is_claimed_and_then_in_progress(shop: Shop) -> None:
    mine = claim(shop)
    assert (mine.service, mine.event_id) == ("mail", "e1")
    found = begin(shop)
    assert isinstance(found, InProgress)
    assert 0 < found.seconds <= 60.001


def test_done_is_final(shop: Shop) -> None:
    mine = claim(shop)
    assert shop.store.complete(mine)
    assert isinstance(begin(shop), Done)
    assert not shop.store.release(mine)
    assert not shop.store.renew(mine, lease_seconds=60)
    expire(shop)
    assert isinstance(begin(shop), Done)


def test_done_is_done_for_another_process(shop: Shop) -> None:
    shop.store.complete(claim(shop))
    other = shop.again()
    assert isinstance(other.begin("mail", "e1", lease_seconds=1), Done)
    other.close()


def test_what_is_released_can_be_claimed_at_once(shop: Shop) -> None:
    mine = claim(shop)
    assert shop.store.release(mine)
    assert not shop.store.release(mine)
    second = claim(shop)
    assert second.token != mine.token


def test_an_expired_claim_is_taken_over_and_the_first_cannot_touch_it(shop: Shop) -> None:
    first = claim(shop, lease=shop.short)
    expire(shop)
    second = claim(shop)
    assert not shop.store.complete(first)
    assert not shop.store.release(first)
    assert not shop.store.renew(first, lease_seconds=60)
    assert isinstance(begin(shop), InProgress)
    assert shop.store.complete(second)
    assert not shop.store.complete(first)
    assert isinstance(begin(shop), Done)


def test_an_expired_claim_that_nobody_took_can_still_be_completed(shop: Shop) -> None:
    mine = claim(shop, lease=shop.short)
    expire(shop)
    assert shop.store.complete(mine) is shop.keeps_expired


def test_a_renewed_claim_lasts(shop: Shop) -> None:
    mine = claim(shop, lease=3 * shop.short)
    assert shop.store.renew(mine, lease_seconds=600)
    shop.pass_time(3 * shop.short + 0.05)
    assert isinstance(begin(shop), InProgress)
    assert shop.store.complete(mine)
    assert isinstance(begin(shop), Done)


def test_a_token_that_was_never_given_does_nothing(shop: Shop) -> None:
    mine = claim(shop)
    forged = replace(mine, token="0" * 32)
    assert not shop.store.complete(forged)
    assert not shop.store.release(forged)
    assert not shop.store.renew(forged, lease_seconds=1)
    unknown = replace(mine, event_id="e2")
    assert not shop.store.complete(unknown)
    assert not shop.store.release(unknown)
    assert isinstance(begin(shop), InProgress)


def test_services_are_apart_and_so_are_events(shop: Shop) -> None:
    shop.store.complete(claim(shop, "e1", "mail"))
    assert isinstance(begin(shop, "e1", "bi"), Claim)
    assert isinstance(begin(shop, "e2", "mail"), Claim)
    assert isinstance(begin(shop, "e1", "mail"), Done)


def test_keys_are_taken_as_they_are(shop: Shop) -> None:
    keys = ["/cadastro 1", "/cadastro 1/", "ção", "'; DROP TABLE x; --", "%s :name", "a" * 512]
    keys += ["e1", "E1", "é1", "e1 "]
    for key in keys:
        assert shop.store.complete(claim(shop, key)), key
    for key in keys:
        assert isinstance(begin(shop, key), Done), key
    assert isinstance(begin(shop, "a" * 511), Claim)


@pytest.mark.parametrize("shop", ATOMIC, indirect=True)
def test_of_many_at_once_one_gets_the_claim(shop: Shop) -> None:
    threads, rounds = 8, 5
    gate = threading.Barrier(threads)
    stores = [shop.store, shop.again()]

    def rush(number: int) -> list[object]:
        found: list[object] = []
        for turn in range(rounds):
            gate.wait(20)
            found.append(stores[number % 2].begin("mail", f"race {turn}", lease_seconds=60))
        return found

    with ThreadPoolExecutor(threads) as pool:
        each = list(pool.map(rush, range(threads)))
    stores[1].close()
    for turn in zip(*each, strict=True):
        assert sum(isinstance(one, Claim) for one in turn) == 1
        assert sum(isinstance(one, InProgress) for one in turn) == threads - 1


@pytest.mark.parametrize("shop", ATOMIC, indirect=True)
def test_of_many_that_take_over_one_gets_the_claim(shop: Shop) -> None:
    threads = 8
    claim(shop, lease=shop.short)
    expire(shop)
    gate = threading.Barrier(threads)

    def rush(_: int) -> object:
        gate.wait(20)
        return shop.store.begin("mail", "e1", lease_seconds=60)

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(rush, range(threads)))
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert sum(isinstance(one, InProgress) for one in found) == threads - 1


def test_prune_forgets_what_is_old_and_nothing_else(shop: Shop) -> None:
    age = 4 * shop.short
    shop.store.complete(claim(shop, "old"))
    claim(shop, "abandoned", lease=age)
    shop.pass_time(age + 0.05)
    shop.store.complete(claim(shop, "new"))
    claim(shop, "held", lease=100 * age)
    if not shop.prunes:
        assert shop.store.prune(0) == 0
        assert isinstance(begin(shop, "old"), Done)
        return
    assert shop.store.prune(DAY) == 0
    assert isinstance(begin(shop, "old"), Done)
    assert shop.store.prune(age) == 1
    assert isinstance(begin(shop, "old"), Claim)
    assert isinstance(begin(shop, "new"), Done)
    assert isinstance(begin(shop, "held"), InProgress)
    shop.pass_time(age + 0.05)
    assert shop.store.prune(age) == 2  # the abandoned claim, and what was new then
    assert isinstance(begin(shop, "abandoned"), Claim)
    assert isinstance(begin(shop, "held"), InProgress)
