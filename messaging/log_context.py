"""Adds the ids of a handler's message and, with tracing, of its trace to log records.

handler.addFilter(LogContext())                          # of the logging module
Worker(Marketing(), broker=broker, middleware=[with_ids])
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from messaging.variables import reset

if TYPE_CHECKING:
    from messaging.consuming.batch_dispatch import BatchCall
    from messaging.consuming.dispatch import Call

__all__ = ["FIELDS", "JsonLines", "LogContext", "adding", "with_ids"]

FIELDS = ("service", "event_id", "event_type", "message_id", "trace_id", "span_id")
"""Attributes of records logged while a message is handled. Only ids and types."""

_CURRENT: ContextVar[Mapping[str, object] | None] = ContextVar(
    "messaging_log_context", default=None
)


def adding(**more: object) -> AbstractContextManager[None]:
    """Inside `with`, records also have these attributes, as texts."""
    return _Adding(more)


class _Adding:
    # A class, because a generator as a context manager takes four times as long.
    __slots__ = ("_more", "_token")

    def __init__(self, more: Mapping[str, object]) -> None:
        self._more = more

    def __enter__(self) -> None:
        self._token = _CURRENT.set({**(_CURRENT.get() or {}), **self._more})

    def __exit__(self, *error: object) -> None:
        reset(_CURRENT, self._token)


class _WithIds:
    def __call__(self, call: Call) -> AbstractContextManager[None]:
        envelope = call.envelope
        return adding(
            service=call.service,
            event_id=envelope.id,
            event_type=envelope.type,
            message_id=call.delivery.message_id,
        )

    def around_batch(self, batch: BatchCall) -> AbstractContextManager[None]:
        return adding(service=batch.service, event_type=batch.handler.event.event_type)


with_ids = _WithIds()
"""A middleware: the handler's log records get the ids of its message. Those of a handler that takes
a batch only get service and type, because it has many messages."""


class LogContext(logging.Filter):
    """Adds the attributes of `FIELDS` to each record, "" if one is unknown. Drops none.

    Add it to a handler, not to a logger: a logger's filters do not see records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always return True."""
        known = _CURRENT.get() or {}
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, str(known.get(name, "")))
        return True


class JsonLines(logging.Formatter):
    """Formats each record as one line of JSON: time, level, logger, message, and the known
    `FIELDS`. A traceback is in `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII, without a newline."""
        time = datetime.fromtimestamp(record.created, UTC)
        found = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= {name: known for name in FIELDS if (known := getattr(record, name, ""))}
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found)
