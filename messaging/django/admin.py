"""Admin pages of the outbox, of what was handled and of dead letters, with nothing personal."""

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
        """What lies in the database that MESSAGING names."""
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
        """Those in the chosen state."""
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
    """What waits, what failed and why, and what was sent."""

    list_display = ("seq", "event_id", "state", "attempts", "error", "created", "published_at")
    list_filter = (_State,)
    search_fields = ("=event_id", "=seq")
    search_help_text = "an event's id, or an entry's number, as it is"


@admin.register(HandledEvent)
class HandledEventAdmin(_Table):
    """Which service has handled which event, and when."""

    list_display = ("service", "event_id", "handled_at", "until")
    list_display_links = None  # the event's id alone is no key: there is no page for one
    list_filter = ("service",)
    search_fields = ("event_id",)
