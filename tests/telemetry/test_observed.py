"""Whoever traces is told of each request, over either transport; the X-Ray SDK is one who does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.aws import apply, connect
from messaging.errors import TransportError
from messaging.local import LocalServer
from messaging.observed import Request, observed
from messaging.outcome import Reject
from tests.programs import eventually


class Mudou(Event, type="teste.mudou", version=1):
    numero: int


class Um(Consumer):
    @handles
    def ouvir(self, evento: Mudou) -> None:
        if evento.numero < 0:
            raise Reject("numero")


TOPOLOGY = Topology.of(Um, topic="alunos", owns_topic=True)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.mark.parametrize("transport", ["fast", "boto3"])
def test_each_request_is_told_over_either_transport(transport: str, server: LocalServer) -> None:
    settings = server.settings(topic="alunos", prefix=f"{transport}-", transport=transport)
    session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
    apply(TOPOLOGY, settings, session=session)
    told: list[Request] = []
    with closing(connect(settings, session=session)) as plain:
        broker = observed(plain, told.append)
        with Publisher(broker.topic(), source="/x") as publisher:
            publisher.publish_many([Mudou(numero=1), Mudou(numero=-1)])
        with Worker(Um(), broker=broker, wait=1) as worker:
            eventually(lambda: worker.stats.dead_lettered and worker.stats.acknowledged)
    queue = f"{transport}-alunos-um"
    (publish,) = (one for one in told if one.name == "publish")
    assert (publish.to, publish.count, publish.failed) == (f"{transport}-alunos", 2, 0)
    assert sum(one.count for one in told if one.name == "receive") == 2
    assert sum(one.count for one in told if one.name == "delete") == 2
    assert sum(one.count for one in told if one.name == "dead_letter") == 1
    assert {one.to for one in told} == {queue, f"{transport}-alunos"}
    assert all(one.started <= one.ended for one in told)
    assert "numero" not in repr(told)


def test_what_failed_is_told_and_goes_on_to_whoever_asked() -> None:
    told: list[Request] = []
    with closing(MemoryBroker(TOPOLOGY)) as plain:
        broker = observed(plain, told.append)
        with Publisher(broker.topic(), source="/x") as publisher:
            publisher.publish(Mudou(numero=1))
        queue = broker.queue("um")
        deliveries = queue.receive(10, 1)
        plain.fail_next("delete", service="um", entries=[0])
        assert len(queue.delete(deliveries)) == 1
        plain.fail_next("delete", service="um")
        with pytest.raises(TransportError):
            queue.delete(deliveries)
    assert [(one.failed, one.error) for one in told if one.name == "delete"] == [
        (1, None),
        (0, "TransportError"),
    ]


def test_a_hook_that_breaks_breaks_nothing_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(request: Request) -> None:
        raise ValueError(request.deliveries)

    with closing(MemoryBroker(TOPOLOGY)) as plain:
        broker = observed(plain, broken)
        with Publisher(broker.topic(), source="/x") as publisher:
            publisher.publish(Mudou(numero=1))
        with Worker(Um(), broker=broker, wait=0.2) as worker:
            eventually(lambda: worker.stats.acknowledged)
        assert worker.stats.acknowledged == 1
    said = [one.getMessage() for one in caplog.records if one.name == "messaging.observed"]
    assert len(said) <= 3  # the topic, and the worker's two queues
    assert all("ValueError" in one for one in said)


class Daemon:
    """Where X-Ray's SDK sends what it has recorded."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def received(self) -> dict[str, Any]:
        _, _, document = self._socket.recv(65_536).partition(b"\n")
        found: dict[str, Any] = json.loads(document)
        return found

    def close(self) -> None:
        self._socket.close()


XRAY = """
import sys
from contextlib import closing

from aws_xray_sdk.core import xray_recorder
from messaging import Event, Publisher, connect
from messaging.observed import Request, observed


class Mudou(Event, type="teste.mudou", version=1):
    numero: int


def tell(request: Request) -> None:
    part = xray_recorder.begin_subsegment(f"{request.name} {request.to}", namespace="remote")
    if part is not None:  # recorded, and inside of a segment
        part.start_time = request.started
        part.put_annotation("messages", request.count)
        if request.error:
            part.add_error_flag()
        xray_recorder.end_subsegment(request.ended)


xray_recorder.configure(service="cadastro", sampling=False)
with (
    closing(connect()) as broker,
    xray_recorder.in_segment("request"),
    Publisher(observed(broker, tell).topic(), source="/x") as publisher,
):
    publisher.publish(Mudou(numero=1))
"""


def test_the_sdk_of_xray_records_what_it_cannot_see_by_patching_botocore(
    server: LocalServer,
) -> None:
    settings = server.settings(topic="alunos", prefix="xray-")
    session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
    apply(TOPOLOGY, settings, session=session)
    with closing(Daemon()) as daemon:
        own = {
            **os.environ,
            **server.environment,
            "MESSAGING_TOPIC": "xray-alunos",
            "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        }
        done = subprocess.run(
            [sys.executable, "-c", XRAY], env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        segment = daemon.received()
    (part,) = segment["subsegments"]
    assert (segment["name"], part["name"]) == ("request", "publish xray-alunos")
    assert part["annotations"] == {"messages": 1}
    assert segment["start_time"] <= part["start_time"] <= part["end_time"] <= segment["end_time"]
