"""A relay sends what was committed: in order per key, in spite of refusals, leases and losses."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from messaging.errors import AccessDenied, ConfigurationError, TransportError
from messaging.outbox import Relay, SqlOutbox, connector
from messaging.publishing.publisher import Publisher
from messaging.sql.driver import execute
from messaging.testing import FakeClock
from messaging.transport import Attribute, Failure, Outgoing
from tests.outbox.conftest import Enrolled, Noted, Place, noted
from tests.scripted import ScriptedTopic, busy, wrong


def relay(place: Place, topic: Any, **more: Any) -> Relay:
    return Relay(connector(place.url), topic, clock=place.clock, **more)


def drained(place: Place, topic: Any, **more: Any) -> Relay:
    with relay(place, topic, **more) as one:
        one.drain()
        return one


def sent(topic: ScriptedTopic) -> list[tuple[str, int]]:
    return [(data["who"], data["n"]) for data in topic.data]


def numbers(topic: ScriptedTopic, who: str) -> list[int]:
    return [n for name, n in sent(topic) if name == who]


def refuses(who: str, *, for_good: bool = False) -> Callable[[Sequence[Outgoing]], list[Failure]]:
    """An answer that refuses the entries of `who`."""

    def answer(batch: Sequence[Outgoing]) -> list[Failure]:
        places = [at for at, one in enumerate(batch) if f'"{who}"' in one.body]
        return wrong(*places) if for_good else busy(*places)

    return answer


def test_what_was_committed_is_sent_as_it_was_published(place: Place) -> None:
    messages = [
        Outgoing(
            id="e1",
            body='{"é": "𝄞"}',
            attributes={"type": Attribute.string("a"), "bin": Attribute("Binary", b"\x00\xff")},
            size=50,
            group="turma",
            deduplication="e1:*",
        ),
        Outgoing(id="e2", body="x", attributes={"type": Attribute.string("b")}, size=12),
    ]
    with closing(place.connect()) as connection:
        SqlOutbox(connection).publish(messages)
        connection.commit()
        SqlOutbox(connection).publish([messages[1]])
        connection.rollback()
    topic = ScriptedTopic()
    assert drained(place, topic).stats.published == 2
    assert topic.requests == [messages]
    assert drained(place, topic).stats.published == 0


def test_each_key_goes_out_in_its_order_and_one_event_at_a_time(place: Place) -> None:
    place.publish(*noted(*"ababcab"))
    topic = ScriptedTopic()
    drained(place, topic)
    assert sorted(sent(topic)) == sorted((one.who, one.n) for one in noted(*"ababcab"))
    assert numbers(topic, "a") == [0, 2, 5]
    assert numbers(topic, "b") == [1, 3, 6]
    for request in topic.requests:
        subjects = [json.loads(one.body)["subject"] for one in request]
        assert len(subjects) == len(set(subjects))


def test_the_copies_of_an_event_go_out_together(sqlite: Place) -> None:
    sqlite.publish(Enrolled(who="Ana", fee=1), Enrolled(who="Ana", fee=2))
    topic = ScriptedTopic()
    drained(sqlite, topic)
    assert [len({one.id for one in request}) for request in topic.requests] == [1, 1]
    assert topic.sizes == [2, 2]


def test_a_request_holds_no_more_than_the_topic_takes(sqlite: Place) -> None:
    sqlite.publish(*noted(*map(str, range(25))))
    topic = ScriptedTopic()
    drained(sqlite, topic)
    assert topic.sizes == [10, 10, 5]

    size = sqlite.rows("max(size)", order="1")[0][0]
    sqlite.publish(*noted(*map(str, range(5))))
    small = ScriptedTopic(max_bytes=2 * size)
    drained(sqlite, small)
    assert small.sizes == [2, 2, 1]


def test_a_failed_entry_blocks_its_key_only(place: Place) -> None:
    place.publish(*noted(*"aabbab"))
    topic = ScriptedTopic(*[refuses("a")] * 20)
    done = drained(place, topic, max_attempts=2)
    assert sent(topic) == [("b", 2), ("b", 3), ("b", 5)]
    assert (done.stats.published, done.stats.failed, done.stats.parked) == (3, 1, 0)
    status = place.status()
    assert (status.pending, status.waiting, status.in_flight, status.published) == (3, 1, 0, 3)
    [trouble] = status.troubled
    assert (trouble.type, trouble.attempts, trouble.error) == ("test.noted", 1, "InternalError")
    assert not trouble.parked

    place.run("UPDATE messaging_outbox SET free_at = 0")
    topic.script.clear()
    drained(place, topic)
    assert numbers(topic, "a") == [0, 1, 4]
    assert place.status().troubled == ()


def test_a_failed_entry_waits_longer_each_time(sqlite: Place) -> None:
    sqlite.publish(*noted("a"))
    clock = sqlite.clock
    topic = ScriptedTopic(*[refuses("a")] * 100)
    waits = []
    with relay(sqlite, topic, max_attempts=1) as one:
        for _ in range(11):
            one.drain()
            [[free_at]] = sqlite.rows("free_at")
            waits.append(round(free_at - clock.now()))
            requests = len(topic.requests)
            clock.advance(waits[-1] - 0.5)
            one.drain()
            assert len(topic.requests) == requests, "sent before its time"
            clock.advance(1)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_one_refused_for_good_is_parked_and_its_key_goes_on(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.publish(Noted(who="a", n=0), Noted(who="a", n=1), Noted(who="b", n=2))
    topic = ScriptedTopic(lambda batch: wrong(0))
    done = drained(place, topic)
    assert (done.stats.published, done.stats.parked) == (2, 1)
    assert sent(topic) == [("b", 2), ("a", 1)]
    status = place.status()
    assert (status.pending, status.parked, status.published) == (0, 1, 2)
    [parked] = status.troubled
    assert (parked.seq, parked.error, parked.parked) == (1, "InvalidParameter", True)
    assert f"event {parked.id} is parked, refused for good: InvalidParameter" in caplog.text

    with place.claims() as claims:
        assert claims.retry([2, 3]) == 0
        assert claims.retry([1]) == 1
        assert claims.retry() == 0
    drained(place, topic)
    assert numbers(topic, "a") == [1, 0]
    assert place.status().parked == 0


def test_retry_does_not_wait_and_leaves_what_is_in_hand(place: Place) -> None:
    place.publish(*noted("a", "b", "b"))
    drained(place, ScriptedTopic(refuses("a")), max_attempts=1)
    place.publish(*noted("c"))
    with place.claims() as claims:
        assert [row.key for row in claims.claim(10, lease=60)] == ["c"]
        with place.claims() as others:
            assert others.retry() == 1
    assert place.status().in_flight == 1
    topic = ScriptedTopic()
    drained(place, topic)
    assert sent(topic) == [("a", 0)]


def test_an_entry_that_spoils_the_whole_request_blocks_its_key_only(place: Place) -> None:
    place.publish(*noted(*"abcdb"))

    def answer(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if any('"b"' in one.body for one in batch):
            raise TransportError("no", code="InvalidParameter", retryable=False)
        return ()

    topic = ScriptedTopic(*[answer] * 20)
    done = drained(place, topic)
    assert sent(topic) == [("a", 0), ("c", 2), ("d", 3)]
    assert (done.stats.failed, done.stats.parked) == (1, 0)
    assert place.status().waiting == 1


@pytest.mark.parametrize(
    "error",
    [TransportError("gone", code="ConnectTimeout"), AccessDenied("expired", code="ExpiredToken")],
)
def test_a_topic_that_is_away_is_waited_for_and_told_once(
    place: Place, error: TransportError, caplog: pytest.LogCaptureFixture
) -> None:
    place.publish(*noted(*"abab"))
    clock = place.clock
    topic = ScriptedTopic(*[error] * 5)
    sleeps: list[float] = []
    with relay(place, topic, max_attempts=1) as one:
        clock.sleep = _sleeping(clock, sleeps, lambda: len(topic.accepted) == 4 and one.stop())  # type: ignore[method-assign]
        stats = one.run()
    assert (stats.published, stats.failed, stats.parked) == (4, 10, 0)
    assert numbers(topic, "a") == [0, 2]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [
        f"cannot use the topic: {error.code}; trying again",
        "can use the topic again, after 16 s",
    ]
    # 0.5, 1, 2, 4 and 8 seconds, in slices, so that a stop is soon heard.
    assert 15.5 <= sum(sleeps) < 16.5
    assert max(sleeps) <= 0.2


def _sleeping(
    clock: FakeClock, sleeps: list[float], then: Callable[[], object]
) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        clock.advance(seconds)
        then()

    return sleep


def test_a_topic_whose_limit_cannot_be_read_is_waited_for(sqlite: Place) -> None:
    class Away(ScriptedTopic):
        @property
        def max_bytes(self) -> int:
            raise TransportError("gone", code="ConnectTimeout")

        @max_bytes.setter
        def max_bytes(self, value: int) -> None: ...

    sqlite.publish(*noted("a"))
    assert drained(sqlite, Away()).stats.failed == 0
    status = sqlite.status()
    assert (status.pending, status.in_flight) == (1, 0)


def test_what_is_too_large_or_unreadable_is_parked(place: Place) -> None:
    place.publish(*noted("a", "x" * 1000, "b", "a"))
    place.run("UPDATE messaging_outbox SET attributes = '{\"type\": 7}' WHERE \"key\" = 'b'")
    topic = ScriptedTopic(max_bytes=1000)
    done = drained(place, topic)
    assert sent(topic) == [("a", 0), ("a", 3)]
    assert (done.stats.published, done.stats.parked) == (2, 2)
    errors = [(one.type, one.error) for one in place.status().troubled]
    assert errors == [("test.noted", "TooLargeForTopic"), ("?", "Unreadable")]


def test_a_stop_finishes_the_request_and_gives_back_the_rest(place: Place) -> None:
    place.publish(*noted(*map(str, range(35))))
    topic = ScriptedTopic()
    with relay(place, topic) as one:
        topic.script = [lambda batch: (), lambda batch: one.stop() or ()]
        stats = one.run()
        assert one.drain() == stats
    assert topic.sizes == [10, 10]
    assert stats.published == 20
    status = place.status()
    assert (status.pending, status.in_flight, status.waiting) == (15, 0, 0)


def test_an_interrupted_relay_gives_back_the_rest(place: Place) -> None:
    place.publish(*noted(*map(str, range(15))))
    with (
        relay(place, ScriptedTopic((), KeyboardInterrupt())) as one,
        pytest.raises(KeyboardInterrupt),
    ):
        one.run()
    status = place.status()
    assert (status.published, status.pending, status.in_flight) == (10, 5, 0)


def test_two_relays_share_the_work_and_no_key(place: Place) -> None:
    place.publish(*noted(*"abababcdcd"))
    theirs = ScriptedTopic()
    with relay(place, theirs) as other:

        def meanwhile(batch: Sequence[Outgoing]) -> Sequence[Failure]:
            other.drain()
            return ()

        ours = ScriptedTopic(*[meanwhile] * 10)
        drained(place, ours, batch=4)
    assert {who for who, _ in sent(ours)} == {"a", "b"}
    assert {who for who, _ in sent(theirs)} == {"c", "d"}
    assert numbers(ours, "a") == [0, 2, 4]


def test_a_long_request_renews_the_lease_of_what_waits(place: Place) -> None:
    place.publish(*noted(*"aaaa"))
    clock = place.clock
    theirs = ScriptedTopic()
    with relay(place, theirs) as other:
        moves = _moves(place, clock)

        def slow(batch: Sequence[Outgoing]) -> Sequence[Failure]:
            next(moves)
            other.drain()
            return ()

        ours = ScriptedTopic(*[slow] * 10)
        done = drained(place, ours, lease=100)
    assert numbers(ours, "a") == [0, 1, 2, 3]
    assert theirs.requests == []
    assert done.stats.lost == 0


def _moves(place: Place, clock: FakeClock) -> Iterator[None]:
    """60 of 100 seconds of a lease pass, again and again; a server has a clock of its own."""
    while True:
        clock.advance(60)
        if place.dialect != "sqlite":
            place.run("UPDATE messaging_outbox SET free_at = free_at - 60 WHERE free_at > 0")
        yield


def test_a_lease_that_was_lost_is_noticed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.publish(*noted(*"aaa"))
    clock = place.clock
    theirs = ScriptedTopic()
    with relay(place, theirs) as other:

        def stalled(batch: Sequence[Outgoing]) -> Sequence[Failure]:
            clock.advance(101)
            if place.dialect != "sqlite":
                place.run("UPDATE messaging_outbox SET free_at = 1 WHERE free_at > 0")
            other.drain()
            return ()

        ours = ScriptedTopic(stalled)
        with relay(place, ours, lease=100) as one:
            one.step()
    assert numbers(ours, "a") == [0], "went on with what is another's"
    assert numbers(theirs, "a") == [0, 1, 2]
    assert [one.id for one in ours.accepted] == [theirs.accepted[0].id], "the same id both times"
    assert one.stats.lost == 1
    assert "a lease of 100 s was over" in caplog.text
    assert place.status().published == 3


def test_a_relay_that_died_is_waited_for_no_longer_than_its_lease(sqlite: Place) -> None:
    sqlite.publish(*noted("a", "a", "b"))
    clock = sqlite.clock
    with sqlite.claims() as claims:
        assert len(claims.claim(2, lease=30)) == 2
    topic = ScriptedTopic()
    with relay(sqlite, topic) as one:
        one.drain()
        assert sent(topic) == [("b", 2)]
        clock.advance(29)
        assert one.step() == 0
        clock.advance(2)
        one.drain()
    assert numbers(topic, "a") == [0, 1]


def test_a_connection_that_breaks_is_made_anew_and_nothing_is_sent_twice(
    postgresql: Place, caplog: pytest.LogCaptureFixture
) -> None:
    postgresql.publish(*noted(*"abab"))

    def cut(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        postgresql.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'messaging outbox'"
        )
        return ()

    clock = postgresql.clock
    topic = ScriptedTopic(cut)
    with relay(postgresql, topic) as one:
        clock.sleep = _sleeping(clock, [], lambda: len(topic.accepted) >= 4 and one.stop())  # type: ignore[method-assign]
        stats = one.run()
    assert sent(topic) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    assert stats.published == 4
    assert postgresql.status().published == 4
    assert "cannot use the database: OperationalError; trying again" in caplog.text
    assert "can use the database again" in caplog.text


def test_a_database_that_is_away_at_the_start_is_waited_for(
    sqlite: Place, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite.publish(*noted("a"))
    connect, tries = connector(sqlite.url), []

    def late() -> Any:
        tries.append(1)
        return connector("sqlite:///nowhere/x.db")() if len(tries) < 4 else connect()

    clock = sqlite.clock
    topic = ScriptedTopic()
    with Relay(late, topic, clock=clock) as one:
        clock.sleep = _sleeping(clock, [], lambda: topic.accepted and one.stop())  # type: ignore[method-assign]
        one.run()
    assert sent(topic) == [("a", 0)]
    assert caplog.text.count("unable to open database file") == 1


def test_a_writer_that_holds_sqlite_does_not_stop_an_idle_relay(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        Publisher(SqlOutbox(connection), source="/test").publish(Noted(who="a", n=1))
        with relay(sqlite, ScriptedTopic()) as one:
            assert one.step() == 0  # it would raise "database is locked" after its five seconds
        connection.commit()


def test_a_transaction_that_commits_late_is_not_forgotten(server: Place) -> None:
    topic = ScriptedTopic()
    with (
        closing(server.connect()) as connection,
        relay(server, topic) as one,
    ):
        Publisher(SqlOutbox(connection), source="/test").publish(Noted(who="late", n=1))
        server.publish(Noted(who="early", n=2))
        one.drain()
        assert sent(topic) == [("early", 2)]
        connection.commit()
        one.drain()
    assert sent(topic) == [("early", 2), ("late", 1)]
    assert server.rows("seq") == [(1,), (2,)]


def test_a_locked_row_is_skipped_with_what_follows_it(server: Place) -> None:
    server.publish(*noted(*"aab"))
    topic = ScriptedTopic()
    with closing(server.connect()) as connection, relay(server, topic) as one:
        execute(connection, "SELECT * FROM messaging_outbox WHERE seq = 1 FOR UPDATE")
        one.drain()
        assert sent(topic) == [("b", 2)]
        connection.rollback()
        one.drain()
    assert numbers(topic, "a") == [0, 1]


def test_an_old_backlog_of_one_blocked_key_hides_no_other(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        Publisher(SqlOutbox(connection), source="/test").publish_many(noted(*["a"] * 1500, "b"))
        connection.commit()
    topic = ScriptedTopic(*[refuses("a")] * 10)
    drained(sqlite, topic, max_attempts=1)
    assert sent(topic) == [("b", 1500)]


def test_what_was_published_is_pruned_by_age(sqlite: Place) -> None:
    clock = sqlite.clock
    sqlite.publish(*noted(*"abc"))
    topic = ScriptedTopic(lambda batch: wrong(1) + busy(2))
    drained(sqlite, topic, max_attempts=1)
    sqlite.publish(*noted("c"))
    with sqlite.claims() as claims:
        assert claims.prune(10) == 0
        clock.advance(11)
        assert claims.prune(10) == 1
        assert claims.prune(10) == 0
        assert sqlite.rows("key") == [("b",), ("c",), ("c",)]
        assert claims.prune(10, parked=True) == 1
    assert sqlite.rows("key") == [("c",), ("c",)]


def test_the_number_of_a_pruned_entry_is_not_given_again(place: Place) -> None:
    place.publish(*noted("a", "b"))
    drained(place, ScriptedTopic())
    with place.claims() as claims:
        assert claims.prune(0) == 2
    place.publish(*noted("c"))
    assert place.rows("seq") == [(3,)]


def test_a_large_heap_is_pruned_in_parts(place: Place) -> None:
    with closing(place.connect()) as connection:
        Publisher(SqlOutbox(connection), source="/test").publish_many(noted(*["a"] * 2500))
        execute(connection, "UPDATE messaging_outbox SET published_at = 1 WHERE seq < 2400")
        connection.commit()
    with place.claims() as claims:
        assert claims.prune(60) == 2399
    assert len(place.rows("seq")) == 101


def test_a_relay_prunes_now_and_then(sqlite: Place) -> None:
    clock = sqlite.clock
    sqlite.publish(*noted("a"))
    with relay(sqlite, ScriptedTopic(), keep=30) as one:
        one.drain()
        clock.advance(31)
        one.step()
        assert one.stats.pruned == 0  # it looks once a minute
        clock.advance(30)
        one.step()
        assert one.stats.pruned == 1
    assert sqlite.rows() == []


def test_a_missing_table_is_told_with_a_remedy(place: Place) -> None:
    with (
        relay(place, ScriptedTopic(), table="nowhere") as one,
        pytest.raises(ConfigurationError, match="messaging outbox ddl"),
    ):
        one.run()


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"max_attempts": 0}, {"lease": 0}, {"poll": 0}, {"keep": -1}]
)
def test_a_number_that_cannot_be_is_refused(sqlite: Place, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="start at 1"):
        relay(sqlite, ScriptedTopic(), **wrong)


def test_a_session_is_no_connection_for_a_relay() -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite://")
    with (
        Relay(engine.connect, ScriptedTopic()) as one,
        pytest.raises(ConfigurationError, match="a connection of its own"),
    ):
        one.run()
    engine.dispose()


@pytest.mark.parametrize("url", ["", "school.db", "oracle://u:secret@h/x", "sqlite://x"])
def test_an_unknown_database_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="which database") as refused:
        connector(url)
    assert "secret" not in str(refused.value)


def test_a_url_that_cannot_be_read_is_refused_without_quoting_it() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        connector("postgresql://u:secret@h/x?nonsense")
    assert "secret" not in str(refused.value)


def test_relays_that_claim_at_the_same_moment_share_no_entry(server: Place) -> None:
    with closing(server.connect()) as connection:
        publisher = Publisher(SqlOutbox(connection), source="/test")
        publisher.publish_many(noted(*[f"k{n % 400}" for n in range(1200)]))
        connection.commit()
    claimed: list[int] = []
    together = threading.Barrier(4)

    def work() -> None:
        with server.claims() as claims:
            claims.check()
            together.wait(10)
            while rows := claims.claim(20, lease=60):
                claimed.extend(row.seq for row in rows)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) > 0


def test_a_claim_of_many_on_mysql_takes_no_more_than_it_may(mysql: Place) -> None:
    mysql.publish(*noted(*map(str, range(600))))
    with mysql.claims() as claims:
        assert [row.seq for row in claims.claim(550, lease=60)] == list(range(1, 551))
