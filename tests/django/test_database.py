"""Which of Django's databases: another alias, one that cannot hold an outbox, and its password."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from messaging.errors import ConfigurationError
from messaging.memory import MemoryBroker
from messaging.outbox import Relay, connector
from messaging.testing import deliver
from tests.django.conftest import DjangoProject


@pytest.fixture
def databases(lite_project: DjangoProject) -> Iterator[dict[str, Any]]:
    """What is added to `DATABASES`, for as long as the test runs."""
    from django.db import connections

    before = dict(connections.settings)

    def add(alias: str, **settings: Any) -> Any:
        configured = connections.configure_settings({"default": {}, alias: settings})
        connections.settings[alias] = configured[alias]
        return connections[alias]

    yield {"add": add}
    for alias in set(connections.settings) - set(before):
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def test_outbox_and_marks_lie_in_the_database_that_is_named(
    databases: dict[str, Any], lite_project: DjangoProject, sqlite_template: Path
) -> None:
    from django.db import transaction
    from django.test import override_settings
    from escola.eventos import AlunoMatriculado
    from escola.models import Carteirinha
    from escola.servicos import TOPOLOGY, Biblioteca

    from messaging.django import TransactionalAtomic, publish
    from messaging.django.database import url, wrapper_of
    from messaging.django.models import HandledEvent, OutboxEntry

    path = lite_project.folder / "outro.sqlite3"
    shutil.copy(sqlite_template, path)
    databases["add"]("outro", ENGINE="django.db.backends.sqlite3", NAME=path)
    event = AlunoMatriculado(aluno_id="1", nome="Ana", cpf="1")
    settings = {"TOPIC": "alunos", "SOURCE": "/secretaria", "DATABASE": "outro"}
    with override_settings(MESSAGING=settings):
        with transaction.atomic("outro"):
            publish(event)
        assert deliver(Biblioteca(), event, middleware=[TransactionalAtomic()]).acknowledged
    # The handler's own models lie where Django's router puts them.
    assert Carteirinha.objects.using("default").count() == 1
    assert [one.objects.using("default").count() for one in (OutboxEntry, HandledEvent)] == [0, 0]
    assert [one.objects.using("outro").count() for one in (OutboxEntry, HandledEvent)] == [1, 1]
    broker = MemoryBroker(TOPOLOGY)
    with Relay(connector(url(wrapper_of("outro"))), broker.topic()) as relay:
        assert relay.drain().published == 1


def test_a_database_that_can_hold_no_outbox_is_named(databases: dict[str, Any]) -> None:
    from messaging.django import outbox

    databases["add"]("nada", ENGINE="django.db.backends.dummy")
    with pytest.raises(ConfigurationError, match="the database 'nada' is unknown: the outbox"):
        outbox("nada")


def test_a_relay_refuses_a_database_in_memory(databases: dict[str, Any]) -> None:
    from messaging.django.database import url

    wrapper = databases["add"]("memory", ENGINE="django.db.backends.sqlite3", NAME=":memory:")
    with pytest.raises(ConfigurationError, match="needs PostgreSQL, or SQLite in a file"):
        url(wrapper)


@pytest.mark.parametrize("password", ["a'b", "a\\b", "a b", "a@b:/c%", "'"])
def test_a_relay_is_given_whatever_password_django_has(
    databases: dict[str, Any], password: str
) -> None:
    from messaging.django.database import url

    wrapper = databases["add"](
        "longe",
        ENGINE="django.db.backends.postgresql",
        NAME="escola",
        USER="u",
        HOST="db",
        PORT=5433,
        PASSWORD=password,
        OPTIONS={"sslmode": "require", "pool": True, "isolation_level": 2},
    )
    found = conninfo_to_dict(url(wrapper))
    assert found["password"] == password
    assert (found["dbname"], found["host"], found["port"]) == ("escola", "db", "5433")
    assert found["sslmode"] == "require"
    connector(url(wrapper))  # which takes it
