"""Idempotency and transactions around a handler that takes a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.idempotency import Idempotency, MemoryStore, Transactional
from messaging.lambda_handler import lambda_handler
from messaging.outcome import Outcome, Retry
from messaging.sql import open_sqlite
from messaging.testing import lambda_event


class Row(Event, type="row", version=1):
    number: int


class Load(Consumer):
    def __init__(self, answer: Callable[[list[int]], Any]) -> None:
        self.calls: list[list[int]] = []
        self.answer = answer

    @handles(batch=100)
    def rows(self, rows: Batch[Row]) -> Outcome | Mapping[int, Outcome] | None:
        numbers = [one.number for one in rows]
        self.calls.append(numbers)
        answer: Outcome | Mapping[int, Outcome] | None = self.answer(numbers)
        return answer


def received(*numbers: int) -> dict[str, Any]:
    return lambda_event(Load, *(Row(number=number) for number in numbers))


def failed(event: dict[str, Any], answer: Mapping[str, Any]) -> list[int]:
    ids = [one["messageId"] for one in event["Records"]]
    return sorted(ids.index(one["itemIdentifier"]) for one in answer["batchItemFailures"])


def test_what_was_handled_is_not_handed_over_again_and_what_failed_is() -> None:
    answers = iter([{1: Retry(1)}, None, None])
    load = Load(lambda numbers: next(answers))
    call = lambda_handler(load, middleware=[Idempotency(MemoryStore())])
    event = received(0, 1, 2)
    assert failed(event, call(event, None)) == [1]
    assert failed(event, call(event, None)) == []
    assert failed(event, call(event, None)) == []
    assert load.calls == [[0, 1, 2], [1]]


def test_a_batch_that_raises_gives_its_claims_back_and_each_is_tried_alone() -> None:
    def insert(numbers: list[int]) -> None:
        if 1 in numbers:
            raise ValueError

    load = Load(insert)
    call = lambda_handler(load, middleware=[Idempotency(MemoryStore())])
    event = received(0, 1, 2)
    assert failed(event, call(event, None)) == [1]
    assert load.calls == [[0, 1, 2], [0], [1], [2]]
    assert failed(event, call(event, None)) == [1]
    assert load.calls[4:] == [[1]]


def test_one_event_twice_in_a_batch_takes_effect_once(banco: Transactional) -> None:
    load = Load(lambda numbers: insert(banco, numbers))
    for once in (Idempotency(MemoryStore()), banco):
        call = lambda_handler(Load(lambda numbers: None) if once is not banco else load,
                              middleware=[once])  # fmt: skip
        event = received(7)
        twin = dict(event["Records"][0], messageId="twin", receiptHandle="twin")
        event["Records"].append(twin)
        assert failed(event, call(event, None)) == [1]
        assert failed(event, call(event, None)) == []
    assert load.calls == [[7]]


@pytest.fixture
def banco(tmp_path: Path) -> Iterator[Transactional]:
    path = tmp_path / "bi.db"
    connection = open_sqlite(path)
    connection.execute("CREATE TABLE rows (number INTEGER CHECK (number <> 13))")
    connection.commit()
    once = Transactional(lambda: open_sqlite(path)).create()
    yield once
    once.close()
    connection.close()


def insert(banco: Transactional, numbers: list[int]) -> None:
    banco.connection.executemany("INSERT INTO rows VALUES (?)", [(one,) for one in numbers])


def stored(tmp_path: Path) -> list[int]:
    connection = open_sqlite(tmp_path / "bi.db")
    try:
        return [one for (one,) in connection.execute("SELECT number FROM rows ORDER BY number")]
    finally:
        connection.close()


def test_rows_and_marks_of_a_batch_are_committed_together(
    banco: Transactional, tmp_path: Path
) -> None:
    load = Load(lambda numbers: insert(banco, numbers))
    call = lambda_handler(load, middleware=[banco])
    event = received(*range(10))
    for _ in range(3):
        assert failed(event, call(event, None)) == []
    assert load.calls == [list(range(10))]
    assert stored(tmp_path) == list(range(10))


def test_a_row_that_the_database_refuses_undoes_no_other(
    banco: Transactional, tmp_path: Path
) -> None:
    load = Load(lambda numbers: insert(banco, numbers))
    call = lambda_handler(load, middleware=[banco])
    event = received(11, 12, 13, 14)
    assert failed(event, call(event, None)) == [2]
    assert stored(tmp_path) == [11, 12, 14]
    assert failed(event, call(event, None)) == [2]
    assert stored(tmp_path) == [11, 12, 14]


def test_what_the_handler_sends_back_is_not_marked(banco: Transactional, tmp_path: Path) -> None:
    answers = iter([{0: Retry(1)}, None])

    def some(numbers: list[int]) -> Mapping[int, Outcome] | None:
        answer: Mapping[int, Outcome] | None = next(answers)
        insert(banco, numbers[1:] if answer else numbers)
        return answer

    load = Load(some)
    call = lambda_handler(load, middleware=[banco])
    event = received(1, 2, 3)
    assert failed(event, call(event, None)) == [0]
    assert failed(event, call(event, None)) == []
    assert load.calls == [[1, 2, 3], [1]]
    assert stored(tmp_path) == [1, 2, 3]


def test_on_postgresql_a_batch_is_one_transaction_too(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS batch_rows (number int CHECK (number <> 13))")
        admin.execute("TRUNCATE batch_rows")
        once = Transactional(lambda: psycopg.connect(postgres)).create()

        def write(numbers: list[int]) -> None:
            once.connection.cursor().executemany(
                "INSERT INTO batch_rows VALUES (%s)", [(one,) for one in numbers]
            )

        load = Load(write)
        call = lambda_handler(load, middleware=[once])
        event = received(1, 2, 13, 4)
        event["Records"].append(dict(event["Records"][0], messageId="twin", receiptHandle="twin"))
        try:
            assert failed(event, call(event, None)) == [2, 4]
            assert failed(event, call(event, None)) == [2]
            rows = admin.execute("SELECT number FROM batch_rows ORDER BY number").fetchall()
            assert rows == [(1,), (2,), (4,)]
        finally:
            once.close()
