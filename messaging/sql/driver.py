"""Connections: whose they are, and how a statement is run on each.

Statements are written once, with `:name` for a parameter. `sqlite3` takes them so, SQLAlchemy
does, and for psycopg they are written over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from messaging.errors import ConfigurationError, TransportError
from messaging.sql.dialect import Dialect, pyformat

if TYPE_CHECKING:
    import sqlite3

    import psycopg
    import sqlalchemy
    import sqlalchemy.orm

    Connection: TypeAlias = (
        sqlite3.Connection
        | psycopg.Connection[Any]
        | sqlalchemy.Connection
        | sqlalchemy.orm.Session
        | sqlalchemy.orm.scoped_session[Any]
    )
else:
    Connection = Any

__all__ = [
    "Connection",
    "Kind",
    "Rows",
    "dialect_of",
    "execute",
    "kind_of",
    "must_be_in_transaction",
]

Kind = Literal["sqlite3", "psycopg", "sqlalchemy"]
Rows: TypeAlias = Sequence[Mapping[str, object]]


def kind_of(connection: object) -> Kind:
    """Whose connection it is. Raises `ConfigurationError` for one that is not known."""
    names = [f"{one.__module__}.{one.__qualname__}" for one in type(connection).__mro__]
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    if any(one.startswith(("sqlalchemy.ext.asyncio", "psycopg.AsyncConn")) for one in names) or (
        "psycopg.connection_async.AsyncConnection" in names
    ):
        raise ConfigurationError(
            f"{name} is asynchronous, and an outbox writes as it is called: give it the session of "
            "`await session.run_sync(lambda session: ...)`, or a connection that is not"
        )
    for one in names:
        if one == "sqlite3.Connection":
            return "sqlite3"
        if one.startswith("psycopg.") and one.endswith(".Connection"):
            return "psycopg"
        if one.startswith("sqlalchemy.") and one.endswith(
            (".Connection", ".Session", ".scoped_session")
        ):
            return "sqlalchemy"
    raise ConfigurationError(
        f"{name}: no connection that the outbox knows; give one of sqlite3 or psycopg 3, or a "
        "session or a connection of SQLAlchemy"
    )


def dialect_of(connection: Any) -> Dialect:
    """Which database is behind it. Raises `ConfigurationError` for one that is not known."""
    kind = kind_of(connection)
    if kind != "sqlalchemy":
        return "sqlite" if kind == "sqlite3" else "postgresql"
    name = str(_of_session(connection).dialect.name)
    if name == "sqlite":
        return "sqlite"
    if name == "postgresql":
        return "postgresql"
    raise ConfigurationError(f"SQLAlchemy is connected to {name!r}: PostgreSQL or SQLite is needed")


def execute(connection: Any, statement: str, rows: Rows = ()) -> None:
    """Run `statement` in the caller's transaction, once for each of `rows` (none: once)."""
    kind = kind_of(connection)
    if kind == "sqlalchemy":
        from sqlalchemy import text

        _of_session(connection).execute(text(statement), [dict(row) for row in rows] or None)
        return
    cursor = connection.cursor()
    try:
        if not rows:
            cursor.execute(statement)
        else:
            cursor.executemany(pyformat(statement) if kind == "psycopg" else statement, rows)
    finally:
        cursor.close()


def must_be_in_transaction(connection: Any) -> None:
    """Raise `TransportError` where every statement would be a transaction of its own."""
    if kind_of(connection) == "sqlalchemy":
        connection = _of_session(connection).connection.dbapi_connection
    name = type(connection).__module__.partition(".")[0]
    if name == "sqlite3":
        alone = not connection.in_transaction and (
            getattr(connection, "autocommit", None) is True  # Python 3.12
            or (getattr(connection, "autocommit", -1) == -1 and connection.isolation_level is None)
        )
    elif name == "psycopg":
        alone = connection.autocommit and connection.info.transaction_status.name == "IDLE"
    else:
        alone = getattr(connection, "autocommit", False) is True
    if alone:
        raise TransportError(
            "the connection is in autocommit, and no transaction is open: what is published would "
            "be sent whatever becomes of your own change; open a transaction around both",
            code="NoTransaction",
            retryable=False,
        )


def _of_session(connection: Any) -> Any:
    import sqlalchemy

    if isinstance(connection, sqlalchemy.Connection):
        return connection
    return connection.connection()
