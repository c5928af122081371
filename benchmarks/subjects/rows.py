"""This library and loops written by hand, where a database is at one end: outbox, transactions."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import psycopg

from benchmarks.contract import Student
from benchmarks.job import Job, Work, main
from benchmarks.machine import Gauge
from benchmarks.payload import CREDENTIALS, REGION, TOPIC_ARN
from benchmarks.subjects.ours import broker, messages, students
from messaging import Consumer, Envelope, Publisher, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.idempotency import Transactional
from messaging.idempotency.marks import ddl as marks
from messaging.outbox import Relay, SqlOutbox, connector, create
from messaging.sql import open_sqlite
from messaging.transport import Attribute, Delivery

EFFECT = "CREATE TABLE effects (student text, name text)"


def _fill(job: Job, count: int) -> None:
    with closing(psycopg.connect(job.database)) as connection:
        publisher = Publisher(SqlOutbox(connection), source="/bench")
        publisher.publish_many(itertools.islice(students(Student), count))
        connection.commit()


def _emptied(job: Job, empty: Callable[[], object]) -> dict[str, Any]:
    with closing(psycopg.connect(job.database)) as connection:
        connection.execute("DROP TABLE IF EXISTS messaging_outbox")
        create(connection)
        connection.commit()
    gauge = Gauge()
    _fill(job, job.warmup)
    empty()
    _fill(job, job.events)
    with gauge:
        empty()
    return gauge.result(job.events)


def relay(keep: float | None) -> Work:
    def work(job: Job) -> dict[str, Any]:
        with Relay(connector(job.database), broker(job).topic(), keep=keep) as one:
            return _emptied(job, one.drain)

    return work


def relay_by_hand(job: Job) -> dict[str, Any]:
    """What is written first: ten rows, a request, a delete, a commit."""
    make: Any = boto3.client
    sns = make("sns", endpoint_url=job.url, region_name=REGION, **CREDENTIALS)

    def empty() -> None:
        with closing(psycopg.connect(job.database)) as connection:
            while rows := connection.execute(
                "SELECT seq, id, body FROM messaging_outbox WHERE published_at IS NULL "
                "ORDER BY seq LIMIT 10 FOR UPDATE SKIP LOCKED"
            ).fetchall():
                entries = [{"Id": str(at), "Message": text} for at, (_, _, text) in enumerate(rows)]
                sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=entries)
                seqs = [row[0] for row in rows]
                connection.execute("DELETE FROM messaging_outbox WHERE seq = ANY(%s)", (seqs,))
                connection.commit()
            connection.commit()

    return _emptied(job, empty)


def _deliveries(count: int) -> list[Delivery]:
    found = messages(Student, "a")
    return [
        Delivery(
            queue="bench",
            message_id=str(number),
            receipt=str(number),
            body=one["body"].replace('"id":"', f'"id":"{number:08}', 1),
            attributes={name: Attribute(*a) for name, a in one["attributes"].items()},
        )
        for number, one in enumerate(itertools.islice(itertools.cycle(found), count))
    ]


def _transactions(job: Job, connect: Callable[[], Any], mark: str, way: str) -> dict[str, Any]:
    question = "INSERT INTO effects VALUES (?, ?)"
    if mark.count("%s"):
        question = question.replace("?", "%s")
    once = Transactional(connect)
    by_hand = connect()

    class Single(Consumer):
        service = "a"

        @handles
        def took(self, student: Student) -> None:
            once.connection.execute(question, (str(student.aluno_id), student.nome))

    class Chunked(Consumer):
        service = "a"

        @handles(chunk=10)
        def took(self, student: Student) -> None:
            once.connection.execute(question, (str(student.aluno_id), student.nome))

    class ByHand(Consumer):
        service = "a"

        @handles
        def took(self, student: Student, envelope: Envelope) -> None:
            if isinstance(by_hand, sqlite3.Connection):
                by_hand.execute("BEGIN IMMEDIATE")
            if by_hand.execute(mark, ("a", envelope.id)).rowcount:
                by_hand.execute(question, (str(student.aluno_id), student.nome))
            by_hand.commit()

    kinds: dict[str, type[Consumer]] = {"hand": ByHand, "single": Single, "chunk": Chunked}
    dispatch = Dispatcher(kinds[way](), middleware=[] if way == "hand" else [once])
    everything = _deliveries(job.warmup + job.events)

    def run(some: list[Delivery]) -> None:
        if way != "chunk":
            for one in some:
                dispatch(one)
            return
        for start in range(0, len(some), 10):
            dispatch.batch(some[start : start + 10]).start()

    run(everything[: job.warmup])
    gauge = Gauge()
    with gauge:
        run(everything[job.warmup :])
    [[effects]] = by_hand.execute("SELECT count(*) FROM effects").fetchall()
    assert effects == job.warmup + job.events, effects
    return gauge.result(job.events)


def on_sqlite(way: str) -> Work:
    def work(job: Job) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.db"
            with closing(open_sqlite(path)) as connection:
                connection.execute(EFFECT)
                connection.execute(marks("sqlite"))
            mark = (
                "INSERT INTO messaging_handled (service, event_id, handled_at) "
                "VALUES (?, ?, 1) ON CONFLICT DO NOTHING"
            )
            return _transactions(job, lambda: open_sqlite(path), mark, way)

    return work


def on_postgresql(way: str) -> Work:
    def work(job: Job) -> dict[str, Any]:
        with closing(psycopg.connect(job.database)) as connection:
            connection.execute("DROP TABLE IF EXISTS effects, messaging_handled")
            connection.execute(EFFECT)
            connection.execute(marks("postgresql").encode())
            connection.commit()
        mark = (
            "INSERT INTO messaging_handled (service, event_id, handled_at) "
            "VALUES (%s, %s, now()) ON CONFLICT DO NOTHING"
        )
        return _transactions(job, lambda: psycopg.connect(job.database), mark, way)

    return work


if __name__ == "__main__":
    main(
        {
            "outbox": relay(None),
            "outbox-deleting": relay(0),
            "outbox-hand": relay_by_hand,
            **{f"sqlite-{way}": on_sqlite(way) for way in ("hand", "single", "chunk")},
            **{f"postgresql-{way}": on_postgresql(way) for way in ("hand", "single", "chunk")},
        }
    )
