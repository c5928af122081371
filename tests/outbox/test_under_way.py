"""A relay has several requests under way, and keeps each key's order whatever becomes of one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from messaging.errors import TransportError
from messaging.outbox import Relay, connector
from messaging.transport import Failure, Outgoing
from messaging.window import FIRST
from tests.outbox.conftest import Enrolled, Place, noted
from tests.outbox.test_relay import numbers, sent
from tests.scripted import Answer, ScriptedTopic, busy, wrong


class Apart(ScriptedTopic):
    """Sends and waits apart: what the script says is said when the answer is waited for.

    most   requests that were under way at once.
    mixed  keys of which two events were.
    """

    def __init__(self, *script: Answer, wait: Callable[[], object] = lambda: None) -> None:
        super().__init__(*script)
        self.under_way: list[list[str]] = []
        self.most = 0
        self.mixed: set[str] = set()
        self._wait = wait

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        ids = [one.id for one in batch]
        self.under_way.append(ids)
        self.most = max(self.most, len(self.under_way))
        try:
            yield
            self._wait()
            return self.publish(batch)
        finally:
            self.under_way.remove(ids)


def relay(place: Place, topic: Any, **more: Any) -> Relay:
    return Relay(connector(place.url), topic, clock=place.clock, **more)


def drained(place: Place, topic: Any, **more: Any) -> Relay:
    with relay(place, topic, **more) as one:
        one.drain()
        return one


def drained_in_the_end(place: Place, topic: Any) -> Relay:
    """As `drained`, however long entries that failed have to wait."""
    with relay(place, topic, max_attempts=1) as one:
        for _ in range(6):
            one.drain()
            place.clock.advance(400)
            if place.dialect != "sqlite":
                place.run("UPDATE messaging_outbox SET free_at = 0 WHERE parked_at IS NULL")
        return one


def keys(count: int, times: int) -> list[str]:
    return [f"k{n:02}" for n in range(count)] * times


def in_order(topic: ScriptedTopic) -> bool:
    """Whether the first time that each event was accepted is in its key's order."""
    for who in {who for who, _ in sent(topic)}:
        first = list(dict.fromkeys(numbers(topic, who)))
        if first != sorted(first):
            return False
    return True


def test_several_requests_are_under_way_and_of_each_key_one_event(sqlite: Place) -> None:
    sqlite.publish(*noted(*keys(60, 3)))
    topic = Apart()
    assert drained(sqlite, topic).stats.published == 180
    # More, where answers take longer than requests do: that is the window's to say, not the test's.
    assert topic.most >= FIRST
    assert in_order(topic)
    assert len(sent(topic)) == 180
    assert max(topic.sizes) == 10


def test_more_are_under_way_where_answers_take_long(sqlite: Place) -> None:
    sqlite.publish(*noted(*keys(300, 1)))
    topic = Apart(wait=lambda: time.sleep(0.004))
    drained(sqlite, topic)
    assert topic.most > FIRST


@pytest.fixture(
    params=[("sqlite", 0), ("sqlite", 1), ("sqlite", 3), ("postgresql", 1), ("mysql", 2)],
    ids=lambda of: f"{of[0]}-{of[1]}",
)
def failing_in(request: pytest.FixtureRequest) -> tuple[int, Place]:
    """Which of four requests fails, and where."""
    name, failing = request.param
    return failing, request.getfixturevalue(name)


def test_the_order_of_a_key_holds_when_one_request_of_several_is_refused(
    failing_in: tuple[int, Place],
) -> None:
    failing, place = failing_in
    place.publish(*noted(*keys(40, 3)))
    script: list[Answer] = [()] * failing
    topic = Apart(*script, busy(*range(10)), busy(0, 9))
    done = drained_in_the_end(place, topic)
    assert in_order(topic)
    assert len(set(sent(topic))) == len(sent(topic)) == 120
    assert (done.stats.published, done.stats.failed) == (120, 12)


