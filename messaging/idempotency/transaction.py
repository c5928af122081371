"""One transaction that holds an effect and its mark: how it begins and how it ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import GUARD, Marks
from messaging.idempotency.middleware import later
from messaging.outcome import Ack, Outcome
from messaging.sql.driver import DriverConnection, execute

__all__ = ["BatchTransaction", "Transaction"]

_SAVEPOINT = "messaging_handling"
_BEGIN = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended(:lock, 0)), "
    f"set_config('{GUARD}', :guard, true)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The transaction of one call: `begin`, then the handler, then `mark`, then somebody commits.

    What keeps a duplicate out meanwhile: in SQLite the one lock for writing, which a second
    transaction waits for; in PostgreSQL an advisory lock of the event, which nobody waits for, and
    the table's key behind it. Both end with the transaction, however that ends.

    The mark is written last, in the very transaction that was begun. A handler that ended it
    has an error instead of a mark: the event is handled again, rather than never.
    """

    call: HandlingState
    event: str
    marks_of: Callable[[DriverConnection], Marks]
    guard: str = field(default_factory=lambda: uuid4().hex)
    joins: bool = False
    """Another one has begun it, and ends it."""

    def begin(self, connection: DriverConnection) -> Outcome | None:
        """Begin; None if the handler may run, else the outcome of the message."""
        marks = self.marks_of(connection)
        if marks.dialect == "sqlite":
            if not self.joins:
                self._begin_sqlite(connection, marks)
        else:
            if connection.autocommit:
                connection.autocommit = False
            lock = f"{marks.table} {self.call.service} {self.event}"
            values = {"lock": lock, "guard": self.guard}
            if not execute(connection, _BEGIN, values).fetchone()[0]:
                return later(self.call, 0)
        return self._known(connection, marks)

    def mark(self, connection: DriverConnection) -> None:
        """Mark the event as handled once this transaction commits. Raises an `Outcome` if it
        already was."""
        marks = self.marks_of(connection)
        if not self.joins:
            self.release(connection)
        key = {"service": self.call.service, "event_id": self.event}
        if not marks.change(connection, "mark", **key, guard=self.guard):
            raise self._known(connection, marks) or self._ended()

    def release(self, connection: DriverConnection) -> None:
        """See that it is still the transaction that was begun."""
        if self.marks_of(connection).dialect == "sqlite":
            try:
                execute(connection, f"RELEASE {_SAVEPOINT}")
            except sqlite3.OperationalError:
                raise self._ended() from None

    def _begin_sqlite(self, connection: sqlite3.Connection, marks: Marks) -> None:
        if self.call.handler.is_async:
            raise ConfigurationError(
                f"an async handler of {self.call.service} would keep SQLite's one lock for writing "
                "while others run in its thread: make it a plain method, or use Idempotency"
            )
        if getattr(connection, "autocommit", None) is True:
            # Python 3.12: its commit() would do nothing. With -1, which is called
            # LEGACY_TRANSACTION_CONTROL, it is as one that was opened without the argument.
            connection.autocommit = -1  # type: ignore[attr-defined] # 3.11 does not know it
        if connection.in_transaction:  # it begins them by itself: autocommit=False
            marks.change(connection, "lock")
        else:
            execute(connection, "BEGIN IMMEDIATE")
        execute(connection, f"SAVEPOINT {_SAVEPOINT}")

    def _known(self, connection: DriverConnection, marks: Marks) -> Outcome | None:
        row = marks.look(connection, self.call.service, self.event)
        if row is None:
            return None
        done, left, _ = row
        if done:
            return Ack("already handled")
        return later(self.call, left) if left > 0 else None

    def _ended(self) -> ConfigurationError:
        return ConfigurationError(
            f"a handler of {self.call.service} ended the transaction that its mark belongs to, and "
            "will run again: leave commit, rollback and close to the middleware"
        )


class BatchTransaction:
    """The one transaction of a batch: `begin`, then the handler, then `mark`, then a commit.

    In PostgreSQL it holds a lock for each event of the batch.
    """

    def __init__(self, batch: BatchState, single: Callable[[HandlingState], Transaction]) -> None:
        self._batch = batch
        guard = uuid4().hex
        self._each = [replace(single(call), guard=guard) for call in batch.calls]

    def begin(self, connection: DriverConnection) -> list[Outcome | None]:
        """Begin; for each call None if it may be handled, else the outcome of its message."""
        known: list[Outcome | None] = []
        events: set[str] = set()
        for number, one in enumerate(self._each):
            outcome = replace(one, joins=number > 0).begin(connection)
            if outcome is None and one.event in events:  # twice in one batch
                outcome = later(one.call, 0)
            events.add(one.event)
            known.append(outcome)
        return known

    def leave_out(self, known: list[Outcome | None]) -> None:
        """Keep from the handler what `begin` said is not to be handled."""
        kept = []
        for one, outcome in zip(self._each, known, strict=True):
            if outcome is None:
                kept.append(one)
            else:
                self._batch.leave_out(one.call, outcome)
        self._opening, self._each = self._each[0], kept

    def mark(self, connection: DriverConnection) -> None:
        """Mark the events that are handled. Those of which the handler said another outcome are
        not, whatever it wrote for them."""
        self._opening.release(connection)
        for one in self._each:
            said = self._batch.outcome(one.call)
            if said is None or isinstance(said, Ack):
                try:
                    replace(one, joins=True).mark(connection)
                except Outcome:
                    # Marked by another meanwhile: an outcome of this one must not be for all.
                    raise later(one.call, 0) from None
