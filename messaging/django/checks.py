"""The checks of `manage.py check` for MESSAGING and the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections
from django.db.utils import Error as DatabaseError

from messaging.aws.naming import topic_of
from messaging.cli import names
from messaging.django.database import dialect, missing_tables
from messaging.django.setup import MessagingSetting, current
from messaging.errors import MessagingError

__all__ = ["check_database", "check_setting"]


def check_setting(app_configs: object = None, **given: Any) -> list[CheckMessage]:
    """Check that MESSAGING is valid, names a topic, and that its names can be imported."""
    try:
        setup = current()
        settings = setup.deployment()
    except MessagingSetting as error:
        return [_error("E001", f"MESSAGING: {one}") for one in error.mistakes]
    except MessagingError as error:
        return [_error("E001", str(error))]
    if settings.topic is None and settings.topology is None and setup.topology_name is None:
        return [
            _error(
                "E002",
                "MESSAGING names no topic.",
                hint='Give MESSAGING["TOPOLOGY"] as "module:NAME", or MESSAGING["TOPIC"].',
            )
        ]

    def topology() -> None:
        if setup.topology is not None:
            topic_of(setup.topology, settings)

    event = setup.event_name
    return [
        *_told("E003", topology),
        *_told("E004", lambda: setup.codec),
        *_told("E004", lambda: setup.middleware),
        *_told("E004", lambda: event and names.event(event, 'MESSAGING["EVENT"]')),
    ]


def check_database(
    app_configs: object = None, databases: Sequence[str] | None = None, **given: Any
) -> list[CheckMessage]:
    """Check that the outbox and the marks are in MESSAGING["DATABASE"], if that is to be
    checked."""
    try:
        alias = current().database
    except MessagingSetting:
        return []  # check_setting reports it
    if alias not in (databases or ()):
        return []
    wrapper = connections[alias]
    if dialect(wrapper) is None:
        said = f"The database {alias!r} is {wrapper.display_name}, which can hold no outbox."
        hint = (
            'Name one of PostgreSQL, MySQL or SQLite in MESSAGING["DATABASE"], to use the outbox.'
        )
        return [Warning(said, hint=hint, id="messaging.W006")]
    try:
        missing = missing_tables(wrapper)
    except DatabaseError as error:
        said = f"The database {alias!r} does not say which tables it has ({type(error).__name__})."
        return [Warning(said, hint="Is it running?", id="messaging.W005")]
    # Not an error: `migrate` itself checks the database before it starts.
    return [
        Warning(
            f"The table {table} is missing in the database {alias!r}.",
            hint="Run: manage.py migrate messaging",
            id="messaging.W005",
        )
        for table in missing
    ]


def _told(id: str, attempt: Callable[[], object]) -> list[CheckMessage]:
    try:
        attempt()
    except MessagingError as error:
        return [_error(id, str(error))]
    return []


def _error(id: str, said: str, hint: str | None = None) -> CheckMessage:
    return Error(said, hint=hint, id=f"messaging.{id}")
