"""Runs statements on connections of sqlite3, psycopg 3, PyMySQL and SQLAlchemy.

A statement is written once, with `:name` for a parameter and `"name"` for a column whose name is a
reserved word. sqlite3 takes it as it is; for the others it is rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from messaging.errors import ConfigurationError, TransportError
from messaging.sql.dialect import Dialect, backticks, pyformat

if TYPE_CHECKING:
    import sqlite3

    import psycopg
    import pymysql
    import sqlalchemy
    import sqlalchemy.orm

    Connection: TypeAlias = (
        sqlite3.Connection
        | psycopg.Connection[Any]
        | pymysql.Connection[Any]
        | sqlalchemy.Connection
        | sqlalchemy.orm.Session
        | sqlalchemy.orm.scoped_session[Any]
    )
else:
    Connection = Any

__all__ = [
    "ASYNC_KINDS",
    "AsyncKind",
    "Connection",
    "DriverConnection",
    "Kind",
    "create_on_postgresql",
    "cursor",
    "dialect_of",
    "driver_of",
    "execute",
    "execute_many",
    "first_of",
    "kind_of",
    "must_be_in_transaction",
    "must_keep_what_is_written",
    "no_transaction",
]

Driver = Literal["sqlite3", "psycopg", "pymysql"]
Kind = Literal["sqlite3", "psycopg", "pymysql", "sqlalchemy"]
AsyncKind = Literal["psycopg", "asyncpg", "sqlalchemy"]
_K = TypeVar("_K")

_DIALECTS: Mapping[str, Dialect] = {
    "sqlite3": "sqlite",
    "psycopg": "postgresql",
    "pymysql": "mysql",
    # SQLAlchemy's names for them
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}

_KINDS: Mapping[str, Kind] = {  # a class's package, and its name
    "sqlite3.Connection": "sqlite3",
    "psycopg.Connection": "psycopg",
    "pymysql.Connection": "pymysql",
    "sqlalchemy.Connection": "sqlalchemy",
    "sqlalchemy.Session": "sqlalchemy",
    "sqlalchemy.scoped_session": "sqlalchemy",
}
ASYNC_KINDS: Mapping[str, AsyncKind] = {
    "psycopg.AsyncConnection": "psycopg",
    "asyncpg.Connection": "asyncpg",
    "asyncpg.PoolConnectionProxy": "asyncpg",
    "sqlalchemy.AsyncSession": "sqlalchemy",
    "sqlalchemy.async_scoped_session": "sqlalchemy",
    "sqlalchemy.AsyncConnection": "sqlalchemy",
}

_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS
_LOOKED_AT = "_messaging_looked_at"
"""Set on a PyMySQL connection whose settings have been checked."""

DriverConnection: TypeAlias = Any
"""A connection of sqlite3, psycopg 3 or PyMySQL. `Any`, because two of them are optional."""


def kind_of(connection: object) -> Kind:
    """The library of a connection. Raises `ConfigurationError` for an unknown one."""
    kind: Any = type(connection)  # mypy confuses a class's `__hash__` with that of its instances
    return _kind_of_type(kind)


def driver_of(connection: object, where: str) -> Driver:
    """`kind_of` for uses where a SQLAlchemy session is not possible, as in `where` ("a relay")."""
    kind = kind_of(connection)
    if kind == "sqlalchemy":
        raise ConfigurationError(
            f"{where} needs a connection of its own, of sqlite3, psycopg 3 or PyMySQL: "
            "lambda: psycopg.connect(url)"
        )
    return kind


def dialect_of(connection: Any) -> Dialect:
    """The connected database. Raises `ConfigurationError` for an unknown one."""
    kind = kind_of(connection)
    name = kind if kind != "sqlalchemy" else str(_of_session(connection).dialect.name)
    if name in _DIALECTS:
        return _DIALECTS[name]
    raise ConfigurationError(
        f"SQLAlchemy is connected to {name!r}: PostgreSQL, MySQL, MariaDB or SQLite is needed"
    )


def execute(connection: Any, statement: str, values: Mapping[str, object] | None = None) -> Any:
    """Run `statement` in the caller's transaction; returns the cursor, whose rows are tuples."""
    kind = kind_of(connection)
    if kind == "sqlalchemy":
        return _by_sqlalchemy(connection, statement, dict(values or {}))
    if kind == "sqlite3" and connection.row_factory is None:
        return connection.execute(statement, values or ())
    made = cursor(kind, connection)
    made.execute(_written(kind, statement), values or {})
    return made


def execute_many(connection: Any, statement: str, rows: Sequence[Mapping[str, object]]) -> int:
    """Run `statement` once for each of `rows`; returns how many rows of the table it changed."""
    if not rows:
        return 0
    kind = kind_of(connection)
    if kind == "sqlalchemy":
        done = _by_sqlalchemy(connection, statement, [dict(row) for row in rows])
        return max(0, int(done.rowcount))
    with closing(cursor(kind, connection)) as made:
        made.executemany(_written(kind, statement), rows)
        return max(0, int(made.rowcount))


