"""One event's entries and marks, as `messaging where` asks for them, in each database."""

from __future__ import annotations

from contextlib import closing

from messaging.idempotency import MySqlStore, PostgresStore, SqliteStore
from messaging.idempotency.finding import marks_of
from messaging.outbox import Database
from messaging.outbox.finding import entries_of
from messaging.sql.driver import execute
from messaging.stores import Claim
from tests.outbox.conftest import Place


def store_of(place: Place) -> SqliteStore | PostgresStore | MySqlStore:
    if place.dialect == "sqlite":
        return SqliteStore(place.url.removeprefix("sqlite:///"))
    make = MySqlStore if place.dialect == "mysql" else PostgresStore
    return make(place.url).create()


def test_the_entries_of_one_event_and_no_other(place: Place) -> None:
    insert = (
        'INSERT INTO messaging_outbox (id, "key", body, attributes, size, attempts, error, '
        "published_at, parked_at) VALUES ('{}', 'k', '{{}}', '{{}}', 2, {}, {}, {}, {})"
    )
    with closing(place.connect()) as connection:
        execute(connection, insert.format("e1", 0, "NULL", "17.5", "NULL"))
        execute(connection, insert.format("e1", 3, "'Throttled'", "NULL", "NULL"))
        execute(connection, insert.format("e1", 1, "'Invalid'", "NULL", "18.5"))
        execute(connection, insert.format("e11", 0, "NULL", "NULL", "NULL"))
        connection.commit()
    database = Database(place.connect)

    found = entries_of(database, "e1")

    database.close()
    assert [(one.state, one.attempts, one.error) for one in found] == [
        ("published", 0, None),
        ("pending", 3, "Throttled"),
        ("parked", 1, "Invalid"),
    ]
    assert [(one.published, one.parked) for one in found] == [
        (17.5, None),
        (None, None),
        (None, 18.5),
    ]


def test_the_marks_of_one_event_and_no_other(place: Place) -> None:
    database = Database(place.connect)
    assert marks_of(database, "e1") is None, "there is no table of marks yet"
    store = store_of(place)
    for key in ("/s e1", "/s E1", "/s e11", "/s other-e1", "/s e_"):
        claim = store.begin("mail", key, lease_seconds=60)
        assert isinstance(claim, Claim)
        assert store.complete(claim)
    store.begin("books", "/s e1", lease_seconds=60)
    now = database.now()

    found = marks_of(database, "e1")
    wild = marks_of(database, "e_")

    store.close()
    database.close()
    assert found is not None
    assert [(one.service, one.handled is None) for one in found] == [
        ("books", True),
        ("mail", False),
    ]
    assert found[1].handled is not None
    assert abs(found[1].handled - now) < 3600
    assert wild is not None
    assert len(wild) == 1, "an id is text, not a pattern"
