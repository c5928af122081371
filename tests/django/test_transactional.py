"""An event's effect through Django's ORM and its mark: both or neither, in Django's transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import PublishError
from messaging.event import Event
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.testing import Result, deliver, deliver_batch
from tests.django.conftest import DjangoProject


class Noted(Event, type="test.noted", version=1, subject="number"):
    number: str


class Library(Consumer):
    service = "library"

    def __init__(self, does: Callable[[], Any]) -> None:
        self.does = does

    @handles
    def noted(self, event: Noted) -> Any:
        return self.does()


class AsyncLibrary(Library):
    service = "library"

    @handles
    async def noted(self, event: Noted) -> Any:  # type: ignore[override] # it is another consumer
        return self.does()


def deliver_to(does: Callable[[], Any], id: str = "e1", kind: type[Library] = Library) -> Result:
    from messaging.django import TransactionalAtomic

    once = TransactionalAtomic()
    return deliver(kind(does), Noted(number="1"), id=id, middleware=[once])


def write() -> None:
    from escola.models import Carteirinha

    Carteirinha.objects.create(aluno_id="1", nome="Ana")


def marks() -> list[str]:
    from messaging.django.models import HandledEvent

    return [one.event_id.rpartition(" ")[2] for one in HandledEvent.objects.all()]


def test_a_duplicate_has_no_second_effect(project: DjangoProject) -> None:
    assert deliver_to(write).acknowledged
    assert deliver_to(write).acknowledged
    assert deliver_to(write, "e2").acknowledged
    assert project.cards() == ["1", "1"]
    assert marks() == ["e1", "e2"]


@pytest.mark.parametrize("raised", [ValueError(), Retry(1), Reject("no"), Discard("no")])
def test_whatever_is_raised_leaves_neither_effect_nor_mark(
    project: DjangoProject, raised: BaseException
) -> None:
    def fails() -> None:
        write()
        raise raised

    deliver_to(fails)
    assert (project.cards(), marks()) == ([], [])
    assert deliver_to(write).acknowledged
    assert project.cards() == ["1"]


def test_an_acknowledgement_that_is_raised_commits(project: DjangoProject) -> None:
    def acknowledges() -> None:
        write()
        raise Ack("enough")

    assert deliver_to(acknowledges).acknowledged
    assert (project.cards(), marks()) == (["1"], ["e1"])


def test_atomic_select_for_update_and_on_commit_work_inside(project: DjangoProject) -> None:
    from django.db import connection, transaction
    from escola.models import Carteirinha

    told: list[str] = []

    def does() -> None:
        write()
        with suppress(ValueError), transaction.atomic():
            Carteirinha.objects.create(aluno_id="undone", nome="")
            raise ValueError
        one = Carteirinha.objects.select_for_update().get(aluno_id="1")
        one.livros = 3
        one.save()
        transaction.on_commit(
            lambda: told.append(f"in a transaction: {connection.in_atomic_block}")
        )
        assert told == []

    assert deliver_to(does).acknowledged
    assert told == ["in a transaction: False"]
    assert [(one.aluno_id, one.livros) for one in Carteirinha.objects.all()] == [("1", 3)]


def test_an_event_that_a_handler_publishes_belongs_to_its_transaction(
    project: DjangoProject,
) -> None:
    from messaging.django import publish
    from messaging.django.models import OutboxEntry

    def fails() -> None:
        publish(Noted(number="9"))
        raise ValueError

    deliver_to(fails)
    assert OutboxEntry.objects.count() == 0
    for _ in range(2):
        assert deliver_to(lambda: publish(Noted(number="9")) and None).acknowledged
    assert OutboxEntry.objects.count() == 1


def test_a_handler_that_marks_its_transaction_for_rollback_is_not_acknowledged(
    project: DjangoProject,
) -> None:
    from django.db import transaction

    def does() -> None:
        write()
        transaction.set_rollback(True)

    assert not deliver_to(does).acknowledged
    assert (project.cards(), marks()) == ([], [])


def test_a_handler_that_closes_the_connection_is_not_acknowledged(project: DjangoProject) -> None:
    from django.db import connection

    def does() -> None:
        write()
        connection.close()

    assert not deliver_to(does).acknowledged
    assert (project.cards(), marks()) == ([], [])


def test_an_async_handler_is_refused_with_the_reason(project: DjangoProject) -> None:
    result = deliver_to(write, kind=AsyncLibrary)
    assert not result.acknowledged
    assert project.cards() == []
    done = project.manage(
        "messaging_worker", "provas:Assincrona", "--topology", "escola.servicos:TOPOLOGY"
    )
    assert done.returncode == 2
    assert "an async handler of biblioteca cannot run in a transaction of Django" in done.stderr


def test_a_concurrent_duplicate_takes_no_effect(pg_project: DjangoProject) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        write()
        inside.set()
        assert leave.wait(20)

    first: list[Result] = []

    def run() -> None:
        from django.db import connection

        first.append(deliver_to(slow))
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(20)
    second = deliver_to(write)
    leave.set()
    thread.join()
    assert first[0].acknowledged
    assert not second.acknowledged
    assert pg_project.cards() == ["1"]


def test_outside_of_a_transaction_publish_says_to_open_one(project: DjangoProject) -> None:
    from messaging.django import publish

    with pytest.raises(PublishError, match="open a transaction around both"):
        publish(Noted(number="1"))


def test_the_outbox_takes_an_alias_and_a_connection(project: DjangoProject) -> None:
    from django.db import connection, transaction

    from messaging.django import publish
    from messaging.django.models import OutboxEntry

    with transaction.atomic():
        publish(Noted(number="1"), using="default", id="by-alias")
        publish(Noted(number="2"), using=connection, id="by-connection")
    assert sorted(one.event_id for one in OutboxEntry.objects.all()) == [
        "by-alias",
        "by-connection",
    ]


def test_what_is_published_does_not_show_in_django_s_log_of_queries(
    project: DjangoProject, settings_debug: None
) -> None:
    from django.db import connection, transaction
    from escola.eventos import AlunoMatriculado

    from messaging.django import publish

    with transaction.atomic():
        publish(AlunoMatriculado(aluno_id="1", nome="Ana Lima", cpf="111"))
    assert "Ana Lima" not in str(connection.queries)


@pytest.fixture
def settings_debug(project: DjangoProject) -> Any:
    from django.db import connection

    connection.force_debug_cursor = True
    yield
    connection.force_debug_cursor = False


def test_marks_are_pruned(project: DjangoProject) -> None:
    from messaging.django import TransactionalAtomic

    deliver_to(write)
    assert TransactionalAtomic().prune(3600) == 0
    assert TransactionalAtomic().prune(-1) == 1
    assert marks() == []


class Shelves(Consumer):
    """Writes a batch of cards with one statement; a number of "0" is refused by the database."""

    service = "library"

    @handles(batch=10)
    def noted(self, events: Batch[Noted]) -> None:
        from escola.models import Carteirinha

        Carteirinha.objects.bulk_create(
            Carteirinha(aluno_id=one.number, nome=None if one.number == "0" else "Ana")
            for one in events
        )


def test_a_batch_and_the_marks_of_its_events_are_one_transaction(project: DjangoProject) -> None:
    from messaging.django import CloseConnections, TransactionalAtomic

    around = [CloseConnections(), TransactionalAtomic()]
    events = [Noted(number=str(number)) for number in range(1, 5)]
    done = deliver_batch(Shelves(), events, middleware=around)
    assert all(one.acknowledged for one in done)
    assert project.cards() == ["1", "2", "3", "4"]
    assert len(marks()) == 4


def test_one_bad_row_of_a_batch_undoes_its_own_effect_and_no_other_s(
    project: DjangoProject,
) -> None:
    from messaging.django import CloseConnections, TransactionalAtomic

    around = [CloseConnections(), TransactionalAtomic()]
    events = [Noted(number=number) for number in "120"]
    done = deliver_batch(Shelves(), events, middleware=around)
    assert [one.acknowledged for one in done] == [True, True, False]
    assert done[2].retried
    assert project.cards() == ["1", "2"]
    assert len(marks()) == 2
