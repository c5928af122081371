"""Finds which services have handled an event, in a table of marks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from messaging.idempotency.marks import TABLE
from messaging.sql.database import Database
from messaging.sql.dialect import table_name

__all__ = ["Mark", "marks_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A service's mark for an event. `handled` is in seconds since the epoch; None while a handler
    has claimed it, or after one died with its claim."""

    service: str
    handled: float | None


def marks_of(database: Database, event_id: str, *, table: str = TABLE) -> list[Mark] | None:
    """The marks of an event, by service; None if there is no such table. Changes nothing.

    It reads the whole table. A mark whose key is a digest (`event_key` of a long source) or a
    custom key is not found.
    """
    name = table_name(table)
    if not database.has_table(name):
        return None
    # PostgreSQL has a timestamp type, the others use seconds.
    seconds = "CAST(extract(epoch FROM handled_at) AS float8)"
    when = seconds if database.dialect == "postgresql" else "handled_at"
    with database.transaction(writes=False) as cursor:
        rows = cursor.read(
            f"SELECT service, {when}, event_id FROM {name} "  # noqa: S608 - a checked name
            "WHERE event_id LIKE :pattern ESCAPE '!' ORDER BY service",
            pattern="% " + re.sub("[!%_]", r"!\g<0>", event_id),
        )
    return [
        Mark(service=_text(service), handled=handled)
        for service, handled, key in rows
        if _text(key).endswith(f" {event_id}")  # SQLite's LIKE ignores case
    ]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # MySQL compares them as bytes
