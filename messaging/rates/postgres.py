"""Shared rates in PostgreSQL: a row for each queue and for each process that receives from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

from messaging.errors import TransportError
from messaging.sql.dialect import table_name
from messaging.sql.driver import DriverConnection, create_on_postgresql, execute
from messaging.sql.opening import postgres
from messaging.sql.pool import TableStore
from messaging.stores import MEMBER_SECONDS, Reservation

__all__ = ["TABLE", "PostgresRates", "ddl"]

TABLE = "messaging_rates"
SILENCE_SECONDS = 2.0
"""Seconds. Meanwhile the process uses its remaining tokens; then it continues at its share."""
_FORGET = 10 * MEMBER_SECONDS

_T = TypeVar("_T")

# One statement, so that the queue's row, which has no member, is not locked during a round trip.
# The clock is read again after waiting for the lock: the inserted value is older.
_NOW = "CAST(extract(epoch FROM clock_timestamp()) AS float8)"
_RESERVE = f"""
WITH alive AS (
    INSERT INTO {{table}} (queue, member, at) VALUES (:queue, :member, {_NOW})
    ON CONFLICT (queue, member) DO UPDATE SET at = excluded.at
), counted AS (
    SELECT count(*) + 1 AS members FROM {{table}}
    WHERE queue = :queue AND member NOT IN ('', :member) AND at > {_NOW} - {MEMBER_SECONDS}
)
INSERT INTO {{table}} AS bucket (queue, member, at)
VALUES (:queue, '', {_NOW} - CAST(:saved AS float8) + CAST(:cost AS float8))
ON CONFLICT (queue, member) DO UPDATE SET at = CAST(:cost AS float8) + greatest(
    least(bucket.at, {_NOW} + (SELECT members FROM counted) * CAST(:ahead AS float8)),
    {_NOW} - CAST(:saved AS float8)
)
RETURNING at - {_NOW}, (SELECT members FROM counted)
"""  # noqa: S608 - a checked name is put in, and a number of ours
_LEAVE = f"""
WITH given_back AS (
    UPDATE {{table}} SET at = at - CAST(:cost AS float8) WHERE queue = :queue AND member = ''
)
DELETE FROM {{table}}
WHERE queue = :queue AND member <> '' AND (member = :member OR at < {_NOW} - {_FORGET})
"""  # noqa: S608 - a checked name is put in, and a number of ours


def ddl(table: str = TABLE) -> str:
    """The statement that creates the table. It is UNLOGGED: its content is only relevant for
    seconds, and after a server crash the buckets are full.

    Args:
        table: the table's name, optionally with its schema ("schema.table").

    Example:
        ```python
        from messaging.rates.postgres import ddl

        assert "UNLOGGED" in ddl()
        ```
    """
    return (
        f"CREATE UNLOGGED TABLE IF NOT EXISTS {table_name(table)} (\n"
        "    queue text NOT NULL,\n"
        "    member text NOT NULL,\n"
        "    at double precision NOT NULL,\n"
        "    PRIMARY KEY (queue, member)\n"
        ") WITH (fillfactor = 50)"
    )


class PostgresRates(TableStore):
    """A `RateStore` in PostgreSQL. Needs the extra `postgres`.

        Worker(Biblioteca(), broker=connect(), rates=PostgresRates("postgresql://school@db/school"))

    The table is created if it is missing and the role may create it; `ddl` returns the statement.

    Args:
        connect: a conninfo, or a function that returns a psycopg connection, which is set to
            autocommit. One connection is kept for each service of the process.
        table: the table's name, optionally with its schema ("schema.table").
        timeout: seconds to wait for a statement, on connections made from a conninfo.

    Example:
        ```python
        from messaging.rates.postgres import PostgresRates

        rates = PostgresRates(postgres_url)
        rates.create()
        rates.close()  # normally Worker(..., rates=rates) uses it
        ```
    """

    holds = "rates"

    def __init__(
        self,
        connect: str | Callable[[], DriverConnection],
        *,
        table: str = TABLE,
        timeout: float = SILENCE_SECONDS,
    ) -> None:
        if not callable(connect):
            connect = postgres(connect, timeout=timeout, application="messaging rates")
        super().__init__(connect, table)

    def create(self) -> Self:
        """Create the table if it is missing."""

        statement = ddl(self._table)
        self._run(lambda connection: create_on_postgresql(connection, self._table, statement))
        return self

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        """See `RateStore.reserve`."""
        seconds, members = self._ask(
            _RESERVE, queue=queue, member=member, cost=cost, saved=saved, ahead=ahead
        ).fetchone()
        return Reservation(float(seconds), int(members))

    def leave(self, queue: str, member: str, cost: float) -> None:
        """See `RateStore.leave`."""

        self._ask(_LEAVE, queue=queue, member=member, cost=cost)

    def _ask(self, statement: str, **values: object) -> Any:
        text = statement.format(table=self._table)
        return self._run(lambda connection: execute(connection, text, values))

    def _run(self, work: Callable[[DriverConnection], _T]) -> _T:
        try:
            return super()._run(work)
        except TransportError as error:
            if error.code != "UndefinedTable":
                raise
        self.create()
        return super()._run(work)

    def _remedy(self, error: Exception) -> str | None:
        if type(error).__name__ != "InsufficientPrivilege":
            return None
        return (
            "it is not there, or this role may not use it; make it by the statement that "
            "messaging.rates.postgres.ddl() gives, and grant SELECT, INSERT, UPDATE and DELETE"
        )
