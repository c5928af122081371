"""A queue that hears what a web application publishes, and servers that run one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest

from messaging.local import LocalServer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@dataclass
class Heard:
    """A topic, and a queue that hears everything published to it."""

    arn: str
    environment: dict[str, str]
    sqs: Any
    queue: str

    def names(self, count: int) -> list[str]:
        """The `nome` of the first `count` events, in order of the alphabet."""
        found: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < count and time.monotonic() < deadline:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in answer.get("Messages", ()):
                found.append(json.loads(message["Body"])["data"]["nome"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return sorted(found)


@pytest.fixture
def heard(server: LocalServer) -> Heard:
    session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
    sns = session.client("sns", endpoint_url=server.url)
    sqs = session.client("sqs", endpoint_url=server.url)
    name = f"t{uuid.uuid4().hex[:8]}"
    arn = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    sns.subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=arn.replace(":sns:", ":sqs:"),
        Attributes={"RawMessageDelivery": "true"},
    )
    return Heard(arn, {**server.environment, "MESSAGING_TOPIC": arn}, sqs, queue)


Serve = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs a server's command with an inherited listening socket, and gives a client for it."""

    @contextmanager
    def serving(
        command: Callable[[int], Sequence[str]], environment: dict[str, str]
    ) -> Iterator[httpx2.Client]:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
            with (tmp_path / "server.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", *command(listener.fileno())],
                    env={**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environment},
                    cwd=tmp_path,
                    pass_fds=(listener.fileno(),),
                    stdout=log,
                    stderr=log,
                )
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                with httpx2.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
                    yield client
            finally:
                process.terminate()
                process.wait(PATIENCE)

    return serving


def pupil(name: str) -> dict[str, str]:
    return {"aluno_id": name, "nome": name}
