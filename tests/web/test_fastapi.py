"""Publishing from a FastAPI application: a real uvicorn, a real topic, a real database."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import psycopg
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from messaging import Consumer, MemoryBroker, Publisher, Topology, handles
from messaging.errors import ConfigurationError
from messaging.fastapi import PublisherLifespan
from messaging.outbox import create
from messaging.testing import FakeClock, drain
from tests.web.conftest import Heard, Serve, pupil
from tests.web.fastapi_app import AlunoCadastrado


def uvicorn(descriptor: int) -> Sequence[str]:
    return ["uvicorn", "tests.web.fastapi_app:app", "--fd", str(descriptor)]


def test_async_sync_and_buffered_routes_publish(heard: Heard, serve: Serve) -> None:
    with serve(uvicorn, heard.environment) as client:
        for route in ("async", "sync", "buffered"):
            assert client.post(f"/{route}", json=pupil(route)).status_code == 201
    assert heard.names(3) == ["async", "buffered", "sync"]


def test_what_a_route_left_in_the_buffer_is_sent_before_the_server_ends(
    heard: Heard, serve: Serve
) -> None:
    names = [f"{number:02}" for number in range(40)]
    with serve(uvicorn, heard.environment) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda name: client.post("/not-waited-for", json=pupil(name)).status_code, names
        )
        assert set(answers) == {202}
    assert heard.names(40) == names


def test_an_event_that_cannot_be_sent_is_the_callers_mistake(heard: Heard, serve: Serve) -> None:
    with serve(uvicorn, heard.environment) as client:
        big = client.post("/async", json=pupil("Ana" * 100_000))
        odd = client.post("/sync", json=pupil("Ana\ufffe"))
    for answer in (big, odd):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == "Unprocessable Content"
        assert "AlunoCadastrado" in answer.json()["detail"]
        assert "Ana" not in answer.text


def test_a_topic_that_does_not_answer_is_503_and_the_next_request_is_answered(
    heard: Heard, serve: Serve
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serve(uvicorn, {**heard.environment, "AWS_ENDPOINT_URL": url}) as client:
            for route in ("async", "sync", "buffered"):
                answer = client.post(f"/{route}", json=pupil("Ana"))
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert "Ana" not in answer.text
                assert heard.arn not in answer.text
            assert client.get("/docs").status_code == 200


def test_row_and_event_are_committed_together_by_an_async_session(
    heard: Heard, serve: Serve, postgres: str
) -> None:
    with psycopg.connect(postgres) as connection:
        create(connection)
        connection.execute("CREATE TABLE alunos (aluno_id text)")
    parts = dict(part.split("=", 1) for part in postgres.split())
    database = f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}"
    with serve(uvicorn, {**heard.environment, "DATABASE": database}) as client:
        assert client.post("/outbox", json=pupil("commit")).status_code == 201
        assert client.post("/outbox", json=pupil("rollback")).status_code == 201
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT aluno_id FROM alunos").fetchall()
        entries = connection.execute("SELECT key FROM messaging_outbox").fetchall()
    assert rows == entries == [("commit",)]


def test_a_publisher_before_the_start_says_how_to_start() -> None:
    publishing = PublisherLifespan(source="/cadastro")
    for dependency in (publishing.publisher, publishing.buffered):
        with pytest.raises(ConfigurationError, match=r"lifespan.*with TestClient\(app\)"):
            asyncio.run(dependency())


def test_a_wrong_environment_ends_the_start_with_its_mistakes(
    heard: Heard,
) -> None:
    environment = {**heard.environment, "MESSAGING_TOPIK": "x", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "tests.web.fastapi_app:app", "--port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert "MESSAGING_TOPIK: unknown setting" in done.stderr


def test_a_test_gives_a_broker_in_memory() -> None:
    class Biblioteca(Consumer):
        service = "biblioteca"

        def __init__(self) -> None:
            self.names: list[str] = []

        @handles
        def aluno(self, aluno: AlunoCadastrado) -> None:
            self.names.append(aluno.nome)

    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Biblioteca, topic="alunos"), clock=clock)
    publishing = PublisherLifespan(source="/cadastro", broker=lambda: broker)
    app = FastAPI(lifespan=publishing.lifespan)

    @app.post("/alunos", status_code=201)
    def cadastrar(publisher: Annotated[Publisher, Depends(publishing.publisher)]) -> None:
        publisher.publish(AlunoCadastrado(aluno_id="1", nome="Ana"))

    biblioteca = Biblioteca()
    with TestClient(app) as client:
        assert client.post("/alunos").status_code == 201
        drain(broker, biblioteca, clock=clock)
    assert biblioteca.names == ["Ana"]
