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
        # After a commit both exist, and a relay sends the event. After a rollback neither does.

    Both are cheap: create one for each transaction.

    Args:
        connection: of `sqlite3`, psycopg 3 or PyMySQL, or a session or a connection of SQLAlchemy.
            It is used in the publishing thread, and never committed or closed here.
        table: the outbox's table; `create()` and `ddl()` create it.
        max_bytes: maximum message size: the relay's topic must accept as much.
        notify: on PostgreSQL, wake the relays with the commit (NOTIFY). Use False with two-phase
            transactions, which do not allow NOTIFY, or with very many concurrent commits, which it
            serializes: relays then find entries at their next check.

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
    """Read by `Publisher`: a transaction belongs to one thread, and its writes are ordered."""

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
        """Maximum bytes of a message."""
        self._closed = False

    def __repr__(self) -> str:
        return f"SqlOutbox(table={self._table!r})"

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Write `batch`: all of it or nothing, so no single entry is refused.

        See `TopicTransport.publish`.

        Raises:
            TransportError: if no transaction is or will be open, after `close`, for more than 10
                messages, or if the database refused: the state of your transaction then depends on
                the database (PostgreSQL only accepts a rollback).
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
        """Refuse further use. Your connection stays open."""
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
    """Translate a driver's `error` for the publisher.

    Raise it from None: a driver's text may quote the row, and SQLAlchemy's quotes all of it.

    Args:
        table: the table's name, optionally with its schema ("schema.table").
        error: the driver's error.
    """
    name, state = type(error).__name__, _state(error)
    return TransportError(
        f"the outbox {table} could not be written: {name}{f' ({state})' if state else ''}; is the "
        "table there, and your transaction in order?",
        code=name,
        retryable=False,
    )


def _state(error: Exception) -> object:
    """The database's code for `error`, even if SQLAlchemy has wrapped it."""
    error = getattr(error, "orig", None) or error
    names = (getattr(error, name, None) for name in ("sqlstate", "sqlite_errorname"))
    return error_number(error) or next(filter(None, names), None)


def create(connection: Connection, *, table: str = TABLE) -> None:
    """Create the table and its indexes if they are missing. Commit it yourself, except on MySQL,
    where it ends any open transaction.

    For tests and first steps; a migration uses the text of `ddl()`.

    Args:
        connection: the caller's connection.
        table: the table's name, optionally with its schema ("schema.table").

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
