"""`Transactional` for async handlers: on PostgreSQL, and without holding up the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError, TransportError
from messaging.handling import HandlingState
from messaging.idempotency.marks import TABLE, Marks
from messaging.idempotency.middleware import event_key, later
from messaging.idempotency.transaction import BEGIN, ended, known
from messaging.outcome import Ack, Outcome
from messaging.sql.async_driver import async_kind_of, must_be_postgresql, read

__all__ = ["AsyncTransactional"]

_WAIT = 10.0


class AsyncTransactional:
    """Middleware for async handlers: their effect and its mark are committed together.

    Each call has a transaction of PostgreSQL. It is committed when the handler returns (or raises
    `Ack`), and rolled back whatever else it raises or when it is cancelled. While the database
    works, other handlers run. A concurrent duplicate comes again later.

    Args:
        opens: called for each call; it gives an async context manager, as
            `async_sessionmaker(engine)`, `pool.connection` of psycopg_pool and `pool.acquire` of
            asyncpg do; or what is awaited for a connection of psycopg 3 or asyncpg, which is closed
            after the call. A pool belongs to one event loop, the worker's: make it in the
            consumer's `async def open`.
        table: where the marks stand. It is that of `Transactional` and `PostgresStore`, whose
            `create` makes it and whose `prune` keeps it small.
        key: what an event is known by: a function of the `Call`; by default `event_key`, its source
            and its id.
        wait: seconds for which a call waits for a connection, unless the pool gives up before. A
            pool should have as many as the worker runs handlers at once.

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
        """What `opens` gave to the handler that runs, in its transaction: a session or a
        connection. Do not commit or close it.

        Raises:
            ConfigurationError: where no handler runs, and in another task than the handler's.
        """
        found = self._current.get(None)
        if found is None:
            raise ConfigurationError(
                "AsyncTransactional.connection is there while a handler runs with it as its "
                "middleware, and in the handler's own task"
            )
        return found

    def __call__(self, call: HandlingState) -> AbstractAsyncContextManager[None]:
        if not call.handler.is_async:
            raise ConfigurationError(
                f"{call.handler.name} of {call.service} is a plain method, and AsyncTransactional "
                "is for async ones: write async def, or use Transactional"
            )
        return self._around(call)

    @asynccontextmanager
    async def _around(self, call: HandlingState) -> AsyncIterator[None]:
        async with _Held(self._opens, self._wait) as held:
            event, guard = self._key(call), uuid4().hex
            outcome = await self._begin(held.connection, call, event, guard)
            if outcome is not None:
                raise outcome
            token = self._current.set(held.connection)
            try:
                yield
            except Ack:
                await self._finish(held, call, event, guard)
                raise
            finally:
                self._current.reset(token)
            await self._finish(held, call, event, guard)

    async def _begin(
        self, connection: Any, call: HandlingState, event: str, guard: str
    ) -> Outcome | None:
        lock = f"{self._marks.table} {call.service} {event}"
        [[mine, _]] = await read(connection, BEGIN, {"lock": lock, "token": guard})
        return await self._known(connection, call, event) if mine else later(call, 0)

    async def _finish(self, held: _Held, call: HandlingState, event: str, guard: str) -> None:
        key = {"service": call.service, "event_id": event, "token": guard}
        if not await read(held.connection, f"{self._marks.statement('mark')} RETURNING true", key):
            raise await self._known(held.connection, call, event) or ended(call)
        await held.commit()

    async def _known(self, connection: Any, call: HandlingState, event: str) -> Outcome | None:
        key = {"service": call.service, "event_id": event}
        rows = await read(connection, self._marks.statement("look"), key)
        return known(call, rows[0] if rows else None)


class _Held:
    """One connection for one call, with a transaction open on it: rolled back unless it was
    committed."""

    def __init__(self, opens: Callable[[], Any], wait: float) -> None:
        self._opens = opens
        self._wait = wait
        self._leave: Callable[..., Any] | None = None
        self._transaction: Any = None
        self.connection: Any = None

    async def __aenter__(self) -> _Held:
        import asyncio

        try:
            async with asyncio.timeout(self._wait):
                await self._open()
        except BaseException as error:
            await self.__aexit__()
            if type(error).__name__ not in ("TimeoutError", "PoolTimeout"):
                raise
            raise TransportError(
                "no connection to the database was free in time: the pool has fewer than the "
                "worker runs handlers at once, or the database does not answer",
                code="PoolExhausted",
            ) from None
        return self

    async def _open(self) -> None:
        opened = self._opens()
        if hasattr(opened, "__aenter__"):
            self.connection = await opened.__aenter__()
            self._leave = opened.__aexit__
        else:
            self.connection = await opened
        kind = async_kind_of(self.connection)
        await must_be_postgresql(self.connection, "AsyncTransactional")
        if kind == "asyncpg":
            self._transaction = self.connection.transaction()
            await self._transaction.start()
        elif kind == "psycopg" and self.connection.autocommit:
            await self.connection.set_autocommit(False)

    async def commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        await (transaction or self.connection).commit()

    async def __aexit__(self, *raised: object) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        # One that is gone has nothing to roll back, and its error is no news beside the first.
        with suppress(Exception):
            if async_kind_of(connection) != "asyncpg":
                await connection.rollback()
            elif self._transaction is not None:
                await self._transaction.rollback()
        with suppress(Exception):
            await (self._leave(None, None, None) if self._leave else connection.close())
