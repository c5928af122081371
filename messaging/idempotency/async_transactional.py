"""`Transactional` for async handlers, on PostgreSQL, without blocking the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any
from uuid import uuid4

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError, TransportError
from messaging.handling import HandlingState
from messaging.idempotency.marks import TABLE, Marks
from messaging.idempotency.middleware import event_key, later
from messaging.idempotency.transaction import BEGIN, ended, handed, known
from messaging.outcome import Ack
from messaging.sql.async_driver import async_kind_of, must_be_postgresql, read

__all__ = ["AsyncTransactional"]

_WAIT = 10.0


class AsyncTransactional:
    """Middleware for async handlers: their effect and its mark are committed together.

    Each call has a PostgreSQL transaction. It is committed when the handler returns (or raises
    `Ack`), and rolled back if it raises anything else or is cancelled. While the database works,
    other handlers run. A concurrent duplicate is retried later.

    Args:
        opens: called for each call; it returns an async context manager, like
            `async_sessionmaker(engine)`, `pool.connection` of psycopg_pool and `pool.acquire` of
            asyncpg; or an awaitable for a connection of psycopg 3 or asyncpg, which is closed after
            the call. A pool belongs to one event loop, the worker's: create it in the consumer's
            `async def open`.
        table: the table of marks. It is that of `Transactional` and `PostgresStore`, whose `create`
            creates it and whose `prune` keeps it small.
        key: the identity of an event: a function of the `Call`; by default `event_key`, its source
            and its id.
        wait: seconds for which a call waits for a connection, unless the pool gives up earlier. A
            pool should have as many connections as the worker runs concurrent handlers.

    Raises:
        ConfigurationError: if `wait` is not above 0.

    Example:
        ```python
        import psycopg
        from messaging.idempotency import AsyncTransactional, PostgresStore
        from messaging.testing import deliver

        store = PostgresStore(postgres_url)
        store.create()
        store.close()
        database = AsyncTransactional(lambda: psycopg.AsyncConnection.connect(postgres_url))


        class Mailing(Consumer):
            service = "marketing"

            @handles
            async def welcome(self, aluno: AlunoParaMarketing) -> None:
                await database.connection.execute("SELECT 1")


        assert deliver(Mailing(), ana, middleware=[database]).acknowledged
        ```
    """

    def __init__(
        self,
        opens: Callable[[], Any],
        *,
        table: str = TABLE,
        key: Callable[[HandlingState], str] = event_key,
        wait: float = _WAIT,
    ) -> None:
        if wait <= 0:
            raise ConfigurationError(f"AsyncTransactional(wait={wait!r}): more than 0 seconds")
        self._opens = opens
        self._marks = Marks("postgresql", table, SYSTEM_CLOCK)
        self._key = key
        self._wait = wait
        self._current: ContextVar[Any] = ContextVar("AsyncTransactional")

    @property
    def connection(self) -> Any:
        """The current handler's session or connection from `opens`, in its transaction. Do not
        commit or close it.

        Raises:
            ConfigurationError: if no handler runs, or in another task than the handler's.
        """
        return handed(self._current, "connection")

    def __call__(self, call: HandlingState) -> AbstractAsyncContextManager[None]:
        if not call.handler.is_async:
            raise ConfigurationError(
                f"{call.handler.name} of {call.service} is a plain method, and AsyncTransactional "
                "is for async ones: write async def, or use Transactional"
            )
        return self._around(call)

    @asynccontextmanager
    async def _around(self, call: HandlingState) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            connection, commit = await self._open(stack)
            event, mine = self._key(call), uuid4().hex
            lock = f"{self._marks.table} {call.service} {event}"
            key = {"service": call.service, "event_id": event, "token": mine, "lock": lock}
            [[locked, _]] = await read(connection, BEGIN, key)
            if not locked:
                raise later(call, 0)
            await self._raise_known(connection, call, key)
            token = self._current.set(connection)
            try:
                yield
            except Ack:
                await self._mark(connection, call, key)
                await commit()
                raise
            finally:
                self._current.reset(token)
            await self._mark(connection, call, key)
            await commit()

    async def _open(self, stack: AsyncExitStack) -> tuple[Any, Callable[[], Awaitable[None]]]:
        import asyncio

        try:
            async with asyncio.timeout(self._wait):
                return await _opened(stack, self._opens())
        except Exception as error:
            if type(error).__name__ not in ("TimeoutError", "PoolTimeout"):
                raise
            raise TransportError(
                "no connection to the database was free in time: the pool has fewer than the "
                "worker runs handlers at once, or the database does not answer",
                code="PoolExhausted",
            ) from None

    async def _mark(self, connection: Any, call: HandlingState, key: Mapping[str, str]) -> None:
        if not await read(connection, f"{self._marks.sql['mark']} RETURNING true", key):
            await self._raise_known(connection, call, key)
            raise ended(call)

    async def _raise_known(
        self, connection: Any, call: HandlingState, key: Mapping[str, str]
    ) -> None:
        rows = await read(connection, self._marks.sql["look"], key)
        outcome = known(call, rows[0] if rows else None)
        if outcome is not None:
            raise outcome


async def _opened(stack: AsyncExitStack, opened: Any) -> tuple[Any, Callable[[], Awaitable[None]]]:
    """The connection, with an open transaction, and a function that commits it. Leaving `stack`
    rolls back an uncommitted transaction."""
    if hasattr(opened, "__aenter__"):
        connection = await opened.__aenter__()
        stack.push_async_callback(_quietly, partial(opened.__aexit__, None, None, None))
    else:
        connection = await opened
        stack.push_async_callback(_quietly, connection.close)
    transaction, kind = connection, async_kind_of(connection)
    if kind == "asyncpg":
        transaction = connection.transaction()
    stack.push_async_callback(_quietly, transaction.rollback)
    await must_be_postgresql(connection, "AsyncTransactional")
    if kind == "asyncpg":
        await transaction.start()
    elif kind == "psycopg" and connection.autocommit:
        await connection.set_autocommit(False)
    return connection, transaction.commit


async def _quietly(end: Callable[[], Awaitable[object]]) -> None:
    # A lost connection has nothing to roll back, and its error adds nothing to the first one.
    with suppress(Exception):
        await end()
