"""The numbers and limits of an outbox and its relay, on SQLite and a clock of the test's own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from messaging.errors import Throttled, TransportError
from messaging.outbox import Relay, SqlOutbox, connector
from messaging.outbox.claims import _without_gaps
from messaging.outbox.rows import READ, row_of
from messaging.transport import Attribute, Failure, Outgoing
from tests.outbox.conftest import Noted, Place, noted
from tests.outbox.test_relay import drained, relay, sent
from tests.scripted import ScriptedTopic, busy


def outgoing(**more: Any) -> Outgoing:
    given = {"id": "e1", "body": "{}", "attributes": {}, "size": 2}
    return Outgoing(**{**given, **more})


def write(place: Place, *messages: Outgoing) -> None:
    with closing(place.connect()) as connection:
        SqlOutbox(connection).publish(messages)
        connection.commit()


def the_row(place: Place) -> Any:
    [values] = place.rows(READ.replace("o.", ""))
    return row_of(values)


@pytest.mark.parametrize(("length", "kept"), [(200, True), (201, False)])
def test_a_key_of_200_characters_is_kept_and_a_longer_one_digested(
    sqlite: Place, length: int, kept: bool
) -> None:
    sqlite.publish(Noted(who="x" * length, n=1))
    [[key]] = sqlite.rows("key")
    assert (key == "x" * length) is kept


def test_a_row_that_is_printed_shows_no_data(sqlite: Place) -> None:
    sqlite.publish(Noted(who="Ana", n=1))
    row = the_row(sqlite)
    assert row.id in repr(row)
    assert "Ana" not in repr(row)


def test_whoever_looks_into_the_table_can_read_the_attributes(sqlite: Place) -> None:
    write(sqlite, outgoing(attributes={"type": Attribute.string("matrícula")}))
    assert "matrícula" in sqlite.rows("attributes")[0][0]


def test_bytes_that_were_spoiled_in_the_table_are_not_sent_as_others(sqlite: Place) -> None:
    write(sqlite, outgoing(attributes={"type": Attribute("Binary", b"abc")}))
    spoiled = json.dumps({"type": ["Binary", "YW!Jj"]})
    sqlite.run(f"UPDATE messaging_outbox SET attributes = '{spoiled}'")
    assert the_row(sqlite).message is None
    assert drained(sqlite, ScriptedTopic()).stats.parked == 1


def test_an_outbox_takes_what_sns_takes_and_says_which_table_it_is(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        outbox = SqlOutbox(connection)
        assert outbox.max_bytes == 262_144
        assert repr(outbox) == "SqlOutbox(table='messaging_outbox')"


def test_a_database_that_refuses_is_told_with_its_code(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        outbox = SqlOutbox(connection, table="nowhere")
        with pytest.raises(TransportError, match=r"OperationalError \(SQLITE_ERROR\); is the"):
            outbox.publish([outgoing()])


def test_what_no_other_attempt_would_mend_is_not_tried_again(sqlite: Place) -> None:
    with closing(sqlite.connect()) as connection:
        outbox = SqlOutbox(connection)
        with pytest.raises(TransportError, match="at most 10") as refused:
            outbox.publish([outgoing()] * 11)
        assert not refused.value.retryable
        outbox.close()
        with pytest.raises(TransportError, match="was closed") as refused:
            outbox.publish([outgoing()])
        assert not refused.value.retryable


def test_a_relay_takes_a_hundred_entries_in_hand_for_two_minutes(sqlite: Place) -> None:
    sqlite.publish(*noted(*map(str, range(150))))
    leases: set[float] = set()

    def look(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        held = sqlite.rows(f"free_at - {sqlite.clock.now()}")
        leases.update(round(left) for (left,) in held if left > 0)
        return ()

    with relay(sqlite, ScriptedTopic(look)) as one:
        assert one.step() == 100
    assert leases == {120}


def test_a_relay_may_be_as_small_as_one_entry_and_half_a_second(sqlite: Place) -> None:
    sqlite.publish(*noted("a", "b"))
    with relay(sqlite, ScriptedTopic(), batch=1, max_attempts=1, lease=0.5, poll=0.5) as one:
        assert one.step() == 1


def test_a_request_is_sent_three_times_before_its_entries_wait(sqlite: Place) -> None:
    sqlite.publish(*noted("a"))
    topic = ScriptedTopic(*[busy(0)] * 10)
    with relay(sqlite, topic) as one:
        one.step()
    assert topic.sizes == [1, 1, 1]


def test_an_empty_outbox_is_looked_at_less_often_up_to_once_a_second(sqlite: Place) -> None:
    looks: list[float] = []

    class Watched(Relay):
        def step(self) -> int:
            looks.append(sqlite.clock.monotonic())
            if len(looks) == 7:
                sqlite.publish(*noted("a"))
            if len(looks) == 10:
                self.stop()
            return super().step()

    with Watched(connector(sqlite.url), ScriptedTopic(), clock=sqlite.clock) as one:
        one.run()
    assert [after - before for before, after in pairwise(looks)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1, 1, 0, 0.1, 0.2]
    ), "and begins anew after an entry"


def test_a_topic_that_stays_away_is_asked_every_half_minute(sqlite: Place) -> None:
    sqlite.publish(*noted("a"))
    asked: list[float] = []

    def away(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        asked.append(sqlite.clock.monotonic())
        if len(asked) == 9:
            one.stop()
        raise Throttled("no", code="Throttling")

    with relay(sqlite, ScriptedTopic(*[away] * 9), max_attempts=1) as one:
        one.run()
    assert [after - before for before, after in pairwise(asked)] == pytest.approx(
        [0.5, 1, 2, 4, 8, 16, 30, 30]
    )
    status = sqlite.status()
    assert (status.pending, status.waiting) == (1, 0), "the entry is not at fault, and is free"


@pytest.mark.parametrize(("seconds", "renewed"), [(9, False), (10, True), (11, True)])
def test_a_lease_is_renewed_when_a_tenth_of_it_has_passed(
    sqlite: Place, seconds: float, renewed: bool
) -> None:
    sqlite.clock.advance(1000)
    sqlite.publish(*noted(*"aa"))
    begun = sqlite.clock.now()
    until: list[float] = []

    def slow(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        until.append(max(free_at for (free_at,) in sqlite.rows("free_at")) - begun)
        sqlite.clock.advance(seconds)
        return ()

    with relay(sqlite, ScriptedTopic(slow, slow), lease=100) as one:
        one.step()
        assert one.stats.published == 2
    assert until == pytest.approx([100, 100 + seconds if renewed else 100])


def test_a_relay_prunes_once_a_minute(sqlite: Place) -> None:
    sqlite.clock.advance(100)
    sqlite.publish(*noted("a"))
    with relay(sqlite, ScriptedTopic(), keep=1) as one:
        one.drain()
        sqlite.publish(*noted("b"))
        one.drain()
        for seconds, pruned in [(59.5, 0), (0.5, 2)]:
            sqlite.clock.advance(seconds)
            one.step()
            assert one.stats.pruned == pruned


class Stubborn(sqlite3.Connection):
    """A connection that can be lost, and then fails when it is closed, too."""

    lost = False

    def close(self) -> None:
        super().close()
        if self.lost:
            self.lost = False
            raise sqlite3.OperationalError("disk I/O error")


def test_what_was_sent_while_the_database_was_away_is_noted_later_and_not_sent_again(
    sqlite: Place, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite.publish(*noted(*"aba"))
    clock = sqlite.clock
    opened: list[Stubborn] = []

    def connect() -> Stubborn:
        path = sqlite.url.removeprefix("sqlite:///")
        opened.append(sqlite3.connect(path, factory=Stubborn))
        return opened[-1]

    def away(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        sqlite.run("ALTER TABLE messaging_outbox RENAME TO elsewhere")
        opened[0].lost = True
        return ()

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        if clock.monotonic() > 9:
            one.stop()
        elif clock.monotonic() > 2 and topic.sizes == [2] and not moved_back:
            sqlite.run("ALTER TABLE elsewhere RENAME TO messaging_outbox")
            moved_back.append(True)

    moved_back: list[bool] = []
    topic = ScriptedTopic(away)
    with Relay(connect, topic, clock=clock, lease=1000) as one:
        clock.sleep = sleep  # type: ignore[method-assign]
        stats = one.run()
    assert sent(topic) == [("a", 0), ("b", 1), ("a", 2)]
    assert (stats.published, sqlite.status().published) == (3, 3)
    assert [text for text in caplog.messages if "database" in text] == [
        "cannot use the database: OperationalError; trying again",
        "can use the database again, after 4 s",
    ]
    assert not opened[0].lost, "it was closed, and another was made"
    assert len(opened) > 1


def test_a_relay_that_is_left_closes_its_connection(sqlite: Place) -> None:
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(connector(sqlite.url)())
        return opened[-1]

    with Relay(connect, ScriptedTopic(), clock=sqlite.clock) as one:
        one.step()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_the_status_says_how_long_the_oldest_entry_has_waited(sqlite: Place) -> None:
    assert sqlite.status().oldest is None
    sqlite.publish(*noted("a", "b"))
    now = sqlite.clock.now()
    sqlite.run(f"UPDATE messaging_outbox SET created = {now - 30} WHERE seq = 1")
    sqlite.run(f"UPDATE messaging_outbox SET created = {now - 20} WHERE seq = 2")
    assert sqlite.status().oldest == pytest.approx(30)
    sqlite.run(f"UPDATE messaging_outbox SET created = {now + 5}")
    assert sqlite.status().oldest == 0, "another machine's clock"


def test_the_status_shows_the_first_hundred_in_trouble(sqlite: Place) -> None:
    sqlite.publish(*noted(*map(str, range(101))))
    sqlite.run("UPDATE messaging_outbox SET error = 'Refused', attempts = 2, created = 12.5")
    troubled = sqlite.status().troubled
    assert [one.seq for one in troubled] == list(range(1, 101))
    assert {(one.error, one.attempts, one.created) for one in troubled} == {("Refused", 2, 12.5)}


def test_behind_an_entry_that_another_relay_has_nothing_of_its_key_is_taken() -> None:
    def found(place: int, seq: int, key: str) -> tuple[object, ...]:
        return (place, seq, 0, f"e{seq}", key, "{}", "{}", 2, None, None)

    rows = _without_gaps(
        [found(1, 1, "a"), found(2, 2, "b"), found(3, 4, "a"), found(1, 5, "c"), found(2, 6, "c")]
    )
    assert [row.seq for row in rows] == [1, 5, 6]


def test_giving_back_before_a_claim_gives_back_nothing(sqlite: Place) -> None:
    sqlite.publish(*noted("a"))
    with sqlite.claims() as theirs, sqlite.claims() as ours:
        theirs.claim(1, lease=60)
        ours.release()
    assert sqlite.status().in_flight == 1


def test_a_claim_that_was_lost_in_part_is_not_renewed(sqlite: Place) -> None:
    sqlite.publish(*noted("a", "b"))
    with sqlite.claims() as claims:
        rows = claims.claim(2, lease=60)
        assert claims.renew(rows, lease=90)
        assert {round(at - sqlite.clock.now()) for (at,) in sqlite.rows("free_at")} == {90}
        sqlite.run("UPDATE messaging_outbox SET holder = 'another' WHERE seq = 1")
        assert not claims.renew(rows, lease=60)


def test_a_key_that_failed_goes_out_at_full_speed_again(sqlite: Place) -> None:
    sqlite.publish(*noted(*"aaa"))
    with relay(sqlite, ScriptedTopic(busy(0)), max_attempts=1) as one:
        one.step()
        assert one.stats.failed == 1
        sqlite.clock.advance(2)
        one.step()
        assert one.stats.published == 3


def test_an_entry_that_is_just_as_large_as_the_topic_takes_is_sent(sqlite: Place) -> None:
    sqlite.publish(Noted(who="a", n=1))
    [[size]] = sqlite.rows("size")
    topic = ScriptedTopic(max_bytes=size)
    assert drained(sqlite, topic).stats.published == 1


def test_why_the_limit_of_the_topic_cannot_be_read_is_told(
    sqlite: Place, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(ScriptedTopic):
        @property
        def max_bytes(self) -> int:
            raise TransportError("gone", code="ConnectTimeout")

        @max_bytes.setter
        def max_bytes(self, value: int) -> None: ...

    sqlite.publish(*noted("a"))
    drained(sqlite, Away())
    assert caplog.messages == ["cannot use the topic: ConnectTimeout; trying again"]


def test_one_step_sends_all_that_it_claimed_in_spite_of_what_cannot_be_sent(sqlite: Place) -> None:
    large = Noted(who="x" * 1000, n=0)
    sqlite.publish(large, *noted(*map(str, range(25))), *noted(*map(str, range(25))))
    with relay(sqlite, ScriptedTopic(max_bytes=1000)) as one:
        assert one.step() == 51
        assert (one.stats.parked, one.stats.published) == (1, 50)


def test_one_step_goes_on_behind_an_entry_that_spoils_its_request(sqlite: Place) -> None:
    sqlite.publish(*noted(*"badaa"))

    def answer(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if any('"b"' in one.body for one in batch):
            raise TransportError("no", code="InvalidParameter", retryable=False)
        return ()

    with relay(sqlite, ScriptedTopic(*[answer] * 9)) as one:
        one.step()
        assert (one.stats.failed, one.stats.published) == (1, 4)
    assert sqlite.status().troubled[0].error == "InvalidParameter"


def test_a_topic_that_is_away_is_not_asked_for_the_rest_of_what_was_claimed(
    sqlite: Place,
) -> None:
    sqlite.publish(*noted(*map(str, range(25))))
    topic = ScriptedTopic(*[Throttled("no", code="Throttling")] * 9)
    with relay(sqlite, topic, max_attempts=1) as one:
        one.step()
    assert topic.sizes == [10]


def test_what_was_taken_before_the_rest_spoiled_the_request_is_not_sent_again(
    sqlite: Place,
) -> None:
    sqlite.publish(*noted(*"abc"))
    spoiled = TransportError("no", code="InvalidParameter", retryable=False)
    topic = ScriptedTopic(busy(0, 1), spoiled)
    with relay(sqlite, topic) as one:
        one.step()
        assert one.stats.published == 3
    assert sorted(sent(topic)) == [("a", 0), ("b", 1), ("c", 2)]


def test_an_entry_that_is_tried_again_later_is_told_by_its_id(
    sqlite: Place, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite.publish(*noted("a"))
    [[id]] = sqlite.rows("id")
    with caplog.at_level("INFO", "messaging.outbox"):
        drained(sqlite, ScriptedTopic(busy(0)), max_attempts=1)
    assert f"event {id} is tried again later: InternalError" in caplog.messages


def test_what_was_noted_later_is_counted_once(sqlite: Place) -> None:
    sqlite.publish(*noted("a"))

    def away(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        sqlite.run("ALTER TABLE messaging_outbox RENAME TO elsewhere")
        return ()

    with relay(sqlite, ScriptedTopic(away)) as one:
        one.drain()
        sqlite.run("ALTER TABLE elsewhere RENAME TO messaging_outbox")
        for _ in range(3):
            one.drain()
        assert one.stats.published == 1


def test_a_relay_knows_its_topic_by_its_name_or_by_what_it_is(sqlite: Place) -> None:
    class Named(ScriptedTopic):
        name = "school"

    for topic, name in [(Named(), "school"), (ScriptedTopic(), "ScriptedTopic")]:
        with relay(sqlite, topic) as one:
            assert one.topic_name == name


def test_looking_into_an_outbox_waits_for_nobody_who_writes(sqlite: Place) -> None:
    with closing(sqlite.connect()) as writer, sqlite.claims() as claims:
        writer.execute("BEGIN IMMEDIATE")
        assert claims.claim(1, lease=60) == []
        assert claims.status().pending == 0
        claims.check()
