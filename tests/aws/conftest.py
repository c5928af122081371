"""Servers for the AWS rooms: an emulator per engine, and a wire that says what emulators do not."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from messaging.local import LocalServer
from messaging.settings import Settings

Answer = tuple[int, str]
"""Status and body. A status of 0 closes the connection without an answer."""
REGION = "sa-east-1"
SNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'


class Wire:
    """Stands where SNS and SQS would: counts requests, and answers what it was told to.

    `answers[action]` is a list, taken from the front; the last one stays. What nobody said
    anything about goes on to `upstream`, or is answered with 500.
    """

    def __init__(self, upstream: str | None = None) -> None:
        self.upstream = upstream
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else each answer waits for an ACK

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content, kind = wire._answer(self, body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:  # Lambda's API
                self.do_POST()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(self, action: str) -> list[dict[str, Any]]:
        """The parameters of each request of that action."""
        return [params for name, params in self.requests if name == action]

    def say(self, action: str, *answers: Answer) -> None:
        self.answers[action] = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
        target = handler.headers.get("X-Amz-Target")
        if handler.command == "GET" and self.upstream is not None:
            return self._forward(handler, body)
        if target:
            action, params = target.rpartition(".")[2], json.loads(body)
        else:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            action, params = form["Action"], form
        self.requests.append((action, params))
        self.bodies.append(body)
        told = self.answers[action]
        if told:
            status, content = told.pop(0) if len(told) > 1 else told[0]
            return status, content.encode(), "application/json" if target else "text/xml"
        if self.upstream is None:
            return 500, b"", "text/plain"
        return self._forward(handler, body)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
        assert self.upstream is not None
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=30)
        try:
            headers = {n: v for n, v in handler.headers.items() if n.lower() != "host"}
            connection.request(handler.command, handler.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("Content-Type", "")
        finally:
            connection.close()


def sns_error(code: str, message: str = "", status: int = 400) -> Answer:
    return status, (
        f"<ErrorResponse {SNS}><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )


def sqs_error(code: str, message: str = "", status: int = 400) -> Answer:
    return status, json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message})


def batch(accepted: list[int], failed: list[tuple[int, str, bool]] | None = None) -> Answer:
    """An answer to PublishBatch: places accepted, and (place, code, sender's fault) refused."""
    good = "".join(f"<member><Id>{i}</Id><MessageId>m{i}</MessageId></member>" for i in accepted)
    bad = "".join(
        f"<member><Id>{i}</Id><Code>{code}</Code><Message>quotes segredo</Message>"
        f"<SenderFault>{str(fault).lower()}</SenderFault></member>"
        for i, code, fault in failed or []
    )
    return 200, (
        f"<PublishBatchResponse {SNS}><PublishBatchResult><Successful>{good}</Successful>"
        f"<Failed>{bad}</Failed></PublishBatchResult></PublishBatchResponse>"
    )


@pytest.fixture(scope="session")
def ministack() -> Iterator[LocalServer]:
    with LocalServer(engine="ministack") as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[LocalServer]:
    with LocalServer(engine="moto") as server:
        yield server


@pytest.fixture(params=["ministack", "moto"])
def server(request: pytest.FixtureRequest) -> LocalServer:
    found: LocalServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION
    )


@pytest.fixture
def prefix() -> str:
    """One account of one server holds the topologies of many tests."""
    return f"t{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def proxy(ministack: LocalServer) -> Iterator[Wire]:
    """A wire with ministack behind it."""
    wire = Wire(ministack.url)
    yield wire
    wire.close()


@pytest.fixture(params=["fast", "boto3"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def settings_of(transport: str) -> Callable[..., Settings]:
    """Settings that lead to a wire, once over each transport."""

    def make(wire: Wire, **fields: Any) -> Settings:
        given = {"region": REGION, "topic": TOPIC, "transport": transport, **fields}
        return Settings(endpoint_url=wire.url, **given)

    return make


TOPIC = f"arn:aws:sns:{REGION}:000000000000:alunos"


@pytest.fixture
def say() -> type[Say]:
    return Say


class Say:
    """What a wire can be told to answer."""

    sns_error = staticmethod(sns_error)
    sqs_error = staticmethod(sqs_error)
    batch = staticmethod(batch)

    @staticmethod
    def json(**answer: Any) -> Answer:
        return 200, json.dumps(answer)
