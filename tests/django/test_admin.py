"""The admin pages: outbox and handled events to look at, nothing to change, nothing personal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.django.conftest import DjangoProject

OUTBOX, HANDLED = "/admin/messaging/outboxentry/", "/admin/messaging/handledevent/"
LETTERS = "/admin/messaging/deadletterpage/"


@pytest.fixture
def admin(project: DjangoProject) -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("chefe", password="x"))
    return client


def enrol(*ids: str) -> None:
    from django.db import transaction
    from escola.eventos import AlunoMatriculado

    from messaging.django import publish

    with transaction.atomic():
        for id in ids:
            publish(AlunoMatriculado(aluno_id="4711", nome="Ana Lima", cpf="111.222"), id=id)


def page(admin: Any, url: str) -> str:
    answer = admin.get(url)
    assert answer.status_code == 200, answer
    text: str = answer.content.decode()
    for personal in ("Ana Lima", "111.222", ">4711<"):
        assert personal not in text
    return text


def change(sql: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_the_outbox_shows_each_entry_s_state_and_error(admin: Any) -> None:
    enrol("one", "two", "three", "four", "five")
    change("UPDATE messaging_outbox SET published_at = 1700000000 WHERE id = 'two'")
    change("UPDATE messaging_outbox SET parked_at = 1, error = 'TooLarge' WHERE id = 'three'")
    change("UPDATE messaging_outbox SET free_at = 9999999999, holder = 'x' WHERE id = 'four'")
    change("UPDATE messaging_outbox SET free_at = 9999999999, attempts = 2 WHERE id = 'five'")
    text = page(admin, OUTBOX)
    for said in ("pending", "published", "parked", "in flight", "waiting", "TooLarge", "2023"):
        assert said in text
    states = {"pending": "one", "published": "two", "parked": "three", "in flight": "four"}
    for state, id in {**states, "waiting": "five"}.items():
        listed = page(admin, f"{OUTBOX}?state={state.replace(' ', '+')}")
        found = {one for one in ("one", "two", "three", "four", "five") if f">{one}<" in listed}
        assert found == {id}
    assert ">two<" in page(admin, f"{OUTBOX}?q=two")


def test_an_entry_has_a_page_and_nothing_can_be_changed(admin: Any) -> None:
    from messaging.django.models import OutboxEntry

    enrol("one")
    seq = OutboxEntry.objects.get().pk
    text = page(admin, f"{OUTBOX}{seq}/change/")
    assert "one" in text
    assert 'name="_save"' not in text
    for url in (f"{OUTBOX}add/", f"{OUTBOX}{seq}/delete/"):
        assert admin.get(url).status_code == 403
    assert admin.post(f"{OUTBOX}{seq}/change/", {"error": "x"}).status_code == 403
    with pytest.raises(TypeError, match=r"messaging\.django\.publish"):
        OutboxEntry.objects.get().save()


def test_the_models_hold_no_column_with_personal_data(project: DjangoProject) -> None:
    from messaging.django.models import OutboxEntry

    columns = {field.column for field in OutboxEntry._meta.fields}
    assert not columns & {"body", "key", "attributes", "message_group", "deduplication"}


def test_handled_events_are_listed_by_service_with_no_page_of_their_own(admin: Any) -> None:
    from escola.eventos import AlunoMatriculado
    from escola.servicos import UMA_VEZ, Biblioteca

    from messaging.testing import deliver

    event = AlunoMatriculado(aluno_id="4711", nome="Ana Lima", cpf="111.222")
    assert deliver(Biblioteca(), event, id="first", middleware=[UMA_VEZ]).acknowledged
    text = page(admin, HANDLED)
    assert "biblioteca" in text
    assert "first" in text
    assert "20" in text
    assert "/change/" not in text


def test_whoever_may_not_view_does_not_see_it(project: DjangoProject) -> None:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_user("porteiro", password="x", is_staff=True))
    assert client.get(OUTBOX).status_code == 403


@pytest.fixture
def dead(project: DjangoProject, monkeypatch: pytest.MonkeyPatch) -> DjangoProject:
    """A project with a dead letter of the library's, and this process on its server."""
    for name, value in project.environment.items():
        if name.startswith(("AWS_", "MESSAGING_")):
            monkeypatch.setenv(name, value)
    project.apply()
    project.enrol("4711")
    told = project.manage(
        "messaging_worker", "provas:Recusa", "--topology", "escola.servicos:TOPOLOGY",
        "--until-empty", ESCOLA_MIDDLEWARE="",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return project


def test_dead_letters_are_listed_with_their_reason_and_sent_back(
    admin: Any, dead: DjangoProject
) -> None:
    assert "Choose a service" in page(admin, LETTERS)
    url = f"{LETTERS}?service=biblioteca"
    text = page(admin, url)
    assert "no such course" in text
    assert "aluno.matriculado" in text
    [id] = re.findall(r'name="letter" value="([^"]+)"', text)
    assert "Nothing was ticked" in admin.post(url, {}, follow=True).content.decode()
    answer = admin.post(url, {"letter": [id]}, follow=True).content.decode()
    assert "1 sent back to" in answer
    assert "No dead letters" in answer
    done = dead.manage("messaging_worker", "escola.servicos:Biblioteca", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert dead.cards() == ["4711"]


def test_who_may_look_at_dead_letters_may_not_send_them_back(
    project: DjangoProject, dead: DjangoProject
) -> None:
    from django.contrib.auth.models import Permission, User
    from django.test import Client

    user = User.objects.create_user("plantao", password="x", is_staff=True)
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    url = f"{LETTERS}?service=biblioteca"
    assert client.get(url).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_deadletterpage"))
    text = page(client, url)
    assert "no such course" in text
    assert 'name="letter"' not in text
    assert client.post(url, {"letter": ["x"]}).status_code == 403


def test_a_queue_that_does_not_answer_is_said_on_the_page(
    admin: Any, project: DjangoProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "127.0.0.1:9" in page(admin, f"{LETTERS}?service=biblioteca")
