"""Fields for columns that are of another type in another database: moments, and keys of marks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

__all__ = ["KeyField", "MomentField"]


class MomentField(models.Field):
    """A column that holds seconds since the epoch, or PostgreSQL's timestamptz; read as UTC."""

    def get_internal_type(self) -> str:
        """A column of numbers: Django converts nothing."""
        return "FloatField"

    def from_db_value(self, value: Any, expression: object, connection: object) -> datetime | None:
        """What the column holds, aware."""
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromtimestamp(float(value), UTC)


class KeyField(models.TextField):
    """A text that MySQL keeps as bytes, so that it compares them."""

    def deconstruct(self) -> Any:
        """A migration sees a text."""
        name, _, arguments, named = super().deconstruct()
        return name, "django.db.models.TextField", arguments, named

    def from_db_value(self, value: Any, expression: object, connection: object) -> str | None:
        """What the column holds, as text."""
        return value.decode() if isinstance(value, bytes) else value
