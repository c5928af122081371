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
    """A pool with as many connections as are used concurrently, opened when needed. Thread-safe.

    A forked child opens its own.
    """

    def __init__(self, connect: Callable[[], DriverConnection]) -> None:
        self._connect = connect
        self._idle: deque[DriverConnection] = deque()  # both ends of a deque are thread-safe
        self._inherited: list[DriverConnection] = []
        self._pid = os.getpid()

    def take(self, begin: Callable[[DriverConnection], _T]) -> tuple[DriverConnection, _T]:
        """A connection on which `begin` succeeded, and its result.

        An idle connection may have died meanwhile: then a new one is tried. Return it with `give`
        or `drop`.
        """
        if self._pid != os.getpid():
            # They belong to the parent process. Closing them here would end its sessions.
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
        """Return the result of `work`; the connection is dropped if it raises."""
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
        """Return the result of `work`, which may run twice, the second time on a new connection."""
        connection, result = self.take(work)
        self.give(connection)
        return result

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self.drop(self._idle.pop())


def autocommitting(connect: Callable[[], Any], who: str) -> Callable[[], Any]:
    """A function that opens connections with `connect`, on which each statement is a transaction of
    its own unless one is started. `who` uses them, for the error about a SQLAlchemy connection."""

    def made() -> DriverConnection:
        connection = connect()
        driver = driver_of(connection, who)
        if driver == "pymysql":
            must_keep_what_is_written(connection)
            short_transactions(connection)
        elif driver == "psycopg":
            from psycopg import IsolationLevel

            connection.autocommit = True
            # SKIP LOCKED only rechecks the rows it has locked if each statement has its own
            # snapshot.
            connection.isolation_level = IsolationLevel.READ_COMMITTED
        elif hasattr(connection, "autocommit"):  # Python 3.12
            connection.autocommit = True
        return connection

    return made


class TableStore:
    """A store in one table, with the content described by `holds`. Thread-safe."""

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
        """A description of what is wrong with the table and the remedy, if `error` is about
        that."""
        raise NotImplementedError
