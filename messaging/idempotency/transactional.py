"""Middleware that commits an effect and its mark in one transaction of the service's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import TABLE, Marks
from messaging.idempotency.middleware import event_key
from messaging.idempotency.transaction import BatchTransaction, Transaction, handed
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
        self._current: ContextVar[_Handling] = ContextVar(type(self).__qualname__)

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
        return self._run(
            lambda connection: self._marks_of(connection).prune(connection, older_than)
        )

    def __call__(self, call: HandlingState) -> AbstractContextManager[None]:
        return _Handling(self, self._transaction(call))

    def around_batch(self, batch: BatchState) -> AbstractContextManager[None]:
        """The same for a handler that takes a batch: one transaction, and a mark for each event.

        Args:
            batch: the call of the batch.
        """
        return _Handling(self, BatchTransaction(batch, self._transaction))

    def _transaction(self, call: HandlingState) -> Transaction:
        return Transaction(call=call, event=self._key(call), marks_of=self._marks_of)

    def _marks_of(self, connection: DriverConnection) -> Marks:
        if self._marks is None:
            driver_of(connection, "Transactional")
            self._marks = Marks(dialect_of(connection), self._table, self._clock)
        return self._marks

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        """What `work` returns, in a transaction of its own."""
        raise NotImplementedError

    def _begin(self, transaction: Transaction | BatchTransaction) -> Any:
        """Begin it, on what the handler is given."""
        raise NotImplementedError

    def _commit(self, transaction: Transaction | BatchTransaction, handed: Any) -> None:
        transaction.mark(handed)
        handed.commit()

    def _end(self, handed: Any) -> None:
        """Let go of what the handler was given; what was not committed is rolled back."""
        raise NotImplementedError


class _Handling(AbstractContextManager[None]):
    """One call of a handler. A class, since a generator costs twice as much."""

    __slots__ = ("_token", "_within", "handed", "transaction")

    def __init__(self, within: _Sharing, transaction: Any) -> None:
        self._within = within
        self.transaction = transaction

    def __enter__(self) -> None:
        within = self._within
        self.handed = within._begin(self.transaction)
        try:
            self.transaction.admit()
        except BaseException:
            within._end(self.handed)
            raise
        self._token = within._current.set(self)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        within = self._within
        try:
            within._current.reset(self._token)
            if error is None or isinstance(error, Ack):
                within._commit(self.transaction, self.handed)
        finally:
            within._end(self.handed)


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
        return handed(self._current, "connection").handed

    def close(self) -> None:
        """Close the connections. Call it when the worker has stopped."""
        self._connections.close()

    def around_each(self, call: HandlingState) -> AbstractContextManager[None]:
        """Around each call of a handler with `@handles(chunk=)`: a savepoint, and the mark.

        Args:
            call: the call of one message of a chunk.
        """
        handling = self._current.get()
        around: AbstractContextManager[None] = handling.transaction.one(call, handling.handed)
        return around

    def _begin(self, transaction: Transaction | BatchTransaction) -> DriverConnection:
        connection, _ = self._connections.take(transaction.begin)
        return connection

    def _end(self, handed: DriverConnection) -> None:
        try:
            # After a commit there is nothing to roll back.
            self._connections.use(handed, _roll_back)
        except Exception:  # noqa: BLE001 - the connection is gone, and the transaction with it
            return
        self._connections.give(handed)

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        def committed(connection: DriverConnection) -> _T:
            result = work(connection)
            connection.commit()
            return result

        return self._connections.run(committed)


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
        return handed(self._current, "session").handed

    @contextmanager
    def around_each(self, call: HandlingState) -> Iterator[None]:
        """Around each call of a handler with `@handles(chunk=)`: a savepoint, and the mark.

        Args:
            call: the call of one message of a chunk.
        """
        handling = self._current.get()
        acknowledged: Ack | None = None
        with handling.transaction.one(call, _raw(handling.handed)):
            with handling.handed.begin_nested():  # so that the session forgets what is undone
                try:
                    yield
                except Ack as ack:
                    acknowledged = ack
            if acknowledged is not None:
                raise acknowledged

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        with self._sessions() as session:
            result = work(_raw(session))
            session.commit()
        return result

    def _begin(self, transaction: Transaction | BatchTransaction) -> Any:
        session = self._sessions()
        try:
            transaction.begin(_raw(session))
        except BaseException:
            session.close()
            raise
        return session

    def _commit(self, transaction: Transaction | BatchTransaction, handed: Any) -> None:
        # Looked up again: after a commit by the handler the session has another connection, which
        # shows.
        connection = _raw(handed)
        transaction.mark(connection)
        try:
            handed.commit()
        except BaseException:
            # SQLAlchemy takes the transaction for ended. It is not where SQLite refused the commit,
            # and would be the next one's, with this one's mark in it.
            with suppress(Exception):
                connection.rollback()
            raise

    def _end(self, handed: Any) -> None:
        handed.close()


def _roll_back(connection: DriverConnection) -> None:
    connection.rollback()


def _raw(session: Any) -> DriverConnection:
    """The driver's own connection, in the session's transaction."""
    return session.connection().connection.dbapi_connection
