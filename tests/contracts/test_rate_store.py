"""What every store of shared rates must do: one moment for all, moved on by whoever reserves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import redis

from messaging.errors import ConfigurationError, TransportError
from messaging.rates import MemoryRates, PostgresRates, RedisRates, open_rates
from messaging.rates.postgres import TABLE, ddl
from messaging.stores import MEMBER_SECONDS, RateStore
from messaging.testing import FakeClock

HOUR = 3600.0
FAR: dict[str, float] = {"saved": 0.0, "ahead": 10 * HOUR}
"""Nothing is saved up, and no reservation is too far ahead."""


@dataclass(frozen=True)
class Shop:
    """A store; `again` makes another one, of another process; `age` lets time pass for members."""

    store: RateStore
    again: Callable[[], RateStore]
    pass_time: Callable[[float], None]


@pytest.fixture(params=["memory", "postgres", "redis"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    made: list[RateStore] = []

    def keep(store: RateStore) -> RateStore:
        made.append(store)
        return store

    if request.param == "memory":
        clock = FakeClock()
        store = MemoryRates(clock=clock)
        yield Shop(store, lambda: store, clock.advance)
    elif request.param == "postgres":
        conninfo = request.getfixturevalue("postgres")

        def age(seconds: float) -> None:
            with psycopg.connect(conninfo) as connection:
                connection.execute(f"update {TABLE} set at = at - %s", [seconds])

        yield Shop(keep(PostgresRates(conninfo)), lambda: keep(PostgresRates(conninfo)), age)
    else:
        url = request.getfixturevalue("redis_url")

        def older(seconds: float) -> None:
            with redis.Redis.from_url(url) as client:
                for key in client.scan_iter("rate/*/members"):
                    for member, _ in client.zscan_iter(key):
                        client.zincrby(key, -seconds, member)
                for key in client.scan_iter("rate/*}"):
                    client.set(key, float(client.get(key) or 0) - seconds)

        yield Shop(keep(RedisRates(url)), lambda: keep(RedisRates(url)), older)
    for one in made:
        one.close()


def test_whoever_reserves_waits_behind_those_who_did_before(shop: Shop) -> None:
    first = shop.store.reserve("q", "a", HOUR, **FAR)
    second = shop.again().reserve("q", "b", HOUR, **FAR)
    assert first.seconds == pytest.approx(HOUR, abs=60)
    assert second.seconds == pytest.approx(2 * HOUR, abs=60)


def test_queues_are_apart(shop: Shop) -> None:
    shop.store.reserve("q", "a", HOUR, **FAR)
    other = shop.store.reserve("another", "a", HOUR, **FAR)
    assert other.seconds == pytest.approx(HOUR, abs=60)
    assert other.members == 1


def test_what_was_saved_may_be_used_at_once_and_no_more(shop: Shop) -> None:
    found = [shop.store.reserve("q", "a", HOUR, saved=3 * HOUR, ahead=HOUR) for _ in range(4)]
    assert [one.seconds <= 0 for one in found] == [True, True, True, False]
    shop.pass_time(100 * HOUR)
    found = [shop.store.reserve("q", "a", HOUR, saved=3 * HOUR, ahead=HOUR) for _ in range(4)]
    assert [one.seconds <= 0 for one in found] == [True, True, True, False]


def test_a_question_without_tokens_moves_nothing(shop: Shop) -> None:
    shop.store.reserve("q", "a", HOUR, **FAR)
    for _ in range(3):
        assert shop.store.reserve("q", "a", 0.0, **FAR).seconds == pytest.approx(HOUR, abs=60)


def test_what_is_given_back_is_there_for_the_next(shop: Shop) -> None:
    shop.store.reserve("q", "a", 3 * HOUR, **FAR)
    shop.store.leave("q", "a", 2 * HOUR)
    found = shop.store.reserve("q", "b", HOUR, **FAR)
    assert found.seconds == pytest.approx(2 * HOUR, abs=60)
    assert found.members == 1, "who left is not counted"


def test_to_leave_what_is_not_there_is_no_error(shop: Shop) -> None:
    shop.store.reserve("another", "a", 0.0, **FAR)
    shop.store.leave("q", "nobody", HOUR)
    assert shop.store.reserve("q", "a", HOUR, **FAR).seconds == pytest.approx(HOUR, abs=60)


def test_members_are_counted_until_nothing_is_heard_of_them(shop: Shop) -> None:
    assert shop.store.reserve("q", "a", 0.0, **FAR).members == 1
    assert shop.again().reserve("q", "b", 0.0, **FAR).members == 2
    assert shop.store.reserve("q", "a", 0.0, **FAR).members == 2
    shop.pass_time(MEMBER_SECONDS + 60)
    assert shop.store.reserve("q", "a", 0.0, **FAR).members == 1


def test_a_clock_that_was_set_back_holds_up_nobody_for_long(shop: Shop) -> None:
    shop.store.reserve("q", "a", 24 * HOUR, **FAR)  # as a moment of a clock that was a day ahead
    found = shop.store.reserve("q", "a", 1.0, saved=0.0, ahead=HOUR)
    assert found.seconds <= HOUR + 1.0


def test_many_at_once_lose_no_reservation(shop: Shop) -> None:
    stores = [shop.again() for _ in range(4)]
    start = threading.Barrier(4)

    def reserve(store: RateStore) -> None:
        start.wait()
        for _ in range(25):
            store.reserve("q", "m", HOUR, saved=0.0, ahead=1000 * HOUR)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reserve, stores))
    found = shop.store.reserve("q", "m", 0.0, saved=0.0, ahead=1000 * HOUR)
    assert found.seconds == pytest.approx(100 * HOUR, abs=60)


def test_redis_forgets_a_queue_that_nobody_receives_from(redis_url: str) -> None:
    store = RedisRates(redis_url)
    store.reserve("q", "a", 1.0, saved=5.0, ahead=10.0)
    store.leave("q", "a", 0.5)
    with redis.Redis.from_url(redis_url) as client:
        assert [key for key in client.scan_iter() if client.ttl(key) < 0] == []
    store.close()


def test_postgres_says_how_to_make_the_table_where_its_role_may_not(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        role = f"poor_{time.time_ns()}"
        admin.execute(f"create role {role} login")
        store = PostgresRates(postgres.replace("user=messaging", f"user={role}"))
        with pytest.raises(ConfigurationError, match=r"messaging\.rates\.postgres\.ddl\(\)"):
            store.reserve("q", "a", 0.0, **FAR)
        admin.execute(ddl())
        admin.execute(f"grant select, insert, update, delete on {TABLE} to {role}")
        assert store.reserve("q", "a", 0.0, **FAR).members == 1
        store.close()
        admin.execute(f"drop owned by {role}")
        admin.execute(f"drop role {role}")


def test_postgres_forgets_processes_that_died_long_ago(postgres: str) -> None:
    store = PostgresRates(postgres)
    for member in ("died", "lives"):
        store.reserve("q", member, 0.0, **FAR)
    with psycopg.connect(postgres) as connection:
        connection.execute(f"update {TABLE} set at = at - 3600 where member = 'died'")
    store.leave("q", "lives", 0.0)
    with psycopg.connect(postgres) as connection:
        assert connection.execute(f"select member from {TABLE}").fetchall() == [("",)]
    store.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("redis://c:6379/0", RedisRates), ("rediss://c/0", RedisRates), ("unix:///r.sock", RedisRates),
     ("postgresql://u@db/x", PostgresRates), ("postgres://u@db/x", PostgresRates)],
)  # fmt: skip
def test_a_url_says_which_store(url: str, kind: type) -> None:
    assert isinstance(open_rates(url), kind)


def test_a_url_of_nothing_that_can_keep_rates_is_refused_with_what_can() -> None:
    with pytest.raises(ConfigurationError, match=r"redis://host:6379/0 or postgresql://"):
        open_rates("mysql://u:secret@db/x")


@pytest.mark.parametrize("store", [RedisRates, PostgresRates])
def test_a_store_that_is_away_says_so_and_names_no_password(store: Any) -> None:
    scheme = "redis" if store is RedisRates else "postgresql"
    kept = store(f"{scheme}://u:hunter2@127.0.0.1:1/0", timeout=0.5)
    with pytest.raises(TransportError) as away:
        kept.reserve("q", "a", 0.0, **FAR)
    assert "hunter2" not in f"{away.value} {kept!r}"
