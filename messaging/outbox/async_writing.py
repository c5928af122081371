"""The producer's side of the outbox for asyncio: publishes in your own asynchronous transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from messaging.codec import Codec
from messaging.errors import ConfigurationError, TransportError
from messaging.event import Event
from messaging.outbox.rows import insert_into, to_columns
from messaging.outbox.table import TABLE
from messaging.outbox.writing import refused
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import Published, PublishResult
from messaging.sql.async_driver import (
    AsyncConnection,
    async_kind_of,
    change_many,
    in_callers_transaction,
)
from messaging.transport import Failure, Outgoing

__all__ = ["AsyncOutbox"]


class AsyncOutbox:
    """Publishes into the outbox's table, in your own asynchronous transaction.

        async with sessions() as session:
            session.add(Aluno(...))
            await AsyncOutbox(session, source="/cadastro").publish(event)
            await session.commit()

    It is cheap: create one for each transaction. A relay sends committed entries.

    Args:
        connection: of psycopg 3 (`AsyncConnection`) or asyncpg, or an `AsyncSession` or an
            `AsyncConnection` of SQLAlchemy. It is never committed or closed here.
        source: the publisher's CloudEvents source, as for `Publisher`.
        codec: writes message bodies; `JsonCodec()` by default.
        table: the outbox's table; `create()` and `ddl()` create it.
        max_bytes: maximum message size: the relay's topic must accept as much.
        notify: wake the relays with the commit, as for `SqlOutbox`.

    Example:
        ```python
        import asyncio

        import psycopg
        from messaging.outbox import AsyncOutbox, create


        async def enrol() -> None:
            async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
                async with connection.transaction():
                    await AsyncOutbox(connection, source="/cadastro").publish(ana)


        with psycopg.connect(postgres_url) as connection:
            create(connection)
        asyncio.run(enrol())
        ```
    """

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        source: str,
        codec: Codec | None = None,
        table: str = TABLE,
        max_bytes: int = 262_144,
        notify: bool = True,
    ) -> None:
        async_kind_of(connection)
        self._connection = connection
        self._table = table
        self._insert = insert_into(table, wakes=notify)
        self._collected = _Collected(max_bytes)
        self._publisher = Publisher(self._collected, source=source, codec=codec)

    def __repr__(self) -> str:
        return f"AsyncOutbox(table={self._table!r})"

    async def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """Write every copy of `event`; the parameters are those of `Publisher.publish`.

        See `Publisher.publish`.

        Raises:
            PublishError: if the event cannot be sent: `EventTooLarge`, `InvalidCharacters` or
                `RoundTripError`.
            TransportError: if no transaction is open, or the database refused: then roll your
                transaction back.
        """
        published = self._publisher.publish(event, id=id, time=time, traceparent=traceparent)
        await self._write()
        return published

    async def publish_many(
        self, events: Iterable[Event], *, id: Callable[[Event], str | None] | None = None
    ) -> PublishResult:
        """Write all of `events`, or none: see `publish`.

        Args:
            events: the events.
            id: returns an event's id; by default a fresh one each.
        """
        try:
            result = self._publisher.publish_many(events, id=id)
        except BaseException:
            self._collected.take()
            raise
        await self._write()
        return result

    async def _write(self) -> None:
        messages = self._collected.take()
        if not messages:
            return
        try:
            await in_callers_transaction(self._connection)
            await change_many(self._connection, self._insert, to_columns(messages))
        except (TransportError, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001 - drivers have no error in common, and none hides
            raise refused(self._table, error) from None


class _Collected:
    """A topic that only collects messages, so that encoding an event never waits."""

    in_callers_thread = True

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._messages: list[Outgoing] = []

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self._messages += batch
        return ()

    def take(self) -> list[Outgoing]:
        """Return the messages collected since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def close(self) -> None: ...
