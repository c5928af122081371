"""The relay's own connection: runs short transactions, and reconnects after a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.readiness import readable
from messaging.sql.dialect import Dialect
from messaging.sql.driver import (
    DriverConnection,
    dialect_of,
    execute,
    execute_many,
)
from messaging.sql.opening import (
    SILENCE_SECONDS,
    database_errors,
    open_sqlite,
    postgres,
    unanswered,
)
from messaging.sql.opening_mysql import is_mysql, mysql
from messaging.sql.pool import autocommitting

__all__ = ["Cursor", "Database", "connector"]

_NOW: Mapping[Dialect, str] = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    # Not UNIX_TIMESTAMP(NOW()): once a year, a time zone repeats an hour.
    "mysql": "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1e6",
}


_AS_LIST, _AS_PARAMETERS = 10_000, 500
"""Maximum keys per statement: if they are one parameter, and if each is one."""

_THERE: Mapping[Dialect, str] = {
    "sqlite": "SELECT max(name) FROM sqlite_master WHERE type = 'table' AND name = :t",
    "postgresql": "SELECT CAST(to_regclass(:t) AS text)",
    "mysql": "SELECT max(table_name) FROM information_schema.tables "
    "WHERE table_schema = coalesce(:schema, database()) AND table_name = :name",
}


class Cursor:
    """Runs statements within one transaction. Parameters are written `:name`.

    Args:
        connection: a connection in a transaction.

    Example:
        ```python
        from messaging.sql import open_sqlite
        from messaging.sql.database import Database

        database = Database(lambda: open_sqlite("escola.db"))
        with database.transaction() as cursor:
            cursor.change("CREATE TABLE aluno (id TEXT)", [{}])
            cursor.change("INSERT INTO aluno VALUES (:id)", [{"id": "1"}, {"id": "2"}])
            assert cursor.read("SELECT id FROM aluno WHERE id > :id", id="1") == [("2",)]
        database.close()
        ```
    """

    def __init__(self, connection: DriverConnection) -> None:
        self._connection = connection

    def read(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """The rows of a query.

        Args:
            statement: the query, with parameters as `:name`.
            **values: its parameters.
        """
        rows: Sequence[Sequence[Any]] = execute(self._connection, statement, values).fetchall()
        return rows

    def change(self, statement: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Run it once for each of `rows`; returns how many rows of the table it changed.

        Args:
            statement: the statement, with parameters as `:name`.
            rows: the parameters of each run.
        """
        return execute_many(self._connection, statement, rows)

    def read_set(
        self, statement: str, column: str, keys: Sequence[int], **values: object
    ) -> Sequence[Sequence[Any]]:
        """The rows of a query restricted, at `{these}`, to rows whose `column` is one of `keys`. At
        most `at_once` keys.

        Args:
            statement: the query, with `{these}` for the condition.
            column: the compared column.
            keys: the set of values.
            **values: further parameters.
        """
        these, named = self._these(column, keys)
        return self.read(statement.format(these=these), **values, **named)

    def change_set(self, statement: str, column: str, keys: Sequence[int], **values: object) -> int:
        """Run it for all rows whose `column` is one of `keys`, at `{these}`, in as few statements
        as possible; returns how many rows of the table it changed.

        Args:
            statement: the statement, with `{these}` for the condition.
            column: the compared column.
            keys: the set of values.
            **values: further parameters.
        """
        changed = 0
        for start in range(0, len(keys), self.at_once):
            these, named = self._these(column, keys[start : start + self.at_once])
            done = execute(self._connection, statement.format(these=these), {**values, **named})
            changed += max(0, int(done.rowcount))
        return changed

    @property
    def at_once(self) -> int:
        """Maximum keys per statement."""
        return _AS_LIST if self._takes_lists else _AS_PARAMETERS

    @property
    def _takes_lists(self) -> bool:
        return dialect_of(self._connection) == "postgresql"

    def _these(self, column: str, keys: Sequence[int]) -> tuple[str, dict[str, object]]:
        if self._takes_lists:
            return f"{column} = ANY(CAST(:keys AS bigint[]))", {"keys": list(keys)}
        named: dict[str, object] = {f"key{n}": key for n, key in enumerate(keys)}
        return f"{column} IN ({', '.join(':' + name for name in named)})", named


