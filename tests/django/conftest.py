"""What the tests of Django share: the example's project on a real database and the local server.

The project runs in processes of its own (`manage.py ...`), and in this one, where a test looks at
its tables or runs a handler: `project` leads both to the same database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from messaging.aws import apply, connect
from messaging.aws.sessions import new_session
from messaging.local import LocalServer

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "examples" / "django"
TRIALS = Path(__file__).parent / "provas"

_numbers = count(1)


def clean_environment() -> dict[str, str]:
    given = os.environ.items()
    return {name: value for name, value in given if not name.startswith(("AWS_", "MESSAGING_"))}


@dataclass
class DjangoProject:
    """The example, on a database with its tables in it."""

    kind: str
    url: str
    server: LocalServer
    folder: Path
    prefix: str
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    cwd: Path = PROJECT

    @property
    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            **self.server.environment,
            "DATABASE": self.url,
            "MESSAGING_PREFIX": self.prefix,
            "MESSAGING_WAIT": "0.2",
            "PYTHONPATH": f"{TRIALS}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "100",
        }

    def manage(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py ...` to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.cwd,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `manage.py ...`; it is killed at the end of the test."""
        with (self.folder / f"stderr-{len(self.running)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=self.cwd,
                env=self.environment | more,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.running.append(process)
        return process

    def log(self, process: subprocess.Popen[str]) -> str:
        """What it has written to stderr so far."""
        return (self.folder / f"stderr-{self.running.index(process)}.log").read_text()

    def settings(self) -> Any:
        from messaging.django import deployment

        found = deployment().model_dump()
        return self.server.settings(topic=found["topic"], prefix=self.prefix)

    def apply(self) -> None:
        """Make topic and queue."""
        from escola.servicos import TOPOLOGY

        apply(TOPOLOGY, self.settings(), session=new_session(**self.server.credentials))

    def enrol(self, *names: str) -> None:
        """Publish straight to the topic: each student's id is their name."""
        from escola.eventos import AlunoMatriculado

        from messaging.publishing.publisher import Publisher

        broker = connect(self.settings(), session=new_session(**self.server.credentials))
        with Publisher(broker.topic(), source="/secretaria") as publisher:
            for name in names:
                publisher.publish(AlunoMatriculado(aluno_id=name, nome=name, cpf="123"))
        broker.close()

    def cards(self) -> list[str]:
        """Whose library cards there are."""
        from escola.models import Carteirinha

        return sorted(Carteirinha.objects.values_list("aluno_id", flat=True))


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `true` returns once it is true; it fails after a time that is long enough for all."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"it never came true: {true}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="session")
def django_here() -> None:
    """Django, set up in this process with the example's settings."""
    set_up_django()


def set_up_django() -> None:
    """Set it up, if it is not. Its models cannot be imported before."""
    if str(PROJECT) in sys.path:
        return
    os.environ["DATABASE"] = "sqlite:///:memory:"
    os.environ["DJANGO_SETTINGS_MODULE"] = "escola.settings"
    sys.path[:0] = [str(PROJECT), str(TRIALS)]
    import django

    django.setup()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("django") / "template.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    name = "django_template"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
        migrate(as_url(postgres_server, name))
        yield name
        admin.execute(f"drop database {name} with (force)".encode())


def as_url(conninfo: str, name: str) -> str:
    found = conninfo_to_dict(conninfo)
    return f"postgresql://{found['user']}@/{name}?host={quote(str(found['host']))}"


def migrate(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--skip-checks"],
        cwd=PROJECT,
        env={**clean_environment(), "DATABASE": url, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "escola.sqlite3"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    template, name = request.getfixturevalue("postgres_template"), f"django_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}".encode())
        yield as_url(postgres_server, name)
        admin.execute(f"drop database {name} with (force)".encode())


def _project(
    kind: str, request: pytest.FixtureRequest, server: LocalServer, folder: Path
) -> Iterator[DjangoProject]:
    request.getfixturevalue("django_here")
    from django.db import connections
    from escola.settings import database

    url = request.getfixturevalue(f"{kind}_url")
    connections["default"].close()
    del connections["default"]
    configured = connections.configure_settings({"default": database(url)})
    connections.settings["default"] = configured["default"]
    found = DjangoProject(kind, url, server, folder, f"d{os.getpid()}n{next(_numbers)}-")
    os.environ["MESSAGING_PREFIX"] = found.prefix
    try:
        yield found
    finally:
        del os.environ["MESSAGING_PREFIX"]
        for process in found.running:
            if process.poll() is None:
                process.kill()
            process.communicate()
        connections["default"].close()
        del connections["default"]


@pytest.fixture(params=["sqlite", "postgresql"])
def project(
    request: pytest.FixtureRequest, server: LocalServer, tmp_path: Path
) -> Iterator[DjangoProject]:
    yield from _project(request.param, request, server, tmp_path)


@pytest.fixture
def pg_project(
    request: pytest.FixtureRequest, server: LocalServer, tmp_path: Path
) -> Iterator[DjangoProject]:
    yield from _project("postgresql", request, server, tmp_path)


@pytest.fixture
def lite_project(
    request: pytest.FixtureRequest, server: LocalServer, tmp_path: Path
) -> Iterator[DjangoProject]:
    yield from _project("sqlite", request, server, tmp_path)
