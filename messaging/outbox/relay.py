"""The relay: sends the entries of an outbox to a topic, in order per key.

Delivery is at least once: if a relay dies between the topic's answer and recording it, the same
entries are sent again, with the same ids, when its lease has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from messaging.backoff import Backoff, Outages
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.closing import Closing
from messaging.errors import AccessDenied, ConfigurationError, NotFound, Throttled, TransportError
from messaging.logs import logger
from messaging.outbox.claims import Claims
from messaging.outbox.lanes import Lanes
from messaging.outbox.notes import Notes
from messaging.outbox.rows import OutboxRow
from messaging.outbox.table import TABLE, channel
from messaging.outbox.under_way import RelayRequests, Sending
from messaging.publishing.sender import Answer, Sender
from messaging.sql.database import Database
from messaging.sql.opening import database_errors
from messaging.transport import Failure, TopicTransport, name_of

__all__ = ["Relay", "RelayStats"]

log = logger("messaging.outbox")

_PRUNE_EVERY = 60.0
_ENTRY_AGAIN = Backoff(first=1.0, longest=300.0)
_UNREACHABLE = Backoff(first=0.5, longest=30.0)
_SHORTEST_IDLE = 0.1
_SLICE = 0.2
_RENEW_AFTER = 0.1  # of the lease
_FIRST_CLAIM = 100
"""Entries claimed at first; doubled each time that there were as many, up to `batch`."""
_NOTE_AFTER = 0.01
"""Seconds that a result waits for others, to be written with them: after a relay is killed, entries
in flight and those answered within this time are sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStats:
    """The work of a relay, in entries.

    Args:
        published: entries accepted by the topic.
        failed: attempts that were refused temporarily, or not answered; such entries are retried.
        parked: entries refused for good, shown by `messaging outbox status`.
        lost: leases that another relay took over before this one was done: raise `lease`.
        pruned: entries deleted some time after they were published.

    Example:
        ```python
        from messaging.outbox import Relay, create
        from messaging.sql import open_sqlite

        connection = open_sqlite("escola.db")
        create(connection)
        connection.close()
        with Relay(lambda: open_sqlite("escola.db"), broker.topic()) as relay:
            relay.drain()
        assert (relay.stats.published, relay.stats.failed, relay.stats.parked) == (0, 0, 0)
        ```
    """

    published: int = 0
    failed: int = 0
    parked: int = 0
    lost: int = 0
    pruned: int = 0


