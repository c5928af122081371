"""Opens connections to SQLite and PostgreSQL, with time limits, and recognizes driver errors."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError, MissingExtra, TransportError
from messaging.sql import mysql_errors

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "BUSY_SECONDS",
    "SILENCE_SECONDS",
    "database_errors",
    "is_database_error",
    "memory_sqlite",
    "open_sqlite",
    "postgres",
    "unanswered",
]

BUSY_SECONDS = 30.0
"""Seconds for which a writer on SQLite waits for another one."""
CONNECT_SECONDS = 10
"""Seconds that a server may take to accept a connection, if its URL has no connect_timeout."""
SILENCE_SECONDS = 30.0
"""Seconds to wait for the answer to a statement."""

_LOOK_AGAIN = 0.02


def open_sqlite(
    path: str | Path, *, timeout: float = BUSY_SECONDS, create: bool = True
) -> sqlite3.Connection:
    """Open a connection for many threads and processes, with a write-ahead log and waiting writers.

    `timeout` is the maximum number of seconds that they wait. A missing file is created, readable
    only by its owner, like its -wal and -shm files; with `create` False, it is an error. An
    existing file keeps its mode. No commit is lost when a process dies; a power failure may lose
    the last ones (`PRAGMA synchronous = FULL` prevents that).

    Args:
        path: the file.
        timeout: seconds that a writer waits for another.
        create: whether a missing file is created.

    Example:
        ```python
        from messaging.sql import open_sqlite

        connection = open_sqlite("escola.db")
        connection.close()
        ```
    """
    import sqlite3

    if create and str(path) not in ("", ":memory:"):
        _make_private(path)
    where = str(path) if create else f"file:{quote(str(path))}?mode=rw"
    connection = sqlite3.connect(
        where, uri=not create, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        _write_ahead(connection, timeout)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def memory_sqlite(name: str) -> sqlite3.Connection:
    """Open a connection to an in-memory database that all connections of this `name` share. It
    exists until the last of them is closed, and nothing waits: a locked table is an immediate
    error.

    Args:
        name: any text: connections with the same name share one database.

    Example:
        ```python
        from messaging.sql.opening import memory_sqlite

        connection = memory_sqlite("test")
        connection.close()
        ```
    """
    import sqlite3

    where = f"file:{quote(name)}?mode=memory&cache=shared"
    return sqlite3.connect(where, uri=True, timeout=0, isolation_level=None)


def _write_ahead(connection: sqlite3.Connection, timeout: float) -> None:
    # While a file with another journal mode is being written, SQLite does not wait on its own.
    import sqlite3

    end = SYSTEM_CLOCK.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or SYSTEM_CLOCK.monotonic() >= end:
                raise
            SYSTEM_CLOCK.sleep(_LOOK_AGAIN)
        else:
            return


def _make_private(path: str | Path) -> None:
    """Create the file before SQLite would create it with the umask's mode; -wal and -shm get the
    same mode.

    An existing file is not opened: closing a file drops every lock that this process holds on it,
    including those of SQLite in another thread. https://sqlite.org/howtocorrupt.html
    """
    real = os.path.realpath(path)  # the target of a dangling link
    try:
        os.mknod(real, 0o600)
    except FileExistsError:
        pass
    except (
        AttributeError,
        OSError,
    ):  # not Linux; or SQLite will report what is wrong with the path
        with suppress(OSError):
            os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def postgres(
    conninfo: str, *, timeout: float = SILENCE_SECONDS, application: str | None = None
) -> Callable[[], Any]:
    """Return a function that opens psycopg 3 connections to `conninfo` (a URL, or "host=...
    dbname=...").

    They raise `OperationalError` if the server takes more than `timeout` seconds for a statement,
    even if packets are lost: a server that accepts and then stays silent blocks nothing. Connecting
    itself may take 10 seconds, or the conninfo's `connect_timeout`.

    Args:
        conninfo: a URL, or "host=... dbname=...".
        timeout: seconds that connecting and each statement may take.
        application: the name that the server shows for the connection.

    Raises:
        ConfigurationError: if `timeout` is not above 0, or the conninfo is invalid; the error does
            not quote it, because it may contain a password.
        MissingExtra: if psycopg is not installed.

    Example:
        ```python
        from messaging.sql.opening import postgres

        connection = postgres(postgres_url, timeout=5)()
        connection.close()
        ```
    """
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise MissingExtra("PostgreSQL needs psycopg", "postgres") from error
    if timeout <= 0:
        raise ConfigurationError(f"timeout={timeout!r}: more than 0 seconds")
    try:
        known = conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise ConfigurationError(
            "the database's URL cannot be read: write postgresql://user@host/name; in a password "
            'write "%40" for "@", "%2F" for "/", "%3A" for ":", "%23" for "#" (it is not shown)'
        ) from None

    class Limited(psycopg.Connection[Any]):
        def wait(self, gen: Any, *more: Any, **named: Any) -> Any:
            try:
                return super().wait(_limited(gen, timeout), *more, **named)
            except _Silent:
                # A late answer would be mistaken for the answer to the next statement.
                self.close()
                raise psycopg.OperationalError(f"no answer within {timeout:g} seconds") from None

    defaults: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "application_name": application}
    more = {name: one for name, one in defaults.items() if one is not None and name not in known}
    return lambda: Limited.connect(conninfo, **more)


class _Silent(Exception):
    """The server did not answer for too long."""


def _limited(gen: Any, timeout: float) -> Generator[Any, Any, Any]:
    # While it waits, psycopg resumes the generator ten times a second without data.
    end = SYSTEM_CLOCK.monotonic() + timeout
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and SYSTEM_CLOCK.monotonic() > end:
                gen.close()
                raise _Silent
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value


def database_errors() -> tuple[type[Exception], ...]:
    """The drivers' base errors, for `except`: each has a class `Error` (PEP 249)."""
    loaded = (sys.modules.get(name) for name in ("sqlite3", "psycopg", "pymysql"))
    return tuple(driver.Error for driver in loaded if driver is not None)


def is_database_error(error: BaseException) -> bool:
    """Whether it is a driver's error.

    Args:
        error: the exception.
    """
    return isinstance(error, database_errors())


def unanswered(doing: str, error: Exception) -> TransportError:
    """Translate a driver's `error` for the caller; `doing` reads "cannot connect to the database".

    Args:
        doing: what failed: "cannot connect to the database".
        error: the driver's error.
    """
    name = type(error).__name__
    said = _told(error)
    return TransportError(f"{doing} ({name}{said and ': '}{said})", code=name)


_HARMLESS = re.compile(r"connection failed: connection to|connection to server|no answer within")


def _told(error: Exception) -> str:
    """The safe part of the driver's text. For a malformed URL it quotes parts, as a host, a port or
    a name, which may be parts of the password."""
    text = " ".join(str(error).split())
    if type(error).__module__ == "sqlite3":
        return text
    if type(error).__module__.startswith("pymysql."):
        return mysql_errors.told(error)
    if text.startswith("failed to resolve host"):
        return "the host's name cannot be resolved"
    if "timeout expired" in text:
        return "no answer in time"
    return text if _HARMLESS.match(text) else ""
