"""A pool of connections, each used by one caller at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from messaging.sql.driver import DriverConnection

__all__ = ["Connections"]

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
        with suppress(IndexError):
            connection = self._idle.pop()
            try:
                return connection, begin(connection)
            except Exception:  # noqa: BLE001 - a new connection says whether it was the old one's
                self.drop(connection)
            except BaseException:
                self.drop(connection)
                raise
        connection = self._connect()
        try:
            return connection, begin(connection)
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
