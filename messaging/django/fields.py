"""A field for a moment that is a number of seconds in one table, and a timestamp in another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

__all__ = ["MomentField"]


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