class Database:
    """One connection, opened by `connect` when it is first needed, and again after it was closed.

    `connect` returns a connection of `sqlite3`, psycopg 3 or PyMySQL for exclusive use: its
    transactions are started and committed here. On PostgreSQL it listens to `channel`, if given,
    for `heard`.

    Args:
        connect: opens a connection.
        clock: the source of time; a test may pass a `FakeClock`.
        channel: the PostgreSQL channel to listen to.

    Example:
        ```python
        from messaging.sql import open_sqlite
        from messaging.sql.database import Database

        database = Database(lambda: open_sqlite("escola.db"))
        assert not database.has_table("aluno")
        with database.transaction(writes=False) as cursor:
            assert cursor.read("SELECT 1 + 1") == [(2,)]
        database.close()
        ```
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        clock: Clock = SYSTEM_CLOCK,
        channel: str | None = None,
    ) -> None:
        self._connect = autocommitting(connect, "a relay")
        self._clock = clock
        self._channel = channel
        self._heard = False
        self._open: DriverConnection | None = None

    @property
    def dialect(self) -> Dialect:
        """The connected database."""
        return dialect_of(self._opened())

    def now(self) -> float:
        """Seconds since the epoch: by the server's clock, which all relays share, if there is a
        server."""
        connection = self._opened()
        question = _NOW.get(dialect_of(connection))
        if question is None:
            return self._clock.now()
        return float(execute(connection, question).fetchone()[0])

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Cursor]:
        """One transaction: committed at the end of the block, rolled back if it raises.

        On SQLite, nothing else can write during one that `writes`.

        Args:
            writes: False: it changes nothing, so SQLite takes no lock.
        """
        connection = self._opened()
        if dialect_of(connection) == "postgresql":
            with connection.transaction():
                yield Cursor(connection)
            return
        locks = writes and dialect_of(connection) == "sqlite"
        # With statements: commit() and rollback() do nothing on an autocommit connection of Python
        # 3.12.
        execute(connection, "BEGIN IMMEDIATE" if locks else "BEGIN")
        try:
            yield Cursor(connection)
            execute(connection, "COMMIT")
        except BaseException:
            with suppress(Exception):  # lost; or SQLite itself rolled back because its disk is full
                execute(connection, "ROLLBACK")
            raise

    @property
    def listens(self) -> bool:
        """Whether `heard` can work: connected to PostgreSQL, with a channel."""
        return self._open is not None and self._may_listen(self._open)

    def heard(self, seconds: float) -> bool:
        """Whether a notification has arrived since the last call, or arrives within `seconds`.

        Also True if the connection was lost: the next statement will fail.

        Args:
            seconds: how long to wait.
        """
        connection = self._open
        if connection is not None and not self._heard:
            try:
                if not self._take_notifications(connection):
                    readable([connection.fileno()], seconds)
                    self._take_notifications(connection)
            except database_errors():
                return True
        heard, self._heard = self._heard, False
        return heard

    def _take_notifications(self, connection: DriverConnection) -> bool:
        # Some may be in the driver's buffer, or in TLS's, where the socket does not show them.
        connection.pgconn.consume_input()
        while connection.pgconn.notifies():
            self._heard = True
        return self._heard

    def _may_listen(self, connection: DriverConnection) -> bool:
        return self._channel is not None and dialect_of(connection) == "postgresql"

    def _listen(self, connection: DriverConnection) -> None:
        def heard(notification: object) -> None:
            self._heard = True  # it arrived with the answer to a statement

        connection.add_notify_handler(heard)
        execute(connection, f'LISTEN "{self._channel}"')

    def has_table(self, table: str) -> bool:
        """Whether a table of this name exists; the name may include a schema.

        Args:
            table: the table's name, with its schema and a dot before it where it has one.
        """
        schema, _, name = table.rpartition(".")
        with self.transaction(writes=False) as cursor:
            [[found]] = cursor.read(_THERE[self.dialect], t=table, schema=schema or None, name=name)
        return found is not None

    def close(self) -> None:
        """Close the connection, if there is one; the next transaction opens another."""
        opened, self._open = self._open, None
        if opened is not None:
            with suppress(*database_errors()):  # a lost connection cannot be closed again
                opened.close()

    def _opened(self) -> DriverConnection:
        if self._open is None:
            try:
                connection = self._connect()
            except database_errors() as error:
                raise unanswered("cannot connect to the database", error) from None
            self._open = connection
            if self._may_listen(connection):
                self._listen(connection)
        return self._open


def connector(url: str, *, timeout: float = SILENCE_SECONDS) -> Callable[[], Any]:
    """Return a function that opens connections to `url`, for `Relay`.

    "sqlite:///alunos.db" ("sqlite:////var/..." is absolute), "postgresql://user@host/name", or a
    libpq string ("host=... dbname=..."); "mysql://user@host/name" or "mariadb://...". A server has
    `timeout` seconds to answer a statement, and 10 (or the URL's connect_timeout) to accept a
    connection; SQLite is opened with `open_sqlite`.

    Args:
        url: the database: "postgresql://...", "mysql://...", "sqlite:///file.db".
        timeout: seconds that connecting and each statement may take.

    Raises:
        ConfigurationError: if the URL is invalid; the error does not quote it, because it may
            contain a password.
        MissingExtra: if the driver is not installed.

    Example:
        ```python
        from pathlib import Path

        from messaging.outbox import connector

        Path("escola.db").touch()
        connection = connector("sqlite:///escola.db")()
        connection.close()
        ```
    """
    if url.startswith("sqlite:///"):
        # A misspelled name is an error, and does not create an empty database.
        return partial(open_sqlite, url.removeprefix("sqlite:///"), create=False)
    if is_mysql(url):
        return mysql(url, timeout=timeout)
    libpq = url.replace("postgresql+psycopg://", "postgresql://", 1)
    if not libpq.startswith(("postgresql://", "postgres://")) and "=" not in libpq.split("://")[0]:
        raise ConfigurationError(
            "which database? Write postgresql://user@host/name, mysql://user@host/name, or "
            "sqlite:///file.db"
        )
    return postgres(libpq, timeout=timeout, application="messaging outbox")
