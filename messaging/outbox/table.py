"""The outbox's table: its name, its columns, and the statements that create it."""

from __future__ import annotations

from collections.abc import Mapping

from messaging.errors import ConfigurationError
from messaging.sql.dialect import Dialect, table_name

__all__ = ["PENDING", "TABLE", "channel", "ddl"]

TABLE = "messaging_outbox"

PENDING = "published_at IS NULL AND parked_at IS NULL"

_INDEXES = f"""\
);
CREATE INDEX IF NOT EXISTS {{index}}_pending ON {{name}} (seq) WHERE {PENDING};
CREATE INDEX IF NOT EXISTS {{index}}_taken ON {{name}} (free_at) WHERE {PENDING};
CREATE INDEX IF NOT EXISTS {{index}}_published ON {{name}} (published_at)
    WHERE published_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS {{index}}_parked ON {{name}} (parked_at) WHERE parked_at IS NOT NULL;
"""
_COMMON: Mapping[str, str] = {
    "key": "key            text",
    "long": "text",
    "end": f"\n{_INDEXES}",
}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {
        # Without AUTOINCREMENT, SQLite would reuse the number of a pruned row.
        "seq": "integer PRIMARY KEY AUTOINCREMENT",
        "now": "((julianday('now') - 2440587.5) * 86400.0)",
        **_COMMON,
    },
    "postgresql": {
        "seq": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "now": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
        **_COMMON,
    },
    # MySQL's `text` holds 64 KiB, its usual collations treat "ana" and "ANA" as equal, and it has
    # neither partial indexes nor, unlike MariaDB, CREATE INDEX IF NOT EXISTS.
    "mysql": {
        "seq": "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "key": "`key`          text",
        "long": "mediumtext",
        "now": "(timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1e6)",
        "end": """,
    INDEX {index}_pending (published_at, parked_at, seq),
    INDEX {index}_taken (published_at, parked_at, free_at),
    INDEX {index}_parked (parked_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
""",
    },
}


def ddl(dialect: Dialect, table: str = TABLE) -> str:
    """The statements that create the table and its indexes, for your migrations.

    seq            the order in which entries were written.
    id             the event's id, the same in each of its copies.
    key            entries with the same key are sent in order: the event's group, or its subject,
                   or its id.
    body           the message body as it is sent: personal data.
    attributes     the message attributes, {"type": ["String", "..."]} as JSON.
    size           size of the message as SNS counts it, in bytes.
    message_group, deduplication  for a FIFO topic.
    created        when it was written; like all times, in seconds since the epoch.
    free_at        no relay takes the entry, or a later one of its key, before this time.
    holder         the relay's token while a relay holds it.
    attempts       how often sending it failed.
    error          code of the last failure.
    published_at   when the topic accepted it; `prune` deletes it some time after.
    parked_at      when it was refused for good; it remains until somebody decides.

    Args:
        dialect: "postgresql", "mysql" or "sqlite".
        table: the table's name, with its schema and a dot before it where it has one.

    Raises:
        ConfigurationError: for another dialect, an invalid table name, or a schema on SQLite.

    Example:
        ```python
        from messaging.outbox.table import ddl

        statements = ddl("postgresql")
        ```
    """
    name = table_name(table)
    words = _WORDS.get(dialect)
    if words is None:
        raise ConfigurationError(f"dialect={dialect!r}: 'postgresql', 'sqlite' or 'mysql'")
    if dialect == "sqlite" and "." in name:
        raise ConfigurationError(f"table={table!r}: on SQLite without a schema")
    index = name.rpartition(".")[2]
    return f"""\
CREATE TABLE IF NOT EXISTS {name} (
    seq            {words["seq"]},
    id             text NOT NULL,
    {words["key"]} NOT NULL,
    body           {words["long"]} NOT NULL,
    attributes     {words["long"]} NOT NULL,
    size           integer NOT NULL,
    message_group  text,
    deduplication  text,
    created        double precision NOT NULL DEFAULT {words["now"]},
    free_at        double precision NOT NULL DEFAULT 0,
    holder         text,
    attempts       integer NOT NULL DEFAULT 0,
    error          text,
    published_at   double precision,
    parked_at      double precision{words["end"].format(index=index, name=name)}"""


def channel(table: str) -> str:
    """The PostgreSQL channel through which writers to `table` wake its relays.

    Without the schema: one side may use a search path, and the other not.

    Args:
        table: the table's name, with its schema and a dot before it where it has one.
    """
    return table_name(table).rpartition(".")[2].lower()
