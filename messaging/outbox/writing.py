"""The producer's side of the outbox: writes messages into your database, in your transaction."""

from __future__ import annotations

from collections.abc import Sequence

from messaging.errors import TransportError
from messaging.outbox.rows import insert_into, to_columns
from messaging.outbox.table import TABLE, ddl
from messaging.sql.driver import (
    Connection,
    dialect_of,
    execute,
    execute_many,
    kind_of,
    must_be_in_transaction,
)
from messaging.sql.mysql_errors import error_number
from messaging.transport import BATCH_ENTRIES, Failure, Outgoing

__all__ = ["SqlOutbox", "create", "refused"]


class SqlOutbox:
    """A `TopicTransport` that writes into a table of your database, in your own transaction.

        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO alunos ...")
            Publisher(SqlOutbox(connection), source="/cadastro").publish(event)
        # After a commit both are there, and a relay sends the event. After a rollback neither is.

    Both are cheap: make one for each transaction.

    Args:
        connection: of `sqlite3`, psycopg 3 or PyMySQL, or a session or a connection of SQLAlchemy.
            It is used in the thread that publishes, is never committed and never closed here.
        table: where to; `create()` and `ddl()` make it.
        max_bytes: what the topic takes for one message: the relay's topic must take as much.
        notify: on PostgreSQL, wake the relays with the commit (NOTIFY). False where transactions
            are prepared for two phases, which NOTIFY forbids, or where very many commit at once,
            which it has wait for each other: then relays find entries when they look.

    Example:
        ```python
        import sqlite3

        from messaging.outbox import SqlOutbox, create

        connection = sqlite3.connect("escola.db")
        create(connection)
        with connection:  # your rows and the event: both, or neither
            connection.execute("CREATE TABLE IF NOT EXISTS alunos (nome text)")
            Publisher(SqlOutbox(connection), source="/cadastro").publish(ana)
        connection.close()
        ```
    """

    in_callers_thread = True
    """Read by `Publisher`: a transaction belongs to one thread, and its writes have an order."""

    def __init__(
        self,
        connection: Connection,
        *,
        table: str = TABLE,
        max_bytes: int = 262_144,
        notify: bool = True,
    ) -> None:
        kind_of(connection)
        self._connection = connection
        self._insert = insert_into(table, wakes=False)
        self._waking = insert_into(table, wakes=True) if notify else self._insert
        self._table = table
        self.max_bytes = max_bytes
        """Bytes that one message may have."""
        self._closed = False

    def __repr__(self) -> str:
        return f"SqlOutbox(table={self._table!r})"

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Write `batch`. Nothing is refused one by one: all of it is written, or none.

        See `TopicTransport.publish`.

        Raises:
            TransportError: where no transaction is open and none would be, after `close`, for more
                than 10 messages, and when the database refused: then your transaction is what your
                database makes of a failed statement (PostgreSQL takes nothing but a rollback).
        """
        self._check(batch)
        if not batch:
            return ()
        try:
            must_be_in_transaction(self._connection)
            wakes = dialect_of(self._connection) == "postgresql"
            insert = self._waking if wakes else self._insert
            execute_many(self._connection, insert, to_columns(batch))
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers have no error in common, and none hides
            raise refused(self._table, error) from None
        return ()

    def close(self) -> None:
        """Refuse further use. The connection is yours, and stays open."""
        self._closed = True

    def _check(self, batch: Sequence[Outgoing]) -> None:
        if self._closed:
            raise TransportError(
                "this outbox was closed; make another for the next transaction",
                code="Closed",
                retryable=False,
            )
        if len(batch) > BATCH_ENTRIES:
            raise TransportError(
                f"{len(batch)} entries in one batch for {self._table}: at most {BATCH_ENTRIES}",
                code="TooManyEntriesInBatchRequest",
                retryable=False,
            )


def refused(table: str, error: Exception) -> TransportError:
    """What a driver's `error` is to whoever publishes.

    To be raised from None: a driver's text may quote the row, and SQLAlchemy's quotes it all.

    Args:
        table: the table's name, with its schema and a dot before it where it has one.
        error: what the driver raised.
    """
    name, state = type(error).__name__, _state(error)
    return TransportError(
        f"the outbox {table} could not be written: {name}{f' ({state})' if state else ''}; is the "
        "table there, and your transaction in order?",
        code=name,
        retryable=False,
    )


def _state(error: Exception) -> object:
    """What the database calls `error`, also where SQLAlchemy has wrapped it."""
    error = getattr(error, "orig", None) or error
    names = (getattr(error, name, None) for name in ("sqlstate", "sqlite_errorname"))
    return error_number(error) or next(filter(None, names), None)


def create(connection: Connection, *, table: str = TABLE) -> None:
    """Create the table and its indexes if they are missing. Commit it yourself, but for MySQL:
    there it ends whatever transaction is open.

    For tests and first steps; a migration takes the text of `ddl()`.

    Args:
        connection: a connection of the caller's.
        table: the table's name, with its schema and a dot before it where it has one.

    Example:
        ```python
        import sqlite3

        from messaging.outbox import create

        connection = sqlite3.connect("escola.db")
        create(connection)
        connection.commit()
        connection.close()
        ```
    """
    for statement in ddl(dialect_of(connection), table).split(";"):
        if statement.strip():
            execute(connection, statement)
