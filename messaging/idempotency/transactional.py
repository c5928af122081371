"""Middleware that commits an effect and its mark in one transaction of the service's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import TABLE, Marks
from messaging.idempotency.middleware import event_key
from messaging.idempotency.transaction import BatchTransaction, Transaction
from messaging.outcome import Ack
from messaging.sql.driver import DriverConnection, dialect_of, driver_of
from messaging.sql.pool import Connections

__all__ = ["Transactional", "TransactionalSession"]

_T = TypeVar("_T")


class _Sharing:
    """What both kinds share: a table of marks, whose dialect follows from the first connection."""

    def __init__(self, table: str, key: Callable[[HandlingState], str], clock: Clock) -> None:
        self._table = table
        self._key = key
        self._clock = clock
        self._marks: Marks | None = None
        self._current: ContextVar[Any] = ContextVar(type(self).__qualname__)
        self._batch: ContextVar[BatchTransaction] = ContextVar("BatchTransaction")

    def _transaction(self, call: HandlingState) -> Transaction:
        return Transaction(call=call, event=self._key(call), marks_of=self._marks_of)

    def _marks_of(self, connection: DriverConnection) -> Marks:
        if self._marks is None:
            driver_of(connection, "Transactional")
            self._marks = Marks(dialect_of(connection), self._table, self._clock)
        return self._marks

    def _mine(self, what: str) -> Any:
        found = self._current.get(None)
        if found is None:
            raise ConfigurationError(
                f"{type(self).__qualname__}.{what} is there while a handler runs with it as its "
                "middleware, and in the handler's own thread or task"
            )
        return found

    @contextmanager
    def _handling(self, handed: Any, mark: Callable[[], None]) -> Iterator[None]:
        """Wrap the handler: make `handed` available to it, and call `mark` if it succeeds."""
        token = self._current.set(handed)
        try:
            yield
        except Ack:
            mark()
            raise
        finally:
            self._current.reset(token)

    @contextmanager
    def _handling_batch(
        self, handed: Any, transaction: BatchTransaction, mark: Callable[[], None]
    ) -> Iterator[None]:
        """The same around a handler that takes a batch, or is called for each of a chunk."""
        token = self._batch.set(transaction)
        try:
            with self._handling(handed, mark):
                yield
        finally:
            self._batch.reset(token)


class Transactional(_Sharing):
    """Middleware: what a handler writes and the mark that it did are committed together.

    With `@handles(chunk=20)` one commit is for up to 20 messages, each with a savepoint of its own.

    Each call has a transaction. It is committed when the handler returns (or raises `Ack`), and
    rolled back whatever else it raises. So an event takes effect once, even if the process is
    killed: it left both effect and mark, or neither. Other effects (a mail, a request) are
    repeated when the transaction was not committed; publish from it through an outbox.

    A concurrent duplicate waits in SQLite and MySQL until the first has ended, and comes again
    later in PostgreSQL. Async handlers work on PostgreSQL only; their statements hold up
    the event loop as long as the database takes to answer.

    Args:
        connect: gives a connection of sqlite3, psycopg 3 or PyMySQL. As many are kept as are used
            at once, and any thread may use each: open SQLite with `check_same_thread=False`, or by
            `messaging.sql.open_sqlite`.
        table: where the marks stand; make it with `create`, or with
            `messaging.idempotency.marks.ddl` in a migration of yours.
        key: what an event is known by: a function of the `Call`; by default `event_key`, its source
            and its id.
        clock: what tells the time; a test may give a `FakeClock`.

    Example:
        ```python
        from messaging.idempotency import Transactional
        from messaging.sql import open_sqlite
        from messaging.testing import deliver

        database = Transactional(lambda: open_sqlite("escola.db")).create()
        open_sqlite("escola.db").execute("CREATE TABLE contatos (email text)")


        class Mailing(Consumer):
            service = "marketing"

            @handles
            def welcome(self, aluno: AlunoParaMarketing) -> None:
                database.connection.execute("INSERT INTO contatos VALUES (?)", (aluno.email,))


        for _ in range(2):  # one row: Worker(..., middleware=[database])
            assert deliver(
                Mailing(), ana, id="matricula-2026-0042", middleware=[database]
            ).acknowledged
        ```
    """

    def __init__(
        self,
        connect: Callable[[], DriverConnection],
        *,
        table: str = TABLE,
        key: Callable[[HandlingState], str] = event_key,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(table, key, clock)
        self._connections = Connections(connect)

    @property
    def connection(self) -> Any:
        """The connection of the handler that runs, in its transaction. Do not commit or close it.

        Raises:
            ConfigurationError: where no handler runs.
        """
        return self._mine("connection")

    def create(self) -> Self:
        """Make the table of marks where it is not there."""
        self._run(lambda connection: self._marks_of(connection).create(connection))
        return self

    def prune(self, older_than: float) -> int:
        """Forget marks older than `older_than` seconds, and say how many.

        SQS keeps a message for 14 days at most, and a dead-letter queue for as long again.

        Args:
            older_than: seconds.
        """

        def pruned(connection: DriverConnection) -> int:
            return self._marks_of(connection).prune(connection, older_than)

        return self._run(pruned)

    def close(self) -> None:
        """Close the connections. Call it when the worker has stopped."""
        self._connections.close()

    def __call__(self, call: HandlingState) -> AbstractContextManager[None]:
        return _Handling(self, self._transaction(call))

    @contextmanager
    def around_batch(self, batch: BatchState) -> Iterator[None]:
        """The same for a handler that takes a batch: one transaction, and a mark for each event.

        Args:
            batch: the call of the batch.
        """
        transaction = BatchTransaction(batch, self._transaction)
        connection, known = self._connections.take(transaction.begin)
        try:
            transaction.leave_out(known)

            def finish() -> None:
                self._finish(transaction, connection)

            with self._handling_batch(connection, transaction, finish):
                yield
            finish()
        finally:
            self._give_back(connection)

    def around_each(self, call: HandlingState) -> AbstractContextManager[None]:
        """Around each call of a handler with `@handles(chunk=)`: a savepoint, and the mark.

        Args:
            call: the call of one message of a chunk.
        """
        return self._batch.get().one(call, self._current.get())

    def _finish(
        self, transaction: Transaction | BatchTransaction, connection: DriverConnection
    ) -> None:
        transaction.mark(connection)
        connection.commit()

    def _give_back(self, connection: DriverConnection) -> None:
        """Return it with no transaction open; after a commit there is nothing to roll back."""
        try:
            connection.rollback()
        except Exception:  # noqa: BLE001 - the connection is gone, and the transaction with it
            self._connections.drop(connection)
        except BaseException:
            self._connections.drop(connection)
            raise
        else:
            self._connections.give(connection)

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        def committed(connection: DriverConnection) -> _T:
            result = work(connection)
            connection.commit()
            return result

        return self._connections.run(committed)


class _Handling(AbstractContextManager[None]):
    """One call of a handler by `Transactional`. A class, since a generator costs twice as much."""

    __slots__ = ("_connection", "_token", "_transaction", "_within")

    def __init__(self, within: Transactional, transaction: Transaction) -> None:
        self._within = within
        self._transaction = transaction

    def __enter__(self) -> None:
        within = self._within
        self._connection, known = within._connections.take(self._transaction.begin)
        if known is not None:
            within._give_back(self._connection)
            raise known
        self._token = within._current.set(self._connection)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        within = self._within
        try:
            within._current.reset(self._token)
            if error is None or isinstance(error, Ack):
                within._finish(self._transaction, self._connection)
        finally:
            within._give_back(self._connection)


class TransactionalSession(_Sharing):
    """`Transactional` for SQLAlchemy: each call has a session, and `session` is it.

    Args:
        sessions: gives a new `Session`, on SQLite, on PostgreSQL by psycopg 3, or on MySQL or
            MariaDB by PyMySQL. It is committed when the handler returns, and closed in any case.
        table: the table's name, with its schema and a dot before it where it has one.
        key: what an event is known by: a function of the `Call`; by default `event_key`, its source
            and its id.
        clock: what tells the time; a test may give a `FakeClock`.

    Example:
        ```python
        from messaging.idempotency import TransactionalSession
        from messaging.testing import deliver
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import sessionmaker

        engine = create_engine("sqlite:///escola.db")
        database = TransactionalSession(sessionmaker(engine)).create()


        class Mailing(Consumer):
            service = "marketing"

            @handles
            def welcome(self, aluno: AlunoParaMarketing) -> None:
                database.session.execute(text("SELECT 1"))  # or session.add(...)


        assert deliver(Mailing(), ana, middleware=[database]).acknowledged
        engine.dispose()
        ```
    """

    def __init__(
        self,
        sessions: Callable[[], Any],
        *,
        table: str = TABLE,
        key: Callable[[HandlingState], str] = event_key,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(table, key, clock)
        self._sessions = sessions

    @property
    def session(self) -> Any:
        """The session of the handler that runs, in its transaction. Do not commit or close it.

        Raises:
            ConfigurationError: where no handler runs.
        """
        return self._mine("session")

    def create(self) -> Self:
        """Make the table of marks where it is not there."""
        with self._sessions() as session:
            connection = _raw(session)
            self._marks_of(connection).create(connection)
            session.commit()
        return self

    def prune(self, older_than: float) -> int:
        """Forget marks older than `older_than` seconds, and say how many.

        Args:
            older_than: seconds.
        """
        with self._sessions() as session:
            connection = _raw(session)
            pruned = self._marks_of(connection).prune(connection, older_than)
            session.commit()
        return pruned

    @contextmanager
    def __call__(self, call: HandlingState) -> Iterator[None]:
        transaction = self._transaction(call)
        with self._sessions() as session:
            known = transaction.begin(_raw(session))
            if known is not None:
                raise known
            with self._handling(session, lambda: self._finish(transaction, session)):
                yield
            self._finish(transaction, session)

    @contextmanager
    def around_batch(self, batch: BatchState) -> Iterator[None]:
        """The same for a handler that takes a batch: one session, and a mark for each event.

        Args:
            batch: the call of the batch.
        """
        transaction = BatchTransaction(batch, self._transaction)
        with self._sessions() as session:
            transaction.leave_out(transaction.begin(_raw(session)))

            def finish() -> None:
                self._finish(transaction, session)

            with self._handling_batch(session, transaction, finish):
                yield
            finish()

    @contextmanager
    def around_each(self, call: HandlingState) -> Iterator[None]:
        """Around each call of a handler with `@handles(chunk=)`: a savepoint, and the mark.

        Args:
            call: the call of one message of a chunk.
        """
        session = self._current.get()
        acknowledged: Ack | None = None
        with self._batch.get().one(call, _raw(session)):
            with session.begin_nested():  # so that the session forgets what is undone
                try:
                    yield
                except Ack as ack:
                    acknowledged = ack
            if acknowledged is not None:
                raise acknowledged

    def _finish(self, transaction: Transaction | BatchTransaction, session: Any) -> None:
        # Looked up again: after a commit by the handler the session has another connection, which
        # shows.
        connection = _raw(session)
        transaction.mark(connection)
        try:
            session.commit()
        except BaseException:
            # SQLAlchemy takes the transaction for ended. It is not where SQLite refused the commit,
            # and would be the next one's, with this one's mark in it.
            with suppress(Exception):
                connection.rollback()
            raise


def _raw(session: Any) -> DriverConnection:
    """The driver's own connection, in the session's transaction."""
    return session.connection().connection.dbapi_connection
