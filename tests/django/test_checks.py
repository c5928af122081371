"""What `manage.py check` and the first error say when MESSAGING or the tables are not in order."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from messaging.errors import SettingsError
from tests.django.conftest import PROJECT, DjangoProject, clean_environment


def checked(messaging: object) -> list[tuple[str, str]]:
    from django.core.checks import run_checks
    from django.test import override_settings

    with override_settings(MESSAGING=messaging):
        found = run_checks()
    return [(one.id, one.msg) for one in found if one.id.startswith("messaging.")]


@pytest.mark.parametrize(
    ("messaging", "id", "said"),
    [
        (
            {"TOPICO": "alunos"},
            "E001",
            "nobody reads 'TOPICO'; known are BROKER_URL, CODEC, CONCURRENCY, ",
        ),
        ({"TOPIC": "alunos", "DRAIN": -1}, "E001", "MESSAGING: DRAIN='-1': Input should be"),
        ({"TOPIC": "alunos", "MIDDLEWARE": "a:B"}, "E001", 'a list of "module:NAME" was expected'),
        ({"TOPIC": "alunos", "DATABASE": "outro"}, "E001", "there is no 'outro' in DATABASES"),
        (["TOPIC"], "E001", "a dict was expected, not list"),
        ({}, "E002", "MESSAGING names no topic"),
        ({"SOURCE": "/secretaria"}, "E002", "MESSAGING names no topic"),
        ({"TOPOLOGY": "escola.nada:TOPOLOGY"}, "E003", "there is no module 'escola.nada'"),
        ({"TOPOLOGY": "escola.servicos:Biblioteca"}, "E003", "a Topology was expected, not"),
        ({"TOPIC": "x", "TOPOLOGY": "escola.servicos:TOPOLOGY"}, "E003", "events would go to one"),
        ({"TOPIC": "alunos", "CODEC": "escola.nada:X"}, "E004", "there is no module"),
        ({"TOPIC": "alunos", "MIDDLEWARE": ["escola.servicos:Z"]}, "E004", "has no 'Z'"),
        ({"TOPIC": "alunos", "EVENT": "escola.models:Aluno"}, "E004", "an Event class"),
    ],
)
def test_a_check_names_what_is_wrong(
    lite_project: DjangoProject, messaging: object, id: str, said: str
) -> None:
    [(found, text)] = checked(messaging)
    assert found == f"messaging.{id}"
    assert said in text


def test_a_setting_in_order_gives_no_message(lite_project: DjangoProject) -> None:
    assert checked({"TOPIC": "alunos", "CONCURRENCY": 4}) == []
    assert checked({"TOPOLOGY": "escola.servicos:TOPOLOGY"}) == []


def test_the_environment_may_name_the_topic_and_comes_first(lite_project: DjangoProject) -> None:
    from django.test import override_settings

    from messaging.django import deployment

    os.environ |= {"MESSAGING_TOPIC": "others", "AWS_REGION": "us-east-1"}
    try:
        assert checked({}) == []
        with override_settings(MESSAGING={"TOPIC": "alunos", "REGION": "sa-east-1"}):
            settings = deployment()
    finally:
        del os.environ["MESSAGING_TOPIC"], os.environ["AWS_REGION"]
    assert (settings.topic, settings.region) == ("others", "sa-east-1")


def test_every_mistake_is_told_at_once(lite_project: DjangoProject) -> None:
    found = checked({"TOPICO": "a", "WAIT": 99, "EVENT": 7})
    assert [id for id, _ in found] == ["messaging.E001"] * 3


def test_a_password_in_the_setting_is_not_shown(lite_project: DjangoProject) -> None:
    [(_, text)] = checked({"TOPIC": "alunos", "ENDPOINT_URL": "ftp://u:SEGREDO@host"})
    assert "ENDPOINT_URL" in text
    assert "SEGREDO" not in text


def test_publishing_without_a_source_says_what_is_missing(lite_project: DjangoProject) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.db import transaction
    from django.test import override_settings
    from escola.eventos import AlunoMatriculado

    from messaging.django import publish

    event = AlunoMatriculado(aluno_id="1", nome="Ana", cpf="1")
    with (
        override_settings(MESSAGING={"TOPIC": "alunos"}),
        pytest.raises(ImproperlyConfigured, match="SOURCE is missing") as raised,
        transaction.atomic(),
    ):
        publish(event)
    assert isinstance(raised.value, SettingsError)


def test_tables_that_are_missing_are_told_by_check_and_refused_by_the_commands(
    project: DjangoProject,
) -> None:
    done = project.manage("migrate", "messaging", "zero", "--skip-checks")
    assert done.returncode == 0, done.stderr
    done = project.manage("check", "--database", "default")
    assert done.returncode == 0
    assert "The table messaging_outbox is missing in the database 'default'" in done.stderr
    assert "manage.py migrate messaging" in done.stderr
    done = project.manage("messaging_worker", "escola.servicos:Biblioteca")
    assert done.returncode == 2
    assert "messaging_outbox and messaging_handled: missing" in done.stderr
    done = project.manage("messaging_relay", "--until-empty")
    assert done.returncode == 2
    assert "there is no table messaging_outbox" in done.stderr


def test_a_migration_back_keeps_what_was_not_sent(project: DjangoProject) -> None:
    from django.db import transaction
    from escola.eventos import AlunoMatriculado

    from messaging.django import publish

    with transaction.atomic():
        publish(AlunoMatriculado(aluno_id="1", nome="Ana", cpf="1"))
    done = project.manage("migrate", "messaging", "zero")
    assert done.returncode != 0
    assert "holds 1 entries that were not sent" in done.stderr


def test_the_models_are_those_of_the_migration(lite_project: DjangoProject) -> None:
    done = lite_project.manage("makemigrations", "--check", "--dry-run")
    assert (done.returncode, done.stdout.strip()) == (0, "No changes detected")


def test_tables_that_were_made_by_hand_are_taken_as_they_are(project: DjangoProject) -> None:
    from contextlib import closing

    from messaging.outbox import Claims, Database, connector, create

    assert project.manage("migrate", "messaging", "zero").returncode == 0
    with closing(connector(project.url)()) as connection:
        create(connection)
        connection.commit()
    done = project.manage("migrate")
    assert done.returncode == 0, done.stderr
    with closing(Database(connector(project.url))) as database:
        Claims(database).check()
        assert Claims(database).status().pending == 0


def outside(name: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "messaging", "run", name],
        cwd=PROJECT,
        env={**clean_environment(), "MESSAGING_TOPIC": "alunos", "PYTHONDONTWRITEBYTECODE": "1"}
        | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("more", [{}, {"DJANGO_SETTINGS_MODULE": "escola.settings"}])
def test_messaging_run_of_a_django_service_says_to_set_up_django(more: dict[str, Any]) -> None:
    done = outside("escola.servicos:Biblioteca", **more)
    assert done.returncode == 2
    assert "Django is not set up: set DJANGO_SETTINGS_MODULE and call django.setup()" in done.stderr
    assert "`python manage.py messaging_worker`" in done.stderr
    assert "Traceback" not in done.stderr
