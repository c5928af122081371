"""The table of marks: its columns, its statements, and what each database calls them.

One table serves `SqliteStore`, `PostgresStore` and `Transactional`, so that a service may go from
one to the other. Statements are written once, with `:name` for a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from messaging.clock import Clock
from messaging.sql.dialect import Dialect, table_name
from messaging.sql.driver import DriverConnection, execute

__all__ = ["GUARD", "TABLE", "Marks", "ddl"]

TABLE = "messaging_handled"

Row: TypeAlias = Sequence[Any]

GUARD = "messaging.handling"
"""A setting of PostgreSQL that lasts as long as one transaction: it shows whether that is still
open."""

_COLUMNS = """CREATE TABLE IF NOT EXISTS {table} (
    service    text NOT NULL,
    event_id   text NOT NULL,
    handled_at {time},          -- null while a claim is held
    token      text,            -- whose claim
    until      {time},          -- when it expires
    PRIMARY KEY (service, event_id)
){options}"""
# SQLite is given the time of this machine; PostgreSQL has one clock for all clients.
_WORDS: Mapping[Dialect, Mapping[str, str]] = {
    "sqlite": {
        "now": ":now",
        "until": ":now + :lease",
        "left": "until - :now",
        "older": ":now - :older",
        "same": "true",
        "time": "real",
        "options": " WITHOUT ROWID",
    },
    "postgresql": {
        "now": "clock_timestamp()",
        "until": "clock_timestamp() + make_interval(secs => :lease)",
        "left": "CAST(extract(epoch FROM until - clock_timestamp()) AS float8)",
        "older": "clock_timestamp() - make_interval(secs => :older)",
        "same": f"current_setting('{GUARD}', true) = :guard",
        "time": "timestamptz",
        "options": "",
    },
}
_PRUNED_AT_ONCE = 20_000
"""Rows deleted by one statement, so that it locks nothing for long and stays within time limits."""
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
    "renew": "UPDATE {table} SET until = {until} WHERE {ours}",
    "complete": "UPDATE {table} SET handled_at = {now}, token = NULL, until = NULL WHERE {ours}",
    "release": "DELETE FROM {table} WHERE {ours}",
    "mark": "INSERT INTO {table} AS mark (service, event_id, handled_at) "
    "SELECT CAST(:service AS text), CAST(:event_id AS text), {now} WHERE {same} {free}{now}",
    "prune": "DELETE FROM {table} WHERE (service, event_id) IN (SELECT service, event_id "
    "FROM {table} WHERE handled_at < {older} OR until < {older} LIMIT {at_once})",
    "lock": "DELETE FROM {table} WHERE false",
}


def ddl(dialect: Dialect, table: str = TABLE) -> str:
    """The statement that makes the table, for your own migrations."""
    return _COLUMNS.format(table=table_name(table), **_WORDS[dialect])


@dataclass(frozen=True)
class Marks:
    """Runs the statements about one table on a connection that is handed in."""

    dialect: Dialect
    table: str
    clock: Clock

    def __post_init__(self) -> None:
        table_name(self.table)

    @cached_property
    def _sql(self) -> Mapping[str, str]:
        return {
            name: text.format(table=self.table, **_SHARED, **_WORDS[self.dialect])
            for name, text in _STATEMENTS.items()
        }

    def create(self, connection: DriverConnection) -> None:
        """Create the table if it is missing. On PostgreSQL one process at a time does it."""
        if self.dialect == "postgresql":
            # Two `CREATE TABLE IF NOT EXISTS` at once: one of them fails on the system's tables.
            lock = "SELECT pg_advisory_xact_lock(hashtextextended(:table, 0))"
            execute(connection, lock, {"table": self.table})
        execute(connection, ddl(self.dialect, self.table))

    def look(self, connection: DriverConnection, service: str, event_id: str) -> Row | None:
        """Done or not, seconds left of a claim, its token; None when there is nothing."""
        values = {"service": service, "event_id": event_id, "now": self.clock.now()}
        row: Row | None = execute(connection, self._sql["look"], values).fetchone()
        return row

    def change(self, connection: DriverConnection, name: str, **values: object) -> int:
        """Run the statement `name`; returns how many rows it changed."""
        given = {"now": self.clock.now(), **values}
        changed: int = execute(connection, self._sql[name], given).rowcount
        return changed

    def prune(self, connection: DriverConnection, older_than: float) -> int:
        """Delete marks older than `older_than` seconds, in several statements; returns how many."""
        pruned = 0
        while True:
            last = self.change(connection, "prune", older=older_than)
            pruned += last
            if last < _PRUNED_AT_ONCE:
                return pruned
