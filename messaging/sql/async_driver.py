"""Runs statements on asynchronous connections to PostgreSQL: psycopg 3, asyncpg and SQLAlchemy.

Written as for `messaging.sql.driver`, with `:name` for a parameter. Nothing here blocks the event
loop: what SQLAlchemy runs in its own way, `run_sync`, waits as it does itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from messaging.errors import ConfigurationError, TransportError
from messaging.sql import driver
from messaging.sql.dialect import pyformat

__all__ = [
    "AsyncConnection",
    "AsyncKind",
    "async_kind_of",
    "change_many",
    "in_callers_transaction",
    "must_be_postgresql",
    "read",
]

AsyncKind = Literal["psycopg", "asyncpg", "sqlalchemy"]

AsyncConnection: TypeAlias = Any
"""Of psycopg 3 or asyncpg, or SQLAlchemy's `AsyncSession` or `AsyncConnection`. `Any`, because all
are optional and asyncpg has no types."""

_STARTS: Mapping[str, AsyncKind] = {
    "psycopg.connection_async.AsyncConnection": "psycopg",
    "psycopg.AsyncConnection": "psycopg",
    "asyncpg.connection.Connection": "asyncpg",
    "asyncpg.pool.PoolConnectionProxy": "asyncpg",
    "sqlalchemy.ext.asyncio.session.AsyncSession": "sqlalchemy",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": "sqlalchemy",
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": "sqlalchemy",
}


def async_kind_of(connection: object) -> AsyncKind:
    """Whose connection it is. Raises `ConfigurationError` for an unknown one."""
    names = [f"{one.__module__}.{one.__qualname__}" for one in type(connection).__mro__]
    for name in names:
        if name in _STARTS:
            return _STARTS[name]
    raise ConfigurationError(
        f"{names[0]}: an unknown kind of asynchronous connection; give one of psycopg 3 or "
        "asyncpg, or an AsyncSession or AsyncConnection of SQLAlchemy"
    )


async def read(
    connection: AsyncConnection, statement: str, values: Mapping[str, object]
) -> Sequence[Sequence[Any]]:
    """The rows of a query, in the caller's transaction."""
    kind = async_kind_of(connection)
    if kind == "asyncpg":
        text, names = _numbered(statement)
        rows: Sequence[Sequence[Any]] = await connection.fetch(text, *(values[n] for n in names))
        return rows
    if kind == "sqlalchemy":
        found: Sequence[Sequence[Any]] = await connection.run_sync(
            lambda sync: driver.execute(sync, statement, values).fetchall()
        )
        return found
    async with driver.cursor("psycopg", connection) as cursor:
        await cursor.execute(pyformat(statement), values)
        result: Sequence[Sequence[Any]] = await cursor.fetchall()
        return result


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
    """Raise `TransportError` where every statement would be a transaction of its own."""
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
        raise TransportError(
            "no transaction is open: what is published would be sent whatever becomes of your own "
            "change; open one around both: async with connection.transaction()",
            code="NoTransaction",
            retryable=False,
        )


async def must_be_postgresql(connection: AsyncConnection, where: str) -> None:
    """Raise `ConfigurationError` if SQLAlchemy is connected to another database."""
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
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"(?<![:\w]):(\w+)", number, statement), tuple(names)
