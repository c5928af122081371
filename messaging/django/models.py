"""The two tables as read-only models: the outbox, and the handled events.

The fields contain no personal data: the outbox's body, key and attributes are only for the relay.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

from messaging.django.fields import KeyField, MomentField
from messaging.idempotency.marks import TABLE as MARKS
from messaging.outbox import TABLE as OUTBOX

__all__ = ["DeadLetterPage", "HandledEvent", "OutboxEntry"]


class OutboxEntry(models.Model):
    """One entry of the outbox: a copy of an event, for services that see the same fields."""

    seq = models.BigAutoField(primary_key=True)
    event_id = models.TextField(db_column="id")
    size = models.IntegerField(help_text="bytes")
    created = MomentField()
    free_at: Any = MomentField("not before")
    holder: Any = models.TextField("in the hands of", null=True)
    attempts = models.IntegerField("failed attempts")
    error = models.TextField(null=True)
    published_at: Any = MomentField("published", null=True)
    parked_at: Any = MomentField("parked", null=True)

    class Meta:
        db_table = OUTBOX
        default_permissions = ("view",)
        ordering = ("-seq",)
        verbose_name = "outbox entry"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.seq}: event {self.event_id}"

    @property
    def state(self) -> str:
        """published, parked, in flight, waiting, or pending."""
        if self.published_at is not None:
            return "published"
        if self.parked_at is not None:
            return "parked"
        if self.free_at is not None and self.free_at > datetime.now(UTC):
            return "in flight" if self.holder is not None else "waiting"
        return "pending"

    def save(self, *given: Any, **named: Any) -> None:
        """Raise: entries are written by `messaging.django.publish`."""
        raise TypeError("the outbox is written by messaging.django.publish, and by the relay")


class HandledEvent(models.Model):
    """One mark: a service has handled an event, or holds a claim on it.

    `event_id` alone is not a key; service and event together are.
    """

    event_id = KeyField(primary_key=True)
    service = KeyField()
    handled_at = MomentField(null=True)
    until = MomentField("claimed until", null=True)

    class Meta:
        db_table = MARKS
        default_permissions = ("view",)
        ordering = ("event_id",)
        verbose_name = "handled event"

    def __str__(self) -> str:
        return f"{self.service}: {self.event_id}"

    def save(self, *given: Any, **named: Any) -> None:
        """Raise: marks are written by the middleware."""
        raise TypeError("marks are written by the middleware that handles an event once")


class DeadLetterPage(models.Model):
    """No table: it provides the URL and the permissions of the admin page of dead letters.

    The letters themselves are in SQS.
    """

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = (("redrive_deadletterpage", "Can send dead letters back to their queue"),)
        verbose_name = "dead letter"
