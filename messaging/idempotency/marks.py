"""The table of marks: its columns and its statements, for each database.

One table serves `SqliteStore`, `PostgresStore`, `MySqlStore` and `Transactional`, so a service may
switch between them. Statements are written once, with `:name` for a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from messaging.clock import Clock
from messaging.sql.dialect import Dialect, table_name
from messaging.sql.driver import DriverConnection, create_on_postgresql, execute
from messaging.sql.mysql_errors import DUPLICATE, error_number

__all__ = ["GUARD", "TABLE", "Marks", "Row", "ddl"]

TABLE = "messaging_handled"

Row: TypeAlias = Sequence[Any]

GUARD = "messaging.handling"
"""A PostgreSQL setting that lasts for one transaction, and so shows whether that is still open."""

_COLUMNS = """CREATE TABLE IF NOT EXISTS {table} (
    service    {service} NOT NULL,
    event_id   {event_id} NOT NULL,
    handled_at {time},          -- null while a claim is held
    token      {token},            -- whose claim
    until      {time},          -- when it expires
    PRIMARY KEY (service, event_id)
){options}"""
_UTC = "timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1e6"


def _in_seconds(now: str) -> Mapping[str, str]:
    """The SQL fragments for a database whose times are numbers."""
    return {
        "now": now,
        "until": f"{now} + :lease",
        "left": f"until - {now}",
        "older": f"{now} - :older",
        "same": "true",
    }


_TEXT: Mapping[str, str] = {"service": "text", "event_id": "text", "token": "text"}
# SQLite gets the time of this machine; a server has one clock for all clients.
_WORDS: Mapping[Dialect, Mapping[str, str]] = {
    "sqlite": {
        **_in_seconds(":now"),
        "time": "real",
        **_TEXT,
        "options": " WITHOUT ROWID",
    },
    "postgresql": {
        "now": "clock_timestamp()",
        "until": "clock_timestamp() + make_interval(secs => :lease)",
        "left": "CAST(extract(epoch FROM until - clock_timestamp()) AS float8)",
        "older": "clock_timestamp() - make_interval(secs => :older)",
        "same": f"current_setting('{GUARD}', true) = :token",
        "time": "timestamptz",
        **_TEXT,
        "options": "",
    },
    # Bytes, because all collations that MySQL and MariaDB share treat "e1 " and "e1" as equal.
    "mysql": {
        **_in_seconds(_UTC),
        "expired": "service = :service AND event_id = :event_id AND handled_at IS NULL "
        f"AND until <= {_UTC}",
        "is_old": f"handled_at < {_UTC} - :older OR until < {_UTC} - :older",
        "keys": "{keys}",
        "time": "double",
        "service": "varbinary(255)",
        "event_id": "varbinary(2048)",
        "token": "varchar(64) CHARACTER SET ascii COLLATE ascii_bin",
        "options": " ENGINE = InnoDB",
    },
}
_PRUNED_AT_ONCE = 20_000
"""Rows deleted per statement, so that it does not hold locks for long and stays within time
limits."""
_FORGOTTEN_AT_ONCE = 500
_SHARED: Mapping[str, str] = {
    "at_once": str(_PRUNED_AT_ONCE),
    "this": "service = :service AND event_id = :event_id",
    "ours": "service = :service AND event_id = :event_id AND token = :token AND handled_at IS NULL",
    "free": "ON CONFLICT (service, event_id) DO UPDATE SET token = excluded.token, "
    "until = excluded.until, handled_at = excluded.handled_at "
    "WHERE mark.handled_at IS NULL AND mark.until <= ",  # and behind it, now
}
_STATEMENTS: Mapping[str, str] = {
    "claim": "INSERT INTO {table} AS mark (service, event_id, token, until) "
    "VALUES (:service, :event_id, :token, {until}) {free}{now}",
    "look": "SELECT handled_at IS NOT NULL, {left}, token FROM {table} WHERE {this}",
    "look at all": "SELECT event_id, handled_at IS NOT NULL, {left}, token FROM {table} "
    "WHERE service = :service AND event_id = ANY(CAST(:events AS text[]))",  # PostgreSQL
    # In a fixed order, so that two concurrent ones do not wait for each other.
    "claim all": "INSERT INTO {table} AS mark (service, event_id, token, until) "
    "SELECT CAST(:service AS text), event, CAST(:token AS text), {until} "
    "FROM unnest(CAST(:events AS text[])) AS event ORDER BY event {free}{now} RETURNING event_id",
    "complete all": "UPDATE {table} SET handled_at = {now}, token = NULL, until = NULL "
    "WHERE service = :service AND event_id = ANY(CAST(:events AS text[])) AND token = :token "
    "AND handled_at IS NULL RETURNING event_id",
    "renew": "UPDATE {table} SET until = {until} WHERE {ours}",
    "complete": "UPDATE {table} SET handled_at = {now}, token = NULL, until = NULL WHERE {ours}",
    "release": "DELETE FROM {table} WHERE {ours}",
    "mark": "INSERT INTO {table} AS mark (service, event_id, handled_at) "
    "SELECT CAST(:service AS text), CAST(:event_id AS text), {now} WHERE {same} {free}{now}",
    "prune": "DELETE FROM {table} WHERE (service, event_id) IN (SELECT service, event_id "
    "FROM {table} WHERE handled_at < {older} OR until < {older} LIMIT {at_once})",
    "lock": "DELETE FROM {table} WHERE false",
}
# With the whole file locked, no condition is needed, and values are faster than a query.
_SQLITE: Mapping[str, str] = {
    **_STATEMENTS,
    "mark": "INSERT INTO {table} AS mark (service, event_id, handled_at) "
    "VALUES (:service, :event_id, {now}) {free}{now}",
}
# MySQL's ON DUPLICATE KEY has no WHERE, and its count does not show what it changed: what stands in
# the way of an INSERT is taken by a second statement, where it may be.
_MYSQL: Mapping[str, str] = {
    **_STATEMENTS,
    "claim": "INSERT INTO {table} (service, event_id, token, until) "
    "VALUES (:service, :event_id, :token, {until})",
    "claim instead": "UPDATE {table} SET token = :token, until = {until} WHERE {expired}",
    # Read without a lock, and deleted by key: a scan that deletes would lock what it passes.
    "old": "SELECT service, event_id FROM {table} WHERE {is_old} LIMIT {at_once}",
    "forget": "DELETE FROM {table} WHERE ({keys}) AND ({is_old})",
}


_BY_DIALECT: Mapping[str, Mapping[str, str]] = {"mysql": _MYSQL, "sqlite": _SQLITE}


def ddl(dialect: Dialect, table: str = TABLE) -> str:
    """The statement that creates the table, for your own migrations.

    Args:
        dialect: "postgresql", "mysql" or "sqlite".
        table: the table's name, optionally with its schema ("schema.table").

    Example:
        ```python
        from messaging.idempotency.marks import ddl

        assert ddl("postgresql").startswith("CREATE TABLE")
        ```
    """
    return _COLUMNS.format(table=table_name(table), **_WORDS[dialect])


@dataclass(frozen=True)
class Marks:
    """Runs the statements for one table on a given connection.

    Args:
        dialect: the database's SQL dialect.
        table: the table's name, optionally with its schema ("schema.table").
        clock: the source of time; a test may pass a `FakeClock`.
    """

    dialect: Dialect
    table: str
    clock: Clock

    def __post_init__(self) -> None:
        table_name(self.table)

    @cached_property
    def sql(self) -> Mapping[str, str]:
        """The statements by name, for code that runs them in another way."""
        statements = _BY_DIALECT.get(self.dialect, _STATEMENTS)
        return {
            name: text.format(table=self.table, **_SHARED, **_WORDS[self.dialect])
            for name, text in statements.items()
        }

    def create(self, connection: DriverConnection) -> None:
        """Create the table if it is missing. On PostgreSQL one process at a time does it.

        Args:
            connection: the caller's connection.
        """
        statement = ddl(self.dialect, self.table)
        if self.dialect == "postgresql":
            create_on_postgresql(connection, self.table, statement)
        else:
            execute(connection, statement)

    def look(self, connection: DriverConnection, service: str, event_id: str) -> Row | None:
        """Whether it is done, the remaining seconds of a claim, and its token; None if there is no
        mark.

        Args:
            connection: the caller's connection.
            service: the name of a service.
            event_id: the identity of the event.
        """
        values = {"service": service, "event_id": event_id, "now": self.clock.now()}
        row: Row | None = execute(connection, self.sql["look"], values).fetchone()
        return row

    def rows(self, connection: DriverConnection, name: str, **values: object) -> Sequence[Row]:
        """Return the rows of the statement `name`.

        Args:
            connection: the caller's connection.
            name: the statement's name.
            **values: its parameters.
        """
        rows: Sequence[Row] = execute(connection, self.sql[name], values).fetchall()
        return rows

    def change(self, connection: DriverConnection, name: str, **values: object) -> int:
        """Run the statement `name`; returns how many rows it changed.

        Args:
            connection: the caller's connection.
            name: the statement's name.
            **values: its parameters.
        """
        given = {"now": self.clock.now(), **values}
        try:
            return int(execute(connection, self.sql[name], given).rowcount)
        except Exception as error:
            if name != "claim" or error_number(error) != DUPLICATE:
                raise
        # Checked first: a statement that finds nothing to change locks the row anyway, and several
        # of them, each holding a duplicate's read lock, deadlock.
        row = self.look(connection, str(given["service"]), str(given["event_id"]))
        if row is None or row[0] or row[1] > 0:
            return 0
        return int(execute(connection, self.sql["claim instead"], given).rowcount)

    def prune(self, connection: DriverConnection, older_than: float) -> int:
        """Delete marks older than `older_than` seconds, in several statements; returns how many.

        Args:
            connection: the caller's connection.
            older_than: seconds.
        """
        pruned = 0
        while True:
            if self.dialect == "mysql":
                last = self._forget(connection, older_than)
            else:
                last = self.change(connection, "prune", older=older_than)
            pruned += last
            if last < _PRUNED_AT_ONCE:
                return pruned

    def _forget(self, connection: DriverConnection, older_than: float) -> int:
        found = execute(connection, self.sql["old"], {"older": older_than}).fetchall()
        for start in range(0, len(found), _FORGOTTEN_AT_ONCE):
            chunk = found[start : start + _FORGOTTEN_AT_ONCE]
            keys = " OR ".join(
                f"(service = :service{n} AND event_id = :event{n})" for n in range(len(chunk))
            )
            values: dict[str, object] = {"older": older_than}
            for n, (service, event_id) in enumerate(chunk):
                values |= {f"service{n}": service, f"event{n}": event_id}
            execute(connection, self.sql["forget"].format(keys=keys), values)
        return len(found)
