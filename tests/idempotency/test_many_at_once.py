"""Redis and PostgreSQL are asked once for all events of a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from messaging.idempotency import Idempotency, PostgresStore, RedisStore
from messaging.outcome import Retry
from messaging.stores import Claim, Done, InProgress, ManyAtOnce
from tests.idempotency.test_chunks import Load, failed, received


@pytest.fixture(params=["redis", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "redis":
        made: Any = RedisStore(request.getfixturevalue("redis_url"))
    else:
        made = PostgresStore(request.getfixturevalue("postgres")).create()
    yield made
    made.close()


def test_each_event_has_the_answer_that_it_would_have_by_itself(store: Any) -> None:
    assert isinstance(store, ManyAtOnce)
    held = store.begin("load", "held", lease_seconds=60)
    done = store.begin("load", "done", lease_seconds=60)
    store.complete(done)
    asked = ["new", "held", "done", "other"]
    new, in_progress, handled, other = store.begin_many("load", asked, lease_seconds=60)
    assert isinstance(new, Claim)
    assert isinstance(other, Claim)
    assert (new.event_id, other.event_id) == ("new", "other")
    assert isinstance(in_progress, InProgress)
    assert 0 < in_progress.seconds <= 60
    assert handled == Done()
    assert isinstance(store.begin("load", "new", lease_seconds=60), InProgress)
    assert isinstance(store.begin("mail", "new", lease_seconds=60), Claim), "of another service"
    lost = Claim(service="load", event_id="held", token="nobody's")
    assert store.complete_many([new, lost, other, held]) == [True, False, True, True]
    assert {type(one) for one in store.begin_many("load", asked, lease_seconds=60)} == {Done}


def test_an_expired_claim_is_taken_over_with_the_others(store: Any) -> None:
    store.begin("load", "a", lease_seconds=0.001)
    end = store.begin_many("load", ["b", "c"], lease_seconds=60)
    assert len(end) == 2
    while not isinstance(found := store.begin_many("load", ["a", "d"], lease_seconds=60)[0], Claim):
        assert isinstance(found, InProgress)


def test_a_chunk_is_claimed_and_completed_for_each_message(store: Any) -> None:
    load = Load(lambda number: None, {2: Retry(1)})
    once, event = Idempotency(store), received(1, 2, 3)
    event["Records"].append(dict(event["Records"][0], messageId="twin", receiptHandle="twin"))
    assert failed(load, once, event) == [1, 3]
    load.then = {}
    assert failed(load, once, event) == []
    assert load.handled == [1, 2, 3, 2]


def test_redis_is_asked_in_few_round_trips(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore(client)
        store.begin_many("load", ["warm", "up"], lease_seconds=60)
        before = client.info("stats")["total_reads_processed"]
        claims = store.begin_many("load", [str(n) for n in range(50)], lease_seconds=60)
        after = client.info("stats")["total_reads_processed"]
    assert all(isinstance(one, Claim) for one in claims)
    assert after - before <= 5


def test_postgresql_is_asked_in_one_statement(postgres: str) -> None:
    commands: list[str] = []

    class Counted(psycopg.Connection[Any]):
        def wait(self, *given: Any, **named: Any) -> Any:
            commands.append("")
            return super().wait(*given, **named)

    store = PostgresStore(lambda: Counted.connect(postgres)).create()
    store.begin_many("load", ["warm", "up"], lease_seconds=60)
    commands.clear()
    claims = store.begin_many("load", [str(n) for n in range(50)], lease_seconds=60)
    asked = len(commands)
    assert all(isinstance(one, Claim) for one in claims)
    commands.clear()
    store.begin("load", "alone", lease_seconds=60)
    assert asked == len(commands), "as many as for one event"
    store.close()
