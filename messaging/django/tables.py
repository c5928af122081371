"""Creates and drops the two tables in a migration, with the library's own statements."""

from __future__ import annotations

from typing import Any

from messaging.clock import SYSTEM_CLOCK
from messaging.django.database import dialect, missing_tables, raw
from messaging.django.setup import current
from messaging.errors import ConfigurationError
from messaging.idempotency.marks import TABLE as MARKS
from messaging.idempotency.marks import Marks
from messaging.outbox import TABLE as OUTBOX
from messaging.outbox import create as create_outbox

__all__ = ["create", "drop"]


def create(apps: object, schema_editor: Any) -> None:
    """Create what is missing. A table created by `messaging outbox ddl` is left as it is.

    Nothing is created in a database that supports neither, unless it is the configured one.
    """
    wrapper = schema_editor.connection
    kind = dialect(wrapper)
    if kind is None and wrapper.alias != current().database:
        return
    connection = raw(wrapper)  # raises if the database is not supported
    create_outbox(connection)
    Marks(kind or "sqlite", MARKS, SYSTEM_CLOCK).create(connection)


def drop(apps: object, schema_editor: Any) -> None:
    """Drop both, unless the outbox has unsent entries."""
    wrapper = schema_editor.connection
    if dialect(wrapper) is None:
        return
    there = {OUTBOX, MARKS} - set(missing_tables(wrapper))
    with wrapper.cursor() as cursor:
        if OUTBOX in there:
            cursor.execute(f"SELECT count(*) FROM {OUTBOX} WHERE published_at IS NULL")  # noqa: S608 - a constant of ours
            [unsent] = cursor.fetchone()
            if unsent:
                raise ConfigurationError(
                    f"the outbox of {wrapper.alias!r} holds {unsent} entries that were not sent: "
                    "let `manage.py messaging_relay --until-empty` send them first"
                )
        for table in sorted(there):
            cursor.execute(f"DROP TABLE {table}")
