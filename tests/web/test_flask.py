"""Publishing from a Flask application: a real gunicorn, that forks before or after the import."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from messaging.errors import ConfigurationError
from messaging.flask import PublisherExtension
from tests.web.conftest import Heard, Serve, pupil


def gunicorn(*options: str) -> object:
    def command(descriptor: int) -> Sequence[str]:
        bind = ["--bind", f"fd://{descriptor}", "tests.web.flask_app:app"]
        return ["gunicorn", "--workers", "2", *options, *bind]

    return command


@pytest.mark.parametrize(
    "options",
    [("-k", "sync"), ("-k", "sync", "--preload"), ("-k", "gthread", "--threads", "4", "--preload")],
    ids=" ".join,
)
def test_every_worker_publishes(heard: Heard, serve: Serve, options: tuple[str, ...]) -> None:
    names = [f"{number:02}" for number in range(24)]
    with serve(gunicorn(*options), heard.environment) as client, ThreadPoolExecutor(6) as pool:

        def post(name: str) -> int:
            route = "buffered" if int(name) % 2 else "one"
            status: int = client.post(f"/{route}", json=pupil(name)).status_code
            return status

        assert set(pool.map(post, names)) == {201}
    assert heard.names(24) == names


def test_errors_are_answered_and_tell_no_value(heard: Heard, serve: Serve) -> None:
    with serve(gunicorn(), heard.environment) as client:
        answer = client.post("/one", json=pupil("Ana" * 100_000))
        refused = client.post("/one", json={"aluno_id": "1", "nome": 4711})
    assert (answer.status_code, answer.json()["status"]) == (422, 422)
    assert "Ana" not in answer.text
    assert (refused.status_code, refused.json()[0]["loc"]) == (422, ["nome"])
    assert "4711" not in refused.text
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serve(gunicorn(), {**heard.environment, "AWS_ENDPOINT_URL": url}) as client:
            answer = client.post("/one", json=pupil("Ana"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_application_without_init_app_says_so() -> None:
    publishing = PublisherExtension(source="/cadastro")
    with Flask("loja").app_context(), pytest.raises(ConfigurationError, match=r"loja.*init_app"):
        _ = publishing.publisher
