"""A transaction that contains an effect and its mark: how it starts and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import GUARD, Marks, Row
from messaging.idempotency.middleware import later
from messaging.outcome import Ack, Outcome
from messaging.sql.driver import DriverConnection, execute, must_keep_what_is_written
from messaging.sql.mysql_errors import DEADLOCK, LOCK_WAIT, NO_SAVEPOINT, error_number

__all__ = ["BEGIN", "BatchTransaction", "Transaction", "ended", "handed", "known"]

_SAVEPOINT, _ONE = "messaging_handling", "messaging_message"
BEGIN = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended(:lock, 0)), "
    f"set_config('{GUARD}', :token, true)"
)
_BEGIN_ALL = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended(lock, 0)), "  # noqa: S608 - a constant
    f"set_config('{GUARD}', :token, true) "
    "FROM unnest(CAST(:locks AS text[])) WITH ORDINALITY AS l (lock, place) ORDER BY place"
)


def _token() -> str:
    return os.urandom(16).hex()


@dataclass(slots=True, kw_only=True, eq=False)
class Transaction:
    """The transaction of one call: `begin` and `admit`, the handler, `mark`, and a commit.

    Duplicates are kept out meanwhile by a lock: in SQLite, the single write lock, for which a
    second transaction waits; in PostgreSQL, an advisory lock for the event, for which nothing
    waits, and then the table's key; in MySQL, whose advisory locks outlive a transaction, a claim
    in the table, for which others wait. All end with the transaction, however it ends.

    The mark is written last, in the same transaction. If the handler ended it, there is an error
    instead of a mark: the event is handled again, rather than never.
    """

    call: HandlingState
    event: str
    marks_of: Callable[[DriverConnection], Marks]
    guard: str = ""
    """Identifies the transaction, or its claim; SQLite needs none."""
    joins: bool = False
    """Another middleware has started it, and ends it."""
    found: Outcome | None = None
    """The result of `begin`: None if the handler may run, otherwise the outcome of the message."""

    def begin(self, connection: DriverConnection) -> None:
        """Start the transaction, and look up the event."""
        marks = self.marks_of(connection)
        if marks.dialect == "sqlite":
            self.found = self._begin_sqlite(connection, marks)
            return
        self.guard = self.guard or _token()
        begin = self._begin_mysql if marks.dialect == "mysql" else self._begin_postgresql
        self.found = begin(connection, marks)

    def admit(self) -> None:
        """Raise the outcome of the message if the handler must not run."""
        if self.found is not None:
            raise self.found

    def lock(self, marks: Marks) -> str:
        """The name of the event's advisory lock."""
        return f"{marks.table} {self.call.service} {self.event}"

    def mark(self, connection: DriverConnection) -> None:
        """Mark the event as handled once this transaction commits. Raises an `Outcome` if it
        already was."""
        marks = self.marks_of(connection)
        if not self.joins:
            self.release(connection, marks)
        name = "complete" if marks.dialect == "mysql" else "mark"
        if not marks.change(connection, name, **self._claim):
            raise self._known(connection, marks) or ended(self.call)

    def release(self, connection: DriverConnection, marks: Marks) -> None:
        """Check that it is still the same transaction."""
        if marks.dialect != "postgresql":  # there, the mark itself checks this
            _release(connection, _SAVEPOINT, self.call)

    def _begin_postgresql(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        if connection.autocommit:
            connection.autocommit = False
        values = {"lock": self.lock(marks), "token": self.guard}
        if not execute(connection, BEGIN, values).fetchone()[0]:
            return later(self.call, 0)
        return self._known(connection, marks)

    def _begin_sqlite(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        if not self.joins:
            self._refuse_async("SQLite's one lock for writing")
            if getattr(connection, "autocommit", None) is True:
                # Python 3.12: its commit() would do nothing. With -1, which is called
                # LEGACY_TRANSACTION_CONTROL, it is as one that was opened without the argument.
                connection.autocommit = -1
            if connection.in_transaction:  # it starts them by itself: autocommit=False
                marks.change(connection, "lock")
            else:
                connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"SAVEPOINT {_SAVEPOINT}")
        return self._known(connection, marks)

    def _begin_mysql(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        self._refuse_async("a lock that a duplicate waits for")
        must_keep_what_is_written(connection)
        if connection.get_autocommit():
            connection.autocommit(False)
        outcome = self._claimed_in_mysql(connection, marks)
        if not self.joins:
            # It disappears when the transaction ends, also through a statement like CREATE TABLE.
            execute(connection, f"SAVEPOINT {_SAVEPOINT}")
        return outcome

    def _claimed_in_mysql(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        try:
            # If the handler commits it, which it must not, others may claim it immediately.
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

    def _refuse_async(self, kept: str) -> None:
        if self.call.handler.is_async:
            raise ConfigurationError(
                f"an async handler of {self.call.service} would keep {kept} while others run in "
                "its thread: make it a plain method, or use Idempotency"
            )

    def _known(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        return known(self.call, marks.look(connection, self.call.service, self.event))


def known(call: HandlingState, row: Row | None) -> Outcome | None:
    """The outcome of a message, given the row of its event; None if the handler may run."""
    if row is None:
        return None
    done, left, _ = row
    if done:
        return Ack("already handled")
    return later(call, left) if left > 0 else None


def _release(connection: DriverConnection, savepoint: str, call: HandlingState) -> None:
    try:
        execute(connection, f"RELEASE SAVEPOINT {savepoint}")
    except Exception as error:
        if error_number(error) not in (None, NO_SAVEPOINT):  # MySQL distinguishes other errors
            raise
        raise ended(call) from None


def handed(current: ContextVar[Any], what: str) -> Any:
    """The value in `current` of the middleware whose `what` was accessed."""
    found = current.get(None)
    if found is None:
        raise ConfigurationError(
            f"{current.name}.{what} is there while a handler runs with it as its middleware, and "
            "in the handler's own thread or task"
        )
    return found


def ended(call: HandlingState) -> ConfigurationError:
    """The error if a handler ended its transaction."""
    return ConfigurationError(
        f"a handler of {call.service} ended the transaction that its mark belongs to, and "
        "will run again: leave commit, rollback and close to the middleware"
    )


class BatchTransaction:
    """The single transaction of a batch, with the interface of a `Transaction`.

    In PostgreSQL it holds a lock for each event of the batch. A handler that is called for each
    message has a savepoint for each (`one`), at whose end the mark is written.
    """

    def __init__(self, batch: BatchState, single: Callable[[HandlingState], Transaction]) -> None:
        self._batch = batch
        self._each = [single(call) for call in batch.calls]
        self._opening = replace(self._each[0], guard=_token())
        for one in self._each:
            one.joins, one.guard = True, self._opening.guard
        self._of = {id(one.call): one for one in self._each}

    def begin(self, connection: DriverConnection) -> None:
        """Start the transaction, and look up each event."""
        marks = self._opening.marks_of(connection)
        if marks.dialect == "postgresql":
            self._begin_postgresql(connection, marks)
            return
        for one in [self._opening, *self._each[1:]]:
            one.begin(connection)
        self._each[0].found = self._opening.found

    def _begin_postgresql(self, connection: DriverConnection, marks: Marks) -> None:
        """Two statements for all of them."""
        if connection.autocommit:
            connection.autocommit = False
        locks = [one.lock(marks) for one in self._each]
        values = {"locks": locks, "token": self._opening.guard}
        ours = [bool(row[0]) for row in execute(connection, _BEGIN_ALL, values).fetchall()]
        events = [one.event for one in self._each]
        rows = marks.rows(connection, "look at all", service=self._batch.service, events=events)
        there: dict[str, Row] = {event: rest for event, *rest in rows}
        for one, mine in zip(self._each, ours, strict=True):
            one.found = known(one.call, there.get(one.event)) if mine else later(one.call, 0)

    def admit(self) -> None:
        """Leave events out of the batch that must not be handled."""
        kept: dict[str, Transaction] = {}
        for one in self._each:
            if one.found is None and one.event not in kept:
                kept[one.event] = one
            else:  # a second one in the same batch is retried
                self._batch.leave_out(one.call, one.found or later(one.call, 0))
        self._each = [*kept.values()]

    @contextmanager
    def one(self, call: HandlingState, connection: DriverConnection) -> Iterator[None]:
        """Wraps a handler that is called for one message of the batch: its writes are undone if it
        raises, and the event is marked if it does not.

        Raises a different exception than the handler if the transaction is broken.
        """
        acknowledged: Ack | None = None
        execute(connection, f"SAVEPOINT {_ONE}")
        try:
            yield
        except Ack as ack:
            acknowledged = ack
        except BaseException:
            execute(connection, f"ROLLBACK TO SAVEPOINT {_ONE}")
            execute(connection, f"RELEASE SAVEPOINT {_ONE}")
            raise
        _release(connection, _ONE, call)
        try:
            self._of[id(call)].mark(connection)
        except Outcome:
            raise ended(call) from None
        if acknowledged is not None:
            raise acknowledged

    def mark(self, connection: DriverConnection) -> None:
        """Mark the handled events, but not those to which the handler gave another outcome,
        whatever it wrote for them."""
        self._opening.release(connection, self._opening.marks_of(connection))
        for one in self._each if not self._batch.each else ():
            said = self._batch.outcome(one.call)
            if said is None or isinstance(said, Ack):
                try:
                    one.mark(connection)
                except Outcome:
                    # Marked by another process meanwhile: its outcome must not apply to all.
                    raise later(one.call, 0) from None
