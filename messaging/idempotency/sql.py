"""Idempotency marks in a SQL database: claims are rows, and each change is one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.idempotency.marks import TABLE, Marks
from messaging.sql.driver import DriverConnection
from messaging.sql.mysql_errors import NO_TABLE, error_number
from messaging.sql.opening import (
    SILENCE_SECONDS,
    open_sqlite,
    postgres,
)
from messaging.sql.opening_mysql import mysql
from messaging.sql.pool import TableStore
from messaging.stores import Claim, Done, InProgress

__all__ = ["MySqlStore", "PostgresStore", "SqliteStore"]

_TRIES = 5


class _SqlStore(TableStore):
    """The `IdempotencyStore` shared by all SQL databases."""

    def __init__(self, connect: Callable[[], DriverConnection], marks: Marks) -> None:
        super().__init__(connect, marks.table)
        self._marks = marks

    def create(self) -> Self:
        """Create the table if it is missing; see `messaging.idempotency.marks.ddl`."""
        self._run(self._marks.create)
        return self

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        claim = Claim(service=service, event_id=event_id, token=uuid4().hex)

        def claimed(connection: DriverConnection) -> Claim | InProgress | Done:
            for _ in range(_TRIES):
                if self._change("claim", claim, lease=lease_seconds)(connection):
                    return claim
                row = self._marks.look(connection, service, event_id)
                if row is not None:  # otherwise released between the two statements
                    return _known(row, claim)
            return InProgress(0.0)

        return self._run(claimed)

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        return self._run(self._change("renew", claim, lease=lease_seconds))

    def complete(self, claim: Claim) -> bool:
        return self._run(self._change("complete", claim))

    def release(self, claim: Claim) -> bool:
        return self._run(self._change("release", claim))

    def prune(self, older_than: float) -> int:
        return self._run(lambda connection: self._marks.prune(connection, older_than))

    def _remedy(self, error: Exception) -> str | None:
        missing = (
            type(error).__name__ == "UndefinedTable"
            or error_number(error) == NO_TABLE
            or "no such table" in str(error)
        )
        return "it is not there; make it with create()" if missing else None

    def _change(
        self, name: str, claim: Claim, **values: float
    ) -> Callable[[DriverConnection], bool]:
        keys = {"service": claim.service, "event_id": claim.event_id, "token": claim.token}
        return lambda connection: self._marks.change(connection, name, **keys, **values) == 1


class SqliteStore(_SqlStore):
    """Idempotency marks in an SQLite file, for the processes of one machine.

        store = SqliteStore("dados/handled.db")

    The file and the table are created if they are missing. Call `prune` regularly.

    Args:
        path: the file; it is created if it is missing.
        table: the table's name.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if `path` is ":memory:", which would be a separate database for each
            connection.

    Example:
        ```python
        from messaging.idempotency import Idempotency, SqliteStore

        once = Idempotency(SqliteStore("handled.db"))  # Worker(..., middleware=[once])
        ```
    """

    def __init__(
        self, path: str | Path, *, table: str = TABLE, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        if str(path) == ":memory:":
            raise ConfigurationError(
                "SqliteStore(':memory:') would be a database for each connection: use MemoryStore"
            )
        super().__init__(lambda: open_sqlite(path), Marks("sqlite", table, clock))
        self.create()


class PostgresStore(_SqlStore):
    """Idempotency marks in PostgreSQL, for any number of machines. Needs the extra `postgres`.

        store = PostgresStore("postgresql://school@db/school").create()

    Time is the database's, so no machine's clock matters. Call `prune` regularly.

    Args:
        connect: a conninfo, or a function that returns a psycopg connection. The store sets it to
            autocommit, and keeps as many as are used concurrently.
        table: the table's name.
        timeout: seconds to wait for a statement, on connections made from a conninfo; accepting a
            connection may take 10, or the conninfo's connect_timeout.

    Raises:
        TransportError: by each method, if the database does not answer.

    Example:
        ```python
        from messaging.idempotency import Idempotency, PostgresStore

        store = PostgresStore(postgres_url)
        store.create()  # once, or by a migration with messaging.idempotency.marks.ddl
        once = Idempotency(store)  # Worker(..., middleware=[once])
        store.close()
        ```
    """

    def __init__(
        self,
        connect: str | Callable[[], DriverConnection],
        *,
        table: str = TABLE,
        timeout: float = SILENCE_SECONDS,
    ) -> None:
        make = connect if callable(connect) else postgres(connect, timeout=timeout)
        super().__init__(make, Marks("postgresql", table, SYSTEM_CLOCK))

    def begin_many(
        self, service: str, event_ids: Sequence[str], *, lease_seconds: float
    ) -> Sequence[Claim | InProgress | Done]:
        """See `ManyAtOnce.begin_many`."""
        token, events = uuid4().hex, list(event_ids)
        claims = [Claim(service=service, event_id=event, token=token) for event in events]
        given: dict[str, Any] = {
            "service": service,
            "events": events,
            "token": token,
            "lease": lease_seconds,
        }

        def begun(connection: DriverConnection) -> Sequence[Claim | InProgress | Done]:
            ours = {row[0] for row in self._marks.rows(connection, "claim all", **given)}
            others = [event for event in events if event not in ours]
            asked: dict[str, Any] = {"service": service, "events": others}
            rows = self._marks.rows(connection, "look at all", **asked) if others else []
            known = {event: rest for event, *rest in rows}
            return [
                claim if claim.event_id in ours else _known(known.get(claim.event_id), claim)
                for claim in claims
            ]

        return self._run(begun)

    def complete_many(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """See `ManyAtOnce.complete_many`."""
        done: set[tuple[str, str]] = set()
        for token in {claim.token for claim in claims}:
            mine = [claim for claim in claims if claim.token == token]
            events = [claim.event_id for claim in mine]
            values: dict[str, Any] = {"service": mine[0].service, "events": events, "token": token}
            rows = self._run(partial(self._marks.rows, name="complete all", **values))
            done |= {(token, row[0]) for row in rows}
        return [(claim.token, claim.event_id) in done for claim in claims]


class MySqlStore(_SqlStore):
    """Idempotency marks in MySQL 8 or MariaDB, for any number of machines. Needs the extra `mysql`.

        store = MySqlStore("mysql://school@db/school").create()

    Time is the database's, so no machine's clock matters. Call `prune` regularly.

    Args:
        connect: a URL for `messaging.sql.mysql`, or a function that returns a PyMySQL connection.
            The store sets it to autocommit, and keeps as many as are used concurrently.
        table: the table's name.
        timeout: seconds to wait for a statement, on connections made from a URL.

    Raises:
        TransportError: by each method, if the database does not answer.

    Example:
        ```python
        # Not run: needs MariaDB, with which tests/idempotency runs it.
        from messaging.idempotency import Idempotency, MySqlStore

        once = Idempotency(MySqlStore("mysql://escola@db/escola"))  # Worker(..., middleware=[once])
        ```
    """

    def __init__(
        self,
        connect: str | Callable[[], DriverConnection],
        *,
        table: str = TABLE,
        timeout: float = SILENCE_SECONDS,
    ) -> None:
        make = connect if callable(connect) else mysql(connect, timeout=timeout)
        super().__init__(make, Marks("mysql", table, SYSTEM_CLOCK))


def _known(row: Sequence[Any] | None, claim: Claim) -> Claim | InProgress | Done:
    """The result of `begin` if the event has a mark already."""
    if row is None:
        return InProgress(0.0)  # released meanwhile
    done, left, token = row
    if done:
        return Done()
    if token == claim.token:
        return claim  # the answer to an earlier attempt was lost with its connection
    return InProgress(max(0.0, left))
