"""The relay: sends the entries of an outbox to a topic, in order per key.

At least once: a relay that dies between the topic's answer and its own note of it sends the same
entries again, with the same ids, when its lease is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from messaging.backoff import Backoff, Outages
from messaging.batching import Packer, Weight
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import AccessDenied, ConfigurationError, NotFound, Throttled, TransportError
from messaging.logs import logger
from messaging.outbox.claims import Claims
from messaging.outbox.rows import OutboxRow
from messaging.outbox.table import TABLE
from messaging.publishing.sender import Sender
from messaging.sql.database import Database
from messaging.sql.opening import is_database_error
from messaging.transport import Failure, Outgoing, TopicTransport, name_of

__all__ = ["Relay", "RelayStats"]

log = logger("messaging.outbox")

_PRUNE_EVERY = 60.0
_ENTRY_AGAIN = Backoff(first=1.0, longest=300.0)
_UNREACHABLE = Backoff(first=0.5, longest=30.0)
_SHORTEST_IDLE = 0.1
_SLICE = 0.2
_RENEW_AFTER = 0.1  # of the lease

Sending = tuple[Outgoing, OutboxRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStats:
    """What a relay did, in entries.

    published  accepted by the topic.
    failed     attempts that were refused for now, or not answered; such entries are tried again.
    parked     refused for good, and shown by `messaging outbox status`.
    lost       leases that another relay took over before this one was done: raise `lease`.
    pruned     deleted some time after they were published.
    """

    published: int = 0
    failed: int = 0
    parked: int = 0
    lost: int = 0
    pruned: int = 0


def _delay(row: OutboxRow) -> float:
    return _ENTRY_AGAIN.after(row.attempts + 1)


def _at_once(row: OutboxRow) -> float:
    return 0.0


def _again(failure: Failure) -> Failure:
    return failure._replace(retryable=True)


class Relay:
    """Publishes the entries of an outbox. Run as many relays as you like, in any number of
    processes.

        with Relay(lambda: psycopg.connect(url), broker.topic()) as relay:
            relay.run()                 # until relay.stop(), from a signal handler or a thread

    connect       makes a connection of `sqlite3`, psycopg 3 or PyMySQL, the relay's own;
                  called again when one broke.
    topic         where to.
    batch         entries taken in hand at once.
    lease         seconds for which they are this relay's; renewed before each request, so it must
                  exceed the longest request with its attempts. After a crash others wait so long.
    poll          seconds between two looks at an empty outbox, at most.
    keep          seconds for which published entries stay in the table; None: until `prune`.
    max_attempts  times that a request is sent before its entries wait for their next attempt.

    Only `stop()` and `stats` may be used from other threads.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        topic: TopicTransport,
        *,
        table: str = TABLE,
        batch: int = 100,
        lease: float = 120.0,
        poll: float = 1.0,
        keep: float | None = None,
        max_attempts: int = 3,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if batch < 1 or max_attempts < 1 or lease <= 0 or poll <= 0 or (keep or 0) < 0:
            raise ConfigurationError(
                "Relay: batch and max_attempts start at 1; lease and poll are more than 0 seconds"
            )
        self._database = Database(connect, clock=clock)
        self._claims = Claims(self._database, table=table)
        self._topic = topic
        self._sender = Sender(topic, max_attempts=max_attempts, clock=clock)
        self._batch = batch
        self._lease = lease
        self._keep = keep
        self._clock = clock
        self._outages = Outages(_UNREACHABLE, clock, log)
        self._idle = Backoff(first=min(_SHORTEST_IDLE, poll), longest=poll)
        self._checked = False
        self._stopping = False
        self._renewed = 0.0
        self._pruned: float | None = None
        self._in_hand: dict[int, OutboxRow] = {}
        self._stuck: set[str] = set()
        self._unnoted: list[OutboxRow] = []
        self._stats = RelayStats()

    @property
    def stats(self) -> RelayStats:
        """What was done so far."""
        return self._stats

    @property
    def topic_name(self) -> str:
        """The topic's name, or where it has none its class's."""
        return name_of(self._topic)

    def run(self) -> RelayStats:
        """Publish, and wait for more entries, until `stop()`.

        A database or a topic that does not answer is waited for. Raises `ConfigurationError` when
        the table is missing.
        """
        empty = 0
        while not self._stopping:
            taken = self._round()
            empty = 0 if taken else empty + 1
            if not taken or self._outages.seconds:
                self._rest(self._outages.seconds or self._idle.after(empty))
        return self._stats

    def drain(self) -> RelayStats:
        """Publish what is there now, and return: when nothing can be taken, or nobody answers."""
        while not self._stopping and self._round() and not self._outages.seconds:
            pass
        return self._stats

    def step(self) -> int:
        """Claim entries once, publish them and record the results; returns how many were claimed.

        Raises `TransportError` where there is no connection, what the driver raises where there
        was, and `ConfigurationError` when the table is missing.
        """
        if not self._checked:
            self._claims.check()
            self._checked = True
        if (
            self._unnoted
        ):  # the database failed after the topic had answered, before that was recorded
            self._claims.settle(self._unnoted)
            self._count(published=len(self._unnoted))
            self._unnoted.clear()
            self._claims.release()
        self._prune()
        self._renewed = self._clock.monotonic()
        rows = self._claims.claim(self._batch, lease=self._lease)
        if not rows:
            return 0
        self._in_hand = {row.seq: row for row in rows}
        try:
            self._publish(rows)
        finally:
            if self._in_hand:
                self._in_hand = {}
                self._claims.release()
        return len(rows)

    def stop(self) -> None:
        """Finish the request that is under way, give back the rest, and let `run()` return."""
        self._stopping = True

    def close(self) -> None:
        """Close the connection. The topic is closed by its owner."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _round(self) -> int:
        try:
            taken = self.step()
        except TransportError as error:
            self._outages.lose("the database", str(error))
            return 0
        except Exception as error:
            if not is_database_error(error):
                raise
            self._outages.lose("the database", type(error).__name__)
            self._database.close()
            return 0
        self._outages.regain("the database")
        return taken

    def _rest(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while not self._stopping and (left := end - self._clock.monotonic()) > 0:
            self._clock.sleep(min(_SLICE, left))  # a signal does not end a sleep

    def _prune(self) -> None:
        now = self._clock.monotonic()
        if self._keep is None or (self._pruned is not None and now - self._pruned < _PRUNE_EVERY):
            return
        self._count(pruned=self._claims.prune(self._keep))
        self._pruned = now

    def _publish(self, rows: Sequence[OutboxRow]) -> None:
        """In waves: the next event of each key, then the one after it of those that went out."""
        try:
            limit = self._topic.max_bytes
        except TransportError as error:
            self._outages.lose("the topic", error.code or type(error).__name__)
            return
        lanes = _lanes(rows)
        self._stuck = set()
        while lanes:
            # All copies of an event are of one wave: they have no order among themselves.
            wave = [row for lane in lanes.values() for row in lane.popleft()]
            for request in _requests(sorted(wave, key=_by_seq), limit):
                if self._stopping or not self._hold() or not self._send(request, limit):
                    return
            lanes = {key: lane for key, lane in lanes.items() if lane and key not in self._stuck}

    def _hold(self) -> bool:
        """Renew the lease where a part of it has passed; False if it was lost."""
        now = self._clock.monotonic()
        if now - self._renewed < _RENEW_AFTER * self._lease:
            return True
        self._renewed = now
        if self._claims.renew([*self._in_hand.values()], lease=self._lease):
            return True
        self._count(lost=1)
        log.warning("a lease of %.0f s was over before its entries were sent", self._lease)
        return False

    def _send(self, request: Sequence[OutboxRow], limit: int) -> bool:
        """Send one request and note what became of it; False if nothing more should be sent now."""
        entries: list[Sending] = []
        unfit: list[tuple[OutboxRow, str]] = []
        for row in request:
            if row.message is None or row.message.size > limit:
                unfit.append((row, "TooLargeForTopic" if row.message else "Unreadable"))
            else:
                entries.append((row.message, row))
        self._settle((), (), unfit)
        if not entries:
            return True
        failures, broken = self._sender.send(entries)
        if broken is not None and not _about_an_entry(broken):
            self._note(entries, [_again(one) for one in failures], delay=_at_once)
            self._outages.lose("the topic", broken.code or type(broken).__name__)
            return False
        self._outages.regain("the topic")
        if broken is None:
            self._note(entries, failures)
        elif len(entries) == 1:
            # The cause may be the entry or the topic's setup, so only this entry and its key wait.
            self._note(entries, [_again(one) for one in failures])
        else:
            # One entry may be the reason that the whole request was refused, so each is sent alone.
            left = {one.index for one in failures}
            self._note([one for at, one in enumerate(entries) if at not in left], ())
            return all(self._hold() and self._send([entries[at][1]], limit) for at in sorted(left))
        return True

    def _note(
        self,
        entries: Sequence[Sending],
        failures: Sequence[Failure],
        *,
        delay: Callable[[OutboxRow], float] = _delay,
    ) -> None:
        """All of `entries` were sent but for `failures`, which are tried again or parked."""
        failed = {failure.index: failure for failure in failures}
        published: list[OutboxRow] = []
        refused: list[tuple[OutboxRow, str, float]] = []
        parked: list[tuple[OutboxRow, str]] = []
        for index, (_, row) in enumerate(entries):
            failure = failed.get(index)
            if failure is None:
                published.append(row)
            elif failure.retryable:
                refused.append((row, failure.code, delay(row)))
            else:
                parked.append((row, failure.code))
        self._settle(published, refused, parked)

    def _settle(
        self,
        published: Sequence[OutboxRow],
        refused: Sequence[tuple[OutboxRow, str, float]],
        parked: Sequence[tuple[OutboxRow, str]],
    ) -> None:
        if not (published or refused or parked):
            return
        self._unnoted += published  # the topic has them, whatever the database says now
        self._claims.settle(published, refused, parked)
        self._unnoted.clear()
        for row in [*published, *(row for row, *_ in refused), *(row for row, _ in parked)]:
            del self._in_hand[row.seq]
        for row, code, _ in refused:
            self._stuck.add(row.key)
            log.info("event %s is tried again later: %s", row.id, code)
        for row, code in parked:
            log.warning("event %s is parked, refused for good: %s", row.id, code)
        self._count(published=len(published), failed=len(refused), parked=len(parked))

    def _count(self, **more: int) -> None:
        now = {name: getattr(self._stats, name) + count for name, count in more.items()}
        self._stats = replace(self._stats, **now)


def _lanes(rows: Sequence[OutboxRow]) -> dict[str, deque[list[OutboxRow]]]:
    """Of each key its events in order, each with its copies."""
    lanes: dict[str, deque[list[OutboxRow]]] = {}
    for row in rows:
        lane = lanes.setdefault(row.key, deque())
        if lane and lane[-1][0].id == row.id:
            lane[-1].append(row)
        else:
            lane.append([row])
    return lanes


def _requests(rows: Sequence[OutboxRow], max_bytes: int) -> Iterator[list[OutboxRow]]:
    packer: Packer[tuple[Outgoing | Weight, OutboxRow]] = Packer(max_bytes)
    for request in packer.all((row.message or Weight(0), row) for row in rows):
        yield [row for _, row in request]


def _by_seq(row: OutboxRow) -> int:
    return row.seq


def _about_an_entry(error: TransportError) -> bool:
    """Whether another request, with other entries in it, may well be accepted."""
    return not error.retryable and not isinstance(error, NotFound | AccessDenied | Throttled)
