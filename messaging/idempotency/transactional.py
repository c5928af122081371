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
    """The base of both kinds: a table of marks, whose dialect follows from the first connection."""

    def __init__(self, table: str, key: Callable[[HandlingState], str], clock: Clock) -> None:
        self._table = table
        self._key = key
        self._clock = clock
        self._marks: Marks | None = None
        self._current: ContextVar[_Handling] = ContextVar(type(self).__qualname__)

    def create(self) -> Self:
        """Create the table of marks if it is missing."""
        self._run(lambda connection: self._marks_of(connection).create(connection))
        return self

    def prune(self, older_than: float) -> int:
        """Forget marks older than `older_than` seconds, and return how many.

        SQS keeps a message for at most 14 days, and a dead-letter queue for as long again.

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
        """Run `work` in a transaction of its own, and return its result."""
        raise NotImplementedError

    def _begin(self, transaction: Transaction | BatchTransaction) -> Any:
        """Start it on the handler's connection or session."""
        raise NotImplementedError

    def _commit(self, transaction: Transaction | BatchTransaction, handed: Any) -> None:
        transaction.mark(handed)
        handed.commit()

    def _end(self, handed: Any) -> None:
        """Release the handler's connection or session; uncommitted changes are rolled back."""
        raise NotImplementedError


class _Handling(AbstractContextManager[None]):
    """One call of a handler. A class, because a generator costs twice as much."""

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
    """Middleware: a handler's writes and its mark are committed together.

    With `@handles(chunk=20)`, up to 20 messages share one commit, each with its own savepoint.

    Each call has a transaction. It is committed when the handler returns (or raises `Ack`), and
    rolled back if it raises anything else. So an event takes effect once, even if the process is
    killed: both effect and mark exist, or neither. Other effects (a mail, a request) are repeated
    if the transaction was not committed; publish from it through an outbox.

    A concurrent duplicate waits in SQLite and MySQL until the first has ended, and is retried later
    in PostgreSQL. Async handlers only work on PostgreSQL; their statements block the event loop
    while the database works.

    Args:
        connect: returns a connection of sqlite3, psycopg 3 or PyMySQL. As many are kept as are used
            concurrently, and any thread may use each: open SQLite with `check_same_thread=False`,
            or with `messaging.sql.open_sqlite`.
        table: the table of marks; create it with `create`, or with
            `messaging.idempotency.marks.ddl` in your own migration.
        key: the identity of an event: a function of the `Call`; by default `event_key`, its source
            and its id.
        clock: the source of time; a test may pass a `FakeClock`.

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
        """The current handler's connection, in its transaction. Do not commit or close it.

        Raises:
            ConfigurationError: if no handler runs.
        """
        return handed(self._current, "connection").handed

    def close(self) -> None:
        """Close the connections. Call it when the worker has stopped."""
        self._connections.close()

    def around_each(self, call: HandlingState) -> AbstractContextManager[None]:
        """Wraps each call of a handler with `@handles(chunk=)` in a savepoint, and marks the event.

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
        except Exception:  # noqa: BLE001 - the connection is lost, and the transaction with it
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
        sessions: returns a new `Session`, on SQLite, on PostgreSQL with psycopg 3, or on MySQL or
            MariaDB with PyMySQL. It is committed when the handler returns, and always closed.
        table: the table's name, optionally with its schema ("schema.table").
        key: the identity of an event: a function of the `Call`; by default `event_key`, its source
            and its id.
        clock: the source of time; a test may pass a `FakeClock`.

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
        """The current handler's session, in its transaction. Do not commit or close it.

        Raises:
            ConfigurationError: if no handler runs.
        """
        return handed(self._current, "session").handed

    @contextmanager
    def around_each(self, call: HandlingState) -> Iterator[None]:
        """Wraps each call of a handler with `@handles(chunk=)` in a savepoint, and marks the event.

        Args:
            call: the call of one message of a chunk.
        """
        handling = self._current.get()
        acknowledged: Ack | None = None
        with handling.transaction.one(call, _raw(handling.handed)):
            with handling.handed.begin_nested():  # so that the session forgets undone changes
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
        # Looked up again: after a commit by the handler, the session has another connection, which
        # reveals it.
        connection = _raw(handed)
        transaction.mark(connection)
        try:
            handed.commit()
        except BaseException:
            # SQLAlchemy considers the transaction ended. If SQLite refused the commit, it is not,
            # and would become the next one's, with this one's mark in it.
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