def test_no_entry_of_a_request_that_nobody_answered_is_lost(
    failing_in: tuple[int, Place],
) -> None:
    failing, place = failing_in
    place.publish(*noted(*keys(40, 2)))
    script: list[Answer] = [()] * failing
    topic = Apart(*script, TransportError("no answer", code="Timeout"))
    done = drained_in_the_end(place, topic)
    assert sorted(set(sent(topic))) == sorted((one.who, one.n) for one in noted(*keys(40, 2)))
    assert in_order(topic)
    assert place.status().pending == 0
    assert done.stats.published == 80


def test_behind_one_that_is_refused_for_good_its_key_goes_on(sqlite: Place) -> None:
    sqlite.publish(*noted(*keys(40, 2)))
    topic = Apart((), wrong(3))
    done = drained(sqlite, topic)
    assert (done.stats.published, done.stats.parked) == (79, 1)
    assert numbers(topic, "k13") == [53]


def test_all_copies_are_taken_before_the_next_event_of_their_key(sqlite: Place) -> None:
    sqlite.publish(*(Enrolled(who=f"k{n}", fee=fee) for fee in range(2) for n in range(11)))
    topic = Apart(busy(0))
    drained_in_the_end(sqlite, topic)
    fees: dict[str, list[str]] = {}
    for one in topic.accepted:
        fees.setdefault(one.id, []).append(one.body)
    assert [len(copies) for copies in fees.values()] == [2] * 22


def test_one_that_spoils_its_request_is_found_while_others_are_under_way(sqlite: Place) -> None:
    sqlite.publish(*noted(*keys(40, 1)))

    def spoiled(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if any('"k07"' in one.body for one in batch):
            raise TransportError("bad entry", code="InvalidParameter", retryable=False)
        return ()

    topic = Apart(*[spoiled] * 30)
    done = drained(sqlite, topic)
    assert (done.stats.published, done.stats.failed) == (39, 1)
    assert numbers(topic, "k07") == []


def test_what_was_under_way_when_the_database_went_away_is_not_sent_again(sqlite: Place) -> None:
    sqlite.publish(*noted(*keys(40, 2)))
    away: list[bool] = []

    def rename(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if not away:
            sqlite.run("ALTER TABLE messaging_outbox RENAME TO elsewhere")
            away.append(True)
        sqlite.clock.advance(1)  # so that it is noted now
        return ()

    topic = Apart(rename)
    with relay(sqlite, topic, lease=10_000) as one:
        with pytest.raises(sqlite3.OperationalError):
            one.step()
        assert len(topic.accepted) == 40, "those under way were waited for"
        sqlite.run("ALTER TABLE elsewhere RENAME TO messaging_outbox")
        one.drain()
    assert len(sent(topic)) == len(set(sent(topic))) == 80
    assert one.stats.published == sqlite.status().published == 80


def test_a_topic_that_is_away_is_not_asked_again_for_each_that_was_under_way(
    sqlite: Place,
) -> None:
    sqlite.publish(*noted(*keys(40, 1)))
    topic = Apart(*[TransportError("no answer", code="Timeout")] * 50)
    with relay(sqlite, topic, max_attempts=3) as one:
        one.drain()
    assert topic.sizes == [10] * 6, "three attempts of the first, and one of each other"
    status = sqlite.status()
    assert (status.pending, status.in_flight, status.published) == (40, 0, 0)


def test_more_is_claimed_while_there_is_much_up_to_the_limit(sqlite: Place) -> None:
    sqlite.publish(*noted(*map(str, range(900))))
    held: list[int] = []

    def look(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        held.append(sqlite.status().in_flight)
        return ()

    drained(sqlite, ScriptedTopic(*[look] * 90), batch=300)
    assert held[0] == 100
    assert 200 < max(held) <= 300


def test_published_entries_are_deleted_at_once_where_none_is_to_be_kept(place: Place) -> None:
    place.publish(*noted("a", "b", "a"))
    topic = ScriptedTopic((), wrong(0))
    done = drained(place, topic, keep=0)
    assert place.rows("id") == [(topic.requests[1][0].id,)]
    assert (done.stats.published, done.stats.pruned, done.stats.parked) == (2, 2, 1)
