"""A pool of connections, each used by one caller at a time, and the stores that use it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from messaging.errors import ConfigurationError
from messaging.sql.dialect import table_name
from messaging.sql.driver import DriverConnection, driver_of, must_keep_what_is_written
from messaging.sql.opening import database_errors, unanswered
from messaging.sql.opening_mysql import short_transactions

__all__ = ["Connections", "TableStore", "autocommitting"]

_T = TypeVar("_T")


class Connections:
    """As many connections as are in use at once, made when needed. May be used from any thread.

    A forked child makes its own.
    """

    def __init__(self, connect: Callable[[], DriverConnection]) -> None:
        self._connect = connect
        self._idle: deque[DriverConnection] = deque()  # its ends may be used from any thread
        self._inherited: list[DriverConnection] = []
        self._pid = os.getpid()

    def take(self, begin: Callable[[DriverConnection], _T]) -> tuple[DriverConnection, _T]:
        """A connection on which `begin` succeeded, and what it returned.

        One that lay idle may have died meanwhile: then it is tried again on a new one. Give it
        back with `give` or `drop`.
        """
        if self._pid != os.getpid():
            # They belong to the parent. Closing them here would end the parent's sessions.
            self._inherited, self._idle = list(self._idle), deque()
            self._pid = os.getpid()
        try:
            connection = self._idle.pop()
            return connection, self.use(connection, begin)
        except Exception:  # noqa: BLE001, S110 - there is none, or a new one tells whose fault it was
            pass
        connection = self._connect()
        return connection, self.use(connection, begin)

    def use(self, connection: DriverConnection, work: Callable[[DriverConnection], _T]) -> _T:
        """What `work` returns; the connection is dropped if it raises."""
        try:
            return work(connection)
        except BaseException:
            self.drop(connection)
            raise

    def give(self, connection: DriverConnection) -> None:
        """Put it back for the next caller."""
        self._idle.append(connection)

    def drop(self, connection: DriverConnection) -> None:
        """Close it, because its state is unknown."""
        with suppress(Exception):
            connection.close()

    def run(self, work: Callable[[DriverConnection], _T]) -> _T:
        """What `work` returns. It may run twice, the second time on a new connection."""
        connection, result = self.take(work)
        self.give(connection)
        return result

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self.drop(self._idle.pop())


def autocommitting(connect: Callable[[], Any], who: str) -> Callable[[], Any]:
    """What makes connections, as `connect` does, on which each statement is a transaction of its
    own unless one is begun. `who` uses them, for the error about one of SQLAlchemy."""

    def made() -> DriverConnection:
        connection = connect()
        driver = driver_of(connection, who)
        if driver == "pymysql":
            must_keep_what_is_written(connection)
            short_transactions(connection)
        elif driver == "psycopg":
            from psycopg import IsolationLevel

            connection.autocommit = True
            # SKIP LOCKED rechecks the rows it has locked only if each statement has a snapshot of
            # its own.
            connection.isolation_level = IsolationLevel.READ_COMMITTED
        elif hasattr(connection, "autocommit"):  # Python 3.12
            connection.autocommit = True
        return connection

    return made


class TableStore:
    """A store in one table, which holds what `holds` says. May be used from any thread."""

    holds = "marks"

    def __init__(self, connect: Callable[[], DriverConnection], table: str) -> None:
        self._table = table_name(table)
        self._connections = Connections(autocommitting(connect, type(self).__name__))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(table={self._table!r})"

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        try:
            return self._connections.run(work)
        except database_errors() as error:
            doing = f"cannot use the table {self._table} of {self.holds}"
            remedy = self._remedy(error)
            if remedy is not None:
                raise ConfigurationError(f"{doing}: {remedy}") from None
            raise unanswered(doing, error) from None

    def _remedy(self, error: Exception) -> str | None:
        """What is wrong with the table and what to do, if `error` says that something is."""
        raise NotImplementedError
