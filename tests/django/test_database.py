"""Which of Django's databases: another alias, one that cannot hold an outbox, and its password."""

from __future__ import annotations

import shutil
import sys
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
    with pytest.raises(ConfigurationError, match="needs a server, or SQLite in a file"):
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


def test_outbox_and_marks_on_mariadb(
    databases: dict[str, Any], mariadb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by the migration; published, handled once, relayed, and read by the models."""
    import pymysql
    from django.db import transaction
    from django.test import override_settings
    from escola.eventos import AlunoMatriculado
    from escola.servicos import TOPOLOGY, Biblioteca

    from messaging.django import TransactionalAtomic, publish
    from messaging.django.database import missing_tables, url, wrapper_of
    from messaging.django.models import HandledEvent, OutboxEntry
    from messaging.django.tables import create, drop

    for name in ("MySQLdb", "_mysql"):
        monkeypatch.setitem(sys.modules, name, pymysql)
    name, _, path = mariadb.removeprefix("mysql://messaging@localhost/").partition("?unix_socket=")
    maria = databases["add"](
        "maria", ENGINE="django.db.backends.mysql", NAME=name, USER="messaging", HOST=path
    )
    event = AlunoMatriculado(aluno_id="1", nome="Zoë 🎓", cpf="1")
    settings = {"TOPIC": "alunos", "SOURCE": "/secretaria", "DATABASE": "maria"}
    with override_settings(MESSAGING=settings):
        with maria.schema_editor() as editor:
            create(None, editor)
        assert missing_tables(maria) == []
        for undone in (True, False):
            with transaction.atomic("maria"):
                publish(event)
                transaction.set_rollback(undone, using="maria")
        assert OutboxEntry.objects.using("maria").get().state == "pending"
        for _ in range(2):
            once = deliver(Biblioteca(), event, id="e1", middleware=[TransactionalAtomic()])
            assert once.acknowledged
        mark = HandledEvent.objects.using("maria").get()
        assert (mark.service, mark.event_id.rpartition(" ")[2]) == ("biblioteca", "e1")
        assert mark.handled_at is not None
        broker = MemoryBroker(TOPOLOGY)
        with Relay(connector(url(wrapper_of("maria"))), broker.topic()) as relay:
            assert relay.drain().published == 1
        assert OutboxEntry.objects.using("maria").get().state == "published"
        with maria.schema_editor() as editor:
            drop(None, editor)
        assert len(missing_tables(maria)) == 2


@pytest.mark.parametrize("password", ["a'b", "a\\b", "a b", "a@b:/c%", "'"])
def test_a_relay_on_mysql_is_given_whatever_password_django_has(
    databases: dict[str, Any], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pymysql

    from messaging.django.database import url
    from messaging.sql.opening_mysql import parameters

    for name in ("MySQLdb", "_mysql"):
        monkeypatch.setitem(sys.modules, name, pymysql)
    wrapper = databases["add"](
        "maria",
        ENGINE="django.db.backends.mysql",
        NAME="escola",
        USER="u",
        HOST="db",
        PORT=3307,
        PASSWORD=password,
        OPTIONS={"ssl": {"ca": "/ca.pem"}, "connect_timeout": 3, "init_command": "SET x = 1"},
    )
    found = parameters(url(wrapper))
    assert found["password"] == password
    assert (found["user"], found["database"]) == ("u", "escola")
    assert (found["host"], found["port"], found["connect_timeout"]) == ("db", 3307, 3)
    assert (found["ssl_ca"], found["ssl_verify_identity"]) == ("/ca.pem", True)
