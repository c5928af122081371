"""The outbox's table: its name, its columns, and the statements that make it."""

from __future__ import annotations

from collections.abc import Mapping

from messaging.errors import ConfigurationError
from messaging.sql.dialect import Dialect, table_name

__all__ = ["PENDING", "TABLE", "ddl"]

TABLE = "messaging_outbox"

PENDING = "published_at IS NULL AND parked_at IS NULL"

_SEQ: Mapping[str, str] = {
    # Without AUTOINCREMENT, SQLite would reuse the number of a pruned row.
    "sqlite": "integer PRIMARY KEY AUTOINCREMENT",
    "postgresql": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
_NOW: Mapping[str, str] = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
}


def ddl(dialect: Dialect, table: str = TABLE) -> str:
    """The statements that make the table and its indexes, for your migrations.

    seq            the order in which entries were written.
    id             the event's id, the same in each of its copies.
    key            what has an order among itself: the event's group, else its subject, else its id.
    body           what is sent, as it is sent: personal data.
    attributes     the message attributes, {"type": ["String", "..."]} as JSON.
    size           bytes of the message as SNS counts them.
    message_group, deduplication  for a FIFO topic.
    created        when it was written; like all times, seconds since the epoch.
    free_at        no relay takes the entry, nor a later one of its key, before this time.
    holder         the relay's token while it is in a relay's hands.
    attempts       times that sending it failed.
    error          code of the last failure.
    published_at   when the topic accepted it; `prune` deletes it some time after.
    parked_at      when it was refused for good; it stays until somebody decides.
    """
    name = table_name(table)
    if dialect not in _SEQ:
        raise ConfigurationError(f"dialect={dialect!r}: 'postgresql' or 'sqlite'")
    if dialect == "sqlite" and "." in name:
        raise ConfigurationError(f"table={table!r}: on SQLite without a schema")
    index = name.rpartition(".")[2]
    return f"""\
CREATE TABLE IF NOT EXISTS {name} (
    seq            {_SEQ[dialect]},
    id             text NOT NULL,
    key            text NOT NULL,
    body           text NOT NULL,
    attributes     text NOT NULL,
    size           integer NOT NULL,
    message_group  text,
    deduplication  text,
    created        double precision NOT NULL DEFAULT {_NOW[dialect]},
    free_at        double precision NOT NULL DEFAULT 0,
    holder         text,
    attempts       integer NOT NULL DEFAULT 0,
    error          text,
    published_at   double precision,
    parked_at      double precision
);
CREATE INDEX IF NOT EXISTS {index}_pending ON {name} (seq) WHERE {PENDING};
CREATE INDEX IF NOT EXISTS {index}_taken ON {name} (free_at) WHERE {PENDING};
CREATE INDEX IF NOT EXISTS {index}_published ON {name} (published_at)
    WHERE published_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS {index}_parked ON {name} (parked_at) WHERE parked_at IS NOT NULL;
"""
