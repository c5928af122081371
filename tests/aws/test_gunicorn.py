"""Publishing in a request, under each of gunicorn's kinds of workers."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from messaging.local import LocalServer

ROOT = Path(__file__).resolve().parents[2]
PATCHED_EARLY = "from gevent import monkey\nmonkey.patch_all()\n"


@contextmanager
def gunicorn(server: LocalServer, arn: str, folder: Path, *options: str) -> Iterator[int]:
    """The port on which two workers answer. The socket is ours: nobody else can have the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **server.environment,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "MESSAGING_TOPIC": arn,
        }
        command = [sys.executable, "-m", "gunicorn", "--workers", "2", *options]
        command += ["--bind", f"fd://{listener.fileno()}", "tests.aws.wsgi_app:app"]
        with (folder / "gunicorn.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                pass_fds=(listener.fileno(),),
                stdout=log,
                stderr=log,
            )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(30)


def ask(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return f"{answer.status} {answer.read().decode()}"
    finally:
        connection.close()


@pytest.mark.parametrize(
    "options",
    [
        ("-k", "sync"),
        ("-k", "gthread", "--threads", "4"),
        ("-k", "gevent"),
        ("-k", "eventlet"),
        ("-k", "eventlet", "--preload"),
        ("-k", "gevent", "--preload", "-c", "early.py"),
    ],
    ids=" ".join,
)
def test_a_request_publishes_under_every_worker_of_gunicorn(
    ministack: LocalServer, session: boto3.Session, prefix: str, tmp_path: Path, options
) -> None:
    sns = session.client("sns", endpoint_url=ministack.url)
    arn = sns.create_topic(Name=f"{prefix}pedidos")["TopicArn"]
    (tmp_path / "early.py").write_text(PATCHED_EARLY)
    with gunicorn(ministack, arn, tmp_path, *options) as port:
        # The first requests open connections, the next find them kept.
        for _ in range(2):
            with ThreadPoolExecutor(6) as pool:
                one = list(pool.map(lambda n: ask(port, f"/one?{n}"), range(12)))
                many = list(pool.map(lambda n: ask(port, f"/many?{n}"), range(6)))
            log = (tmp_path / "gunicorn.log").read_text()
            assert (set(one), set(many)) == ({"200 1"}, {"200 25"}), log
