"""One transaction that holds an effect and its mark: how it begins and how it ends."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import GUARD, Marks, Row
from messaging.idempotency.middleware import later
from messaging.outcome import Ack, Outcome
from messaging.sql.driver import DriverConnection, execute, must_keep_what_is_written
from messaging.sql.mysql_errors import DEADLOCK, LOCK_WAIT, NO_SAVEPOINT, error_number

__all__ = ["BEGIN", "BatchTransaction", "Transaction", "ended", "known"]

_SAVEPOINT, _ONE = "messaging_handling", "messaging_message"
BEGIN = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended(:lock, 0)), "
    f"set_config('{GUARD}', :guard, true)"
)
_BEGIN_ALL = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended(lock, 0)), "  # noqa: S608 - a constant
    f"set_config('{GUARD}', :guard, true) "
    "FROM unnest(CAST(:locks AS text[])) WITH ORDINALITY AS l (lock, place) ORDER BY place"
)


def _token() -> str:
    return os.urandom(16).hex()


@dataclass(slots=True, kw_only=True, eq=False)
class Transaction:
    """The transaction of one call: `begin`, then the handler, then `mark`, then somebody commits.

    What keeps a duplicate out meanwhile: in SQLite the one lock for writing, which a second
    transaction waits for; in PostgreSQL an advisory lock of the event, which nobody waits for, and
    the table's key behind it; in MySQL, whose such locks outlive a transaction, a claim in the
    table, which is waited for. All end with the transaction, however that ends.

    The mark is written last, in the very transaction that was begun. A handler that
    ended it has an error instead of a mark: the event is handled again, rather than never.
    """

    call: HandlingState
    event: str
    marks_of: Callable[[DriverConnection], Marks]
    guard: str = ""
    """By which the transaction, or its claim, is known; SQLite needs none."""
    joins: bool = False
    """Another one has begun it, and ends it."""

    def begin(self, connection: DriverConnection) -> Outcome | None:
        """Begin; None if the handler may run, else the outcome of the message."""
        marks = self.marks_of(connection)
        if marks.dialect != "sqlite":
            self.guard = self.guard or _token()
        if marks.dialect == "sqlite":
            if not self.joins:
                self._begin_sqlite(connection, marks)
        elif marks.dialect == "mysql":
            return self._begin_mysql(connection, marks)
        else:
            if connection.autocommit:
                connection.autocommit = False
            values = {"lock": self.lock(marks), "guard": self.guard}
            if not execute(connection, BEGIN, values).fetchone()[0]:
                return later(self.call, 0)
        return self._known(connection, marks)

    def lock(self, marks: Marks) -> str:
        """The name of the event's advisory lock."""
        return f"{marks.table} {self.call.service} {self.event}"

    def mark(self, connection: DriverConnection) -> None:
        """Mark the event as handled once this transaction commits. Raises an `Outcome` if it
        already was."""
        marks = self.marks_of(connection)
        if not self.joins:
            self.release(connection)
        if marks.dialect == "mysql":
            written = marks.change(connection, "complete", **self._claim)
        else:
            written = marks.change(connection, "mark", **self._claim, guard=self.guard)
        if not written:
            raise self._known(connection, marks) or ended(self.call)

    def release(self, connection: DriverConnection) -> None:
        """See that it is still the transaction that was begun."""
        dialect = self.marks_of(connection).dialect
        if dialect == "sqlite":
            try:
                connection.execute(f"RELEASE {_SAVEPOINT}")
            except sqlite3.OperationalError:
                raise ended(self.call) from None
        elif dialect == "mysql":
            self._release_in_mysql(connection)

    def _begin_sqlite(self, connection: sqlite3.Connection, marks: Marks) -> None:
        self._refuse_async("SQLite's one lock for writing")
        if getattr(connection, "autocommit", None) is True:
            # Python 3.12: its commit() would do nothing. With -1, which is called
            # LEGACY_TRANSACTION_CONTROL, it is as one that was opened without the argument.
            connection.autocommit = -1  # type: ignore[attr-defined] # 3.11 does not know it
        if connection.in_transaction:  # it begins them by itself: autocommit=False
            marks.change(connection, "lock")
        else:
            connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"SAVEPOINT {_SAVEPOINT}")

    def _begin_mysql(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        self._refuse_async("a lock that a duplicate waits for")
        must_keep_what_is_written(connection)
        if connection.get_autocommit():
            connection.autocommit(False)
        outcome = self._claimed_in_mysql(connection, marks)
        if not self.joins:
            # It is gone once the transaction has ended, also by a statement like CREATE TABLE.
            execute(connection, f"SAVEPOINT {_SAVEPOINT}")
        return outcome

    def _claimed_in_mysql(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        try:
            # If the handler commits it, which it must not, anybody may have it at once.
            written = marks.change(connection, "claim", **self._claim, lease=0)
        except Exception as error:
            if error_number(error) == DEADLOCK:  # the whole transaction is undone
                raise later(self.call, 0) from None
            if error_number(error) != LOCK_WAIT:
                raise
            return later(self.call, 0)
        return None if written else self._known(connection, marks) or later(self.call, 0)

    @property
    def _claim(self) -> Mapping[str, str]:
        return {"service": self.call.service, "event_id": self.event, "token": self.guard}

    def _release_in_mysql(self, connection: DriverConnection) -> None:
        try:
            execute(connection, f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except Exception as error:
            if error_number(error) != NO_SAVEPOINT:
                raise
            raise ended(self.call) from None

    def _refuse_async(self, kept: str) -> None:
        if self.call.handler.is_async:
            raise ConfigurationError(
                f"an async handler of {self.call.service} would keep {kept} while others run in "
                "its thread: make it a plain method, or use Idempotency"
            )

    def _known(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        return known(self.call, marks.look(connection, self.call.service, self.event))


def known(call: HandlingState, row: Row | None) -> Outcome | None:
    """What the row of an event makes of another message of it; None if the handler may run."""
    if row is None:
        return None
    done, left, _ = row
    if done:
        return Ack("already handled")
    return later(call, left) if left > 0 else None


def ended(call: HandlingState) -> ConfigurationError:
    """What is raised where a handler ended the transaction that it had been given."""
    return ConfigurationError(
        f"a handler of {call.service} ended the transaction that its mark belongs to, and "
        "will run again: leave commit, rollback and close to the middleware"
    )


class BatchTransaction:
    """The one transaction of a batch: `begin`, then the handler, then `mark`, then a commit.

    In PostgreSQL it holds a lock for each event of the batch. A handler that is called for each
    has a savepoint for each (`one`), and the mark is written at the end of it.
    """

    def __init__(self, batch: BatchState, single: Callable[[HandlingState], Transaction]) -> None:
        self._batch = batch
        self._each = [single(call) for call in batch.calls]
        self._opening = replace(self._each[0], guard=_token())
        for one in self._each:
            one.joins, one.guard = True, self._opening.guard
        self._of = {id(one.call): one for one in self._each}

    def begin(self, connection: DriverConnection) -> list[Outcome | None]:
        """Begin; for each call None if it may be handled, else the outcome of its message."""
        marks = self._opening.marks_of(connection)
        if marks.dialect == "postgresql":
            found = self._begin_postgresql(connection, marks)
        else:
            found = [one.begin(connection) for one in [self._opening, *self._each[1:]]]
        known: list[Outcome | None] = []
        events: set[str] = set()
        for one, outcome in zip(self._each, found, strict=True):
            if outcome is None and one.event in events:  # twice in one batch
                outcome = later(one.call, 0)
            events.add(one.event)
            known.append(outcome)
        return known

    def _begin_postgresql(
        self, connection: DriverConnection, marks: Marks
    ) -> Sequence[Outcome | None]:
        """Two statements for all of them."""
        if connection.autocommit:
            connection.autocommit = False
        locks = [one.lock(marks) for one in self._each]
        values = {"locks": locks, "guard": self._opening.guard}
        ours = [bool(row[0]) for row in execute(connection, _BEGIN_ALL, values).fetchall()]
        rows = execute(
            connection,
            marks.statement("look at all"),
            {"service": self._batch.service, "events": [one.event for one in self._each]},
        )
        there: dict[str, Row] = {event: rest for event, *rest in rows.fetchall()}
        return [
            known(one.call, there.get(one.event)) if mine else later(one.call, 0)
            for one, mine in zip(self._each, ours, strict=True)
        ]

    def leave_out(self, known: list[Outcome | None]) -> None:
        """Keep from the handler what `begin` said is not to be handled."""
        kept = []
        for one, outcome in zip(self._each, known, strict=True):
            if outcome is None:
                kept.append(one)
            else:
                self._batch.leave_out(one.call, outcome)
        self._each = kept

    @contextmanager
    def one(self, call: HandlingState, connection: DriverConnection) -> Iterator[None]:
        """Around a handler that is called for one message of the batch: what it wrote is undone if
        it raises, and the event is marked if it does not.

        Raises something else than the handler did where the transaction is not as it should be.
        """
        execute(connection, f"SAVEPOINT {_ONE}")
        try:
            yield
        except Ack:
            self._keep(connection)
            self.mark_one(call, connection)
            raise
        except BaseException:
            execute(connection, f"ROLLBACK TO SAVEPOINT {_ONE}")
            execute(connection, f"RELEASE SAVEPOINT {_ONE}")
            raise
        self._keep(connection)
        self.mark_one(call, connection)

    def _keep(self, connection: DriverConnection) -> None:
        try:
            execute(connection, f"RELEASE SAVEPOINT {_ONE}")
        except Exception:  # noqa: BLE001 - whatever the driver calls it, there is no savepoint
            raise ended(self._opening.call) from None

    def mark_one(self, call: HandlingState, connection: DriverConnection) -> None:
        """Mark the event of `call`. Raises `ConfigurationError` if it cannot be marked."""
        try:
            self._of[id(call)].mark(connection)
        except Outcome:
            raise ended(call) from None

    def mark(self, connection: DriverConnection) -> None:
        """Mark the events that are handled. Those of which the handler said another outcome are
        not, whatever it wrote for them."""
        self._opening.release(connection)
        for one in self._each if not self._batch.each else ():
            said = self._batch.outcome(one.call)
            if said is None or isinstance(said, Ack):
                try:
                    one.mark(connection)
                except Outcome:
                    # Marked by another meanwhile: an outcome of this one must not be for all.
                    raise later(one.call, 0) from None
