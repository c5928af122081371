"""An outbox is written in the caller's transaction: both rows, or neither."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from messaging.errors import ConfigurationError, PublishError, TransportError
from messaging.outbox import SqlOutbox, create, ddl
from messaging.outbox.rows import READ, row_of, to_columns
from messaging.publishing.publisher import Publisher
from messaging.sql.driver import execute, kind_of
from messaging.transport import Attribute, Outgoing
from tests.outbox.conftest import Enrolled, Noted, Place, noted


def publisher(connection: Any, **more: Any) -> Publisher:
    return Publisher(SqlOutbox(connection, **more), source="/test")


def count(place: Place, table: str = "messaging_outbox") -> int:
    with closing(place.connect()) as connection:
        found: int = execute(connection, f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def test_both_rows_are_there_after_the_commit_and_neither_before(place: Place) -> None:
    with closing(place.connect()) as connection:
        execute(connection, "INSERT INTO students VALUES ('Ana')")
        publisher(connection).publish(Noted(who="Ana", n=1))
        assert (count(place), count(place, "students")) == (0, 0)
        connection.commit()
    assert (count(place), count(place, "students")) == (1, 1)


def test_rolled_back_is_never_sent(place: Place) -> None:
    with closing(place.connect()) as connection:
        execute(connection, "INSERT INTO students VALUES ('Ana')")
        publisher(connection).publish(Noted(who="Ana", n=1))
        connection.rollback()
    assert (count(place), count(place, "students")) == (0, 0)


def test_a_savepoint_that_is_rolled_back_takes_its_events_with_it(place: Place) -> None:
    with closing(place.connect()) as connection:
        publisher(connection).publish(Noted(who="Ana", n=1))
        execute(connection, "SAVEPOINT here")
        publisher(connection).publish(Noted(who="Bia", n=2))
        execute(connection, "ROLLBACK TO SAVEPOINT here")
        connection.commit()
    assert place.rows('"key"') == [("Ana",)]


def test_many_are_written_in_their_order_and_in_this_thread(place: Place) -> None:
    with closing(place.connect()) as connection:
        result = publisher(connection).publish_many(noted(*["Ana"] * 57))
        connection.commit()
    assert result.accepted == 57
    bodies = [json.loads(body)["data"]["n"] for (body,) in place.rows("body")]
    assert bodies == list(range(57))  # sqlite3 itself refuses another thread


def test_async_code_may_publish_and_a_buffer_is_refused(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        publishing = publisher(connection)
        asyncio.run(publishing.publish_async(Noted(who="Ana", n=1)))
        with pytest.raises(ConfigurationError, match="call publish"):
            publishing.buffered()
        connection.commit()
    assert count(sqlite) == 1


def test_every_column_says_what_the_message_says(place: Place) -> None:
    sent = [
        Outgoing(
            id="e1",
            body='{"subject": "Zoë", "text": "é𝄞 \\" % :name %(name)s"}',
            attributes={
                "type": Attribute.string("test.é"),
                "audience": Attribute.array(["a", "b"]),
                "binary": Attribute("Binary.png", bytes(range(256))),
                "number": Attribute("Number", "12.50"),
            },
            size=123,
        ),
        Outgoing(id="e2", body="no JSON", attributes={}, size=7, group="g", deduplication="d"),
    ]
    with closing(place.connect()) as connection:
        assert SqlOutbox(connection).publish(sent) == ()
        connection.commit()
    assert place.rows('id, "key", size, message_group, deduplication, attempts') == [
        ("e1", "Zoë", 123, None, None, 0),
        ("e2", "g", 7, "g", "d", 0),
    ]
    read = place.rows(READ.replace("o.", ""))
    assert [row_of(values).message for values in read] == sent
    [[age]] = place.rows("max(created) - min(created)", order="1")
    assert age >= 0
    now = {
        "sqlite": "unixepoch()",
        "postgresql": "extract(epoch FROM now())",
        "mysql": "unix_timestamp()",
    }[place.dialect]
    assert place.rows(f"abs({now} - created) < 60", order="1")[0][0]


def test_the_key_is_group_else_subject_else_id() -> None:
    def keys(*messages: Outgoing) -> list[object]:
        return [columns["key"] for columns in to_columns(messages)]

    one = Outgoing(id="e1", body='{"subject": "Ana"}', attributes={}, size=1)
    assert keys(one, replace(one, group="turma-7"), replace(one, body="{}", id="e2")) == [
        "Ana",
        "turma-7",
        "e2",
    ]
    odd = ["[1]", '{"subject": 7}', '{"subject": ""}', "{", "\ud800"]
    assert keys(*(replace(one, id=f"o{at}", body=body) for at, body in enumerate(odd))) == [
        f"o{at}" for at in range(len(odd))
    ]


def test_a_copy_without_the_subject_keeps_the_order_of_the_others(sqlite: Place) -> None:
    sqlite.publish(Enrolled(who="Ana", fee=7))
    rows = sqlite.rows("key, body")
    assert [key for key, _ in rows] == ["Ana", "Ana"]
    assert sorted("subject" in json.loads(body) for _, body in rows) == [False, True]


@pytest.mark.parametrize("who", ["x" * 100_000, "a\nb\u2028"], ids=["long", "unprintable"])
def test_a_key_that_no_index_would_take_is_digested(place: Place, who: str) -> None:
    place.publish(Noted(who=who, n=1))
    [[key]] = place.rows('"key"')
    assert len(key) == 64
    assert key.isalnum()


def test_autocommit_is_refused_and_a_transaction_in_it_is_not(place: Place) -> None:
    with closing(place.connect()) as connection:
        if place.dialect == "sqlite":
            connection.isolation_level = None
        elif place.dialect == "mysql":
            connection.autocommit(True)
        else:
            connection.autocommit = True
        with pytest.raises(PublishError, match="autocommit") as refused:
            publisher(connection).publish(Noted(who="Ana", n=1))
        assert "NoTransaction" in str(refused.value)
        execute(connection, "BEGIN")
        publisher(connection).publish(Noted(who="Bia", n=2))
        execute(connection, "COMMIT")
    assert place.rows('"key"') == [("Bia",)]


def test_a_missing_table_is_told_without_what_the_event_says(place: Place) -> None:
    with closing(place.connect()) as connection:
        with pytest.raises(PublishError, match="the outbox elsewhere could not") as refused:
            publisher(connection, table="elsewhere").publish(Noted(who="Secret", n=1))
        shown = [str(refused.value)]
        cause = refused.value.__cause__
        while cause is not None:
            shown.append(str(cause))
            cause = cause.__cause__
    assert len(shown) == 2
    assert "Secret" not in "".join(shown)
    assert isinstance(refused.value.__cause__, TransportError)
    assert not refused.value.__cause__.retryable


def test_a_batch_is_as_small_as_the_topics(sqlite: Place) -> None:
    one = Outgoing(id="1", body="x", attributes={}, size=1)
    with closing(sqlite.connect()) as connection:
        outbox = SqlOutbox(connection, max_bytes=1000)
        assert outbox.max_bytes == 1000
        assert outbox.publish([]) == ()
        with pytest.raises(TransportError, match="11 entries"):
            outbox.publish([one] * 11)
        outbox.close()
        with pytest.raises(TransportError, match="closed"):
            outbox.publish([one])
        execute(connection, "SELECT 1")  # the connection is the caller's
        connection.commit()
    assert count(sqlite) == 0


# SQLAlchemy


@pytest.fixture
def engine(place: Place) -> Any:
    url = place.url.replace("mysql://", "mysql+pymysql://")
    if place.dialect == "postgresql":
        parts = dict(part.split("=") for part in place.url.split())
        url = f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}"
    made = sqlalchemy.create_engine(url)
    yield made
    made.dispose()


INSERT = sqlalchemy.text("INSERT INTO students VALUES ('Ana')")


def test_a_session_commits_both_or_neither(place: Place, engine: Any) -> None:
    with Session(engine) as session:
        session.execute(INSERT)
        publisher(session).publish(Noted(who="Ana", n=1))
        session.rollback()
        assert (count(place), count(place, "students")) == (0, 0)
        session.execute(INSERT)
        publisher(session).publish_many(noted("Ana", "Bia"))
        assert (count(place), count(place, "students")) == (0, 0)
        session.commit()
    assert (count(place), count(place, "students")) == (2, 1)


def test_a_connection_and_a_scoped_session_are_taken_as_well(place: Place, engine: Any) -> None:
    with engine.begin() as connection:
        publisher(connection).publish(Noted(who="Ana", n=1))
    session = scoped_session(sessionmaker(engine))
    publisher(session).publish(Noted(who="Bia", n=2))
    session.commit()
    session.remove()
    assert place.rows('"key"') == [("Ana",), ("Bia",)]


def test_an_engine_in_autocommit_is_refused(place: Place, engine: Any) -> None:
    with (
        engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        pytest.raises(PublishError, match="autocommit"),
    ):
        publisher(connection).publish(Noted(who="Ana", n=1))
    assert count(place) == 0


def test_what_sqlalchemy_says_of_a_failure_is_not_told(engine: Any) -> None:
    with Session(engine) as session:
        with pytest.raises(PublishError) as refused:
            publisher(session, table="elsewhere").publish(Noted(who="Secret", n=1))
        assert "Secret" not in f"{refused.value} {refused.value.__cause__}"


def test_sqlalchemy_may_make_the_table(engine: Any) -> None:
    with Session(engine) as session:
        create(session, table="another")
        session.commit()
        publisher(session, table="another").publish(Noted(who="Ana", n=1))
        session.commit()
        assert session.execute(sqlalchemy.text("SELECT count(*) FROM another")).scalar() == 1


# What cannot be


class Odd: ...


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        (Odd(), "Odd: an unknown kind of connection"),
        (None, "unknown kind of connection"),
        (object.__new__(psycopg.AsyncConnection), "asynchronous"),
    ],
)
def test_a_connection_that_is_none_is_refused_with_a_remedy(connection: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SqlOutbox(connection)


def test_a_class_of_your_own_is_what_it_is_made_from() -> None:
    class Mine(sqlite3.Connection): ...

    with closing(Mine(":memory:")) as connection:
        assert kind_of(connection) == "sqlite3"


@pytest.mark.parametrize("table", ["", "a b", "a;b", "a.b.c", "1a", "x" * 42, 'a"b', "é"])
def test_a_table_name_that_would_need_quotes_is_refused(table: str) -> None:
    with pytest.raises(ConfigurationError, match="table="):
        ddl("postgresql", table)


def test_what_ddl_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without a schema"):
        ddl("sqlite", "a.b")
    with pytest.raises(ConfigurationError, match="'postgresql', 'sqlite' or 'mysql'"):
        ddl("oracle")  # type: ignore[arg-type]


def test_the_table_may_be_made_twice(place: Place) -> None:
    place.publish(Noted(who="Ana", n=1))
    with closing(place.connect()) as connection:
        create(connection)
        connection.commit()
    assert count(place) == 1


def test_a_schema_may_be_named(postgresql: Place) -> None:
    postgresql.run("CREATE SCHEMA school")
    with closing(postgresql.connect()) as connection:
        create(connection, table="school.outbox")
        publisher(connection, table="school.outbox").publish(Noted(who="Ana", n=1))
        connection.commit()
    assert count(postgresql, "school.outbox") == 1


def test_importing_it_loads_no_database() -> None:
    code = (
        "import sys, messaging.outbox; print(*{'sqlite3', 'psycopg', 'pymysql', 'sqlalchemy', "
        "'boto3', 'tenacity'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
