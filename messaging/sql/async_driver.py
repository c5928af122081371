"""Runs statements on asynchronous connections to PostgreSQL: psycopg 3, asyncpg and SQLAlchemy.

Statements are written as for `messaging.sql.driver`, with `:name` for a parameter. Nothing here
blocks the event loop: SQLAlchemy's `run_sync` waits in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from messaging.errors import ConfigurationError
from messaging.sql import driver
from messaging.sql.dialect import PARAMETER, pyformat
from messaging.sql.driver import AsyncKind

__all__ = [
    "AsyncConnection",
    "async_kind_of",
    "change_many",
    "in_callers_transaction",
    "must_be_postgresql",
    "read",
]

AsyncConnection: TypeAlias = Any
"""A connection of psycopg 3 or asyncpg, or SQLAlchemy's `AsyncSession` or `AsyncConnection`. `Any`,
because all are optional and asyncpg has no types."""


def async_kind_of(connection: object) -> AsyncKind:
    """The library of a connection. Raises `ConfigurationError` for an unknown one."""
    found = driver.first_of(type(connection), driver.ASYNC_KINDS)
    if found is not None:
        return found
    raise ConfigurationError(
        f"{type(connection).__module__}.{type(connection).__qualname__}: an unknown kind of "
        "asynchronous connection; give one of psycopg 3 or asyncpg, or an AsyncSession or "
        "AsyncConnection of SQLAlchemy"
    )


async def read(
    connection: AsyncConnection, statement: str, values: Mapping[str, object]
) -> Sequence[Sequence[Any]]:
    """The rows of a query, in the caller's transaction."""
    kind = async_kind_of(connection)
    rows: Sequence[Sequence[Any]]
    if kind == "asyncpg":
        text, names = _numbered(statement)
        rows = await connection.fetch(text, *(values[name] for name in names))
    elif kind == "sqlalchemy":
        rows = await connection.run_sync(
            lambda sync: driver.execute(sync, statement, values).fetchall()
        )
    else:
        async with driver.cursor("psycopg", connection) as cursor:
            await cursor.execute(pyformat(statement), values)
            rows = await cursor.fetchall()
    return rows


async def change_many(
    connection: AsyncConnection, statement: str, rows: Sequence[Mapping[str, object]]
) -> None:
    """Run the statement once for each of `rows`."""
    kind = async_kind_of(connection)
    if kind == "asyncpg":
        text, names = _numbered(statement)
        await connection.executemany(text, [[row[name] for name in names] for row in rows])
    elif kind == "sqlalchemy":
        await connection.run_sync(lambda sync: driver.execute_many(sync, statement, rows))
    else:
        async with driver.cursor("psycopg", connection) as cursor:
            await cursor.executemany(pyformat(statement), rows)


async def in_callers_transaction(connection: AsyncConnection) -> None:
    """Raise `TransportError` if every statement would be a transaction of its own."""
    kind = async_kind_of(connection)
    if kind == "sqlalchemy":
        await connection.run_sync(driver.must_be_in_transaction)
        return
    if kind == "asyncpg":
        alone = not connection.is_in_transaction()
    else:
        idle = connection.info.transaction_status.name == "IDLE"
        alone = connection.autocommit and idle
    if alone:
        raise driver.no_transaction()


async def must_be_postgresql(connection: AsyncConnection, where: str) -> None:
    """Raise `ConfigurationError` if SQLAlchemy is connected to an unsupported database."""
    if async_kind_of(connection) != "sqlalchemy":
        return
    dialect = await connection.run_sync(driver.dialect_of)
    if dialect != "postgresql":
        raise ConfigurationError(
            f"{where} needs PostgreSQL, and SQLAlchemy is connected to {dialect}: make the handler "
            "a plain method, with TransactionalSession"
        )


@lru_cache(maxsize=256)
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """`statement` with `$1` for its parameters, and their names in that order."""
    names = tuple(dict.fromkeys(PARAMETER.findall(statement)))
    return PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement), names
