"""The admin page of dead letters: lists them with their reasons, and can send them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from messaging.clock import utc
from messaging.connecting import connect
from messaging.dead_letters import Letter, Where, Workbench
from messaging.django.models import DeadLetterPage
from messaging.django.setup import current, deployment
from messaging.errors import MessagingError

__all__ = ["DeadLettersAdmin", "ReadOnly"]

MOST = 100
"""Maximum letters per page: showing one means receiving it."""


class ReadOnly(admin.ModelAdmin):
    """Nobody may add, change or delete; viewing follows Django's permission."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never: `messaging dlq drop` deletes dead letters."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(DeadLetterPage)
class DeadLettersAdmin(ReadOnly):
    """Dead letters by service: ids, types and reasons, but never their content."""

    def changelist_view(
        self, request: Any, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The services, and the chosen one's letters. A POST sends the ticked letters back."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        topology = current().topology
        services = () if topology is None else topology.services
        service = request.GET.get("service", "")
        may_redrive = request.user.has_perm("messaging.redrive_deadletterpage")
        context = {
            **self.admin_site.each_context(request),
            "title": "Dead letters",
            "opts": self.opts,
            "services": services,
            "service": service,
            "may_redrive": may_redrive,
            "most": MOST,
            **(extra_context or {}),
        }
        if service in services:
            try:
                if request.method == "POST":
                    if not may_redrive:
                        raise PermissionDenied
                    self._redrive(request, service)
                    return HttpResponseRedirect(request.get_full_path())
                with _bench(service) as bench:
                    context["letters"] = [_shown(one) for one in bench.letters(limit=MOST)]
            except MessagingError as error:
                # The library's own error: it names queue, region and remedy, but no data.
                messages.error(request, str(error))
        return TemplateResponse(request, "admin/messaging/dead_letters.html", context)

    def _redrive(self, request: Any, service: str) -> None:
        chosen = frozenset(request.POST.getlist("letter"))
        if not chosen:
            messages.warning(request, "Nothing was ticked.")
            return
        with _bench(service) as bench:
            report = bench.redrive(Where(ids=chosen), dry_run=False)
        if report.done:
            messages.success(request, f"{report.done} sent back to {report.origin}.")
        for one in report.failed:
            messages.error(request, f"{one.id} stays: {one.reason}")
        if not report.done and not report.failed:
            messages.warning(request, "They are gone, or others look at them now: look again.")


@contextmanager
def _bench(service: str) -> Iterator[Workbench]:
    broker = connect(deployment())
    try:
        yield Workbench(broker.letters(service), codec=current().codec)
    finally:
        broker.close()


def _shown(letter: Letter) -> dict[str, Any]:
    # Not the letter itself: a template could access its body.
    return {**letter.to_dict(), "given_up": utc(letter.time)}
