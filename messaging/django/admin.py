"""Admin pages of the outbox, of handled events and of dead letters, without personal data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet

from messaging.django.dead_letters import DeadLettersAdmin, ReadOnly
from messaging.django.models import HandledEvent, OutboxEntry
from messaging.django.setup import current

__all__ = ["DeadLettersAdmin", "HandledEventAdmin", "OutboxAdmin"]


class _Table(ReadOnly):
    """The rows of a table."""

    actions = None
    show_full_result_count = False

    def get_queryset(self, request: Any) -> QuerySet[Any]:
        """The rows in the database from MESSAGING."""
        found: QuerySet[Any] = super().get_queryset(request).using(current().database)
        return found


class _State(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """The states of an entry."""
        states = ("pending", "in flight", "waiting", "parked", "published")
        return [(state, state) for state in states]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Entries in the chosen state."""
        now = datetime.now(UTC).timestamp()
        unsent = queryset.filter(published_at=None, parked_at=None)
        later = unsent.filter(free_at__gt=now)
        chosen = {
            "pending": unsent.filter(free_at__lte=now),
            "in flight": later.exclude(holder=None),
            "waiting": later.filter(holder=None),
            "parked": queryset.filter(published_at=None).exclude(parked_at=None),
            "published": queryset.exclude(published_at=None),
        }
        return chosen.get(self.value() or "", queryset)


@admin.register(OutboxEntry)
class OutboxAdmin(_Table):
    """Pending, failed and sent entries, with the reasons."""

    list_display = ("seq", "event_id", "state", "attempts", "error", "created", "published_at")
    list_filter = (_State,)
    search_fields = ("=event_id", "=seq")
    search_help_text = "an event's id, or an entry's number, as it is"


@admin.register(HandledEvent)
class HandledEventAdmin(_Table):
    """The services that have handled each event, and when."""

    list_display = ("service", "event_id", "handled_at", "until")
    list_display_links = None  # the event's id alone is not a key: there is no detail page
    list_filter = ("service",)
    search_fields = ("event_id",)
