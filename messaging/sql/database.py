"""The relay's own connection: short transactions, and a new one when it broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.sql.dialect import Dialect, pyformat
from messaging.sql.driver import Kind, kind_of
from messaging.sql.opening import (
    SILENCE_SECONDS,
    is_database_error,
    open_sqlite,
    postgres,
    unanswered,
)

__all__ = ["Cursor", "Database", "connector"]


class Cursor(Protocol):
    """What is done within one transaction. Parameters are written `:name`."""

    def read(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """The rows of a query."""
        ...

    def change(self, statement: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Run it once for each of `rows`; how many rows of the table it changed."""
        ...


class Database:
    """One connection, made by `connect` when it is first needed and again when it was closed.

    `connect` gives a connection of `sqlite3` or psycopg 3 that is nobody else's: its transactions
    are begun and committed here.
    """

    def __init__(self, connect: Callable[[], Any], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._connect = connect
        self._clock = clock
        self._open: tuple[Kind, Any] | None = None

    @property
    def dialect(self) -> Dialect:
        """Which database answers."""
        return "sqlite" if self._opened()[0] == "sqlite3" else "postgresql"

    def now(self) -> float:
        """Seconds since the epoch: by PostgreSQL's clock, which all relays share, where it is."""
        kind, connection = self._opened()
        if kind == "sqlite3":
            return self._clock.now()
        return float(
            connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()[0]
        )

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Cursor]:
        """One transaction: committed at the end of the block, rolled back if it raises.

        On SQLite nobody else writes during one that `writes`.
        """
        kind, connection = self._opened()
        cursor = connection.cursor()
        try:
            if kind == "psycopg":
                with connection.transaction():
                    yield _Cursor(cursor, kind)
                return
            cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            # By statements, too: commit() and rollback() do nothing on a connection of Python 3.12
            # that is in autocommit, as `_take_over` has it.
            try:
                yield _Cursor(cursor, kind)
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back where its disk is full
                    cursor.execute("ROLLBACK")
                raise
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the connection, if there is one; the next transaction makes another."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()

    def _opened(self) -> tuple[Kind, Any]:
        if self._open is None:
            connection = self._connected()
            kind = kind_of(connection)
            if kind == "sqlalchemy":
                raise ConfigurationError(
                    "a relay needs a connection of its own, of sqlite3 or psycopg 3: "
                    "lambda: psycopg.connect(url)"
                )
            _take_over(kind, connection)
            self._open = (kind, connection)
        return self._open

    def _connected(self) -> Any:
        try:
            return self._connect()
        except Exception as error:
            if not is_database_error(error):
                raise
            raise unanswered("cannot connect to the database", error) from None


class _Cursor:
    def __init__(self, cursor: Any, kind: Kind) -> None:
        self._cursor = cursor
        self._pyformat = kind == "psycopg"

    def read(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        self._cursor.execute(self._written(statement), values)
        rows: Sequence[Sequence[Any]] = self._cursor.fetchall()
        return rows

    def change(self, statement: str, rows: Sequence[Mapping[str, object]]) -> int:
        if not rows:
            return 0
        self._cursor.executemany(self._written(statement), rows)
        return max(0, int(self._cursor.rowcount))

    def _written(self, statement: str) -> str:
        return pyformat(statement) if self._pyformat else statement


def connector(url: str, *, timeout: float = SILENCE_SECONDS) -> Callable[[], Any]:
    """What makes a connection to `url`, for `Relay`.

    "sqlite:///alunos.db" ("sqlite:////var/..." is absolute), "postgresql://user@host/name", or what
    libpq takes ("host=... dbname=..."). PostgreSQL has `timeout` seconds to answer a statement,
    and 10 (or the URL's connect_timeout) to let us in; SQLite is opened as `open_sqlite` does.
    Raises `ConfigurationError`, which does not quote the URL: it may hold a password; and
    `MissingExtra` where psycopg is not installed.
    """
    if url.startswith("sqlite:///"):
        # A name that is written wrongly is an error, not one more empty database.
        return partial(open_sqlite, url.removeprefix("sqlite:///"), create=False)
    libpq = url.replace("postgresql+psycopg://", "postgresql://", 1)
    if not libpq.startswith(("postgresql://", "postgres://")) and "=" not in libpq.split("://")[0]:
        raise ConfigurationError(
            "which database? Write postgresql://user@host/name, or sqlite:///file.db"
        )
    return postgres(libpq, timeout=timeout, application="messaging outbox")


def _take_over(kind: Kind, connection: Any) -> None:
    if kind == "psycopg":
        from psycopg import IsolationLevel
        from psycopg.rows import tuple_row

        connection.autocommit = True  # transactions are opened by `transaction()` only
        # SKIP LOCKED looks at rows anew once it has them only where statements have own snapshots.
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.row_factory = tuple_row
    else:
        if hasattr(connection, "autocommit"):  # Python 3.12
            connection.autocommit = True
        connection.row_factory = None
