"""Fields for columns whose type depends on the database: times, and keys of marks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

__all__ = ["KeyField", "MomentField"]


class MomentField(models.Field):
    """A column with seconds since the epoch, or PostgreSQL's timestamptz; read as UTC."""

    def get_internal_type(self) -> str:
        """A column of numbers: Django converts nothing."""
        return "FloatField"

    def from_db_value(self, value: Any, expression: object, connection: object) -> datetime | None:
        """The column's value, as an aware datetime."""
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromtimestamp(float(value), UTC)


class KeyField(models.TextField):
    """Text that MySQL stores as bytes, so that it compares bytes."""

    def deconstruct(self) -> Any:
        """Migrations see a text field."""
        name, _, arguments, named = super().deconstruct()
        return name, "django.db.models.TextField", arguments, named

    def from_db_value(self, value: Any, expression: object, connection: object) -> str | None:
        """The column's value, as text."""
        return value.decode() if isinstance(value, bytes) else value
