"""Publishing from Django: writes events to the outbox, in Django's open transaction."""

from __future__ import annotations

from datetime import datetime

from messaging.django.database import Wrapper, raw, wrapper_of
from messaging.django.setup import current
from messaging.event import Event
from messaging.outbox import SqlOutbox
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import Published

__all__ = ["outbox", "publish"]


def outbox(using: str | Wrapper | None = None) -> SqlOutbox:
    """The outbox as a topic for one `Publisher`, in this thread's open transaction.

    Args:
        using: an alias of DATABASES or one of `django.db.connections`; by default
            MESSAGING["DATABASE"].

    Example:
        ```python
        # Not run: needs a Django project; examples/django has one, with tests.
        from messaging.django import outbox

        publisher = Publisher(outbox(), source="/cadastro")
        ```
    """
    setup = current()
    connection = raw(wrapper_of(setup.database if using is None else using))
    return SqlOutbox(connection, max_bytes=setup.deployment().max_bytes)


def publish(
    event: Event,
    *,
    using: str | Wrapper | None = None,
    id: str | None = None,
    time: datetime | None = None,
    traceparent: str | None = None,
) -> Published:
    """Write `event` to the outbox, inside `transaction.atomic`, together with your own changes.

        with transaction.atomic():
            aluno = Aluno.objects.create(nome=nome)
            publish(AlunoMatriculado(aluno_id=aluno.pk, nome=nome))

    `manage.py messaging_relay` sends it after the commit. `id`, `time` and `traceparent` are those
    of `Publisher.publish`, and so are the errors: it also raises `PublishError` if no transaction
    is open, because the event would then be sent even if your own change fails.

    Args:
        event: what happened.
        using: the alias of the database; by default from MESSAGING.
        id: the event's id; by default a fresh one.
        time: when it happened, with a time zone; by default now.
        traceparent: W3C trace context to pass through.

    Example:
        ```python
        # Not run: needs a Django project; examples/django has one, with tests.
        from django.db import transaction
        from messaging.django import publish

        with transaction.atomic():
            publish(ana)  # in the outbox, and committed together with your rows
        ```
    """
    setup = current()
    publisher = Publisher(outbox(using), source=setup.source, codec=setup.codec)
    return publisher.publish(event, id=id, time=time, traceparent=traceparent)