def create_on_postgresql(connection: DriverConnection, table: str, ddl: str) -> None:
    """Run the `ddl` of `table`, one process at a time: of two concurrent `CREATE TABLE IF NOT
    EXISTS`, one fails on the system tables."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(:table, 0))"
    # In the caller's transaction, which holds the lock, or with autocommit in one of its own.
    with connection.transaction() if connection.autocommit else nullcontext():
        execute(connection, lock, {"table": table})
        execute(connection, ddl)


def must_be_in_transaction(connection: Any) -> None:
    """Raise `TransportError` if every statement would be a transaction of its own, or if text may
    be truncated when it is written."""
    if kind_of(connection) == "sqlalchemy":
        connection = _of_session(connection).connection.dbapi_connection
    name = type(connection).__module__.partition(".")[0]
    if name == "sqlite3":
        autocommit = getattr(
            connection, "autocommit", -1
        )  # new in Python 3.12; -1 is the old behaviour
        alone = not connection.in_transaction and (
            autocommit is True or (autocommit == -1 and connection.isolation_level is None)
        )
    elif name == "psycopg":
        alone = connection.autocommit and connection.info.transaction_status.name == "IDLE"
    elif name == "pymysql":
        alone = connection.get_autocommit() and not connection.server_status & _IN_TRANSACTION
        must_keep_what_is_written(connection)
    else:
        alone = getattr(connection, "autocommit", False) is True
    if alone:
        raise no_transaction("the connection is in autocommit, and ")


def no_transaction(why: str = "") -> TransportError:
    """The error if every statement would be a transaction of its own."""
    return TransportError(
        f"{why}no transaction is open: what is published would be sent whatever becomes of your "
        "own change; open a transaction around both",
        code="NoTransaction",
        retryable=False,
    )


def must_keep_what_is_written(connection: Any) -> None:
    """Raise `TransportError` if MySQL would truncate text that does not fit."""
    if getattr(connection, _LOOKED_AT, False):
        return
    cursor = execute(connection, "SELECT @@SESSION.sql_mode, @@SESSION.character_set_client")
    mode, charset = cursor.fetchone()
    if "STRICT" not in mode or charset != "utf8mb4":
        raise TransportError(
            f"the connection's character set is {charset}"
            f"{'' if 'STRICT' in mode else ', and it is not in strict mode'}: a text could be "
            'stored with a part missing; connect with charset="utf8mb4" and '
            'sql_mode="TRADITIONAL"',
            code="NotStrict",
            retryable=False,
        )
    setattr(connection, _LOOKED_AT, True)


def _by_sqlalchemy(connection: Any, statement: str, values: Any) -> Any:
    from sqlalchemy import text

    connection = _of_session(connection)
    if _DIALECTS.get(connection.dialect.name) == "mysql":
        statement = backticks(statement)
    return connection.execute(text(statement), values)


def _of_session(connection: Any) -> Any:
    import sqlalchemy

    if isinstance(connection, sqlalchemy.Connection):
        return connection
    return connection.connection()


def first_of(type: type, kinds: Mapping[str, _K]) -> _K | None:
    """The entry of `kinds` for the class, or for one of its bases."""
    names = (f"{one.__module__.partition('.')[0]}.{one.__qualname__}" for one in type.__mro__)
    return next((kinds[name] for name in names if name in kinds), None)


@lru_cache(maxsize=64)
def _kind_of_type(type: type) -> Kind:
    said = f"{type.__module__}.{type.__qualname__}"
    if first_of(type, ASYNC_KINDS) is not None:
        raise ConfigurationError(
            f"{said} is asynchronous: use AsyncOutbox or AsyncTransactional, or give the "
            "session of `await session.run_sync(lambda session: ...)`"
        )
    kind = first_of(type, _KINDS)
    if kind is None:
        raise ConfigurationError(
            f"{said}: an unknown kind of connection; give one of sqlite3, psycopg 3 or "
            "PyMySQL, or a session or a connection of SQLAlchemy"
        )
    return kind


def cursor(kind: Kind, connection: Any) -> Any:
    """A cursor whose rows are tuples, whatever the connection's own row type is."""
    if kind == "sqlite3":
        made = connection.cursor()
        made.row_factory = None
        return made
    if kind == "pymysql":
        from pymysql.cursors import Cursor

        return connection.cursor(Cursor)
    from psycopg.rows import tuple_row

    return connection.cursor(row_factory=tuple_row)


def _written(kind: Kind, statement: str) -> str:
    if kind == "sqlite3":
        return statement
    return pyformat(backticks(statement) if kind == "pymysql" else statement)