class Relay(Closing):
    """Publishes the entries of an outbox. Run as many relays as you like, in any number of
    processes.

        with Relay(lambda: psycopg.connect(url), broker.topic()) as relay:
            relay.run()                 # until relay.stop(), from a signal handler or a thread

    Only `stop()` and `stats` may be used from other threads.

    Args:
        connect: returns a connection of `sqlite3`, psycopg 3 or PyMySQL for the relay alone; called
            again if one breaks.
        topic: the destination.
        table: the table's name, with its schema and a dot before it where it has one.
        batch: maximum number of entries held at a time; fewer while there are few.
        lease: seconds for which this relay holds them; renewed before each request, so it must
            exceed the longest request with its attempts. After a crash, others wait this long.
        poll: maximum seconds between two checks of an empty outbox.
        keep: seconds for which published entries stay in the table; None: until `prune`; 0: they
            are deleted immediately, which costs the database least.
        listen: on PostgreSQL, wake up when a transaction commits entries. Use False with a pooler
            in transaction mode, which delivers no notifications.
        max_attempts: how often a request is sent before its entries wait for their next attempt.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if a number is out of range.

    Example:
        ```python
        import sqlite3

        from messaging.outbox import Relay, SqlOutbox, create

        connection = sqlite3.connect("escola.db")
        create(connection)
        with connection:
            Publisher(SqlOutbox(connection), source="/cadastro").publish(ana)

        with Relay(lambda: sqlite3.connect("escola.db"), broker.topic()) as relay:
            relay.drain()  # the current entries; relay.run() continues until relay.stop()
        assert relay.stats.published == 1
        connection.close()
        ```
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        topic: TopicTransport,
        *,
        table: str = TABLE,
        batch: int = 1000,
        lease: float = 120.0,
        poll: float = 1.0,
        keep: float | None = None,
        listen: bool = True,
        max_attempts: int = 3,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if batch < 1 or max_attempts < 1 or lease <= 0 or poll <= 0 or (keep or 0) < 0:
            raise ConfigurationError(
                "Relay: batch and max_attempts start at 1; lease and poll are more than 0 seconds"
            )
        heard = channel(table) if listen and clock is SYSTEM_CLOCK else None
        self._database = Database(connect, clock=clock, channel=heard)
        self._claims = Claims(self._database, table=table)
        self._topic = topic
        self._requests = RelayRequests(Sender(topic, max_attempts=max_attempts, clock=clock))
        self._batch = batch
        self._claim_size = min(_FIRST_CLAIM, batch)
        self._lease = lease
        self._keep = keep
        self._clock = clock
        self._outages = Outages(_UNREACHABLE, clock, log)
        self._idle = Backoff(first=min(_SHORTEST_IDLE, poll), longest=poll)
        self._checked = False
        self._stopping = False
        self._goes_on = False
        self._halted = False
        """Nothing more should be sent of the held entries."""
        self._renewed = 0.0
        self._pruned: float | None = None
        self._in_hand: dict[int, OutboxRow] = {}
        self._lanes = Lanes()
        self._notes = Notes()
        self._owes = False
        """Results that could not be written so far."""
        self._stats = RelayStats()

    @property
    def stats(self) -> RelayStats:
        """The work done so far."""
        return self._stats

    @property
    def topic_name(self) -> str:
        """The topic's name, or its class's if it has none."""
        return name_of(self._topic)

    def run(self) -> RelayStats:
        """Publish, and wait for more entries, until `stop()`.

        If the database or the topic does not answer, it waits.

        Raises:
            ConfigurationError: if the table is missing.
        """
        empty = 0
        while not self._stopping:
            taken = self._round()
            empty = 0 if taken else empty + 1
            if not taken or self._outages.seconds:
                self._rest(self._outages.seconds or self._idle.after(empty))
        return self._stats

    def drain(self) -> RelayStats:
        """Publish the current entries, and return when nothing can be claimed or there is no
        answer."""
        while not self._stopping and self._round() and not self._outages.seconds:
            pass
        return self._stats

    def step(self) -> int:
        """Claim entries, publish them and record the results; returns how many were claimed.

        A single call claims once. In `run` and `drain` it continues to claim while there are many.

        Raises:
            TransportError: if there is no connection. If a connection is lost, the driver's own
                error is raised.
            ConfigurationError: if the table is missing.
        """
        if not self._checked:
            self._claims.check()
            self._checked = True
        if self._owes:
            self._let_go()
        self._prune()
        self._halted = False
        self._lanes = Lanes()
        taken = self._claim()
        if not taken:
            return 0
        try:
            taken += self._publish()
        except Exception:
            self._hear_out()
            raise
        finally:
            self._requests.abandon()  # where it was interrupted
            if self._in_hand:
                self._owes = True
                self._let_go()
        return taken

    def stop(self) -> None:
        """Finish requests in flight, release the other entries, and let `run()` return."""
        self._stopping = True

    def close(self) -> None:
        """Close the connection. The topic is closed by its owner."""
        self._database.close()

    def _round(self) -> int:
        self._goes_on = True
        try:
            taken = self.step()
        except TransportError as error:
            self._outages.lose("the database", str(error))
            return 0
        except database_errors() as error:
            self._outages.lose("the database", type(error).__name__)
            self._database.close()
            return 0
        self._outages.regain("the database")
        return taken

    def _rest(self, seconds: float) -> None:
        """Wait, but not as long if a notification says that there are entries."""
        end = self._clock.monotonic() + seconds
        while not self._stopping and (left := end - self._clock.monotonic()) > 0:
            slice = min(_SLICE, left)  # a signal does not interrupt a sleep
            if not self._database.listens or self._outages.seconds:
                self._clock.sleep(slice)
            elif self._database.heard(slice):
                return

    def _prune(self) -> None:
        now = self._clock.monotonic()
        if self._keep is None or (self._pruned is not None and now - self._pruned < _PRUNE_EVERY):
            return
        self._count(pruned=self._claims.prune(self._keep))
        self._pruned = now

    def _claim(self) -> int:
        """Claim entries; returns how many."""
        beside = bool(self._in_hand)
        size = min(self._claim_size, self._batch - len(self._in_hand))
        if not beside:
            self._renewed = self._clock.monotonic()
        rows = self._claims.claim(size, lease=self._lease, more=beside)
        full = len(rows) == size
        self._claim_size = min(self._batch, self._claim_size + size if full else _FIRST_CLAIM)
        rows = [row for row in rows if row.seq not in self._in_hand]
        self._in_hand.update((row.seq, row) for row in rows)
        self._lanes.add(rows)
        return len(rows) if full or not beside else 0

    def _publish(self) -> int:
        """Send the held entries, several requests at a time; returns how many were claimed
        meanwhile."""
        taken, more = 0, self._goes_on
        try:
            limit = self._topic.max_bytes
        except TransportError as error:
            self._lose_topic(error)
            return taken
        while True:
            self._fill(limit)
            if not self._requests:
                break
            alone = self._requests.one_at_a_time
            for entries, answer in self._requests.answered(again=not self._halted):
                self._judge(entries, answer)
            if alone or self._clock.monotonic() - self._notes.since >= _NOTE_AFTER:
                self._note()
            if more and len(self._in_hand) <= self._batch // 2:
                self._note()
                more = bool(claimed := self._claim())
                taken += claimed
        self._note()
        return taken

    def _fill(self, limit: int) -> None:
        """Send requests, until nothing may be sent or enough are in flight."""
        while self._lanes and not self._halted and not self._requests.full:
            if self._stopping or not self._hold():
                self._halted = True
                return
            entries: list[Sending] = []
            for row in self._lanes.request(limit):
                if row.message is None or row.message.size > limit:
                    self._park(row, "TooLargeForTopic" if row.message else "Unreadable")
                else:
                    entries.append((row.message, row))
            if entries:
                self._requests.send(entries)

    def _hold(self) -> bool:
        """Renew the lease if part of it has passed; returns False if it was lost."""
        now = self._clock.monotonic()
        if now - self._renewed < _RENEW_AFTER * self._lease:
            return True
        self._renewed = now
        if self._claims.renew([*self._in_hand.values()], lease=self._lease):
            return True
        self._count(lost=1)
        log.warning("a lease of %.0f s was over before its entries were sent", self._lease)
        return False

    def _judge(self, entries: Sequence[Sending], answer: Answer) -> None:
        """Record the result of one request for its entries."""
        failures, broken = answer
        again = [one._replace(retryable=True) for one in failures]
        if broken is not None and not _about_an_entry(broken):
            self._decide(entries, again, at_once=True)
            self._lose_topic(broken)
            return
        if not self._halted:
            self._outages.regain("the topic")
        if broken is None:
            self._decide(entries, failures)
        elif len(entries) == 1:
            # The cause may be the entry or the topic's setup, so only this entry and its key wait.
            self._decide(entries, again)
        else:
            # One entry may have caused the refusal of the whole request, so each is sent alone.
            left = {one.index for one in failures}
            self._decide([one for at, one in enumerate(entries) if at not in left], ())
            self._lanes.again_alone(entries[at][1] for at in sorted(left))

    def _lose_topic(self, error: TransportError) -> None:
        if not self._halted:
            self._outages.lose("the topic", error.code or type(error).__name__)
        self._halted = True

    def _decide(
        self,
        entries: Sequence[Sending],
        failures: Sequence[Failure],
        *,
        at_once: bool = False,
    ) -> None:
        """All of `entries` were sent except `failures`, which are retried or parked."""
        failed = {failure.index: failure for failure in failures}
        for index, (_, row) in enumerate(entries):
            failure = failed.get(index)
            if failure is None:
                self._notes.published.append(row)
                self._lanes.ended(row)
            elif failure.retryable:
                log.info("event %s is tried again later: %s", row.id, failure.code)
                delay = 0.0 if at_once else _ENTRY_AGAIN.after(row.attempts + 1)
                self._notes.refused.append((row, failure.code, delay))
                self._notes.back += self._lanes.failed(row)
            else:
                self._park(row, failure.code)

    def _park(self, row: OutboxRow, code: str) -> None:
        log.warning("event %s is parked, refused for good: %s", row.id, code)
        self._notes.parked.append((row, code))
        self._lanes.ended(row)

    def _note(self) -> None:
        """Write the results of entries, all in one transaction."""
        notes = self._notes
        if notes.rows:
            delete = self._keep == 0
            self._claims.settle(
                notes.published, notes.refused, notes.parked, notes.back, delete=delete
            )
            for row in notes.rows:
                self._in_hand.pop(row.seq, None)
            self._count(
                published=len(notes.published),
                failed=len(notes.refused),
                parked=len(notes.parked),
                pruned=len(notes.published) if delete else 0,
            )
        self._notes = Notes(since=self._clock.monotonic())

    def _hear_out(self) -> None:
        """The database is unavailable: the results are written later."""
        self._halted = True
        while self._requests:
            for entries, answer in self._requests.answered(again=False):
                self._judge(entries, answer)

    def _let_go(self) -> None:
        """Write the results of entries, and release the rest."""
        self._in_hand = {}
        self._note()
        self._claims.release()
        self._owes = False

    def _count(self, **more: int) -> None:
        now = {name: getattr(self._stats, name) + count for name, count in more.items()}
        self._stats = replace(self._stats, **now)


def _about_an_entry(error: TransportError) -> bool:
    """Whether a request with other entries is likely to be accepted."""
    return not error.retryable and not isinstance(error, NotFound | AccessDenied | Throttled)
