"""The room of `messaging publish`: a CSV file to events, with what could not be read set aside."""

from __future__ import annotations

__all__ = ["publish"]


def publish() -> None:
    """Publish the rows of a CSV file as events."""
