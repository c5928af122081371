"""Finds the entries of one event in an outbox."""

from __future__ import annotations

from dataclasses import dataclass, field

from messaging.outbox.table import TABLE
from messaging.sql.database import Database
from messaging.sql.dialect import table_name

__all__ = ["Entry", "entries_of"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One copy of an event in the outbox. Times are in seconds since the epoch, or None.

    error  code of the last failure to send it.
    """

    seq: int
    created: float
    published: float | None
    parked: float | None
    attempts: int
    error: str | None
    body: str = field(repr=False)

    @property
    def state(self) -> str:
        """ "published", "parked" (refused for good) or "pending"."""
        if self.published is not None:
            return "published"
        return "pending" if self.parked is None else "parked"


def entries_of(database: Database, id: str, *, table: str = TABLE) -> list[Entry]:
    """The entries of the event `id`, in order. Reads the whole table, and changes nothing.

    A published entry remains until it is pruned.
    """
    with database.transaction(writes=False) as cursor:
        rows = cursor.read(
            "SELECT seq, created, published_at, parked_at, attempts, error, body "  # noqa: S608 - a checked name
            f"FROM {table_name(table)} WHERE id = :id ORDER BY seq",
            id=id,
        )
    return [Entry(*row) for row in rows]
